//! Sessions on their way from what is seen to what is wanted.
//!
//! Always true: a status is believed only with the session's present generation; whenever a
//! session begins or ceases to be `WORKING`, its worker's lane is woken in the same transaction;
//! one reconciler at a time holds a session's lease, and what somebody asks for meanwhile
//! (`due_at = now()`) is looked at right after.
//! Lock order: lanes, sessions, senders, what is theirs; workers last.

mod leave;

use std::time::Duration;

use models::ids::WorkerId;
use models::phone::PhoneNumber;
use models::session::{SessionStatus, SessionWanted};
use secrecy::SecretString;
use time::OffsetDateTime;
use tokio_postgres::Row;

use crate::column::{millis, phone, session_status, unreadable};
use crate::{GenericClient, StoreError};

pub use leave::{forget, requeue};

// The lane's row is locked before the session's (everybody does so), and it is locked whether or
// not the status will turn out to have changed: only under both locks is the old status certain.
const RECORD_STATUS: &str = "
    WITH lane AS (
        SELECT l.worker_id FROM lanes l JOIN sessions s ON s.worker_id = l.worker_id
        WHERE s.phone = $1 AND s.generation = $2
        FOR NO KEY UPDATE OF l
    ), before AS (
        SELECT phone, worker_id, status FROM sessions
        WHERE phone = $1 AND generation = $2 AND worker_id = (SELECT worker_id FROM lane)
        FOR NO KEY UPDATE
    ), woken AS (
        UPDATE lanes l SET wake = l.wake + 1 FROM before
        WHERE l.worker_id = before.worker_id AND (before.status = 'WORKING') <> ($3 = 'WORKING')
    )
    UPDATE sessions s
    SET status = $3, reason = $4,
        status_at = CASE WHEN before.status = $3 THEN s.status_at ELSE now() END,
        last_active = CASE WHEN $3 = 'WORKING' THEN now() ELSE s.last_active END,
        attempts = 0,
        restarts = CASE WHEN $3 = 'WORKING' THEN 0 ELSE s.restarts END,
        due_at = CASE WHEN before.status = $3 THEN s.due_at ELSE now() END
    FROM before WHERE s.phone = before.phone
    RETURNING before.status <> $3";

/// What became of a reported status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recorded {
    /// It is new; the session is due, so that a reconciler sees whether it is what is wanted.
    Changed,
    /// It was known.
    Same,
    /// There is no such session, or it has been placed anew since: nothing was written.
    Refused,
}

/// Writes down what a worker says about a session, if it is still the placement that the worker
/// speaks of. The only way, beside [`conclude`], `checks` and a session that is made again, in
/// which a status changes.
pub async fn record_status(
    db: &impl GenericClient,
    phone: &PhoneNumber,
    generation: i32,
    status: SessionStatus,
    reason: Option<&str>,
) -> Result<Recorded, StoreError> {
    let statement = db.prepare_cached(RECORD_STATUS).await?;
    let row = db
        .query_opt(
            &statement,
            &[&phone.digits(), &generation, &status.name(), &reason],
        )
        .await?;
    Ok(match row.map(|row| row.get(0)) {
        Some(true) => Recorded::Changed,
        Some(false) => Recorded::Same,
        None => Recorded::Refused,
    })
}

// A login that a restart has not brought back is dead; without a log-out no new QR code is made.
const ASK: &str = "
    UPDATE sessions
    SET due_at = now(), attempts = 0, logout = logout OR (status = 'FAILED' AND restarts > 0)
    WHERE phone = $1 AND wanted <> 'GONE' AND worker_id IS NOT NULL";

/// A person asks for the session's QR code: it is looked at now, and one that had `FAILED` and
/// was left alone is logged out, so that it can be linked anew. Returns whether it has a place.
pub async fn ask(db: &impl GenericClient, phone: &PhoneNumber) -> Result<bool, StoreError> {
    let statement = db.prepare_cached(ASK).await?;
    Ok(db.execute(&statement, &[&phone.digits()]).await? > 0)
}

const HINT: &str = "
    UPDATE sessions SET due_at = now() WHERE phone = $1 AND generation = $2";

/// Something may have changed on the session's worker: it is looked at now. For news that cannot
/// be trusted, such as a webhook without a signature.
pub async fn hint(
    db: &impl GenericClient,
    phone: &PhoneNumber,
    generation: i32,
) -> Result<(), StoreError> {
    let statement = db.prepare_cached(HINT).await?;
    db.execute(&statement, &[&phone.digits(), &generation])
        .await?;
    Ok(())
}

