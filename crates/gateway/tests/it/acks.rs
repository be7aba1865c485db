//! What WhatsApp reports of messages, the stories of those, and what a person says of them.

use models::campaign::CampaignStatus;
use models::ids::{CampaignId, ReplicaId};
use models::message::MessageKey;
use models::phone::PhoneNumber;
use reqwest::Method;
use serde_json::{Value, json};
use store::lanes::{self, Arrival, Tenure};
use store::ledger::{self, Cause, Claim, Conclusion, Outcome, Proof};
use uuid::Uuid;

use crate::app::{App, HMAC_KEY, app_with, said};
use crate::webhook::{placed, placed_on, report};

const SENDER: &str = "42108077";
const RECIPIENTS: [&str; 2] = ["21642108101", "21642108102"];

/// A sender replica's hands: it owns the lane of the only session.
struct Hands<'a> {
    app: &'a App,
    replica: ReplicaId,
    tenure: Tenure,
    generation: i32,
    campaign: CampaignId,
}

fn sender() -> PhoneNumber {
    SENDER.parse().unwrap()
}

impl<'a> Hands<'a> {
    async fn new(app: &'a App, generation: i64) -> Self {
        app.sql("UPDATE sessions SET status = 'WORKING'").await;
        let campaign = app.campaign(SENDER, &RECIPIENTS).await;
        let client = app.db.store.client().await.unwrap();
        let replica = ReplicaId::new(Uuid::from_u128(7));
        store::replicas::beat(&client, replica, "sender", "hands")
            .await
            .unwrap();
        let dead_after = std::time::Duration::from_secs(60);
        let arrival = lanes::arrive(&client, replica, &sender(), dead_after).await;
        let Arrival::Ours(tenure) = arrival.unwrap() else {
            panic!("the lane should be free");
        };
        Self {
            app,
            replica,
            tenure,
            generation: generation.try_into().unwrap(),
            campaign: campaign.parse().unwrap(),
        }
    }

    fn key(&self, ordinal: i32) -> MessageKey {
        MessageKey {
            campaign: self.campaign,
            ordinal,
        }
    }

    async fn claim(&self, ordinal: i32, id: &str) {
        let claim = Claim {
            tenure: self.tenure,
            phone: sender(),
            generation: self.generation,
            key: self.key(ordinal),
            message_id: Some(id.to_owned()),
        };
        let mut db = self.app.db.store.client().await.unwrap();
        let written = ledger::write(&mut db, self.replica, &[], &[claim]).await;
        let claimed = written.unwrap().claimed.remove(0).unwrap();
        assert_eq!(claimed.message_id.as_deref(), Some(id));
    }

    async fn conclude(&self, ordinal: i32, outcome: Outcome) -> CampaignStatus {
        let conclusion = Conclusion {
            tenure: self.tenure,
            phone: sender(),
            key: self.key(ordinal),
            claimed_on: self.tenure.worker,
            outcome,
        };
        let mut db = self.app.db.store.client().await.unwrap();
        let written = ledger::write(&mut db, self.replica, &[conclusion], &[]).await;
        written.unwrap().concluded.remove(0).unwrap().campaign
    }

    async fn story(&self, recipient: &str) -> Value {
        let path = format!("/api/campaigns/{}/messages/{recipient}", self.campaign);
        self.app.get(&path).await.is(200).clone()
    }

    async fn ack(&self, generation: i32, id: &str, ack: i32) {
        let body = ack_of(id, ack);
        report(self.app, generation.into(), &body, Some(HMAC_KEY))
            .await
            .is(200);
    }

    async fn status(&self) -> Value {
        let path = format!("/api/status/{}", self.campaign);
        self.app.get(&path).await.is(200).clone()
    }
}

fn ack_of(id: &str, ack: i32) -> Value {
    json!({"event": "message.ack", "session": SENDER, "payload":
        {"id": format!("true_{}@c.us_{id}", RECIPIENTS[0]), "fromMe": true, "ack": ack}})
}

fn sent() -> Outcome {
    Outcome::Sent {
        message_id: None,
        proof: Proof::Answer,
    }
}

