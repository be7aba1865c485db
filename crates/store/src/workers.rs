//! Workers: the WAHA servers of the fleet, as their operators see and change them.

use models::ids::WorkerId;
use models::worker::{Capabilities, WorkerHealth, WorkerState};
use secrecy::{ExposeSecret, SecretString};
use time::OffsetDateTime;
use tokio_postgres::Row;

use crate::column::unreadable;
use crate::{Client, GenericClient, StoreError};

mod removal;

pub use removal::{Deletion, Removed, clean_up, delete, delete_by_force};

/// A WAHA server.
#[derive(Debug, Clone)]
pub struct Worker {
    /// Its id.
    pub id: WorkerId,
    /// Where it is, without a trailing slash.
    pub url: String,
    /// For people.
    pub name: String,
    /// Its key. Never to be shown.
    pub api_key: SecretString,
    /// How many sessions may live on it, and whether that follows the setting.
    pub capacity: Limit,
    /// How many of them may run at once, and whether that follows the setting.
    pub max_live: Limit,
    /// Sessions that have a place on it.
    pub placed: i32,
    /// Sessions that hold one of its live slots.
    pub live: i32,
    /// What its operator wants.
    pub state: WorkerState,
    /// What its last check found.
    pub health: WorkerHealth,
    /// Why it is down.
    pub health_reason: Option<String>,
    /// Its version, once known.
    pub version: Option<String>,
    /// Its engine, once known.
    pub engine: Option<String>,
    /// Its edition, once known.
    pub tier: Option<String>,
    /// What it can do.
    pub capabilities: Capabilities,
    /// When it was last checked.
    pub checked_at: Option<OffsetDateTime>,
    /// When it was registered.
    pub created_at: OffsetDateTime,
}

/// A bound of a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    /// How many.
    pub value: i32,
    /// Whether it follows the setting rather than the worker's own figure.
    pub inherited: bool,
}

/// Who a worker said it is.
#[derive(Debug, Clone)]
pub struct Identity {
    /// Its version.
    pub version: String,
    /// Its engine.
    pub engine: String,
    /// Its edition.
    pub tier: String,
    /// What follows from these.
    pub capabilities: Capabilities,
}

/// A worker to be registered.
#[derive(Debug)]
pub struct NewWorker {
    /// Its id, made by the caller.
    pub id: WorkerId,
    /// Where it is, without a trailing slash.
    pub url: String,
    /// For people.
    pub name: String,
    /// Its key.
    pub api_key: SecretString,
    /// How many sessions may live on it.
    pub capacity: Limit,
    /// How many of them may run at once.
    pub max_live: Limit,
    /// What it answered; `None` registers it unseen, to be checked soon.
    pub identity: Option<Identity>,
}

/// What to change of a worker; `None` leaves it.
#[derive(Debug, Default)]
pub struct WorkerChange {
    /// Where it is, without a trailing slash.
    pub url: Option<String>,
    /// For people.
    pub name: Option<String>,
    /// Its key.
    pub api_key: Option<SecretString>,
    /// How many sessions may live on it.
    pub capacity: Option<Limit>,
    /// How many of them may run at once.
    pub max_live: Option<Limit>,
    /// What its operator wants.
    pub state: Option<WorkerState>,
    /// What it answered under its new URL or key; without it such a change is checked soon.
    pub identity: Option<Identity>,
}

/// What came of writing a worker.
#[derive(Debug)]
pub enum Write {
    /// It stands so now.
    Done(Box<Worker>),
    /// Another worker has this URL.
    UrlTaken,
    /// There is no such worker.
    Missing,
}

macro_rules! columns {
    () => {
        "id, url, name, api_key, capacity, capacity_inherited, max_live, max_live_inherited,
            placed, live, state, health, health_reason, version, engine, tier, multi_session,
            media, own_message_ids, webhook_hmac, checked_at, created_at"
    };
}

