//! Checks are claimed once, and what they saw is not believed against newer news.

use std::time::Duration;

use models::session::SessionStatus::{Failed, ScanQrCode, Working};
use models::worker::{Capabilities, Engine, WorkerHealth};
use store::GenericClient as _;
use store::checks::{self, Passed};
use store::reconcile;

use crate::fixture;

const LEASE: Duration = Duration::from_secs(60);

#[tokio::test]
async fn a_check_is_claimed_once_and_tells_what_it_found() {
    let db = testkit::database().await;
    let worker = fixture::worker(&db).await;
    let db = db.store.client().await.unwrap();
    let claim = async || checks::claim_due(&db, 9, LEASE).await.unwrap();
    let due = claim().await.remove(0);
    assert_eq!((due.id, due.failures, due.uptime), (worker, 0, None));
    assert!(claim().await.is_empty());
    checks::hurry(&db, worker).await.unwrap();
    assert_eq!(claim().await.len(), 1);

    let again_in = Duration::ZERO;
    checks::fail(&db, worker, "no answer", true, again_in)
        .await
        .unwrap();
    let due = claim().await.remove(0);
    assert_eq!((due.health, due.failures), (WorkerHealth::Down, 1));
    let found = Passed {
        version: "2024.10.8".to_owned(),
        engine: Engine::Noweb,
        tier: "CORE".to_owned(),
        capabilities: Capabilities {
            multi_session: false,
            media: false,
            own_message_ids: false,
            webhook_hmac: false,
        },
        uptime: Duration::from_millis(1_500),
    };
    checks::pass(&db, worker, &found, again_in).await.unwrap();
    let due = claim().await.remove(0);
    assert_eq!((due.health, due.failures), (WorkerHealth::Up, 0));
    assert_eq!(due.uptime, Some(Duration::from_millis(1_500)));
    let sql = "SELECT slots, health_reason FROM workers";
    let row = db.query_one(sql, &[]).await.unwrap();
    assert_eq!(
        (row.get::<_, i32>(0), row.get::<_, Option<&str>>(1)),
        (1, None)
    );
}

#[tokio::test]
async fn an_old_list_does_not_undo_what_a_webhook_told() {
    let db = testkit::database().await;
    let worker = fixture::worker(&db).await;
    for number in 1..=3 {
        fixture::session(&db, worker, &fixture::phone(number)).await;
    }
    let db = db.store.client().await.unwrap();
    let known = checks::known(&db, worker).await.unwrap();
    assert_eq!(known.len(), 3);
    let told = reconcile::record_status(&db, &known[0].phone, 1, ScanQrCode, None).await;
    told.unwrap();
    let sql = "UPDATE sessions SET generation = 2, due_at = NULL WHERE phone = $1";
    db.execute(sql, &[&known[1].phone.digits()]).await.unwrap();
    let changes: Vec<_> = known.iter().map(|known| (known, Failed)).collect();
    assert_eq!(checks::record_seen(&db, worker, &changes).await.unwrap(), 1);
    let now = checks::known(&db, worker).await.unwrap();
    let statuses: Vec<_> = now.iter().map(|known| known.status).collect();
    assert_eq!(statuses, [ScanQrCode, Working, Failed]);
    let wake: i64 = db
        .query_one("SELECT wake FROM lanes", &[])
        .await
        .unwrap()
        .get(0);
    assert_eq!(wake, 2);
    // The one placed anew is not meant; the others are due already.
    let all: Vec<_> = known.iter().collect();
    assert_eq!(checks::make_due(&db, &all).await.unwrap(), 0);
}
