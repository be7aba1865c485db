//! Two that write at the same moment: whoever comes second sees what the first has done, and
//! nobody waits in a circle.

use std::sync::Arc;
use std::time::Duration;

use models::ids::CampaignId;
use store::GenericClient;
use store::ledger::Claim;
use testkit::eventually;

use crate::fixture::{campaign, phone, session};
use crate::ledger::{again, scene, sent};

pub(crate) const BOUND: Duration = Duration::from_secs(20);

/// Waits until a statement of this database waits for somebody's lock.
pub(crate) async fn somebody_waits(client: &impl GenericClient) {
    let sql = "SELECT count(*) FROM pg_stat_activity
        WHERE datname = current_database() AND wait_event_type = 'Lock'";
    eventually("a write to wait for a lock", BOUND, async || {
        let waiting: i64 = client.query_one(sql, &[]).await.unwrap().get(0);
        (waiting > 0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_conclusion_that_waited_for_a_report_applies_it() {
    for (outcome, status) in [(sent(), 4), (again(false), 4)] {
        let scene = Arc::new(scene(1).await);
        let claim = Claim {
            message_id: Some("3EB0".to_owned()),
            ..scene.claim(0)
        };
        scene.write(&[], &[claim]).await;
        let mut client = scene.db.store.client().await.unwrap();
        let watch = scene.db.store.client().await.unwrap();
        // As `receipts::record` does, which finds the message SENDING and leaves it.
        let report = client.transaction().await.unwrap();
        let lock = "SELECT phone FROM senders FOR NO KEY UPDATE";
        report.execute(lock, &[]).await.unwrap();
        let concluding = {
            let (scene, conclusion) = (Arc::clone(&scene), scene.conclusion(0, outcome));
            tokio::spawn(async move { scene.write(&[conclusion], &[]).await })
        };
        somebody_waits(&watch).await;
        let read = "UPDATE receipts SET ack = 3, ack_at = now(), ask_at = NULL";
        assert_eq!(report.execute(read, &[]).await.unwrap(), 1);
        let flag = "UPDATE senders SET in_flight_reported = true";
        assert_eq!(report.execute(flag, &[]).await.unwrap(), 1);
        report.commit().await.unwrap();
        assert!(concluding.await.unwrap().concluded[0].is_some());
        let sql = "SELECT status FROM messages";
        let found: i16 = watch.query_one(sql, &[]).await.unwrap().get(0);
        assert_eq!(found, status, "what was proved meanwhile counts");
    }
}

#[tokio::test]
async fn a_group_locks_all_its_numbers_in_order_before_it_writes() {
    let scene = Arc::new(scene(1).await);
    let first = phone(0);
    session(&scene.db, scene.tenure.worker, &first).await;
    let others: CampaignId = campaign(&scene.db, &first, 1).await;
    scene.write(&[], &[scene.claim(0)]).await;
    let mut client = scene.db.store.client().await.unwrap();
    let watch = scene.db.store.client().await.unwrap();
    let other = client.transaction().await.unwrap();
    let lock = "SELECT phone FROM senders WHERE phone = $1 FOR NO KEY UPDATE";
    other.execute(lock, &[&first.digits()]).await.unwrap();
    let writing = {
        let mut claim = scene.claim(0);
        claim.phone = first.clone();
        claim.key.campaign = others;
        let (scene, conclusion) = (Arc::clone(&scene), scene.conclusion(0, sent()));
        tokio::spawn(async move { scene.write(&[conclusion], &[claim]).await })
    };
    somebody_waits(&watch).await;
    other
        .execute("SET LOCAL lock_timeout = '2s'", &[])
        .await
        .unwrap();
    let second = other.execute(lock, &[&phone(1).digits()]).await;
    assert!(
        second.is_ok(),
        "the group holds no number while it waits: {second:?}"
    );
    other.commit().await.unwrap();
    let written = writing.await.unwrap();
    assert!(written.concluded[0].is_some() && written.claimed[0].is_some());
}
