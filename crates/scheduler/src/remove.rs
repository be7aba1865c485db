//! Deletes sessions on servers that they have left without a word.

use std::sync::Arc;
use std::time::Duration;

use chassis::Backoff;
use metrics::counter;
use store::StoreError;
use store::removals::{self, Removal};

use crate::fleet::{Fleet, Hands};

/// Longer than the call can take.
const LEASE: Duration = Duration::from_secs(60);
/// Tries, over about three hours; the server is gone for good then.
const ATTEMPTS_MAX: i32 = 10;
const RETRIES: Backoff = Backoff {
    min: Duration::from_secs(10),
    max: Duration::from_secs(3_600),
};

/// Takes the removals in hand that are due.
pub(crate) async fn remove_due(fleet: &Arc<Fleet>, hands: &Hands) -> Result<(), StoreError> {
    let batch = hands.free();
    if batch == 0 {
        return Ok(());
    }
    let db = fleet.store.client().await?;
    for removal in removals::claim_due(&db, batch, LEASE).await? {
        let fleet = Arc::clone(fleet);
        hands.take(async move { remove(&fleet, &removal).await });
    }
    Ok(())
}

/// Tries one removal.
///
/// # Errors
/// When the ledger does not answer; the lease brings the removal back.
pub async fn remove(fleet: &Fleet, removal: &Removal) -> Result<(), StoreError> {
    let deleted = match fleet.waha(&removal.worker_url, &removal.api_key) {
        Ok(waha) => waha.delete_session(&removal.waha_name).await,
        Err(error) => Err(error),
    };
    let db = fleet.store.client().await?;
    let outcome = match deleted {
        Ok(()) => {
            removals::settle(&db, removal).await?;
            "done"
        }
        Err(error) if removal.attempts >= ATTEMPTS_MAX => {
            let url = &removal.worker_url;
            tracing::warn!(
                worker.url = url,
                "a removed session may still be on {url}; {ATTEMPTS_MAX} tries failed: {error}"
            );
            removals::settle(&db, removal).await?;
            "given_up"
        }
        Err(_) => {
            let attempt = u32::try_from(removal.attempts).unwrap_or(0);
            let again_in = RETRIES.after(attempt, fleet.chance.fraction());
            removals::retry(&db, removal, again_in).await?;
            "retry"
        }
    };
    counter!("scheduler_removals_total", "outcome" => outcome).increment(1);
    Ok(())
}
