//! Messages that WhatsApp has not reported on: whom to ask about them, and for how long to keep
//! what it said.

use std::time::Duration;

use models::ids::WorkerId;
use models::phone::PhoneNumber;
use secrecy::SecretString;
use time::OffsetDateTime;
use tokio_postgres::types::ToSql;

use crate::column::phone;
use crate::plan::{BY_KEY, query_by_key};
use crate::{Client, GenericClient, StoreError};

/// A message without an ack, and the worker that may know of it.
#[derive(Debug, Clone)]
pub struct Ask {
    /// The number that said it.
    pub sender: PhoneNumber,
    /// Of its session, which is WORKING there.
    pub generation: i32,
    /// The bare id.
    pub message_id: String,
    /// Who was to hear it.
    pub recipient: PhoneNumber,
    /// The session's name on the worker.
    pub waha_name: String,
    /// Which worker.
    pub worker: WorkerId,
    /// Where it is.
    pub url: String,
    /// Its key. Never to be logged.
    pub api_key: SecretString,
    /// Questions so far that told nothing.
    pub asks: i16,
}

/// Receipts looked at once for whether WhatsApp has said something, at most so many at a time.
const FIRST_LOOKS: i64 = 20_000;
/// Messages looked through, and locked, for those that somebody can be asked about.
const LOOKED_THROUGH: i64 = 200;
/// The longest that a message waits for another look while nobody can be asked about it.
const NOBODY_MAX: Duration = Duration::from_secs(6 * 3_600);

// Up to when there is something to look at. Nothing is passed by: a receipt bears the time at which
// its transaction began, so those of transactions that are under way come later. Ours are over
// within a minute; one that goes on for longer is somebody else's, and is in nobody's way.
const REACH: &str = "
    SELECT m.until, (
        SELECT max(created_at) FROM (
            SELECT created_at FROM receipts WHERE campaign_id IS NOT NULL
                AND created_at > m.until AND created_at < m.bound
            ORDER BY created_at LIMIT $2) r
        )
    FROM (
        SELECT until, LEAST(now() - make_interval(secs => $1), (
            SELECT min(xact_start) FROM pg_stat_activity
            WHERE datname = current_database() AND backend_type = 'client backend'
                AND pid <> pg_backend_pid()
                AND xact_start > now() - interval '10 minutes'
            )) AS bound
        FROM ask_mark FOR NO KEY UPDATE SKIP LOCKED
    ) m";
// Of what was delivered or read the message itself tells it.
const NOTE: &str = "
    WITH unheard AS MATERIALIZED (
        SELECT sender, message_id FROM receipts r
        WHERE campaign_id IS NOT NULL AND created_at > $1 AND created_at <= $2
            AND ask_at IS NULL AND asks = 0 AND COALESCE(ack, 0) = 0
            AND NOT EXISTS (SELECT FROM messages m WHERE m.campaign_id = r.campaign_id
                AND m.ordinal = r.ordinal AND m.waha_message_id = r.message_id
                AND m.status IN (3, 4))
        ORDER BY sender, message_id FOR NO KEY UPDATE
    )
    UPDATE receipts r SET ask_at = r.created_at FROM unheard u
    WHERE r.sender = u.sender AND r.message_id = u.message_id";
const MOVE_MARK: &str = "UPDATE ask_mark SET until = $1";

/// Notes the messages of which WhatsApp has said nothing for `after`, so that
/// [`claim_due_asks`] finds them: each is looked at once. Returns how many it noted.
pub async fn note_unheard(client: &mut Client, after: Duration) -> Result<u64, StoreError> {
    let tx = client.transaction().await?;
    tx.batch_execute(BY_KEY).await?;
    let statement = tx.prepare_cached(REACH).await?;
    let parameters: &[&(dyn ToSql + Sync)] = &[&after.as_secs_f64(), &FIRST_LOOKS];
    let Some(row) = tx.query_opt(&statement, parameters).await? else {
        return Ok(0);
    };
    let until: OffsetDateTime = row.get(0);
    let Some(last) = row.get::<_, Option<OffsetDateTime>>(1) else {
        return Ok(0);
    };
    let statement = tx.prepare_cached(NOTE).await?;
    let noted = tx.execute(&statement, &[&until, &last]).await?;
    let statement = tx.prepare_cached(MOVE_MARK).await?;
    tx.execute(&statement, &[&last]).await?;
    tx.commit().await?;
    Ok(noted)
}

