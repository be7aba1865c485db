//! What is past retention: whole months of messages are dropped, and what named them with them. The
//! campaigns stay, with their totals and the day on which their messages went; their texts go.
//!
//! Always true: a month is dropped only when each of its campaigns ended before the retention
//! began, and was marked as purged before; whoever would let one go on looks at the mark under the
//! campaign's lock. A process that dies in between leaves messages behind that are past retention
//! all the same, for the next round.
//! What has strayed into the default table is deleted there, campaign by campaign.

use std::time::Duration;

use tokio_postgres::Error;
use uuid::Uuid;

use crate::partitions::{begin, is_busy};
use crate::standing::sending;
use crate::{Client, GenericClient, StoreError, Transaction};

/// A table of messages that is older than what is to be kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Past {
    /// Its name, as SQL takes it.
    pub name: String,
    /// The least id that it may hold.
    since: Uuid,
    /// The least id beyond.
    until: Uuid,
    /// Its campaigns that have not ended, or ended too lately: while there are any, it stays.
    pub held_by: i64,
}

impl Past {
    /// Whether messages of this campaign lie in it.
    pub fn holds(&self, campaign: Uuid) -> bool {
        self.since <= campaign && campaign < self.until
    }
}

/// Whether campaign `c` is over for longer than the parameter `$keep` says, in seconds. A message
/// may be on its way though its campaign was cancelled.
macro_rules! over {
    ($keep:literal) => {
        concat!(
            "(c.completed_at < now() - make_interval(secs => ",
            $keep,
            ") AND ",
            sending!(),
            " = 0)"
        )
    };
}

const PAST: &str = concat!(
    "SELECT p.name, p.since_id, p.until_id,
        (SELECT count(*) FROM campaigns c WHERE c.id >= p.since_id AND c.id < p.until_id AND ",
    over!("$1"),
    " IS NOT TRUE)
    FROM message_partitions p
    WHERE p.until <= now() - make_interval(secs => $1) ORDER BY p.until_id"
);

/// The tables that are older than `keep`, oldest first.
///
/// # Errors
/// When the ledger does not answer.
pub async fn past(db: &impl GenericClient, keep: Duration) -> Result<Vec<Past>, StoreError> {
    let statement = db.prepare_cached(PAST).await?;
    let rows = db.query(&statement, &[&keep.as_secs_f64()]).await?;
    let past = rows.iter().map(|row| Past {
        name: row.get(0),
        since: row.get(1),
        until: row.get(2),
        held_by: row.get(3),
    });
    Ok(past.collect())
}

// One that is locked just now is left for the next round: its month is held until then.
macro_rules! mark {
    ($which:expr) => {
        concat!(
            "UPDATE campaigns SET messages_purged_at = now(), template = '', variables = NULL,
                media_url = NULL
            WHERE id IN (SELECT c.id FROM campaigns c WHERE ",
            $which,
            " AND c.messages_purged_at IS NULL ORDER BY c.id LIMIT $1
                FOR NO KEY UPDATE SKIP LOCKED)"
        )
    };
}

const MARK: &str = mark!(concat!("c.id >= $3 AND c.id < $4 AND ", over!("$2")));
const TRACES: &str = "
    WITH receipts_gone AS (
        DELETE FROM receipts WHERE ctid = ANY (ARRAY(
            SELECT ctid FROM receipts WHERE created_at < now() - make_interval(secs => $2)
                AND campaign_id IS NOT NULL AND campaign_id >= $3 AND campaign_id < $4
            ORDER BY created_at LIMIT $1))
        RETURNING 1
    ), retries_gone AS (
        DELETE FROM retries WHERE ctid = ANY (ARRAY(
            SELECT ctid FROM retries WHERE campaign_id >= $3 AND campaign_id < $4 LIMIT $1))
        RETURNING 1
    )
    SELECT (SELECT count(*) FROM receipts_gone) + (SELECT count(*) FROM retries_gone)";

/// Marks campaigns of a past table as purged, at most `batch`; returns how many. To be repeated
/// until there are none.
///
/// # Errors
/// When the ledger does not answer.
pub async fn mark(
    db: &impl GenericClient,
    past: &Past,
    keep: Duration,
    batch: i64,
) -> Result<u64, StoreError> {
    let statement = db.prepare_cached(MARK).await?;
    let parameters: &[&(dyn tokio_postgres::types::ToSql + Sync)] =
        &[&batch, &keep.as_secs_f64(), &past.since, &past.until];
    Ok(db.execute(&statement, parameters).await?)
}

/// Deletes what else names messages of a past table, at most `batch` of each kind; returns how
/// many. To be repeated until there are none. Not needed for truth: a receipt without its message
/// moves nothing.
///
/// # Errors
/// When the ledger does not answer.
pub async fn delete_traces(
    db: &impl GenericClient,
    past: &Past,
    keep: Duration,
    batch: i64,
) -> Result<u64, StoreError> {
    let statement = db.prepare_cached(TRACES).await?;
    let parameters: &[&(dyn tokio_postgres::types::ToSql + Sync)] =
        &[&batch, &keep.as_secs_f64(), &past.since, &past.until];
    let deleted: i64 = db.query_one(&statement, parameters).await?.get(0);
    Ok(deleted.unsigned_abs())
}

/// What came of dropping a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dropped {
    /// It is gone.
    Gone,
    /// A campaign of it is not marked: nothing was done.
    Held,
    /// Somebody held a lock for longer than we wait: nothing was done.
    Busy,
}