fn unknown() -> Outcome {
    Outcome::Unknown(Cause {
        code: "owner_died".to_owned(),
        detail: "nobody knows".to_owned(),
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ack_that_comes_before_the_answer_is_kept() {
    let (app, _sim, generation) = placed().await;
    let hands = Hands::new(&app, generation).await;
    hands.claim(0, "3EB0AA").await;
    hands.ack(hands.generation, "3EB0AA", 2).await;
    assert_eq!(hands.story(RECIPIENTS[0]).await["status"], "SENDING");
    hands.conclude(0, sent()).await;
    // Late, doubled, and from a former worker: nothing moves down or twice.
    for (generation, ack) in [(0, 1), (0, 2), (1, 3)] {
        let generation = hands.generation - generation;
        hands.ack(generation, "3EB0AA", ack).await;
    }
    let story = hands.story(RECIPIENTS[0]).await;
    assert_eq!(
        (&story["status"], &story["ack"]),
        (&json!("DELIVERED"), &json!(2))
    );
    let steps = story["transitions"].as_array().unwrap();
    let steps: Vec<_> = steps
        .iter()
        .map(|step| (step["status"].as_str().unwrap(), step["answer"].as_str()))
        .collect();
    let wanted = [
        ("PENDING", Some("campaign_accepted")),
        ("SENDING", None),
        ("DELIVERED", Some("ack_device")),
        ("SENT", Some("accepted")),
    ];
    assert_eq!(sorted(&steps), sorted(&wanted));
    let status = hands.status().await;
    for (field, count) in [
        ("sent_messages", 1),
        ("delivered_messages", 1),
        ("read_messages", 0),
        ("pending_messages", 1),
    ] {
        assert_eq!(status[field], count, "{field} of {status}");
    }
    let session = app.get(&format!("/api/sessions/{SENDER}")).await;
    assert_eq!(session.is(200)["health"]["state"], "healthy");
    assert_eq!(session.body["health"]["unacked_messages"], 0);
}

fn sorted<T: Ord + Clone>(list: &[T]) -> Vec<T> {
    let mut list = list.to_vec();
    list.sort();
    list
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receipt_settles_what_was_unknown() {
    let (app, _sim, generation) = placed().await;
    let hands = Hands::new(&app, generation).await;
    for (ordinal, id) in [(0, "3EB0AA"), (1, "3EB0BB")] {
        hands.claim(ordinal, id).await;
        hands.conclude(ordinal, unknown()).await;
    }
    assert_eq!(hands.status().await["status"], "COMPLETED_WITH_ERRORS");
    let own = json!({"event": "message.any", "session": SENDER, "payload":
        {"id": "true_x@c.us_3EB0AA", "from": "x@c.us", "fromMe": true}});
    report(&app, generation, &own, Some(HMAC_KEY)).await.is(200);
    // Nobody signed this one.
    report(&app, generation, &ack_of("3EB0BB", 3), None)
        .await
        .is(200);
    let status = hands.status().await;
    assert_eq!(
        (&status["sent_messages"], &status["unknown_messages"]),
        (&json!(1), &json!(1))
    );
    hands.ack(hands.generation, "3EB0BB", 3).await;
    let status = hands.status().await;
    assert_eq!(
        (&status["status"], &status["read_messages"]),
        (&json!("COMPLETED"), &json!(1))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_for_the_numbers_sake_rests_the_number_and_costs_nobody_anything() {
    let (app, _sim, generation) = placed().await;
    let hands = Hands::new(&app, generation).await;
    hands.claim(0, "3EB0AA").await;
    hands.conclude(0, sent()).await;
    let mut refused = ack_of("3EB0AA", -1);
    let until = chassis::Clock::system().now().unix_timestamp() + 7_200;
    refused["payload"]["error"] = json!({"code": "463", "until": until});
    report(&app, generation, &refused, Some(HMAC_KEY))
        .await
        .is(200);
    let story = hands.story(RECIPIENTS[0]).await;
    assert_eq!(
        (&story["status"], &story["attempts"]),
        (&json!("PENDING"), &json!(0))
    );
    assert_eq!(
        story["waha_message_id"],
        Value::Null,
        "its next attempt has an id of its own"
    );
    let status = hands.status().await;
    assert!(
        status["reason"].as_str().unwrap().contains("463"),
        "{status}"
    );
    let rests = "SELECT EXTRACT(EPOCH FROM resting_until)::bigint FROM senders";
    assert_eq!(app.number(rests).await, until, "until the stated end");
    assert!(status["next_attempt_at"].is_string(), "{status}");
    assert_eq!(status["failed_messages"], 0);
    let session = app.get(&format!("/api/sessions/{SENDER}")).await;
    assert_eq!(session.is(200)["health"]["state"], "time_locked");
    assert_eq!(
        session.body["status"], "WORKING",
        "and it is never restarted for this"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_without_an_end_rest_the_number_longer_each_time() {
    let rests = [
        ("RESTRICTED_REST_SECONDS", "1000"),
        ("RESTRICTED_REST_SECONDS_MAX", "1500"),
    ];
    let (app, _sim, generation) = placed_on(app_with(&rests).await).await;
    let hands = Hands::new(&app, generation).await;
    for (id, seconds) in [("3EB0AA", 1_000), ("3EB0BB", 1_500)] {
        hands.claim(0, id).await;
        hands.conclude(0, sent()).await;
        let mut refused = ack_of(id, -1);
        refused["payload"]["error"] = json!({"code": "463"});
        report(&app, generation, &refused, Some(HMAC_KEY))
            .await
            .is(200);
        let rest = "SELECT round(EXTRACT(EPOCH FROM resting_until - now()), -2)::bigint
            FROM senders WHERE rest_code = 'time_locked'";
        assert_eq!(app.number(rest).await, seconds);
        app.sql("UPDATE senders SET resting_until = now()").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restriction_that_a_former_placement_tells_of_rests_nobody() {
    let (app, _sim, generation) = placed().await;
    let hands = Hands::new(&app, generation).await;
    hands.claim(0, "3EB0AA").await;
    hands.conclude(0, sent()).await;
    let mut refused = ack_of("3EB0AA", -1);
    refused["payload"]["error"] = json!({"code": "463"});
    let rests = "SELECT count(*) FROM senders WHERE resting_until > now()";
    for (placement, resting) in [(generation - 1, 0), (generation, 1)] {
        report(&app, placement, &refused, Some(HMAC_KEY))
            .await
            .is(200);
        assert_eq!(app.number(rests).await, resting, "placement {placement}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_of_one_recipient_fails_that_message_alone() {
    let (app, _sim, generation) = placed().await;
    let hands = Hands::new(&app, generation).await;
    hands.claim(0, "3EB0AA").await;
    hands.conclude(0, sent()).await;
    hands.ack(hands.generation, "3EB0AA", -1).await;
    let story = hands.story(RECIPIENTS[0]).await;
    assert_eq!(story["error_code"], "whatsapp_refused");
    assert_eq!(hands.status().await["failed_messages"], 1);
    let due = "SELECT count(*) FROM sessions WHERE due_at <= now()";
    assert_eq!(
        app.number(due).await,
        1,
        "the scheduler looks what the session says"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_settles_what_is_unknown() {
    let (app, _sim, generation) = placed().await;
    let hands = Hands::new(&app, generation).await;
    for (ordinal, id) in [(0, "3EB0AA"), (1, "3EB0BB")] {
        hands.claim(ordinal, id).await;
        hands.conclude(ordinal, unknown()).await;
    }
    let path = format!("/api/campaigns/{}/unknown", hands.campaign);
    app.post(&path, json!({"as": "SENT"}))
        .await
        .is_problem(401, "admin-key-missing");
    for (body, pointer) in [
        (json!({}), "/as"),
        (json!({"as": "READ"}), "/as"),
        (json!({"as": "SENT", "recipients": ["x"]}), "/recipients"),
        (json!({"as": "SENT", "whom": 1}), "/whom"),
    ] {
        let pointers = app.admin_post(&path, body).await.is_problem(422, "invalid");
        assert_eq!(pointers, [pointer]);
    }
    let one = json!({"as": "SENT", "recipients": [format!("+{}", RECIPIENTS[0])]});
    let settled = app.admin_post(&path, one).await;
    assert_eq!(
        (
            &settled.is(200)["settled"],
            &settled.body["unknown_messages"]
        ),
        (&json!(1), &json!(1))
    );
    let again = app.admin_post(&path, json!({"as": "RESEND"})).await;
    assert_eq!(
        (&again.is(200)["settled"], &again.body["status"]),
        (&json!(1), &json!("IN_PROGRESS"))
    );
    assert_eq!(hands.story(RECIPIENTS[1]).await["status"], "PENDING");
    hands.claim(1, "3EB0CC").await;
    assert_eq!(hands.conclude(1, sent()).await, CampaignStatus::Completed);
    let none = app.admin_post(&path, json!({"as": "FAILED"})).await;
    assert_eq!(none.is(200)["settled"], 0);
    let path = format!("/api/campaigns/{}/unknown", Uuid::from_u128(1));
    app.admin_post(&path, json!({"as": "SENT"}))
        .await
        .is_problem(404, "campaign-unknown");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_story_is_told_of_messages_that_there_are() {
    let (app, _sim, generation) = placed().await;
    let hands = Hands::new(&app, generation).await;
    let story = hands.story("+216 42 108 102").await;
    assert_eq!(
        (&story["ordinal"], &story["status"]),
        (&json!(1), &json!("PENDING"))
    );
    let call = async |path: String| said(app.call(Method::GET, &path)).await;
    let of = |campaign: &str, who: &str| format!("/api/campaigns/{campaign}/messages/{who}");
    let id = hands.campaign.to_string();
    call(of(&id, "21600000"))
        .await
        .is_problem(404, "message-unknown");
    call(of("nothing", "21600000"))
        .await
        .is_problem(404, "campaign-unknown");
    call(of(&id, "abc")).await.is_problem(422, "invalid");
}
