//! Sweeps up: lanes that want an owner are called for, campaigns whose job was lost are found
//! again, replicas that ended without a word are forgotten.

use std::sync::Arc;
use std::time::Duration;

use metrics::counter;
use store::{StoreError, receipts, replicas, sweep};

use crate::fleet::Fleet;

/// Lanes looked at in one statement.
const LANES: i64 = 200;
/// Statements in one go: with `LANES`, 20,000 lanes a second.
const ROUNDS: usize = 100;
/// Living senders take a dead one's lanes within a look or two; what is still there after that is
/// called for, one job a lane, which takes far longer.
const ADOPTED_WITHIN: Duration = Duration::from_secs(4);
/// Campaigns looked at in one statement.
const CAMPAIGNS: i64 = 500;
/// Receipts forgotten in one statement, and statements in one go: 6,000,000 an hour, which is more
/// than a fleet makes.
const RECEIPTS: i64 = 1_000;
const RECEIPT_ROUNDS: usize = 100;
/// What is reported of an id that no message of ours comes to carry was said from the phone.
const UNKNOWN_KEEP: Duration = Duration::from_secs(3_600);
/// Long after its last lane was taken over.
const FORGET_AFTER: Duration = Duration::from_secs(600);

/// Calls owners for the lanes that want one. While the broker is down nothing is called for, so
/// that no lane's back-off grows for nothing.
///
/// # Errors
/// When the ledger does not answer.
pub async fn lanes_once(fleet: &Arc<Fleet>) -> Result<(), StoreError> {
    let dead_after = fleet.settings.dead_after;
    if fleet.broker.state().is_err() {
        return Ok(());
    }
    let db = fleet.store.client().await?;
    for _ in 0..ROUNDS {
        let orphaned = sweep::orphan(&db, dead_after, ADOPTED_WITHIN, LANES).await?;
        counter!("scheduler_swept_total", "kind" => "lane_orphaned").increment(orphaned);
        if orphaned < LANES.unsigned_abs() {
            break;
        }
    }
    for _ in 0..ROUNDS {
        let wanting = sweep::wanting(&db, dead_after, LANES).await?;
        if !wanting.jobs.is_empty() {
            let results = fleet.publisher.publish_all(&wanting.jobs).await;
            let lost = results.iter().filter(|result| result.is_err()).count();
            let called = (results.len() - lost) as u64;
            counter!("scheduler_swept_total", "kind" => "lane_called").increment(called);
            tracing::debug!(called, lost, "called owners for {called} lanes");
            if lost > 0 {
                // Each is called for again by and by; the broker's own words are in the log.
                counter!("scheduler_swept_total", "kind" => "call_lost").increment(lost as u64);
                break;
            }
        }
        if wanting.looked_at < usize::try_from(LANES).unwrap_or(usize::MAX) {
            break;
        }
    }
    Ok(())
}

/// Looks at the campaigns nobody has looked at for a while, and forgets dead replicas.
///
/// # Errors
/// When the ledger does not answer.
pub async fn campaigns_once(fleet: &Arc<Fleet>) -> Result<(), StoreError> {
    let db = fleet.store.client().await?;
    let campaigns = sweep::stale(&db, CAMPAIGNS).await?;
    counter!("scheduler_swept_total", "kind" => "campaign").increment(campaigns);
    let forgotten = replicas::forget_unseen(&db, FORGET_AFTER).await?;
    counter!("scheduler_swept_total", "kind" => "replica").increment(forgotten);
    Ok(())
}

/// Forgets receipts that nobody needs any more.
///
/// # Errors
/// When the ledger does not answer.
pub async fn receipts_once(fleet: &Arc<Fleet>) -> Result<(), StoreError> {
    let db = fleet.store.client().await?;
    for _ in 0..RECEIPT_ROUNDS {
        let keep = fleet.settings.receipts_keep();
        let pruned = receipts::prune(&db, keep, UNKNOWN_KEEP, RECEIPTS).await?;
        counter!("scheduler_swept_total", "kind" => "receipt").increment(pruned);
        if pruned < RECEIPTS.unsigned_abs() {
            break;
        }
    }
    Ok(())
}
