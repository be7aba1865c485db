//! Sessions still to be deleted on servers that they have left.
//!
//! Always true: a name that is placed on that server again is never deleted there.

use std::time::Duration;

use secrecy::SecretString;

use crate::column::millis;
use crate::{GenericClient, StoreError};

/// A session to be deleted on a WAHA server.
#[derive(Debug, Clone)]
pub struct Removal {
    /// The server.
    pub worker_url: String,
    /// Its key.
    pub api_key: SecretString,
    /// The session's name there.
    pub waha_name: String,
    /// Tries, this one included.
    pub attempts: i32,
}

const DROP_REPLACED: &str = "
    DELETE FROM removals r USING workers w, sessions s
    WHERE r.due_at <= now() AND w.url = r.worker_url
      AND s.worker_id = w.id AND s.waha_name = r.waha_name";

const CLAIM_DUE: &str = "
    WITH due AS (
        SELECT worker_url, waha_name FROM removals WHERE due_at <= now()
        ORDER BY due_at LIMIT $1 FOR UPDATE SKIP LOCKED
    )
    UPDATE removals r
    SET attempts = r.attempts + 1, due_at = now() + $2 * interval '1 millisecond'
    FROM due WHERE r.worker_url = due.worker_url AND r.waha_name = due.waha_name
    RETURNING r.worker_url, r.api_key, r.waha_name, r.attempts";

/// Takes up to `batch` removals that are due; they are due again after `lease` unless
/// [`settle`] or [`retry`] says otherwise.
pub async fn claim_due(
    db: &impl GenericClient,
    batch: i64,
    lease: Duration,
) -> Result<Vec<Removal>, StoreError> {
    let (replaced, claim) = (
        db.prepare_cached(DROP_REPLACED).await?,
        db.prepare_cached(CLAIM_DUE).await?,
    );
    db.execute(&replaced, &[]).await?;
    let rows = db.query(&claim, &[&batch, &(millis(lease) as f64)]).await?;
    let removals = rows.iter().map(|row| {
        let api_key: String = row.get(1);
        Removal {
            worker_url: row.get(0),
            api_key: api_key.into(),
            waha_name: row.get(2),
            attempts: row.get(3),
        }
    });
    Ok(removals.collect())
}

const SETTLE: &str = "DELETE FROM removals WHERE worker_url = $1 AND waha_name = $2";

/// A removal is done, or given up.
pub async fn settle(db: &impl GenericClient, removal: &Removal) -> Result<(), StoreError> {
    let statement = db.prepare_cached(SETTLE).await?;
    db.execute(&statement, &[&removal.worker_url, &removal.waha_name])
        .await?;
    Ok(())
}

const RETRY: &str = "
    UPDATE removals SET due_at = now() + $3 * interval '1 millisecond'
    WHERE worker_url = $1 AND waha_name = $2";

/// A removal did not succeed: it is tried again.
pub async fn retry(
    db: &impl GenericClient,
    removal: &Removal,
    again_in: Duration,
) -> Result<(), StoreError> {
    let statement = db.prepare_cached(RETRY).await?;
    let again_in = millis(again_in) as f64;
    db.execute(
        &statement,
        &[&removal.worker_url, &removal.waha_name, &again_in],
    )
    .await?;
    Ok(())
}
