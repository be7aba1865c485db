//! What an owner looks at again and again: which of its lanes were woken, who lives beside it, and
//! whether somebody died and left lanes.
//!
//! Always true: the look costs what has happened since the last one, not what is owned. Only
//! [`owned`] reads all lanes of a replica, and is for now and then.

use std::time::Duration;

use models::ids::{ReplicaId, WorkerId};
use tokio_postgres::Row;

use super::Tenure;
use crate::column::seconds;
use crate::{GenericClient, StoreError};

/// What surrounds a replica.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Around {
    /// The version of the global delays.
    pub settings_version: i64,
    /// Living sender replicas that are not retiring, this one included.
    pub replicas: i64,
    /// Whether a replica died and its lanes are still there to be adopted.
    pub orphaned: bool,
    /// How long until the next replica counts as dead, unless its heartbeat comes.
    pub next_death_in: Option<Duration>,
}

const AROUND: &str = "
    SELECT COALESCE((SELECT version FROM settings), 0),
        (SELECT count(*) FROM replicas
            WHERE service = 'sender' AND NOT retiring
                AND seen_at > now() - make_interval(secs => $1)),
        EXISTS (SELECT FROM replicas r
            WHERE r.service = 'sender' AND r.seen_at <= now() - make_interval(secs => $1)
                AND EXISTS (SELECT FROM lanes l WHERE l.owner = r.id)),
        (SELECT EXTRACT(EPOCH FROM min(seen_at) - now())::float8 + $1 FROM replicas
            WHERE service = 'sender' AND seen_at > now() - make_interval(secs => $1))";

/// Looks around.
pub async fn around(db: &impl GenericClient, dead_after: Duration) -> Result<Around, StoreError> {
    let statement = db.prepare_cached(AROUND).await?;
    let row = db
        .query_one(&statement, &[&dead_after.as_secs_f64()])
        .await?;
    Ok(Around {
        settings_version: row.get(0),
        replicas: row.get(1),
        orphaned: row.get(2),
        next_death_in: row.get::<_, Option<f64>>(3).map(seconds),
    })
}

const WOKEN: &str = "
    WITH woken AS (
        SELECT worker_id FROM lanes WHERE owner = $1 AND wake <> served
        ORDER BY worker_id LIMIT $2 FOR NO KEY UPDATE
    )
    UPDATE lanes l SET served = l.wake FROM woken
    WHERE l.worker_id = woken.worker_id AND l.owner = $1
    RETURNING l.worker_id, l.epoch, l.wake";

/// The lanes of a replica that were woken since it noticed it last, with their wake numbers; lanes
/// handed to it among them, because that wakes them. From here on it knows: a caller that does not
/// get the answer must look at all of them ([`owned`]). As many as `batch` mean that there may be
/// more.
pub async fn woken(
    db: &impl GenericClient,
    replica: ReplicaId,
    batch: i64,
) -> Result<Vec<(Tenure, i64)>, StoreError> {
    let statement = db.prepare_cached(WOKEN).await?;
    let rows = db.query(&statement, &[&replica.uuid(), &batch]).await?;
    Ok(rows.iter().map(lane).collect())
}

const OWNED: &str = "
    SELECT worker_id, epoch, wake FROM lanes WHERE owner = $1 AND worker_id > $2
    ORDER BY worker_id LIMIT $3";

/// All lanes of a replica with their wake numbers, a page of at most `batch` at a time, in the
/// order of their ids; `after` is the last of the page before.
pub async fn owned(
    db: &impl GenericClient,
    replica: ReplicaId,
    after: Option<WorkerId>,
    batch: i64,
) -> Result<Vec<(Tenure, i64)>, StoreError> {
    let statement = db.prepare_cached(OWNED).await?;
    let after = after.map_or(uuid::Uuid::nil(), WorkerId::uuid);
    let rows = db
        .query(&statement, &[&replica.uuid(), &after, &batch])
        .await?;
    Ok(rows.iter().map(lane).collect())
}

