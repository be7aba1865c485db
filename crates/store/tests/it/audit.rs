//! An audit finds what somebody falsified, and nothing in a ledger that nobody did.

use store::GenericClient as _;
use store::audit::{Difference, audit};
use store::ledger::Outcome;

use crate::ledger::{Scene, again, cause, scene};

/// A message in each status, most of them with a receipt, and one on its way.
async fn busy() -> Scene {
    let scene = scene(9).await;
    for (ordinal, id, ack) in [
        (0, "A", Some(1)),
        (1, "B", Some(2)),
        (2, "C", Some(4)),
        (3, "D", Some(-1)),
        (4, "E", None),
    ] {
        scene.accepted_by(ordinal, id).await;
        if let Some(ack) = ack {
            scene.ack(id, ack).await;
        }
    }
    scene.claim_by(5, "F").await;
    let unknown = scene.conclusion(5, Outcome::Unknown(cause("owner_died")));
    scene.write(&[unknown], &[]).await;
    scene.claim_by(6, "G").await;
    scene.write(&[scene.conclusion(6, again(false))], &[]).await;
    // Refused for the number's sake and excused: PENDING with the receipt of its former id.
    scene.accepted_by(7, "H").await;
    scene.ack("H", -1).await;
    scene.restrict(None).await;
    scene.sql("UPDATE senders SET resting_until = now()").await;
    scene.claim_by(8, "I").await;
    scene.ack("I", 3).await;
    scene
}

async fn found(scene: &Scene) -> Vec<Difference> {
    let mut client = scene.db.store.client().await.unwrap();
    audit(&mut client).await.unwrap().differences
}

#[tokio::test]
async fn a_ledger_that_nobody_falsified_is_clean() {
    let scene = busy().await;
    assert_eq!(found(&scene).await, []);
    // By way of PENDING with two ids to the end, with reports of both.
    scene.write(&[scene.conclusion(8, again(false))], &[]).await;
    assert_eq!(found(&scene).await, []);
    for (ordinal, id) in [(7, "J"), (3, "K")] {
        scene.accepted_by(ordinal, id).await;
        scene.ack(id, 2).await;
    }
    scene.ack("H", 3).await;
    assert_eq!(found(&scene).await, []);
}

#[tokio::test]
async fn messages_that_contradict_their_receipts_are_found() {
    let scene = busy().await;
    for (id, ack, said) in [
        // Of the id that a message carries.
        ("A", 2, "message 0 is SENT"),
        ("A", -1, "message 0 is SENT"),
        ("B", 3, "message 1 is DELIVERED"),
        ("F", 0, "message 5 is UNKNOWN"),
        ("F", 1, "message 5 is UNKNOWN"),
        ("F", -1, "message 5 is UNKNOWN"),
        ("G", 0, "message 6 is PENDING"),
        ("G", 4, "message 6 is PENDING"),
        // Of an earlier one.
        ("H", 1, "message 7 is PENDING"),
    ] {
        let falsify =
            |ack: &str| format!("UPDATE receipts SET ack = {ack} WHERE message_id = '{id}'");
        let client = scene.db.store.client().await.unwrap();
        let sql = "SELECT COALESCE(ack::text, 'NULL') FROM receipts WHERE message_id = $1";
        let before: String = client.query_one(sql, &[&id]).await.unwrap().get(0);
        scene.sql(&falsify(&ack.to_string())).await;
        let differences = found(&scene).await;
        assert_eq!(differences.len(), 1, "{id} {ack}: {differences:?}");
        assert_eq!(differences[0].said, said);
        assert_eq!(differences[0].counted, format!("ack {ack} of {id}"));
        scene.sql(&falsify(&before)).await;
    }
    assert_eq!(found(&scene).await, []);
}

#[tokio::test]
async fn messages_that_failed_though_whatsapp_took_them_are_found() {
    let scene = scene(1).await;
    scene.accepted_by(0, "A").await;
    scene.ack("A", -1).await;
    assert_eq!(found(&scene).await, [], "it was refused");
    scene.sql("UPDATE receipts SET ack = 1").await;
    let differences = found(&scene).await;
    assert_eq!(differences.len(), 1, "{differences:?}");
    assert_eq!(differences[0].said, "message 0 is FAILED");
    scene
        .sql("UPDATE receipts SET message_id = 'earlier'")
        .await;
    assert_eq!(found(&scene).await.len(), 1, "by whatever id");
}

#[tokio::test]
async fn what_is_on_a_numbers_way_is_a_pending_message_of_its_own() {
    let stray = "a number has a message on its way that is none of its own, or was done with";
    let forgotten = "messages that nothing would ever send";
    // It has a report already, which waits for its conclusion.
    let reported = "a message is not what WhatsApp reported of it";
    for (falsify, wanted) in [
        (
            "UPDATE senders SET in_flight_campaign = NULL, in_flight_ordinal = NULL",
            vec![forgotten, reported],
        ),
        (
            "INSERT INTO senders (phone, in_flight_campaign, in_flight_ordinal)
                SELECT '21699999999', in_flight_campaign, in_flight_ordinal FROM senders",
            vec![stray],
        ),
        (
            "UPDATE senders SET in_flight_ordinal = 0",
            vec![forgotten, reported, "sending", stray],
        ),
        (
            "UPDATE senders SET in_flight_ordinal = 99",
            vec![forgotten, reported, "sending", stray],
        ),
    ] {
        let scene = busy().await;
        // Behind the cursor, as one that is tried again is.
        scene.sql("UPDATE campaigns SET next_ordinal = 100").await;
        scene
            .sql(
                "INSERT INTO retries (campaign_id, ordinal, due_at)
                SELECT m.campaign_id, m.ordinal, now() FROM messages m JOIN senders d
                    ON d.in_flight_campaign = m.campaign_id AND d.in_flight_ordinal <> m.ordinal
                WHERE m.status = 0 ON CONFLICT DO NOTHING",
            )
            .await;
        assert_eq!(found(&scene).await, []);
        scene.sql(falsify).await;
        let mut found: Vec<_> = found(&scene).await.into_iter().map(|d| d.what).collect();
        found.sort();
        let mut wanted = wanted;
        wanted.sort_unstable();
        assert_eq!(found, wanted, "{falsify}");
    }
}

#[tokio::test]
async fn a_message_that_says_itself_that_it_is_sending_is_found() {
    let scene = scene(2).await;
    scene.accepted_by(0, "A").await;
    scene
        .sql("UPDATE messages SET status = 1 WHERE ordinal = 1")
        .await;
    let found: Vec<_> = found(&scene).await.into_iter().map(|d| d.what).collect();
    assert_eq!(found, ["a message says itself that it is SENDING"]);
}