// The parent first, as everybody else does, and alone: with it locked nobody comes to a partition.
const LOCK: &str = "LOCK TABLE ONLY messages IN ACCESS EXCLUSIVE MODE";
// What was accepted just now under an old id, by a gateway whose clock is wrong, is not marked.
const HELD: &str = "
    SELECT EXISTS (SELECT FROM campaigns
        WHERE id >= $1 AND id < $2 AND messages_purged_at IS NULL)";

/// Drops a past table whose campaigns are all marked.
///
/// # Errors
/// When the ledger does not answer.
pub async fn drop_past(client: &mut Client, past: &Past) -> Result<Dropped, StoreError> {
    let Some(tx) = begin(client).await? else {
        return Ok(Dropped::Busy);
    };
    match drop_inside(&tx, past).await {
        Ok(Dropped::Gone) => {
            tx.commit().await?;
            Ok(Dropped::Gone)
        }
        Ok(nothing) => Ok(nothing),
        Err(error) if is_busy(&error) => Ok(Dropped::Busy),
        Err(error) => Err(error.into()),
    }
}

async fn drop_inside(tx: &Transaction<'_>, past: &Past) -> Result<Dropped, Error> {
    tx.batch_execute(LOCK).await?;
    let held = tx.query_one(HELD, &[&past.since, &past.until]).await?;
    if held.get(0) {
        return Ok(Dropped::Held);
    }
    // Somebody else may have dropped it since we looked.
    tx.batch_execute(&format!("DROP TABLE IF EXISTS {}", past.name))
        .await?;
    Ok(Dropped::Gone)
}

const MARK_STRAYED: &str = concat!(
    "WITH RECURSIVE strayed (id) AS (
        (SELECT campaign_id FROM messages_default ORDER BY campaign_id LIMIT 1)
        UNION ALL
        SELECT (SELECT m.campaign_id FROM messages_default m
            WHERE m.campaign_id > s.id ORDER BY m.campaign_id LIMIT 1)
        FROM strayed s WHERE s.id IS NOT NULL
    ) ",
    mark!(concat!(
        "c.id IN (SELECT id FROM strayed) AND ",
        over!("$2")
    ))
);
const DELETE_STRAYED: &str = "
    DELETE FROM messages_default WHERE ctid = ANY (ARRAY(
        SELECT m.ctid FROM messages_default m JOIN campaigns c ON c.id = m.campaign_id
        WHERE c.messages_purged_at IS NOT NULL LIMIT $1))";

/// Does the same for the default table, which is never dropped: marks the campaigns in it that are
/// past retention, and deletes their messages, at most `batch` of either. Returns how many
/// messages; to be repeated until there are none.
///
/// # Errors
/// When the ledger does not answer.
pub async fn delete_strayed(
    db: &impl GenericClient,
    keep: Duration,
    batch: i64,
) -> Result<u64, StoreError> {
    let statement = db.prepare_cached(MARK_STRAYED).await?;
    db.execute(&statement, &[&batch, &keep.as_secs_f64()])
        .await?;
    let statement = db.prepare_cached(DELETE_STRAYED).await?;
    Ok(db.execute(&statement, &[&batch]).await?)
}