/// A session whose turn it is, with all that its next step depends on.
#[derive(Debug, Clone)]
pub struct Due {
    /// Whose session it is.
    pub phone: PhoneNumber,
    /// Its placement.
    pub generation: i32,
    /// Until when nobody else looks at it; also the key to [`conclude`].
    pub leased_until: OffsetDateTime,
    /// Its name on the worker.
    pub waha_name: String,
    /// What its users want.
    pub wanted: SessionWanted,
    /// What was last seen.
    pub status: SessionStatus,
    /// For how long that has been so.
    pub status_age: Duration,
    /// What its users were told last.
    pub reason: Option<String>,
    /// A log-out was asked for and not yet done.
    pub logout: bool,
    /// It was made on its worker.
    pub created: bool,
    /// It holds one of its worker's `max_live` slots.
    pub live: bool,
    /// Steps in a row that failed.
    pub attempts: i32,
    /// Restarts after `FAILED` since it last worked or a person last asked for it.
    pub restarts: i32,
    /// Where it is.
    pub worker: DueWorker,
}

/// The worker of a [`Due`] session.
#[derive(Debug, Clone)]
pub struct DueWorker {
    /// Its id.
    pub id: WorkerId,
    /// What people call it.
    pub name: String,
    /// Base URL.
    pub url: String,
    /// Its API key.
    pub api_key: SecretString,
    /// Whether it signs webhooks.
    pub webhook_hmac: bool,
    /// Whether its checks fail.
    pub down: bool,
}

const CLAIM_DUE: &str = "
    WITH due AS (
        SELECT phone FROM sessions
        WHERE due_at <= now() AND worker_id IS NOT NULL
          AND (leased_until IS NULL OR leased_until <= now())
        ORDER BY due_at
        LIMIT $1
        FOR NO KEY UPDATE SKIP LOCKED
    )
    UPDATE sessions s
    SET due_at = now() + $2 * interval '1 millisecond',
        leased_until = now() + $2 * interval '1 millisecond'
    FROM due, workers w
    WHERE s.phone = due.phone AND w.id = s.worker_id
    RETURNING s.phone, s.generation, s.leased_until, s.waha_name, s.wanted, s.status, s.reason,
        extract(epoch FROM now() - s.status_at)::double precision AS status_age,
        s.logout, s.created, s.live, s.attempts, s.restarts,
        w.id AS worker_id, w.name AS worker_name, w.url, w.api_key, w.webhook_hmac,
        w.health = 'down' AS down";

/// Takes up to `batch` sessions whose turn it is. They come back by themselves after `lease` if
/// whoever took them dies; the lease must be longer than their calls can take.
pub async fn claim_due(
    db: &impl GenericClient,
    batch: i64,
    lease: Duration,
) -> Result<Vec<Due>, StoreError> {
    let statement = db.prepare_cached(CLAIM_DUE).await?;
    let rows = db
        .query(&statement, &[&batch, &(millis(lease) as f64)])
        .await?;
    rows.iter().map(due_of).collect()
}

fn due_of(row: &Row) -> Result<Due, StoreError> {
    let wanted: &str = row.get("wanted");
    let age: f64 = row.get("status_age");
    let api_key: String = row.get("api_key");
    Ok(Due {
        phone: phone(row.get("phone"))?,
        generation: row.get("generation"),
        leased_until: row.get("leased_until"),
        waha_name: row.get("waha_name"),
        wanted: SessionWanted::from_name(wanted)
            .ok_or_else(|| unreadable("wanted state", wanted))?,
        status: session_status(row.get("status"))?,
        status_age: Duration::try_from_secs_f64(age).unwrap_or_default(),
        reason: row.get("reason"),
        logout: row.get("logout"),
        created: row.get("created"),
        live: row.get("live"),
        attempts: row.get("attempts"),
        restarts: row.get("restarts"),
        worker: DueWorker {
            id: WorkerId::new(row.get("worker_id")),
            name: row.get("worker_name"),
            url: row.get("url"),
            api_key: api_key.into(),
            webhook_hmac: row.get("webhook_hmac"),
            down: row.get("down"),
        },
    })
}

const IS_DOWN: &str = "SELECT health = 'down' FROM workers WHERE id = $1";

