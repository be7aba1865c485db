//! Groups of reports: whatever comes together comes to the same as one after the other.

use models::message::MessageStatus;
use policy::receipt::{merge, status_after};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use store::GenericClient as _;
use store::receipts::{self, Recorded, Report};
use time::OffsetDateTime;

use crate::fixture::phone;
use crate::ledger::{Scene, scene};

const SENT: i16 = 2;

fn report(id: &str, ack: i16, generation: i32) -> Report {
    Report {
        sender: phone(1),
        generation,
        message_id: id.to_owned(),
        ack,
        at: None,
    }
}

async fn record(scene: &Scene, reports: &[Report]) -> Recorded {
    let mut client = scene.db.store.client().await.unwrap();
    receipts::record(&mut client, reports).await.unwrap()
}

/// Reports that are known, by receipts or by the status of messages, by their ids; and statuses of
/// messages by their ordinals.
async fn ledger(scene: &Scene) -> (Vec<(String, i16)>, Vec<i16>) {
    let client = scene.db.store.client().await.unwrap();
    let sql = "SELECT message_id, ack FROM (
            SELECT r.message_id, GREATEST(r.ack, CASE m.status WHEN 3 THEN 2 WHEN 4 THEN 3 END)
                ::smallint AS ack
            FROM receipts r LEFT JOIN messages m ON m.campaign_id = r.campaign_id
                AND m.ordinal = r.ordinal AND m.waha_message_id = r.message_id
        ) known WHERE ack IS NOT NULL ORDER BY message_id";
    let acks = client.query(sql, &[]).await.unwrap();
    let sql = "SELECT status FROM messages ORDER BY ordinal";
    let statuses = client.query(sql, &[]).await.unwrap();
    let acks = acks.iter().map(|row| (row.get(0), row.get(1)));
    (
        acks.collect(),
        statuses.iter().map(|row| row.get(0)).collect(),
    )
}

/// A group of one looks cheaper when it is planned for itself, and making that plan takes several
/// times what running it takes.
#[tokio::test]
async fn a_lone_report_runs_by_the_plan_that_is_kept() {
    let scene = scene(1).await;
    scene.accepted_by(0, "A").await;
    // A pooler's connection keeps no statement.
    let store = store::Store::new(&scene.db.direct_url, 1).unwrap();
    let mut client = store.client().await.unwrap();
    for ack in [1, 2, 3, 3, 3, 3, 3, 3] {
        let reports = [report("A", ack, 1)];
        receipts::record(&mut client, &reports).await.unwrap();
    }
    let sql = "SELECT generic_plans, custom_plans FROM pg_prepared_statements
        WHERE statement ~ '^\\s+WITH placed AS'";
    let row = client.query_one(sql, &[]).await.unwrap();
    assert_eq!((row.get::<_, i64>(0), row.get::<_, i64>(1)), (8, 0));
}

#[tokio::test]
async fn known_and_unknown_repeated_and_former_reports_come_in_one_group() {
    let scene = scene(3).await;
    for (ordinal, id) in [(0, "A"), (1, "B"), (2, "C")] {
        scene.accepted_by(ordinal, id).await;
    }
    record(&scene, &[report("B", 3, 1)]).await;
    let group = [
        report("A", 1, 1),
        report("nobody's", 1, 1),
        report("B", 2, 1),
        report("A", 2, 1),
        report("C", 3, 2),
        report("A", 1, 1),
        report("nobody's", 3, 1),
    ];
    let recorded = record(&scene, &group).await;
    assert_eq!(recorded, Recorded { taken: 6, moved: 1 });
    let acks = [("A", 2), ("B", 3), ("nobody's", 3)].map(|(id, ack)| (id.to_owned(), ack));
    let wanted = (acks.to_vec(), vec![3, 4, SENT]);
    assert_eq!(ledger(&scene).await, wanted);
    let recorded = record(&scene, &group).await;
    assert_eq!(recorded, Recorded { taken: 6, moved: 0 }, "the same again");
    assert_eq!(ledger(&scene).await, wanted);
}

#[tokio::test]
async fn of_two_reports_as_high_the_earlier_counts() {
    let scene = scene(1).await;
    scene.accepted_by(0, "A").await;
    let at = |seconds| Report {
        at: OffsetDateTime::from_unix_timestamp(seconds).ok(),
        ..report("A", 2, 1)
    };
    record(&scene, &[report("A", 2, 1), at(2_000), at(1_000)]).await;
    let client = scene.db.store.client().await.unwrap();
    let sql = "SELECT EXTRACT(EPOCH FROM delivered_at)::bigint FROM messages";
    let delivered: i64 = client.query_one(sql, &[]).await.unwrap().get(0);
    assert_eq!(delivered, 1_000);
}

