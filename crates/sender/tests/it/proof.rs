//! Own message ids, and what proves the outcome of a message.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::json;
use store::GenericClient as _;
use testkit::eventually;
use waha_sim::Options;

use crate::scene::{BOUND, Scene, phone};

const RECIPIENTS: i64 = 49_000_000_000;

async fn scene() -> Scene {
    let options = Options {
        time_scale: 0.02,
        ..Options::default()
    };
    let scene = Scene::new(options, 0, 0).await;
    scene.session(1, &phone(1)).await;
    scene.own_ids().await;
    scene
}

/// Every message was heard once, by the id that the ledger holds.
async fn check_heard_by_our_ids(scene: &Scene, messages: usize) {
    let heard = scene.heard().await;
    let ids: BTreeSet<_> = heard.iter().map(|heard| heard.id.clone()).collect();
    let chats: BTreeSet<_> = heard.iter().map(|heard| heard.chat.clone()).collect();
    assert_eq!((heard.len(), chats.len()), (messages, messages));
    assert_eq!(ids, scene.ids().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_is_said_by_the_id_that_its_claim_stored() {
    let scene = scene().await;
    let sender = scene.sender("one", &[]);
    scene.campaign(&phone(1), RECIPIENTS, 5).await;
    scene.all_ended().await;
    check_heard_by_our_ids(&scene, 5).await;
    assert!(scene.ids().await.iter().all(|id| id.len() == 22));
    sender.stop().await;
    eventually("its good-bye", BOUND, async || {
        (scene.replicas().await == 0).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_provably_never_arrived_leaves_again_by_the_same_id() {
    let scene = scene().await;
    let fault = json!({"kind": "error_500_timed_out", "delivered": false, "count": 2});
    scene.fault(1, fault).await;
    let sender = scene.sender("one", &[]);
    scene.campaign(&phone(1), RECIPIENTS, 4).await;
    scene.all_ended().await;
    assert_eq!(scene.messages_with(2).await, 4, "all are SENT");
    check_heard_by_our_ids(&scene, 4).await;
    sender.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_heard_is_found_by_its_id_and_stays_heard_once() {
    let scene = scene().await;
    for kind in ["error_500_timed_out", "lost_answer"] {
        let fault = json!({"kind": kind, "delivered": true, "count": 2});
        scene.fault(1, fault).await;
    }
    let sender = scene.sender("one", &[]);
    scene.campaign(&phone(1), RECIPIENTS, 6).await;
    scene.all_ended().await;
    assert_eq!(scene.messages_with(2).await, 6, "all are SENT");
    check_heard_by_our_ids(&scene, 6).await;
    sender.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_ignores_our_id_does_not_make_us_say_it_twice() {
    let scene = scene().await;
    for fault in [
        json!({"kind": "ignore_id", "count": 3}),
        json!({"kind": "error_500_timed_out", "delivered": true, "count": 1}),
    ] {
        scene.fault(1, fault).await;
    }
    let sender = scene.sender("one", &[]);
    scene.campaign(&phone(1), RECIPIENTS, 5).await;
    scene.all_ended().await;
    assert_eq!(scene.messages_with(2).await, 5, "all are SENT");
    check_heard_by_our_ids(&scene, 5).await;
    sender.stop().await;
}

/// The first message is delivered, and before its answer the worker is killed and forgets it.
async fn heard_and_forgotten(scene: &Scene) {
    let fault = json!({"kind": "slow_answer", "millis": 60_000, "count": 1});
    scene.fault(1, fault).await;
    scene.campaign(&phone(1), RECIPIENTS, 3).await;
    eventually("the first message to be heard", BOUND, async || {
        (!scene.heard().await.is_empty()).then_some(())
    })
    .await;
    let restart = json!({"kind": "restart", "millis": 300});
    scene.fault(1, restart).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_restarted_worker_does_not_know_is_not_said_again() {
    let options = Options {
        time_scale: 0.02,
        unsaved_ms: 60_000,
        ..Options::default()
    };
    let scene = Scene::new(options, 0, 0).await;
    scene.session(1, &phone(1)).await;
    scene.own_ids().await;
    let sender = scene.sender("one", &[]);
    heard_and_forgotten(&scene).await;
    scene.all_ended().await;
    assert_eq!(scene.messages_with(8).await, 1, "nobody can tell: UNKNOWN");
    assert_eq!(scene.messages_with(2).await, 2, "the others are SENT");
    let heard = scene.heard().await;
    let chats: BTreeSet<_> = heard.iter().map(|heard| &heard.chat).collect();
    assert_eq!((heard.len(), chats.len()), (3, 3), "nobody heard it twice");
    sender.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_was_not_there_all_the_time_proves_nothing() {
    let scene = scene().await;
    let fault = json!({"kind": "error_500_timed_out", "delivered": false, "count": 1});
    scene.fault(1, fault).await;
    let sender = scene.sender("one", &[("SETTLE_QUIET_SECONDS", "3")]);
    scene.campaign(&phone(1), RECIPIENTS, 2).await;
    let client = scene.db.store.client().await.unwrap();
    eventually("the session to have been away", BOUND, async || {
        let sql = "UPDATE sessions SET status_at = clock_timestamp() WHERE EXISTS (
            SELECT FROM senders WHERE in_flight_at < now() - interval '1 second')";
        (client.execute(sql, &[]).await.unwrap() > 0).then_some(())
    })
    .await;
    scene.all_ended().await;
    assert_eq!(
        (scene.messages_with(8).await, scene.messages_with(2).await),
        (1, 1)
    );
    sender.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_never_arrives_fails_in_the_end() {
    let scene = scene().await;
    let fault = json!({"kind": "error_500_timed_out", "delivered": false,
        "phones": [RECIPIENTS.to_string()]});
    scene.fault(1, fault).await;
    let sender = scene.sender("one", &[("SETTLE_QUIET_SECONDS", "0")]);
    scene.campaign(&phone(1), RECIPIENTS, 3).await;
    scene.all_ended().await;
    assert_eq!(scene.messages_with(2).await, 2, "the others are SENT");
    assert_eq!(
        scene.messages_with(5).await,
        1,
        "FAILED: provably not heard"
    );
    sender.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_number_whose_acks_stopped_rests_until_one_comes() {
    let scene = scene().await;
    let sender = scene.sender(
        "one",
        &[
            ("SILENCE_MESSAGES", "3"),
            ("SILENCE_SECONDS", "1"),
            ("SILENCE_REST_SECONDS", "600"),
        ],
    );
    let client = scene.db.store.client().await.unwrap();
    let sql = "UPDATE senders SET last_ack_at = now(), unacked = 2,
        unacked_since = now() - interval '1 hour'";
    client.execute(sql, &[]).await.unwrap();
    scene.campaign(&phone(1), RECIPIENTS, 3).await;
    let rests = eventually("the number to rest", BOUND, async || {
        let sql =
            "SELECT rest_code, EXTRACT(EPOCH FROM resting_until - now())::float8 FROM senders";
        let row = client.query_one(sql, &[]).await.unwrap();
        row.get::<_, Option<String>>(0)
            .zip(row.get::<_, Option<f64>>(1))
    })
    .await;
    assert_eq!(rests.0, "silent");
    assert!(rests.1 > 500.0, "{rests:?}");
    let report = store::receipts::Report {
        sender: phone(1),
        generation: 1,
        message_id: scene.ids().await.into_iter().next().unwrap(),
        ack: 1,
        at: None,
    };
    let heard = scene.heard().await.len();
    assert!(heard < 3, "it rests before its campaign is over");
    let mut client = scene.db.store.client().await.unwrap();
    store::receipts::record(&mut client, &[report])
        .await
        .unwrap();
    tokio::time::timeout(Duration::from_secs(30), scene.all_ended())
        .await
        .expect("an ack ends the rest at once");
    sender.stop().await;
}
