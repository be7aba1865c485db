//! Sessions as their users see and steer them. What WAHA reports is written in `reconcile`.

use models::ids::WorkerId;
use models::phone::PhoneNumber;
use models::session::{SessionStatus, SessionWanted};
use models::worker::WorkerHealth;
use secrecy::SecretString;
use time::OffsetDateTime;
use tokio_postgres::Row;

use crate::column::{phone, unreadable};
use crate::health::{HealthFacts, health_columns};
use crate::{Client, GenericClient, StoreError, Transaction, campaigns, senders};

/// One number's login.
#[derive(Debug, Clone)]
pub struct Session {
    /// The number.
    pub phone: PhoneNumber,
    /// What its users want.
    pub wanted: SessionWanted,
    /// What it was last seen to do.
    pub status: SessionStatus,
    /// What it waits for, or what went wrong, for people.
    pub reason: Option<String>,
    /// Whether it exists on its worker.
    pub created: bool,
    /// Grows each time that it is placed.
    pub generation: i32,
    /// Its worker, when it is placed.
    pub place: Option<Place>,
    /// When it was first asked for.
    pub created_at: OffsetDateTime,
    /// When its status last changed.
    pub status_at: OffsetDateTime,
    /// When it last did anything.
    pub last_active: Option<OffsetDateTime>,
    /// When the next step for it is due.
    pub due_at: Option<OffsetDateTime>,
    /// What its number's health is judged by.
    pub health: HealthFacts,
}

/// Where a session is.
#[derive(Debug, Clone)]
pub struct Place {
    /// The worker.
    pub worker: WorkerId,
    /// The worker's name.
    pub name: String,
    /// Where it is.
    pub url: String,
    /// Its key.
    pub api_key: SecretString,
    /// What its last check found.
    pub health: WorkerHealth,
    /// The session's name there.
    pub waha_name: String,
}

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT s.phone, s.wanted, s.status, s.reason, s.created, s.generation, s.created_at,
                s.status_at, s.last_active, s.due_at, w.id, w.name, w.url, w.api_key, w.health,
                s.waha_name, ",
            health_columns!(),
            " FROM sessions s JOIN senders d ON d.phone = s.phone
                LEFT JOIN workers w ON w.id = s.worker_id ",
            $rest
        )
    };
}

const ONE: &str = select!("WHERE s.phone = $1 AND s.wanted <> 'GONE'");

/// A number's session; one that is being removed counts as none.
pub async fn one(
    db: &impl GenericClient,
    phone: &PhoneNumber,
) -> Result<Option<Session>, StoreError> {
    let statement = db.prepare_cached(ONE).await?;
    let row = db.query_opt(&statement, &[&phone.digits()]).await?;
    row.as_ref().map(session).transpose()
}

/// Where a list of sessions goes on: behind this one.
pub type SessionCursor = (OffsetDateTime, PhoneNumber);

const LIST: &str = select!(
    "WHERE s.wanted <> 'GONE' AND (s.created_at, s.phone) < ($1, $2)
        AND (NOT $3 OR (s.worker_id IS NOT NULL AND s.status <> 'STOPPED'))
     ORDER BY s.created_at DESC, s.phone DESC LIMIT $4"
);

/// Sessions, newest first. `active` leaves out those that are queued or stopped.
pub async fn list(
    db: &impl GenericClient,
    active: bool,
    after: Option<&SessionCursor>,
    limit: i64,
) -> Result<Vec<Session>, StoreError> {
    // Later than any row, and what a first page begins behind.
    let end = OffsetDateTime::UNIX_EPOCH + time::Duration::days(365 * 7_000);
    let (at, phone) = after.map_or((end, ""), |(at, phone)| (*at, phone.digits()));
    let statement = db.prepare_cached(LIST).await?;
    let rows = db
        .query(&statement, &[&at, &phone, &active, &limit])
        .await?;
    rows.iter().map(session).collect()
}

const NUMBERS: &str = "
    SELECT phone FROM sessions WHERE wanted <> 'GONE' AND phone > $1 ORDER BY phone LIMIT $2";

