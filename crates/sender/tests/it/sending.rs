//! What is heard, how often, when, and what the ledger says of it.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use serde_json::json;
use store::GenericClient as _;
use testkit::eventually;
use waha_sim::Options;

use crate::scene::{BOUND, Heard, Scene, phone};

pub(crate) fn options(workers: usize) -> Options {
    Options {
        workers,
        time_scale: 0.02,
        send_delay_ms: (0, 20),
        ..Options::default()
    }
}

/// Nobody heard anything twice; returns how many were heard.
pub(crate) fn check_once(heard: &[Heard]) -> usize {
    let mut times = HashMap::new();
    for heard in heard {
        *times.entry(&heard.chat).or_insert(0) += 1;
    }
    let twice: Vec<_> = times.iter().filter(|(_, times)| **times > 1).collect();
    assert!(twice.is_empty(), "heard twice: {twice:?}");
    times.len()
}

/// R1 and R2 by the worker's own clock, with no tolerance.
pub(crate) fn check_gaps(heard: &[Heard], message_delay: Duration, switch_delay: Duration) {
    let mut by_worker: BTreeMap<u64, Vec<&Heard>> = BTreeMap::new();
    for heard in heard {
        by_worker.entry(heard.worker).or_default().push(heard);
    }
    for lane in by_worker.values() {
        for pair in lane
            .windows(2)
            .filter(|pair| pair[0].session != pair[1].session)
        {
            let gap = pair[1]
                .arrived
                .saturating_sub(pair[0].answered.unwrap_or(pair[0].arrived));
            assert!(gap >= switch_delay, "R2: {gap:?} between {pair:?}");
        }
        for (place, later) in lane.iter().enumerate() {
            let same = lane[..place]
                .iter()
                .rev()
                .find(|h| h.session == later.session);
            let Some(earlier) = same else { continue };
            let gap = later
                .arrived
                .saturating_sub(earlier.answered.unwrap_or(earlier.arrived));
            assert!(
                gap >= message_delay,
                "R1: {gap:?} between {earlier:?} and {later:?}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn campaigns_on_several_lanes_are_heard_once_and_in_pace() {
    let scene = Scene::new(options(3), 60, 130).await;
    for number in 0..6 {
        scene.session(1 + number % 3, &phone(number)).await;
    }
    let senders = [scene.sender("one", &[]), scene.sender("two", &[])];
    for number in 0..6 {
        scene
            .campaign(&phone(number), 49_000_000_000 + 1_000 * number as i64, 8)
            .await;
    }
    let statuses = scene.all_ended().await;
    assert_eq!(statuses, BTreeMap::from([("COMPLETED".to_owned(), 6)]));
    let heard = scene.heard().await;
    assert_eq!(check_once(&heard), 48);
    check_gaps(
        &heard,
        Duration::from_millis(60),
        Duration::from_millis(130),
    );
    for sender in senders {
        sender.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_is_claimed_ahead_of_its_moment_and_leaves_no_sooner() {
    let scene = Scene::new(options(1), 2_000, 0).await;
    scene.session(1, &phone(1)).await;
    scene.own_ids().await;
    let sender = scene.sender("one", &[]);
    scene.campaign(&phone(1), 49_000_000_000, 4).await;
    scene.all_ended().await;
    let heard = scene.heard().await;
    assert_eq!(check_once(&heard), 4);
    check_gaps(&heard, Duration::from_secs(2), Duration::ZERO);
    // Claims, by the ledger's clock, since the conclusion of the message before.
    let gaps = "SELECT EXTRACT(EPOCH FROM (c.steps[1]).at - (b.steps[2]).at)::float8
        FROM messages b JOIN messages c ON c.campaign_id = b.campaign_id
            AND c.ordinal = b.ordinal + 1 ORDER BY 1";
    let client = scene.db.store.client().await.unwrap();
    let least: f64 = client.query(gaps, &[]).await.unwrap()[0].get(0);
    assert!((1.8..1.97).contains(&least), "{least}");
    sender.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lanes_move_to_a_living_replica_and_keep_their_gaps() {
    let scene = Scene::new(options(3), 150, 300).await;
    for number in 0..6 {
        scene.session(1 + number % 3, &phone(number)).await;
    }
    // Some nine seconds of work, so that a second replica comes in time on a slow machine too.
    let first = scene.sender("first", &[]);
    for number in 0..6 {
        scene
            .campaign(&phone(number), 49_000_000_000 + 1_000 * number as i64, 30)
            .await;
    }
    eventually("a first part to be heard", BOUND, async || {
        (scene.heard().await.len() > 12).then_some(())
    })
    .await;
    let second = scene.sender("second", &[]);
    eventually("lanes to be shared", BOUND, async || {
        let client = scene.db.store.client().await.unwrap();
        let sql = "SELECT count(DISTINCT owner) FROM lanes WHERE owner IS NOT NULL";
        let owners: i64 = client.query_one(sql, &[]).await.unwrap().get(0);
        (owners == 2).then_some(())
    })
    .await;
    first.stop().await;
    let statuses = scene.all_ended().await;
    assert_eq!(statuses, BTreeMap::from([("COMPLETED".to_owned(), 6)]));
    let heard = scene.heard().await;
    assert_eq!(check_once(&heard), 180);
    check_gaps(
        &heard,
        Duration::from_millis(150),
        Duration::from_millis(300),
    );
    second.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_answer_is_looked_up_and_never_sent_again() {
    let scene = Scene::new(options(1), 0, 0).await;
    scene.session(1, &phone(1)).await;
    let fault = json!({"kind": "error_500_timed_out", "session": phone(1).digits(), "count": 2});
    scene.fault(1, fault).await;
    let sender = scene.sender("one", &[]);
    scene.campaign(&phone(1), 49_000_000_000, 6).await;
    scene.all_ended().await;
    assert_eq!(check_once(&scene.heard().await), 6);
    let (sent, unknown) = (scene.messages_with(2).await, scene.messages_with(8).await);
    assert_eq!(sent + unknown, 6, "each is SENT or UNKNOWN");
    assert_eq!(
        unknown, 0,
        "the engine keeps its chats, so a look-up settles it"
    );
    sender.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_refuses_costs_nobody_anything() {
    let scene = Scene::new(options(1), 0, 0).await;
    scene.session(1, &phone(1)).await;
    scene.fault(1, json!({"kind": "refuse", "count": 2})).await;
    let sender = scene.sender("one", &[]);
    scene.campaign(&phone(1), 49_000_000_000, 5).await;
    let statuses = scene.all_ended().await;
    check_once(&scene.heard().await);
    // A dropped connection is not a proof that nothing was heard, a refused one is.
    let (sent, unknown) = (scene.messages_with(2).await, scene.messages_with(8).await);
    assert_eq!(sent + unknown, 5, "{statuses:?}");
    sender.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_goes_away_costs_only_what_was_on_the_wire() {
    let scene = Scene::new(options(1), 50, 0).await;
    for number in 0..4 {
        scene.session(1, &phone(number)).await;
    }
    let sender = scene.sender("one", &[]);
    for number in 0..4 {
        scene
            .campaign(&phone(number), 49_000_000_000 + 1_000 * number as i64, 25)
            .await;
    }
    eventually("a first part to be heard", BOUND, async || {
        (scene.heard().await.len() > 12).then_some(())
    })
    .await;
    // Connections are accepted and dropped, as by a proxy before a server that is gone.
    scene
        .fault(1, json!({"kind": "restart", "millis": 2_500}))
        .await;
    scene.all_ended().await;
    check_once(&scene.heard().await);
    let (sent, unknown) = (scene.messages_with(2).await, scene.messages_with(8).await);
    assert_eq!(sent + unknown, 100);
    assert!(
        unknown <= 4,
        "{unknown} UNKNOWN, but only four could be on the wire"
    );
    sender.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_takes_hold_within_the_next_look() {
    let scene = Scene::new(options(1), 100, 0).await;
    scene.session(1, &phone(1)).await;
    let sender = scene.sender("one", &[]);
    let campaign = scene.campaign(&phone(1), 49_000_000_000, 100).await;
    eventually("the campaign to begin", BOUND, async || {
        (scene.heard().await.len() > 1).then_some(())
    })
    .await;
    let client = scene.db.store.client().await.unwrap();
    let sql = "UPDATE campaigns SET status = 'CANCELLED', completed_at = now() WHERE id = $1";
    client.execute(sql, &[&campaign.uuid()]).await.unwrap();
    let at_cancel = scene.heard().await.len();
    sender.stop().await;
    assert!(
        scene.heard().await.len() <= at_cancel + 1,
        "only what was under way may follow"
    );
}
