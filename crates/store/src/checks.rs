//! Looking after workers: whose check is due, what it found, what that means for their sessions.
//!
//! Always true: what a check found about a session is written only if the session has not moved
//! since the check began. Each function is one statement, and repeating it does no harm.

use std::time::Duration;

use models::ids::WorkerId;
use models::phone::PhoneNumber;
use models::session::SessionStatus;
use models::worker::{Capabilities, Engine, WorkerHealth};
use secrecy::SecretString;
use tokio_postgres::Row;

use crate::column::{millis, phone, session_status};
use crate::{GenericClient, StoreError};

/// A worker whose check is due, with what the last one found.
#[derive(Debug, Clone)]
pub struct DueWorker {
    /// The worker.
    pub id: WorkerId,
    /// What people call it.
    pub name: String,
    /// Base URL.
    pub url: String,
    /// Its API key.
    pub api_key: SecretString,
    /// Sessions that have a place on it.
    pub placed: i32,
    /// What the last check found.
    pub health: WorkerHealth,
    /// Checks in a row that failed.
    pub failures: i32,
    /// How long it had been up then.
    pub uptime: Option<Duration>,
}

const CLAIM_DUE: &str = "
    WITH due AS (
        SELECT id FROM workers WHERE check_at <= now()
        ORDER BY check_at LIMIT $1 FOR NO KEY UPDATE SKIP LOCKED
    )
    UPDATE workers w SET check_at = now() + $2 * interval '1 millisecond'
    FROM due WHERE w.id = due.id
    RETURNING w.id, w.name, w.url, w.api_key, w.placed, w.health, w.failures, w.uptime_ms";

/// Takes up to `batch` workers whose check is due; they are due again after `lease` if whoever
/// took them dies.
pub async fn claim_due(
    db: &impl GenericClient,
    batch: i64,
    lease: Duration,
) -> Result<Vec<DueWorker>, StoreError> {
    let statement = db.prepare_cached(CLAIM_DUE).await?;
    let rows = db
        .query(&statement, &[&batch, &(millis(lease) as f64)])
        .await?;
    rows.iter().map(worker_of).collect()
}

fn worker_of(row: &Row) -> Result<DueWorker, StoreError> {
    let health: &str = row.get("health");
    let api_key: String = row.get("api_key");
    let uptime: Option<i64> = row.get("uptime_ms");
    Ok(DueWorker {
        id: WorkerId::new(row.get("id")),
        name: row.get("name"),
        url: row.get("url"),
        api_key: api_key.into(),
        placed: row.get("placed"),
        health: WorkerHealth::from_name(health).ok_or_else(|| StoreError::Unreadable {
            what: "worker health",
            value: health.into(),
        })?,
        failures: row.get("failures"),
        uptime: uptime.map(|ms| Duration::from_millis(ms.unsigned_abs())),
    })
}

/// What a check found that succeeded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Passed {
    /// WAHA's version.
    pub version: String,
    /// What runs its sessions.
    pub engine: Engine,
    /// Its edition, in WAHA's word.
    pub tier: String,
    /// What follows from those.
    pub capabilities: Capabilities,
    /// How long it has been up.
    pub uptime: Duration,
}

const PASS: &str = "
    UPDATE workers
    SET health = 'up', health_reason = NULL, failures = 0, checked_at = now(),
        version = $2, engine = $3, tier = $4, multi_session = $5, media = $6,
        own_message_ids = $7, webhook_hmac = $8, uptime_ms = $9,
        check_at = now() + $10 * interval '1 millisecond'
    WHERE id = $1";