/// Whether a worker is down by now: what a turn was claimed with may be older than the worker's
/// return, whose call the claim has then already used up.
pub async fn is_down(db: &impl GenericClient, worker: WorkerId) -> Result<bool, StoreError> {
    let statement = db.prepare_cached(IS_DOWN).await?;
    let row = db.query_opt(&statement, &[&worker.uuid()]).await?;
    Ok(row.is_some_and(|row| row.get(0)))
}

/// What a reconciler learned and did in one turn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conclusion {
    /// What is seen now.
    pub status: SessionStatus,
    /// What it waits for, or what went wrong, for people.
    pub reason: Option<String>,
    /// Steps in a row that failed, this one included.
    pub attempts: i32,
    /// See [`Due::restarts`].
    pub restarts: i32,
    /// It exists on its worker, with our webhook.
    pub created: bool,
    /// The log-out that was asked for is done.
    pub logged_out: bool,
    /// It does not run: its live slot is free for another.
    pub frees_slot: bool,
    /// When to look again; `None` when nothing is left to do.
    pub again_in: Option<Duration>,
}

// `due_at < leased_until` means that somebody asked for it meanwhile: that stands.
const CONCLUDE: &str = "
    WITH lane AS (
        SELECT l.worker_id FROM lanes l JOIN sessions s ON s.worker_id = l.worker_id
        WHERE s.phone = $1 AND s.generation = $2
        FOR NO KEY UPDATE OF l
    ), before AS (
        SELECT phone, worker_id, status, live FROM sessions
        WHERE phone = $1 AND generation = $2 AND leased_until = $3
          AND worker_id = (SELECT worker_id FROM lane)
        FOR NO KEY UPDATE
    ), woken AS (
        UPDATE lanes l SET wake = l.wake + 1 FROM before
        WHERE l.worker_id = before.worker_id AND (before.status = 'WORKING') <> ($4 = 'WORKING')
    ), moved AS (
        UPDATE sessions s
        SET status = $4, reason = $5, attempts = $6, restarts = $7, created = $8,
            status_at = CASE WHEN before.status = $4 THEN s.status_at ELSE now() END,
            last_active = CASE WHEN $4 = 'WORKING' THEN now() ELSE s.last_active END,
            logout = s.logout AND NOT $9,
            live = s.live AND NOT $10,
            leased_until = NULL,
            due_at = CASE WHEN s.due_at < s.leased_until THEN s.due_at
                          ELSE now() + $11 * interval '1 millisecond' END
        FROM before WHERE s.phone = before.phone
        RETURNING s.worker_id, before.live AND NOT s.live AS freed
    ), freed AS (
        UPDATE workers w SET live = w.live - 1 FROM moved
        WHERE w.id = moved.worker_id AND moved.freed
    )
    SELECT freed FROM moved";

/// Ends a turn: writes what was learned and gives the lease back. `false` when the lease had run
/// out or the session was placed anew: nothing is written then, somebody else is at it.
pub async fn conclude(
    db: &impl GenericClient,
    due: &Due,
    conclusion: &Conclusion,
) -> Result<bool, StoreError> {
    let statement = db.prepare_cached(CONCLUDE).await?;
    let again_in = conclusion.again_in.map(|delay| millis(delay) as f64);
    let row = db
        .query_opt(
            &statement,
            &[
                &due.phone.digits(),
                &due.generation,
                &due.leased_until,
                &conclusion.status.name(),
                &conclusion.reason,
                &conclusion.attempts,
                &conclusion.restarts,
                &conclusion.created,
                &conclusion.logged_out,
                &conclusion.frees_slot,
                &again_in,
            ],
        )
        .await?;
    Ok(row.is_some())
}

const TAKE_LIVE_SLOT: &str = "
    WITH session AS (
        SELECT phone, worker_id FROM sessions
        WHERE phone = $1 AND generation = $2 AND NOT live
        FOR NO KEY UPDATE
    ), slot AS (
        UPDATE workers w SET live = w.live + 1 FROM session
        WHERE w.id = session.worker_id AND w.live < w.max_live
        RETURNING w.id
    )
    UPDATE sessions s SET live = true FROM session, slot
    WHERE s.phone = session.phone
    RETURNING true";

/// Takes one of the worker's `max_live` slots for a session that is to run. `false` when none is
/// free.
pub async fn take_live_slot(db: &impl GenericClient, due: &Due) -> Result<bool, StoreError> {
    let statement = db.prepare_cached(TAKE_LIVE_SLOT).await?;
    let row = db
        .query_opt(&statement, &[&due.phone.digits(), &due.generation])
        .await?;
    Ok(row.is_some())
}