/// In whatever groups reports come, what is written and where messages stand is what policy says of
/// them one by one.
#[tokio::test]
async fn groups_come_to_what_policy_says() {
    const MESSAGES: usize = 4;
    let mut chance = StdRng::seed_from_u64(7);
    for _ in 0..6 {
        let scene = scene(MESSAGES.try_into().unwrap()).await;
        let ids: Vec<_> = (0..MESSAGES).map(|n| format!("3EB0{n}")).collect();
        for (ordinal, id) in (0..).zip(&ids) {
            scene.accepted_by(ordinal, id).await;
        }
        let mut acks = [None; MESSAGES];
        for _ in 0..8 {
            let group: Vec<_> = (0..chance.random_range(1..6))
                .map(|_| (chance.random_range(0..MESSAGES), chance.random_range(-1..5)))
                .collect();
            let reports = group.iter().map(|(n, ack)| report(&ids[*n], *ack, 1));
            record(&scene, &reports.collect::<Vec<_>>()).await;
            for (n, ack) in group {
                acks[n] = Some(merge(acks[n], ack));
            }
            let moved = |ack: &Option<i16>| match ack {
                Some(ack) => status_after(MessageStatus::Sent, *ack).unwrap_or(MessageStatus::Sent),
                None => MessageStatus::Sent,
            };
            let statuses: Vec<_> = acks.iter().map(|ack| moved(ack).code()).collect();
            let heard = ids.iter().cloned().zip(acks);
            let heard: Vec<_> = heard.filter_map(|(id, ack)| Some((id, ack?))).collect();
            assert_eq!(ledger(&scene).await, (heard, statuses));
        }
    }
}

/// Of a message that was refused by the id A, excused and said again by B, whatever is told in one
/// group comes to what is told one by one.
#[tokio::test]
async fn what_is_told_of_two_ids_of_a_message_comes_to_what_whatsapp_took() {
    const FAILED: i16 = 5;
    for (earlier, group, status, carried) in [
        (-1_i16, vec![("A", -1), ("B", -1)], FAILED, "B"),
        (0, vec![("A", 0), ("B", -1)], FAILED, "B"),
        (-1, vec![("A", 1)], SENT, "A"),
        (-1, vec![("A", 1), ("B", -1)], SENT, "A"),
        (-1, vec![("B", 2), ("A", 1)], 3, "B"),
        (-1, vec![("B", 1), ("A", 3)], 4, "A"),
    ] {
        for together in [true, false] {
            let scene = scene(1).await;
            scene.accepted_by(0, "B").await;
            let client = scene.db.store.client().await.unwrap();
            let sql = "INSERT INTO receipts (sender, message_id, campaign_id, ordinal, ack, ack_at)
                SELECT sender, 'A', campaign_id, ordinal, $1, now() FROM receipts";
            client.execute(sql, &[&earlier]).await.unwrap();
            let reports: Vec<_> = group.iter().map(|(id, ack)| report(id, *ack, 1)).collect();
            let size = if together { reports.len() } else { 1 };
            for reports in reports.chunks(size) {
                record(&scene, reports).await;
            }
            let sql = "SELECT status, waha_message_id FROM messages";
            let row = client.query_one(sql, &[]).await.unwrap();
            let found: (i16, &str) = (row.get(0), row.get(1));
            assert_eq!(found, (status, carried), "{earlier}, {group:?}, {together}");
            let mut client = scene.db.store.client().await.unwrap();
            let found = store::audit::audit(&mut client).await.unwrap().differences;
            assert!(
                found.is_empty(),
                "{earlier}, {group:?}, {together}: {found:?}"
            );
        }
    }
}

/// A former placement's report that waits for whoever places the session anew is not taken.
#[tokio::test]
async fn a_report_that_waited_is_of_the_placement_that_there_is_then() {
    let scene = std::sync::Arc::new(scene(1).await);
    scene.accepted_by(0, "A").await;
    let mut client = scene.db.store.client().await.unwrap();
    let placing = client.transaction().await.unwrap();
    let lock = "SELECT phone FROM senders FOR NO KEY UPDATE";
    placing.execute(lock, &[]).await.unwrap();
    let reporting = {
        let scene = std::sync::Arc::clone(&scene);
        tokio::spawn(async move { record(&scene, &[report("A", 3, 1)]).await })
    };
    let watch = scene.db.store.client().await.unwrap();
    crate::races::somebody_waits(&watch).await;
    placing
        .execute("UPDATE sessions SET generation = 2", &[])
        .await
        .unwrap();
    placing.commit().await.unwrap();
    assert_eq!(reporting.await.unwrap(), Recorded::default());
    assert_eq!(ledger(&scene).await, (Vec::new(), vec![SENT]));
}
