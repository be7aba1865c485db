//! Places queued sessions as long as there is room, oldest first.

use metrics::{counter, gauge};
use store::StoreError;
use store::placement;

use crate::fleet::Fleet;

/// Sessions placed in one go; the rest follows in the next.
const BATCH: usize = 200;

/// Places what can be placed now.
///
/// # Errors
/// When the ledger does not answer.
pub async fn place_once(fleet: &Fleet) -> Result<(), StoreError> {
    let db = fleet.store.client().await?;
    let mut placed = 0;
    while placed < BATCH
        && let Some(place) = placement::place_oldest(&db).await?
    {
        placed += 1;
        let (phone, worker) = (place.phone.masked(), place.worker);
        tracing::info!(%phone, %worker, "placed session {phone} on worker {worker}");
    }
    counter!("scheduler_placements_total").increment(placed as u64);
    if placed > 0 {
        fleet.due.notify_one();
    }
    if placed == BATCH {
        fleet.room.notify_one();
    }
    let queue = placement::queue(&db).await?;
    #[expect(clippy::cast_precision_loss, reason = "at most 100,000")]
    gauge!("scheduler_queued_sessions").set(queue.length as f64);
    gauge!("scheduler_oldest_queued_seconds").set(queue.oldest.as_secs_f64());
    Ok(())
}