const REGISTER: &str = concat!(
    "INSERT INTO workers (id, url, name, api_key, capacity, capacity_inherited, max_live,
        max_live_inherited, health, checked_at, check_at, version, engine, tier, multi_session,
        media, own_message_ids, webhook_hmac)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, CASE WHEN $9::text IS NULL THEN 'unknown' ELSE 'up' END,
        CASE WHEN $9 IS NULL THEN NULL ELSE now() END,
        CASE WHEN $9 IS NULL THEN now() ELSE now() + interval '15 seconds' END,
        $9, $10, $11, COALESCE($12, true), COALESCE($13, true), COALESCE($14, false),
        COALESCE($15, true))
    RETURNING ",
    columns!()
);
const REGISTERED: &str = "SELECT EXISTS (SELECT FROM workers WHERE url = $1)";

/// Whether there is a worker at this URL.
pub async fn is_registered(db: &impl GenericClient, url: &str) -> Result<bool, StoreError> {
    let statement = db.prepare_cached(REGISTERED).await?;
    Ok(db.query_one(&statement, &[&url]).await?.get(0))
}

const LANE: &str = "INSERT INTO lanes (worker_id) VALUES ($1)";

/// Registers a worker, with its lane.
pub async fn register(client: &mut Client, worker: NewWorker) -> Result<Write, StoreError> {
    let tx = client.transaction().await?;
    let statement = tx.prepare_cached(REGISTER).await?;
    let known = Known::of(worker.identity.as_ref());
    let parameters: &[&(dyn tokio_postgres::types::ToSql + Sync)] = &[
        &worker.id.uuid(),
        &worker.url,
        &worker.name,
        &worker.api_key.expose_secret(),
        &worker.capacity.value,
        &worker.capacity.inherited,
        &worker.max_live.value,
        &worker.max_live.inherited,
        &known.version,
        &known.engine,
        &known.tier,
        &known.multi_session,
        &known.media,
        &known.own_message_ids,
        &known.webhook_hmac,
    ];
    let row = match written(tx.query_one(&statement, parameters).await)? {
        None => return Ok(Write::UrlTaken),
        Some(row) => read(&row)?,
    };
    let lane = tx.prepare_cached(LANE).await?;
    tx.execute(&lane, &[&row.id.uuid()]).await?;
    tx.commit().await?;
    Ok(Write::Done(Box::new(row)))
}

const ONE: &str = concat!("SELECT ", columns!(), " FROM workers WHERE id = $1");

/// A worker.
pub async fn one(db: &impl GenericClient, id: WorkerId) -> Result<Option<Worker>, StoreError> {
    let statement = db.prepare_cached(ONE).await?;
    let row = db.query_opt(&statement, &[&id.uuid()]).await?;
    row.as_ref().map(read).transpose()
}

const LIST: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM workers WHERE $1::uuid IS NULL OR id < $1 ORDER BY id DESC LIMIT $2"
);

/// Workers, newest first, beginning behind `after`.
pub async fn list(
    db: &impl GenericClient,
    after: Option<WorkerId>,
    limit: i64,
) -> Result<Vec<Worker>, StoreError> {
    let statement = db.prepare_cached(LIST).await?;
    let rows = db
        .query(&statement, &[&after.map(WorkerId::uuid), &limit])
        .await?;
    rows.iter().map(read).collect()
}

const CHANGE: &str = concat!(
    "UPDATE workers SET url = COALESCE($2, url), name = COALESCE($3, name),
        api_key = COALESCE($4, api_key), capacity = COALESCE($5, capacity),
        capacity_inherited = COALESCE($6, capacity_inherited), max_live = COALESCE($7, max_live),
        max_live_inherited = COALESCE($8, max_live_inherited), state = COALESCE($9, state),
        health = CASE WHEN $10::text IS NOT NULL THEN 'up'
            WHEN $2 IS NOT NULL OR $4 IS NOT NULL THEN 'unknown' ELSE health END,
        health_reason = CASE WHEN COALESCE($10, $2, $4) IS NULL THEN health_reason END,
        failures = CASE WHEN COALESCE($10, $2, $4) IS NULL THEN failures ELSE 0 END,
        check_at = CASE WHEN COALESCE($10, $2, $4) IS NULL THEN check_at ELSE now() END,
        version = COALESCE($10, version), engine = COALESCE($11, engine),
        tier = COALESCE($12, tier), multi_session = COALESCE($13, multi_session),
        media = COALESCE($14, media), own_message_ids = COALESCE($15, own_message_ids),
        webhook_hmac = COALESCE($16, webhook_hmac)
    WHERE id = $1 RETURNING ",
    columns!()
);