/// The numbers that have a session, in the order of their digits, beginning behind `after`.
pub async fn numbers(
    db: &impl GenericClient,
    after: &str,
    limit: i64,
) -> Result<Vec<PhoneNumber>, StoreError> {
    let statement = db.prepare_cached(NUMBERS).await?;
    let rows = db.query(&statement, &[&after, &limit]).await?;
    rows.iter().map(|row| phone(row.get(0))).collect()
}

const COUNT: &str = "SELECT count(*) FROM sessions WHERE wanted <> 'GONE'";

/// How many sessions there are.
pub async fn count(db: &impl GenericClient) -> Result<i64, StoreError> {
    let statement = db.prepare_cached(COUNT).await?;
    Ok(db.query_one(&statement, &[]).await?.get(0))
}

const QUEUE_PLACE: &str = "
    SELECT count(*) FROM sessions q, sessions s
    WHERE s.phone = $1 AND q.worker_id IS NULL AND q.wanted = 'RUNNING'
        AND (q.queued_at, q.phone) <= (s.queued_at, s.phone)";

/// A queued session's place in the queue, from 1.
pub async fn queue_place(db: &impl GenericClient, phone: &PhoneNumber) -> Result<i64, StoreError> {
    let statement = db.prepare_cached(QUEUE_PLACE).await?;
    Ok(db.query_one(&statement, &[&phone.digits()]).await?.get(0))
}

// One that is still leaving its worker stays there, and is logged out first: the login ended with
// the session that was removed.
const CREATE: &str = "
    INSERT INTO sessions (phone) VALUES ($1)
    ON CONFLICT (phone) DO UPDATE SET wanted = 'RUNNING', due_at = now(), attempts = 0,
        restarts = 0, logout = sessions.created, status = 'STARTING', status_at = now(),
        reason = NULL, queued_at = now(), created_at = now()
    WHERE sessions.wanted = 'GONE'
    RETURNING xmax <> 0";

/// Asks for a session; returns whether there was none before. It is queued; placing it is the
/// caller's next call.
pub async fn create(client: &mut Client, phone: &PhoneNumber) -> Result<bool, StoreError> {
    let tx = client.transaction().await?;
    wake_lane(&tx, phone).await?;
    senders::ensure(&tx, phone).await?;
    let statement = tx.prepare_cached(CREATE).await?;
    let made = tx.query_opt(&statement, &[&phone.digits()]).await?;
    if made.as_ref().is_some_and(|row| row.get(0)) {
        cancel_reopened(&tx, phone).await?;
    }
    tx.commit().await?;
    Ok(made.is_some())
}

const WANT: &str = "
    UPDATE sessions SET wanted = $2, attempts = 0, restarts = 0,
        due_at = CASE WHEN worker_id IS NOT NULL THEN now() END
    WHERE phone = $1 AND wanted <> 'GONE'";

/// Asks for a session to run or to stop; returns whether there is one.
pub async fn want(
    client: &mut Client,
    phone: &PhoneNumber,
    wanted: SessionWanted,
) -> Result<bool, StoreError> {
    let tx = client.transaction().await?;
    wake_lane(&tx, phone).await?;
    let statement = tx.prepare_cached(WANT).await?;
    let changed = tx
        .execute(&statement, &[&phone.digits(), &wanted.name()])
        .await?;
    tx.commit().await?;
    Ok(changed > 0)
}

const LOGOUT: &str = "
    UPDATE sessions SET logout = worker_id IS NOT NULL, attempts = 0, restarts = 0,
        due_at = CASE WHEN worker_id IS NOT NULL THEN now() END
    WHERE phone = $1 AND wanted <> 'GONE'";

/// Asks for a session to be logged out of WhatsApp; returns whether there is one.
pub async fn logout(db: &impl GenericClient, phone: &PhoneNumber) -> Result<bool, StoreError> {
    let statement = db.prepare_cached(LOGOUT).await?;
    Ok(db.execute(&statement, &[&phone.digits()]).await? > 0)
}