/// Notes that a worker is up, and when to look again. Call [`wake`] first when it was not up, or
/// has restarted.
pub async fn pass(
    db: &impl GenericClient,
    worker: WorkerId,
    found: &Passed,
    again_in: Duration,
) -> Result<(), StoreError> {
    let statement = db.prepare_cached(PASS).await?;
    let can = &found.capabilities;
    db.execute(
        &statement,
        &[
            &worker.uuid(),
            &found.version,
            &found.engine.name(),
            &found.tier,
            &can.multi_session,
            &can.media,
            &can.own_message_ids,
            &can.webhook_hmac,
            &millis(found.uptime),
            &(millis(again_in) as f64),
        ],
    )
    .await?;
    Ok(())
}

const FAIL: &str = "
    UPDATE workers
    SET failures = failures + 1, checked_at = now(),
        health = CASE WHEN $3 THEN 'down' ELSE health END, health_reason = $2,
        check_at = now() + $4 * interval '1 millisecond'
    WHERE id = $1";

/// Notes that a check failed, whether that makes the worker count as down, and when to look again.
pub async fn fail(
    db: &impl GenericClient,
    worker: WorkerId,
    reason: &str,
    down: bool,
    again_in: Duration,
) -> Result<(), StoreError> {
    let statement = db.prepare_cached(FAIL).await?;
    let again_in = millis(again_in) as f64;
    db.execute(&statement, &[&worker.uuid(), &reason, &down, &again_in])
        .await?;
    Ok(())
}

const HURRY: &str = "UPDATE workers SET check_at = now() WHERE id = $1 AND check_at > now()";

/// Somebody could not reach a worker: it is checked now.
pub async fn hurry(db: &impl GenericClient, worker: WorkerId) -> Result<(), StoreError> {
    let statement = db.prepare_cached(HURRY).await?;
    db.execute(&statement, &[&worker.uuid()]).await?;
    Ok(())
}

const WAKE: &str = "
    WITH lane AS (
        UPDATE lanes SET wake = wake + 1 WHERE worker_id = $1 RETURNING worker_id
    ), locked AS (
        SELECT phone FROM sessions WHERE worker_id = (SELECT worker_id FROM lane)
        ORDER BY phone FOR NO KEY UPDATE
    )
    UPDATE sessions s SET due_at = now(), attempts = 0 FROM locked WHERE s.phone = locked.phone";

/// A worker is back, or has restarted: its lane is woken and all its sessions are looked at.
/// Returns how many.
pub async fn wake(db: &impl GenericClient, worker: WorkerId) -> Result<u64, StoreError> {
    let statement = db.prepare_cached(WAKE).await?;
    Ok(db.execute(&statement, &[&worker.uuid()]).await?)
}

const EXPLAIN_DOWN: &str = "
    WITH locked AS (
        SELECT phone FROM sessions WHERE worker_id = $1 ORDER BY phone FOR NO KEY UPDATE
    )
    UPDATE sessions s SET reason = $2 FROM locked WHERE s.phone = locked.phone";

/// Tells the users of a worker's sessions why nothing happens. Their status stays as it was last
/// seen: nobody knows better, and senders find out by themselves.
pub async fn explain_down(
    db: &impl GenericClient,
    worker: WorkerId,
    reason: &str,
) -> Result<(), StoreError> {
    let statement = db.prepare_cached(EXPLAIN_DOWN).await?;
    db.execute(&statement, &[&worker.uuid(), &reason]).await?;
    Ok(())
}

/// A session as we know it, to be compared with what its worker says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// Whose it is.
    pub phone: PhoneNumber,
    /// Its placement.
    pub generation: i32,
    /// Its name on the worker.
    pub waha_name: String,
    /// What was last seen.
    pub status: SessionStatus,
    /// Whether it was made there.
    pub created: bool,
}

/// More sessions of one worker are not compared; a WAHA server carries a few hundred.
const KNOWN_MAX: i64 = 10_000;

const KNOWN: &str = "
    SELECT phone, generation, waha_name, status, created FROM sessions
    WHERE worker_id = $1 ORDER BY phone LIMIT $2";

