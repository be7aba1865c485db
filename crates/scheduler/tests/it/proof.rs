//! What only the worker knows: restrictions of a number, and acks that were lost on their way.

use std::sync::Arc;
use std::time::Duration;

use chassis::Clock;
use models::phone::PhoneNumber;
use serde_json::json;
use store::GenericClient as _;
use testkit::eventually;
use uuid::Uuid;

use crate::world::{BOUND, Row, World, fleet, world};

const RECIPIENT: &str = "49000000001";

/// A message that the ledger holds for SENT and nobody ever reported on.
async fn sent(world: &World, sender: &PhoneNumber, id: &str) -> Uuid {
    let campaign = Uuid::from_u128(u128::from_str_radix(id, 16).unwrap());
    let client = world.client().await;
    let sql =
        "INSERT INTO campaigns (id, sender, template, total, sent, trace_id, status, completed_at)
        VALUES ($1, $2, 'hello', 1, 1, $1, 'COMPLETED', now())";
    client
        .execute(sql, &[&campaign, &sender.digits()])
        .await
        .unwrap();
    let sql = "INSERT INTO messages (campaign_id, ordinal, recipient, status, waha_message_id)
        VALUES ($1, 0, $2, 2, $3)";
    client
        .execute(sql, &[&campaign, &RECIPIENT, &id])
        .await
        .unwrap();
    let sql = "INSERT INTO receipts (sender, message_id, campaign_id, ordinal, ask_at)
        VALUES ($1, $2, $3, 0, now() - interval '1 hour')";
    client
        .execute(sql, &[&sender.digits(), &id, &campaign])
        .await
        .unwrap();
    campaign
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_ack_that_was_lost_is_asked_for() {
    let world = world(&[(1, 1)]).await;
    let _replica = world.scheduler();
    let phone = world.working(1).await;
    let id = "3EB0000000000000000001";
    world.say(1, &phone, RECIPIENT, id).await;
    let campaign = sent(&world, &phone, id).await;
    let never = sent(&world, &phone, "3EB0000000000000000002").await;
    let client = world.client().await;
    eventually("an ack of it to be known", BOUND, async || {
        // WhatsApp takes it within a second; the question is asked again until then.
        let sql = "UPDATE receipts SET ask_at = now() - interval '1 hour', asks = 0
            WHERE campaign_id = $1 AND ask_at IS NOT NULL";
        client.execute(sql, &[&campaign]).await.unwrap();
        let sql = "SELECT FROM receipts WHERE campaign_id = $1 AND ack >= 1 AND ask_at IS NULL";
        client.query_opt(sql, &[&campaign]).await.unwrap().map(drop)
    })
    .await;
    let sql = "SELECT last_ack_at IS NOT NULL FROM senders WHERE phone = $1";
    let acked = client.query_one(sql, &[&phone.digits()]).await.unwrap();
    assert!(acked.get::<_, bool>(0), "its number is heard of");
    eventually("the other to be asked about later", BOUND, async || {
        let sql = "SELECT FROM receipts WHERE campaign_id = $1 AND asks > 0 AND ask_at > now()";
        client.query_opt(sql, &[&never]).await.unwrap().map(drop)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restriction_that_is_over_rests_nobody() {
    let world = world(&[(1, 1)]).await;
    let mut replica = fleet(&world.db, "amqp://127.0.0.1:9/%2f");
    let later = Clock::system().now() + Duration::from_secs(10_000);
    Arc::get_mut(&mut replica.fleet).unwrap().clock = Clock::simulated(later);
    scheduler::start::loops(&replica.fleet, &Clock::system(), &replica.shutdown);
    let phone = world.working(1).await;
    // The worker goes on telling of it.
    let fault = json!({"kind": "error_463", "millis": 7_200_000});
    world.control(1, "fault", fault).await;
    world
        .say(1, &phone, RECIPIENT, "3EB0000000000000000001")
        .await;
    eventually("the worker to tell of it", BOUND, async || {
        let seen = world.at_worker(1, phone.digits()).await;
        (seen["me"]["reachoutTimelock"]["isActive"] == true).then_some(())
    })
    .await;
    let client = world.client().await;
    let sql = "UPDATE sessions SET due_at = now(), reason = 'not looked at'";
    client.execute(sql, &[]).await.unwrap();
    let looked = |row: &Row| row.resting && row.reason.is_none();
    world
        .until(&phone, "the session to be looked at", looked)
        .await;
    let sql = "SELECT resting_until IS NULL AND rest_code IS NULL FROM senders";
    let free: bool = client.query_one(sql, &[]).await.unwrap().get(0);
    assert!(free, "it may speak");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restricted_number_rests_until_the_stated_end_and_is_not_restarted() {
    let world = world(&[(1, 1)]).await;
    let _replica = world.scheduler();
    let phone = world.working(1).await;
    let fault = json!({"kind": "error_463", "millis": 7_200_000});
    world.control(1, "fault", fault).await;
    world
        .say(1, &phone, RECIPIENT, "3EB0000000000000000001")
        .await;
    let client = world.client().await;
    client
        .execute("UPDATE sessions SET due_at = now()", &[])
        .await
        .unwrap();
    let rest = eventually("the number to rest", BOUND, async || {
        let sql = "SELECT EXTRACT(EPOCH FROM resting_until - now())::float8 FROM senders
            WHERE rest_code = 'time_locked'";
        let row = client.query_opt(sql, &[]).await.unwrap()?;
        row.get::<_, Option<f64>>(0)
    })
    .await;
    assert!((7_000.0..7_260.0).contains(&rest), "{rest} s");
    assert_eq!(world.session(&phone).await.unwrap().status, "WORKING");
    assert_eq!(
        world.at_worker(1, phone.digits()).await["status"],
        "WORKING"
    );
}
