//! Heartbeats against a real ledger.

use std::time::Duration;

use chassis::Clock;
use models::ids::ReplicaId;
use sender::lease::{self, Lease};
use sender::moments::Moments;
use uuid::Uuid;

const DEAD_AFTER: Duration = Duration::from_secs(2);

/// Whoever waited for the answer would be silent when the next beat could have been answered.
#[tokio::test]
async fn a_heartbeat_that_is_not_answered_gives_way_to_the_next() {
    let db = testkit::database().await;
    let (lease, moments) = (Lease::default(), Moments::new(Clock::system()));
    let id = ReplicaId::new(Uuid::now_v7());
    let beat = async || {
        let lease = (&lease, DEAD_AFTER);
        lease::beat(&db.store, (id, "it"), lease, &moments).await
    };
    beat().await.unwrap();
    let mut other = db.client().await;
    let held = other.transaction().await.unwrap();
    held.execute("SELECT FROM replicas FOR UPDATE", &[])
        .await
        .unwrap();
    let error = beat().await.unwrap_err();
    assert_eq!(error.to_string(), "the ledger does not answer");
    held.rollback().await.unwrap();
    let before = moments.now();
    beat().await.unwrap();
    assert!(lease.holds(before + DEAD_AFTER * 3 / 4 - Duration::from_millis(50)));
}