// A message about which nobody can be asked, because its session is not WORKING, waits for as long
// again as it has waited already, so that a session that is dead for weeks is in nobody's way. It
// is not a question that told nothing: those are counted. Nobody else asks about a row while it is
// pushed back; an asker that dies costs one round.
const CLAIM_DUE: &str = "
    WITH due AS MATERIALIZED (
        SELECT sender, message_id, campaign_id, ordinal, asks, ask_at FROM receipts
        WHERE ask_at <= now() - make_interval(secs => $1)
        ORDER BY ask_at LIMIT $3 FOR NO KEY UPDATE SKIP LOCKED
    ), known AS MATERIALIZED (
        SELECT due.*, f.flies IS TRUE AS flies, m.recipient, w.generation, w.waha_name,
            w.id AS worker, w.url, w.api_key,
            m.recipient IS NOT NULL AND w.id IS NOT NULL AS askable
        FROM due
        LEFT JOIN LATERAL (
            SELECT recipient FROM messages
            WHERE campaign_id = due.campaign_id AND ordinal = due.ordinal LIMIT 1
        ) m ON true
        LEFT JOIN LATERAL (
            SELECT true AS flies FROM senders d WHERE d.phone = due.sender
                AND d.in_flight_campaign = due.campaign_id AND d.in_flight_ordinal = due.ordinal
            LIMIT 1
        ) f ON true
        LEFT JOIN LATERAL (
            SELECT s.generation, s.waha_name, w.id, w.url, w.api_key
            FROM sessions s JOIN workers w ON w.id = s.worker_id AND w.health = 'up'
            WHERE s.phone = due.sender AND s.status = 'WORKING' AND s.wanted = 'RUNNING' LIMIT 1
        ) w ON true
    ), judged AS MATERIALIZED (
        SELECT *, askable AND NOT flies AND row_number() OVER (
            PARTITION BY askable AND NOT flies ORDER BY ask_at) <= $2 AS chosen
        FROM known
    ), pushed AS (
        UPDATE receipts r SET ask_at = now() + CASE WHEN j.askable THEN interval '0'
            ELSE LEAST(GREATEST(now() - r.created_at, interval '0'), make_interval(secs => $4))
            END
        FROM judged j
        WHERE r.sender = j.sender AND r.message_id = j.message_id
            AND (j.chosen OR j.flies OR NOT j.askable)
    )
    SELECT sender, generation, message_id, recipient, waha_name, worker, url, api_key, asks
    FROM judged WHERE chosen ORDER BY ask_at";

/// Takes messages that have been without an ack for `after`, oldest first, at most `batch`.
pub async fn claim_due_asks(
    client: &Client,
    after: Duration,
    batch: i64,
) -> Result<Vec<Ask>, StoreError> {
    let (after, nobody_max) = (after.as_secs_f64(), NOBODY_MAX.as_secs_f64());
    let parameters: &[&(dyn ToSql + Sync)] = &[&after, &batch, &LOOKED_THROUGH, &nobody_max];
    let rows = query_by_key(client, CLAIM_DUE, parameters).await?;
    let asks = rows.iter().map(|row| {
        Ok(Ask {
            sender: phone(row.get(0))?,
            generation: row.get(1),
            message_id: row.get(2),
            recipient: phone(row.get(3))?,
            waha_name: row.get::<_, Option<String>>(4).unwrap_or_default(),
            worker: WorkerId::new(row.get(5)),
            url: row.get(6),
            api_key: SecretString::from(row.get::<_, String>(7)),
            asks: row.get(8),
        })
    });
    asks.collect()
}

const ASKED: &str = "
    UPDATE receipts SET asks = asks + 1, ask_at = now() + make_interval(secs => $3)
    WHERE sender = $1 AND message_id = $2 AND ask_at IS NOT NULL";

/// A question told nothing: the next one is `wait` later than usual.
pub async fn asked(
    db: &impl GenericClient,
    sender: &PhoneNumber,
    message_id: &str,
    wait: Duration,
) -> Result<(), StoreError> {
    let statement = db.prepare_cached(ASKED).await?;
    let wait = wait.as_secs_f64();
    db.execute(&statement, &[&sender.digits(), &message_id, &wait])
        .await?;
    Ok(())
}

const NEVER_ASK: &str = "
    UPDATE receipts SET ask_at = NULL WHERE sender = $1 AND message_id = $2";

/// No worker will ever tell: nobody is asked again.
pub async fn never_ask(
    db: &impl GenericClient,
    sender: &PhoneNumber,
    message_id: &str,
) -> Result<(), StoreError> {
    let statement = db.prepare_cached(NEVER_ASK).await?;
    db.execute(&statement, &[&sender.digits(), &message_id])
        .await?;
    Ok(())
}

const PRUNE: &str = "
    WITH of_nobody AS (
        DELETE FROM receipts WHERE ctid = ANY (ARRAY(
            SELECT ctid FROM receipts WHERE campaign_id IS NULL
                AND created_at < now() - make_interval(secs => $2)
            ORDER BY created_at LIMIT $3))
        RETURNING 1
    ), old AS (
        DELETE FROM receipts WHERE ctid = ANY (ARRAY(
            SELECT ctid FROM receipts
            WHERE created_at < now() - make_interval(secs => $1) AND campaign_id IS NOT NULL
            ORDER BY created_at LIMIT $3))
        RETURNING 1
    )
    SELECT (SELECT count(*) FROM of_nobody) + (SELECT count(*) FROM old)";

/// Forgets receipts that are older than `keep`, and those of ids that nobody came to know within
/// `unknown_keep` (what a person said from the phone); at most `batch` of each. Returns how many.
pub async fn prune(
    db: &impl GenericClient,
    keep: Duration,
    unknown_keep: Duration,
    batch: i64,
) -> Result<u64, StoreError> {
    let statement = db.prepare_cached(PRUNE).await?;
    let parameters: &[&(dyn ToSql + Sync)] =
        &[&keep.as_secs_f64(), &unknown_keep.as_secs_f64(), &batch];
    let pruned: i64 = db.query_one(&statement, parameters).await?.get(0);
    Ok(pruned.unsigned_abs())
}
