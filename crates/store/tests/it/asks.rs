//! Whom to ask about messages that WhatsApp has not reported on.

use std::time::Duration;

use models::phone::PhoneNumber;
use store::GenericClient as _;
use store::ledger::Claim;
use store::receipts::{claim_due_asks, note_unheard};
use testkit::TestDatabase;

use crate::fixture::{campaign, phone, session, worker};
use crate::ledger::scene;

const AFTER: Duration = Duration::from_secs(120);

/// Messages of a number, each waiting for a question since `age` ago; the first is the oldest.
async fn unreported(db: &TestDatabase, sender: &PhoneNumber, count: i32, age: Duration) {
    let campaign = campaign(db, sender, count).await;
    let client = db.store.client().await.unwrap();
    let sql = "INSERT INTO receipts (sender, message_id, campaign_id, ordinal, ask_at, created_at)
        SELECT $1, $1 || '-' || n, $2, n, at, at
        FROM generate_series(0, $3::integer - 1) n,
            LATERAL (SELECT now() - make_interval(secs => $4) + n * interval '1 ms' AS at) t";
    let age = age.as_secs_f64();
    client
        .execute(sql, &[&sender.digits(), &campaign.uuid(), &count, &age])
        .await
        .unwrap();
}

async fn claimed(db: &TestDatabase, batch: i64) -> Vec<String> {
    let client = db.store.client().await.unwrap();
    let asks = claim_due_asks(&client, AFTER, batch).await.unwrap();
    asks.into_iter().map(|ask| ask.message_id).collect()
}

/// Seconds from now to when each of a number's messages may be asked about next.
async fn waits(db: &TestDatabase, sender: &PhoneNumber) -> Vec<i64> {
    let client = db.store.client().await.unwrap();
    let sql = "SELECT round(EXTRACT(EPOCH FROM ask_at - now()), -1)::bigint FROM receipts
        WHERE sender = $1 ORDER BY ask_at";
    let rows = client.query(sql, &[&sender.digits()]).await.unwrap();
    rows.iter().map(|row| row.get(0)).collect()
}

#[tokio::test]
async fn messages_of_dead_sessions_are_in_nobodys_way() {
    let db = testkit::database().await;
    let worker = worker(&db).await;
    let (dead, live) = (phone(1), phone(2));
    for sender in [&dead, &live] {
        session(&db, worker, sender).await;
    }
    let client = db.store.client().await.unwrap();
    let sql = "UPDATE sessions SET status = 'FAILED' WHERE phone = $1";
    client.execute(sql, &[&dead.digits()]).await.unwrap();
    unreported(&db, &dead, 30, Duration::from_secs(7_200)).await;
    unreported(&db, &live, 3, Duration::from_secs(600)).await;
    let wanted = |n: i32| format!("{live}-{n}");
    assert_eq!(claimed(&db, 2).await, [wanted(0), wanted(1)]);
    assert_eq!(claimed(&db, 2).await, [wanted(2)]);
    assert!(claimed(&db, 2).await.is_empty());
    assert_eq!(waits(&db, &live).await, [0; 3], "asked about after a while");
    assert_eq!(waits(&db, &dead).await, [7_200; 30], "as long again");
    let sql = "SELECT max(asks)::integer FROM receipts";
    let asks: i32 = client.query_one(sql, &[]).await.unwrap().get(0);
    assert_eq!(asks, 0, "nobody was asked");
}

#[tokio::test]
async fn a_dead_sessions_messages_wait_longer_each_time_and_not_for_ever() {
    let db = testkit::database().await;
    let sender = phone(1);
    session(&db, worker(&db).await, &sender).await;
    let client = db.store.client().await.unwrap();
    let dies = "UPDATE sessions SET status = 'FAILED'";
    client.execute(dies, &[]).await.unwrap();
    unreported(&db, &sender, 1, Duration::from_secs(300)).await;
    let mut rounds = Vec::new();
    for _ in 0..9 {
        assert!(claimed(&db, 9).await.is_empty());
        let wait = waits(&db, &sender).await[0];
        rounds.push(wait);
        // The time until the next look passes.
        let sql = "UPDATE receipts SET created_at = created_at - (ask_at - now()) - $1,
            ask_at = now() - $1";
        let sql = sql.replace("$1", "interval '120 s'");
        client.execute(&sql, &[]).await.unwrap();
    }
    let doubled = [
        300, 720, 1_560, 3_240, 6_600, 13_320, 21_600, 21_600, 21_600,
    ];
    assert_eq!(rounds, doubled);
    let comes_back = "UPDATE sessions SET status = 'WORKING'";
    client.execute(comes_back, &[]).await.unwrap();
    assert_eq!(claimed(&db, 9).await.len(), 1);
}