// As for a new campaign, so that those that are being accepted are waited for.
const LOCK: &str = "SELECT phone FROM sessions WHERE phone = $1 FOR UPDATE";
const LEAVE: &str = "
    UPDATE sessions SET wanted = 'GONE', due_at = now(), attempts = 0
    WHERE phone = $1 AND wanted <> 'GONE' AND worker_id IS NOT NULL";
const DROP: &str = "
    DELETE FROM sessions WHERE phone = $1 AND wanted <> 'GONE' AND worker_id IS NULL";

/// Why campaigns end that end with their session.
const REMOVED: &str = "the sender's session was removed";

/// Removes a number's session and cancels its campaigns. One that is placed leaves its worker
/// step by step; a queued one is gone at once. Returns how many campaigns were cancelled, `None`
/// when there is no session. Campaigns that are being accepted come first, all later ones are
/// refused.
pub async fn remove(client: &mut Client, phone: &PhoneNumber) -> Result<Option<u64>, StoreError> {
    let number = phone.digits();
    let tx = client.transaction().await?;
    let statement = tx.prepare_cached(LOCK).await?;
    tx.execute(&statement, &[&number]).await?;
    let mut removed = 0;
    for sql in [LEAVE, DROP] {
        let statement = tx.prepare_cached(sql).await?;
        removed += tx.execute(&statement, &[&number]).await?;
    }
    if removed == 0 {
        return Ok(None);
    }
    let cancelled = campaigns::cancel_of(&tx, &[number], REMOVED).await?;
    tx.commit().await?;
    // In a statement of its own: lanes are locked before sessions, never after.
    wake_lane(client, phone).await?;
    Ok(Some(cancelled))
}

/// Cancels what goes on again though its session was removed, before that has left its worker: an
/// operator had messages said again, or WhatsApp refused one for the number's sake.
pub(crate) async fn cancel_reopened(
    tx: &Transaction<'_>,
    phone: &PhoneNumber,
) -> Result<(), StoreError> {
    campaigns::cancel_of(tx, &[phone.digits()], REMOVED).await?;
    Ok(())
}

const WAKE: &str = "
    UPDATE lanes SET wake = wake + 1
    WHERE worker_id = (SELECT worker_id FROM sessions WHERE phone = $1)";

/// Wakes the lane of a number's session, if it is placed. Locks the lane: in a transaction, call
/// it first.
pub async fn wake_lane(db: &impl GenericClient, phone: &PhoneNumber) -> Result<(), StoreError> {
    let statement = db.prepare_cached(WAKE).await?;
    db.execute(&statement, &[&phone.digits()]).await?;
    Ok(())
}

fn session(row: &Row) -> Result<Session, StoreError> {
    let (wanted, status): (&str, &str) = (row.get(1), row.get(2));
    Ok(Session {
        phone: phone(row.get(0))?,
        wanted: SessionWanted::from_name(wanted)
            .ok_or_else(|| unreadable("session wish", wanted))?,
        status: SessionStatus::from_name(status)
            .ok_or_else(|| unreadable("session status", status))?,
        reason: row.get(3),
        created: row.get(4),
        generation: row.get(5),
        place: place(row)?,
        created_at: row.get(6),
        status_at: row.get(7),
        last_active: row.get(8),
        due_at: row.get(9),
        health: HealthFacts::read(row, 16),
    })
}

fn place(row: &Row) -> Result<Option<Place>, StoreError> {
    let Some(worker) = row.get::<_, Option<_>>(10) else {
        return Ok(None);
    };
    let health: &str = row.get(14);
    Ok(Some(Place {
        worker: WorkerId::new(worker),
        name: row.get(11),
        url: row.get(12),
        api_key: SecretString::from(row.get::<_, String>(13)),
        health: WorkerHealth::from_name(health)
            .ok_or_else(|| unreadable("worker health", health))?,
        waha_name: row.get::<_, Option<_>>(15).unwrap_or_default(),
    }))
}
