//! Workers that leave the fleet, and what leaves with them.

use models::ids::WorkerId;
use tokio_postgres::error::SqlState;

use crate::plan::BY_KEY;
use crate::{Client, GenericClient, StoreError, campaigns};

/// What came of deleting a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deletion {
    /// It is gone; so are this many sessions, and this many campaigns were cancelled.
    Deleted(Removed),
    /// It holds this many sessions and force was not asked for.
    Holds(i64),
    /// There is no such worker.
    Missing,
}

/// What was removed with workers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Removed {
    /// Workers.
    pub workers: u64,
    /// Sessions.
    pub sessions: u64,
    /// Campaigns that were cancelled because their session went.
    pub campaigns_cancelled: u64,
}

const DELETE: &str = "
    DELETE FROM workers w WHERE id = $1
        AND NOT EXISTS (SELECT FROM sessions s WHERE s.worker_id = w.id)";
const HOLDS: &str = "
    SELECT (SELECT count(*) FROM sessions WHERE worker_id = w.id) FROM workers w WHERE id = $1";

/// Deletes a worker that holds no session.
pub async fn delete(db: &impl GenericClient, id: WorkerId) -> Result<Deletion, StoreError> {
    let statement = db.prepare_cached(DELETE).await?;
    let deleted = match db.execute(&statement, &[&id.uuid()]).await {
        // A session was placed on it in this very moment.
        Err(error) if error.code() == Some(&SqlState::FOREIGN_KEY_VIOLATION) => 0,
        other => other?,
    };
    if deleted > 0 {
        return Ok(Deletion::Deleted(Removed {
            workers: deleted,
            ..Removed::default()
        }));
    }
    let statement = db.prepare_cached(HOLDS).await?;
    let row = db.query_opt(&statement, &[&id.uuid()]).await?;
    Ok(row.map_or(Deletion::Missing, |row| Deletion::Holds(row.get(0))))
}

// A worker goes with its sessions in this order: lanes, sessions, senders, campaigns, messages,
// and the workers last, so that a placement that slips in between is met by the foreign key.
const LOCK_LANES: &str = "
    SELECT worker_id FROM lanes WHERE $1::uuid IS NULL OR worker_id = $1
    ORDER BY worker_id FOR UPDATE";
const LOCK_SESSIONS: &str = "
    SELECT phone FROM sessions WHERE $1::uuid IS NULL OR worker_id = $1 ORDER BY phone FOR UPDATE";
const REMOVALS: &str = "
    INSERT INTO removals (worker_url, waha_name, api_key)
    SELECT w.url, s.waha_name, w.api_key FROM sessions s JOIN workers w ON w.id = s.worker_id
    WHERE s.phone = ANY ($1) AND s.created AND s.waha_name IS NOT NULL
    ON CONFLICT (worker_url, waha_name) DO UPDATE SET api_key = excluded.api_key,
        attempts = 0, due_at = now()";
const DROP_SESSIONS: &str = "DELETE FROM sessions WHERE phone = ANY ($1)";
const DROP_WORKERS: &str = "DELETE FROM workers WHERE $1::uuid IS NULL OR id = $1";

/// Deletes a worker with its sessions: their campaigns are cancelled, and they are deleted on the
/// WAHA server later, if it can still be reached.
pub async fn delete_by_force(client: &mut Client, id: WorkerId) -> Result<Deletion, StoreError> {
    let removed = remove(client, Some(id)).await?;
    Ok(if removed.workers == 0 {
        Deletion::Missing
    } else {
        Deletion::Deleted(removed)
    })
}

/// Deletes all workers and all sessions, queued ones too.
pub async fn clean_up(client: &mut Client) -> Result<Removed, StoreError> {
    remove(client, None).await
}

async fn remove(client: &mut Client, id: Option<WorkerId>) -> Result<Removed, StoreError> {
    let id = id.map(WorkerId::uuid);
    let tx = client.transaction().await?;
    tx.batch_execute(BY_KEY).await?;
    let statement = tx.prepare_cached(LOCK_LANES).await?;
    tx.execute(&statement, &[&id]).await?;
    let statement = tx.prepare_cached(LOCK_SESSIONS).await?;
    let rows = tx.query(&statement, &[&id]).await?;
    let phones: Vec<&str> = rows.iter().map(|row| row.get(0)).collect();
    campaigns::abandon_in_flight(&tx, &phones).await?;
    let why = "the sender's session was removed with its worker";
    let campaigns_cancelled = campaigns::cancel_of(&tx, &phones, why).await?;
    let statement = tx.prepare_cached(REMOVALS).await?;
    tx.execute(&statement, &[&phones]).await?;
    let statement = tx.prepare_cached(DROP_SESSIONS).await?;
    let sessions = tx.execute(&statement, &[&phones]).await?;
    let statement = tx.prepare_cached(DROP_WORKERS).await?;
    let workers = match tx.execute(&statement, &[&id]).await {
        Err(error) if error.code() == Some(&SqlState::FOREIGN_KEY_VIOLATION) => {
            return Err(StoreError::Unavailable(Box::new(error)));
        }
        other => other?,
    };
    tx.commit().await?;
    Ok(Removed {
        workers,
        sessions,
        campaigns_cancelled,
    })
}