/// Changes a worker.
pub async fn change(
    db: &impl GenericClient,
    id: WorkerId,
    change: WorkerChange,
) -> Result<Write, StoreError> {
    let statement = db.prepare_cached(CHANGE).await?;
    let known = Known::of(change.identity.as_ref());
    let parameters: &[&(dyn tokio_postgres::types::ToSql + Sync)] = &[
        &id.uuid(),
        &change.url,
        &change.name,
        &change.api_key.as_ref().map(ExposeSecret::expose_secret),
        &change.capacity.map(|limit| limit.value),
        &change.capacity.map(|limit| limit.inherited),
        &change.max_live.map(|limit| limit.value),
        &change.max_live.map(|limit| limit.inherited),
        &change.state.map(WorkerState::name),
        &known.version,
        &known.engine,
        &known.tier,
        &known.multi_session,
        &known.media,
        &known.own_message_ids,
        &known.webhook_hmac,
    ];
    Ok(match written(db.query_opt(&statement, parameters).await)? {
        None => Write::UrlTaken,
        Some(None) => Write::Missing,
        Some(Some(row)) => Write::Done(Box::new(read(&row)?)),
    })
}

const INHERIT: &str = "
    UPDATE workers SET
        capacity = CASE WHEN capacity_inherited THEN $1 ELSE capacity END,
        max_live = CASE WHEN max_live_inherited THEN $2 ELSE max_live END
    WHERE (capacity_inherited AND capacity <> $1) OR (max_live_inherited AND max_live <> $2)";

/// Gives changed settings to all workers that follow them; returns how many did change.
pub async fn inherit(
    db: &impl GenericClient,
    capacity: i32,
    max_live: i32,
) -> Result<u64, StoreError> {
    let statement = db.prepare_cached(INHERIT).await?;
    Ok(db.execute(&statement, &[&capacity, &max_live]).await?)
}

/// A worker's identity as columns.
#[derive(Default)]
struct Known<'a> {
    version: Option<&'a str>,
    engine: Option<&'a str>,
    tier: Option<&'a str>,
    multi_session: Option<bool>,
    media: Option<bool>,
    own_message_ids: Option<bool>,
    webhook_hmac: Option<bool>,
}

impl<'a> Known<'a> {
    fn of(identity: Option<&'a Identity>) -> Self {
        let Some(identity) = identity else {
            return Self::default();
        };
        Self {
            version: Some(&identity.version),
            engine: Some(&identity.engine),
            tier: Some(&identity.tier),
            multi_session: Some(identity.capabilities.multi_session),
            media: Some(identity.capabilities.media),
            own_message_ids: Some(identity.capabilities.own_message_ids),
            webhook_hmac: Some(identity.capabilities.webhook_hmac),
        }
    }
}

/// `None` when another worker has the URL.
fn written<T>(result: Result<T, tokio_postgres::Error>) -> Result<Option<T>, StoreError> {
    match result {
        Ok(row) => Ok(Some(row)),
        Err(error) => {
            let error = StoreError::from(error);
            if error.constraint() == Some("workers_url_key") {
                Ok(None)
            } else {
                Err(error)
            }
        }
    }
}

fn read(row: &Row) -> Result<Worker, StoreError> {
    let limit = |column: usize| Limit {
        value: row.get(column),
        inherited: row.get(column + 1),
    };
    let (state, health): (&str, &str) = (row.get(10), row.get(11));
    Ok(Worker {
        id: WorkerId::new(row.get(0)),
        url: row.get(1),
        name: row.get(2),
        api_key: SecretString::from(row.get::<_, String>(3)),
        capacity: limit(4),
        max_live: limit(6),
        placed: row.get(8),
        live: row.get(9),
        state: WorkerState::from_name(state).ok_or_else(|| unreadable("worker state", state))?,
        health: WorkerHealth::from_name(health)
            .ok_or_else(|| unreadable("worker health", health))?,
        health_reason: row.get(12),
        version: row.get(13),
        engine: row.get(14),
        tier: row.get(15),
        capabilities: Capabilities {
            multi_session: row.get(16),
            media: row.get(17),
            own_message_ids: row.get(18),
            webhook_hmac: row.get(19),
        },
        checked_at: row.get(20),
        created_at: row.get(21),
    })
}