/// How many share how much.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Shares {
    /// Living sender replicas that are not retiring.
    pub replicas: i64,
    /// Lanes owned by any of them.
    pub lanes_owned: i64,
}

const SHARES: &str = "
    WITH alive AS (
        SELECT id FROM replicas
        WHERE service = 'sender' AND NOT retiring
            AND seen_at > now() - make_interval(secs => $1)
    )
    SELECT (SELECT count(*) FROM alive),
        (SELECT count(*) FROM lanes WHERE owner IN (SELECT id FROM alive))";

/// What an even share is made of.
pub async fn shares(db: &impl GenericClient, dead_after: Duration) -> Result<Shares, StoreError> {
    let statement = db.prepare_cached(SHARES).await?;
    let row = db
        .query_one(&statement, &[&dead_after.as_secs_f64()])
        .await?;
    Ok(Shares {
        replicas: row.get(0),
        lanes_owned: row.get(1),
    })
}

// A share is what each of the living holds once all are taken: they look at the same time, and
// lanes that one of them took alone would have to be handed on. What still lies there seconds later
// is anybody's: somebody lives and does not look. Whoever is late or retiring itself takes none. A
// lane that another locks is being taken or woken: whoever has it is not waited for, the next look
// finds what is left.
const ADOPT: &str = "
    WITH dead AS (
        SELECT id, seen_at <= now() - make_interval(secs => $2) - interval '5 seconds' AS for_long
        FROM replicas
        WHERE service = 'sender' AND seen_at <= now() - make_interval(secs => $2)
    ), alive AS (
        SELECT id FROM replicas
        WHERE service = 'sender' AND NOT retiring
            AND seen_at > now() - make_interval(secs => $2)
    ), held AS (
        SELECT count(*) AS by_all, count(*) FILTER (WHERE owner = $1) AS by_us
        FROM lanes WHERE owner IN (SELECT id FROM dead UNION ALL SELECT id FROM alive)
    ), room AS (
        SELECT CASE WHEN EXISTS (SELECT FROM dead JOIN lanes ON owner = dead.id WHERE for_long)
            THEN $3 ELSE LEAST($3, GREATEST(0, ceil(by_all::float8 / n)::bigint - by_us)) END
            AS lanes
        FROM held, (SELECT count(*) AS n FROM alive) alive
        WHERE EXISTS (SELECT FROM replicas WHERE id = $1 AND NOT retiring
            AND seen_at > now() - make_interval(secs => $2) / 2)
    ), orphaned AS (
        SELECT l.worker_id FROM lanes l JOIN dead ON l.owner = dead.id
        ORDER BY l.worker_id LIMIT COALESCE((SELECT lanes FROM room), 0)
        FOR NO KEY UPDATE OF l SKIP LOCKED
    )
    UPDATE lanes l
    SET owner = $1, epoch = l.epoch + 1, served = l.wake, call_at = now(), calls = 0
    FROM orphaned WHERE l.worker_id = orphaned.worker_id
    RETURNING l.worker_id, l.epoch, l.wake";

/// Takes lanes whose owner is dead, at most `batch` and at first no more than make up our share;
/// as many as `batch` mean that there may be more. Like [`woken`], it is not told twice.
pub async fn adopt(
    db: &impl GenericClient,
    replica: ReplicaId,
    dead_after: Duration,
    batch: i64,
) -> Result<Vec<(Tenure, i64)>, StoreError> {
    let statement = db.prepare_cached(ADOPT).await?;
    let parameters: &[&(dyn tokio_postgres::types::ToSql + Sync)] =
        &[&replica.uuid(), &dead_after.as_secs_f64(), &batch];
    let rows = db.query(&statement, parameters).await?;
    Ok(rows.iter().map(lane).collect())
}

fn lane(row: &Row) -> (Tenure, i64) {
    let tenure = Tenure {
        worker: WorkerId::new(row.get(0)),
        epoch: row.get(1),
    };
    (tenure, row.get(2))
}