#[tokio::test]
async fn of_what_is_on_its_way_nobody_is_asked() {
    let scene = scene(1).await;
    let claim = Claim {
        message_id: Some("3EB0".to_owned()),
        ..scene.claim(0)
    };
    scene.write(&[], &[claim]).await;
    let client = scene.db.store.client().await.unwrap();
    let due = "UPDATE receipts SET ask_at = now() - interval '1 hour',
        created_at = now() - interval '1 hour'";
    client.execute(due, &[]).await.unwrap();
    assert!(claimed(&scene.db, 9).await.is_empty());
    assert_eq!(waits(&scene.db, &phone(1)).await, [0], "after a while");
    let landed = "UPDATE senders SET in_flight_campaign = NULL;
        UPDATE receipts SET ask_at = now() - interval '1 hour'";
    client.batch_execute(landed).await.unwrap();
    assert_eq!(claimed(&scene.db, 9).await, ["3EB0"]);
}

/// A report that the message's status tells is not written to its receipt.
#[tokio::test]
async fn of_what_was_delivered_nobody_is_asked() {
    let scene = scene(2).await;
    for (ordinal, id, ack) in [(0, "A", 1), (1, "B", 2)] {
        scene.accepted_by(ordinal, id).await;
        scene.ack(id, ack).await;
    }
    let client = scene.db.store.client().await.unwrap();
    let sql = "SELECT ack FROM receipts ORDER BY message_id";
    let acks = client.query(sql, &[]).await.unwrap();
    let acks: Vec<Option<i16>> = acks.iter().map(|row| row.get(0)).collect();
    assert_eq!(acks, [Some(1), None]);
    let past = "UPDATE receipts SET created_at = now() - interval '1 hour';
        UPDATE ask_mark SET until = now() - interval '2 hours'";
    client.batch_execute(past).await.unwrap();
    assert_eq!(noted(&scene.db, AFTER).await, 0);
    // Marked all the same, by who looked at the very moment: the next report ends it.
    let marked = "UPDATE receipts SET ask_at = now() WHERE message_id = 'B'";
    client.execute(marked, &[]).await.unwrap();
    scene.ack("B", 2).await;
    let sql = "SELECT count(*) FROM receipts WHERE ask_at IS NOT NULL";
    let asked: i64 = client.query_one(sql, &[]).await.unwrap().get(0);
    assert_eq!(asked, 0);
}

async fn noted(db: &TestDatabase, after: Duration) -> u64 {
    let mut client = db.store.client().await.unwrap();
    note_unheard(&mut client, after).await.unwrap()
}

#[tokio::test]
async fn what_is_unheard_of_is_noted_once() {
    let db = testkit::database().await;
    let sender = phone(1);
    session(&db, worker(&db).await, &sender).await;
    unreported(&db, &sender, 6, Duration::from_secs(200)).await;
    let client = db.store.client().await.unwrap();
    let heard = "UPDATE ask_mark SET until = now() - interval '1 hour';
        UPDATE receipts SET ask_at = NULL;
        UPDATE receipts SET ack = 0 WHERE ordinal = 1;
        UPDATE receipts SET ack = 1 WHERE ordinal = 2;
        UPDATE receipts SET ack = -1 WHERE ordinal = 3;
        UPDATE receipts SET campaign_id = NULL WHERE ordinal = 4;
        UPDATE receipts SET created_at = now() - interval '110 s' WHERE ordinal = 5";
    client.batch_execute(heard).await.unwrap();
    assert_eq!(noted(&db, AFTER).await, 2);
    let unheard = [format!("{sender}-0"), format!("{sender}-1")];
    assert_eq!(claimed(&db, 9).await, unheard);
    let answered = "UPDATE receipts SET ask_at = NULL WHERE ordinal = 0";
    client.execute(answered, &[]).await.unwrap();
    assert_eq!(noted(&db, AFTER).await, 0, "each is looked at once");
    assert_eq!(noted(&db, AFTER - Duration::from_secs(20)).await, 1);
}

#[tokio::test]
async fn what_a_transaction_under_way_makes_is_not_passed_by() {
    let db = testkit::database().await;
    let sender = phone(1);
    session(&db, worker(&db).await, &sender).await;
    let campaign = campaign(&db, &sender, 2).await;
    let mut client = db.store.client().await.unwrap();
    let slow = client.transaction().await.unwrap();
    let make = "INSERT INTO receipts (sender, message_id, campaign_id, ordinal)
        VALUES ($1, $2, $3, 0)";
    let parameters = |id: &'static str| (sender.digits().to_owned(), id, campaign.uuid());
    let (number, id, of) = parameters("slow");
    slow.execute(make, &[&number, &id, &of]).await.unwrap();
    let (number, id, of) = parameters("quick");
    let quick = db.store.client().await.unwrap();
    quick.execute(make, &[&number, &id, &of]).await.unwrap();
    assert_eq!(noted(&db, Duration::ZERO).await, 0);
    slow.commit().await.unwrap();
    assert_eq!(noted(&db, Duration::ZERO).await, 2);
}
