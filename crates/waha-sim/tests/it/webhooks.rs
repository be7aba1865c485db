//! Points 8 and 11: acks and the webhook sender.

use hmac::{Hmac, Mac};
use serde_json::{Value, json};
use waha_sim::{Engine, GlobalHook, Options};

use crate::fleet::{Fleet, options, version};
use crate::receiver::Receiver;

fn acks(payloads: &[Value]) -> Vec<i64> {
    payloads
        .iter()
        .map(|payload| payload["ack"].as_i64().unwrap())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn acks_come_as_the_engine_sends_them() {
    for (engine, expected) in [(Engine::Noweb, vec![1, 2, 3]), (Engine::Gows, vec![2, 3])] {
        let fleet = Fleet::of(engine).await;
        let receiver = Receiver::start(&[]);
        fleet.link(1, "a", receiver.config()).await;
        fleet.send(1, "a", "1@c.us").await;
        let payloads = receiver.until_count("message.ack", expected.len()).await;
        let mut got = acks(&payloads);
        got.sort_unstable();
        assert_eq!(got, expected);
        let any = receiver.until_count("message.any", 1).await;
        assert_eq!(
            (&any[0]["source"], &any[0]["fromMe"]),
            (&json!("api"), &json!(true))
        );
        assert_eq!(
            (&payloads[0]["id"], &payloads[0]["from"]),
            (&any[0]["id"], &json!("1@c.us"))
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn acks_can_be_missing_repeated_or_negative() {
    let fleet = Fleet::of(Engine::Noweb).await;
    let receiver = Receiver::start(&[]);
    fleet.link(1, "a", receiver.config()).await;
    let cases = [
        ("missing_ack", 0),
        ("repeated_ack", 6),
        ("unordered_ack", 3),
        ("blocked", 1),
    ];
    for (chat, (kind, _)) in cases.iter().enumerate() {
        fleet.fault(1, json!({"kind": kind, "count": 1})).await;
        let chat = format!("{chat}@c.us");
        assert_eq!(fleet.send(1, "a", &chat).await.0, 201);
    }
    assert_eq!(fleet.send(1, "a", "group@g.us").await.0, 201);
    receiver.until_count("message.ack", 10).await;
    let groups = receiver.until_count("message.ack.group", 3).await;
    assert_eq!(groups[0]["from"], "group@g.us");
    let payloads = receiver.payloads("message.ack");
    for (chat, (kind, count)) in cases.iter().enumerate() {
        let chat = format!("{chat}@c.us");
        let of_chat = payloads
            .iter()
            .filter(|payload| payload["from"] == chat.as_str());
        assert_eq!(of_chat.count(), *count, "{kind}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn deliveries_are_signed_and_retried_with_the_same_request_id() {
    let fleet = Fleet::of(Engine::Noweb).await;
    let receiver = Receiver::start(&[404, 500]);
    let hook = json!({"url": receiver.url, "events": ["session.status"], "hmac": {"key": "secret"},
        "customHeaders": [{"name": "X-My", "value": "v"}]});
    let body = json!({"name": "a", "config": {"webhooks": [hook], "metadata": {"tenant": "7"}}});
    fleet.call(1, "POST /api/sessions", body).await;
    fleet
        .call(1, "POST /api/sessions/a/start", Value::Null)
        .await;
    fleet.until_status(1, "a", "SCAN_QR_CODE").await;
    let scans = |payloads: &[Value]| {
        let of = |s: &str| payloads.iter().filter(|p| p["status"] == s).count();
        of("STARTING") >= 1 && of("SCAN_QR_CODE") >= 1 && payloads.len() >= 4
    };
    receiver.until("session.status", scans).await;

    let posts = receiver.posts("session.status");
    let first = &posts[0];
    let again = posts
        .iter()
        .filter(|post| post.body["id"] == first.body["id"]);
    let again: Vec<_> = again.collect();
    assert!(again.len() >= 2, "an error answer is retried, 4xx too");
    for post in &again {
        assert_eq!(
            post.headers["x-webhook-request-id"],
            first.headers["x-webhook-request-id"]
        );
        assert_eq!(post.raw, first.raw);
    }
    for post in &posts {
        let mut mac = Hmac::<sha2::Sha512>::new_from_slice(b"secret").unwrap();
        mac.update(&post.raw);
        let digest: String = mac
            .finalize()
            .into_bytes()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        assert_eq!(post.headers["x-webhook-hmac"], digest);
        assert_eq!(post.headers["x-webhook-hmac-algorithm"], "sha512");
        assert_eq!(post.headers["x-webhook-request-id"].len(), 17);
        assert_eq!(
            post.headers["x-webhook-timestamp"],
            post.body["timestamp"].to_string()
        );
        assert_eq!(post.headers["x-my"], "v");
        assert_eq!(post.headers["user-agent"], "WAHA/2026.8.2");
        assert_eq!(post.body["metadata"]["tenant"], "7");
        assert_eq!(post.body["environment"]["engine"], "NOWEB");
        assert!(post.body["id"].as_str().unwrap().starts_with("evt_"));
        let points = post.body["payload"]["statuses"].as_array().unwrap();
        assert_eq!(
            points.last().unwrap()["status"],
            post.body["payload"]["status"]
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn deliveries_end_with_their_attempts() {
    let fleet = Fleet::of(Engine::Noweb).await;
    let receiver = Receiver::start(&[500; 40]);
    let retries = json!({"policy": "constant", "delaySeconds": 1, "attempts": 2});
    let hook = json!({"url": receiver.url, "events": ["message"], "retries": retries});
    fleet.link(1, "a", json!({"webhooks": [hook]})).await;
    let inbound = json!({"session": "a", "from": "1555@c.us", "text": "STOP"});
    fleet.control(1, "POST /inbound", inbound).await;
    let payloads = receiver.until_count("message", 3).await;
    assert_eq!(
        (&payloads[0]["body"], &payloads[0]["fromMe"]),
        (&json!("STOP"), &json!(false))
    );
    tokio::time::sleep(fleet_wait(3.0)).await;
    assert_eq!(receiver.payloads("message").len(), 3);
}

/// So many of WAHA's seconds at the scale of these tests.
fn fleet_wait(seconds: f64) -> std::time::Duration {
    std::time::Duration::from_secs_f64(seconds * 0.02)
}

#[tokio::test(flavor = "multi_thread")]
async fn in_2024_a_webhook_is_tried_once_and_bare() {
    let fleet = Fleet::start(version(options(Engine::Noweb), "2024.10.8")).await;
    let receiver = Receiver::start(&[500]);
    fleet.link(1, "default", receiver.config()).await;
    let working = |payloads: &[Value]| payloads.iter().any(|p| p["status"] == "WORKING");
    receiver.until("session.status", working).await;
    fleet.send(1, "default", "1@c.us").await;
    receiver.until_count("message.ack", 3).await;
    let any = receiver.until_count("message.any", 1).await;
    assert!(any[0]["timestamp"]["low"].is_number(), "{any:?}");
    let posts = receiver.posts("session.status");
    let starting = posts
        .iter()
        .filter(|post| post.body["payload"]["status"] == "STARTING");
    assert_eq!(starting.count(), 2, "one per change and none again");
    for post in posts {
        assert!(
            post.headers
                .keys()
                .all(|name| !name.starts_with("x-webhook"))
        );
        assert!(post.body.get("id").is_none() && post.body.get("timestamp").is_none());
        assert!(post.body["payload"].get("statuses").is_none());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_global_hook_fires_too_and_does_not_show() {
    let receiver = Receiver::start(&[]);
    let hook = GlobalHook {
        url: receiver.url.clone(),
        events: vec!["session.status".to_owned()],
        hmac_key: None,
    };
    let fleet = Fleet::start(Options {
        global_hook: Some(hook),
        ..options(Engine::Noweb)
    })
    .await;
    let (_, session) = fleet
        .call(1, "POST /api/sessions", json!({"name": "a", "start": true}))
        .await;
    assert_eq!(session["config"], Value::Null);
    receiver.until_count("session.status", 1).await;
    fleet
        .fault(1, json!({"kind": "odd_event", "session": "a"}))
        .await;
}