/// The sessions that have a place on a worker.
pub async fn known(db: &impl GenericClient, worker: WorkerId) -> Result<Vec<Known>, StoreError> {
    let statement = db.prepare_cached(KNOWN).await?;
    let rows = db.query(&statement, &[&worker.uuid(), &KNOWN_MAX]).await?;
    let known = rows.iter().map(|row| {
        Ok(Known {
            phone: phone(row.get(0))?,
            generation: row.get(1),
            waha_name: row.get(2),
            status: session_status(row.get(3))?,
            created: row.get(4),
        })
    });
    known.collect()
}

// The lane before the sessions, and those in the order of their key. `before` makes it a
// compare-and-set: what a webhook has told since the list was made is newer than the list.
const RECORD_SEEN: &str = "
    WITH lane AS (
        SELECT worker_id FROM lanes WHERE worker_id = $1 FOR NO KEY UPDATE
    ), seen AS (
        SELECT * FROM unnest($2::text[], $3::integer[], $4::text[], $5::text[])
            AS seen (phone, generation, before, status)
    ), locked AS (
        SELECT s.phone, seen.before, seen.status
        FROM sessions s JOIN seen
            ON s.phone = seen.phone AND s.generation = seen.generation AND s.status = seen.before
        WHERE s.worker_id = (SELECT worker_id FROM lane)
        ORDER BY s.phone FOR NO KEY UPDATE OF s
    ), woken AS (
        UPDATE lanes SET wake = wake + 1
        WHERE worker_id = $1 AND EXISTS (
            SELECT FROM locked WHERE (before = 'WORKING') <> (status = 'WORKING'))
    )
    UPDATE sessions s
    SET status = locked.status, status_at = now(), reason = NULL, due_at = now(),
        last_active = CASE WHEN locked.status = 'WORKING' THEN now() ELSE s.last_active END,
        restarts = CASE WHEN locked.status = 'WORKING' THEN 0 ELSE s.restarts END
    FROM locked WHERE s.phone = locked.phone";

/// Writes down which sessions of a worker are not what they were; each becomes due. Returns how
/// many were written.
pub async fn record_seen(
    db: &impl GenericClient,
    worker: WorkerId,
    changes: &[(&Known, SessionStatus)],
) -> Result<u64, StoreError> {
    if changes.is_empty() {
        return Ok(0);
    }
    let statement = db.prepare_cached(RECORD_SEEN).await?;
    let phones: Vec<_> = changes
        .iter()
        .map(|(known, _)| known.phone.digits())
        .collect();
    let generations: Vec<_> = changes.iter().map(|(known, _)| known.generation).collect();
    let before: Vec<_> = changes
        .iter()
        .map(|(known, _)| known.status.name())
        .collect();
    let now: Vec<_> = changes.iter().map(|(_, status)| status.name()).collect();
    let worker = worker.uuid();
    Ok(db
        .execute(&statement, &[&worker, &phones, &generations, &before, &now])
        .await?)
}

const MAKE_DUE: &str = "
    WITH locked AS (
        SELECT s.phone FROM sessions s
        JOIN unnest($1::text[], $2::integer[]) AS missing (phone, generation)
            ON s.phone = missing.phone AND s.generation = missing.generation
        WHERE s.due_at IS NULL OR s.due_at > now() + interval '30 seconds'
        ORDER BY s.phone FOR NO KEY UPDATE OF s
    )
    UPDATE sessions s SET due_at = now() FROM locked WHERE s.phone = locked.phone";

/// Has sessions looked at that nobody would look at soon. Returns how many.
pub async fn make_due(db: &impl GenericClient, sessions: &[&Known]) -> Result<u64, StoreError> {
    if sessions.is_empty() {
        return Ok(0);
    }
    let statement = db.prepare_cached(MAKE_DUE).await?;
    let phones: Vec<_> = sessions.iter().map(|known| known.phone.digits()).collect();
    let generations: Vec<_> = sessions.iter().map(|known| known.generation).collect();
    Ok(db.execute(&statement, &[&phones, &generations]).await?)
}
