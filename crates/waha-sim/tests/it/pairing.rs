//! Point 6 and section 6: pairing, the status machine and its timers.

use base64::Engine as _;
use serde_json::{Value, json};
use waha_sim::{Engine, Options};

use crate::fleet::{Fleet, options};
use crate::receiver::Receiver;

fn statuses(payloads: &[Value]) -> Vec<&str> {
    payloads
        .iter()
        .filter_map(|payload| payload["status"].as_str())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_qr_comes_in_three_forms() {
    let fleet = Fleet::of(Engine::Noweb).await;
    fleet
        .call(1, "POST /api/sessions", json!({"name": "a", "start": true}))
        .await;
    fleet.until_status(1, "a", "SCAN_QR_CODE").await;
    let url = format!("{}/api/a/auth/qr", fleet.running.worker_url(1));
    let get = |accept: &'static str, query: &'static str| {
        let request = fleet
            .http
            .get(format!("{url}{query}"))
            .header("Accept", accept);
        request.header("X-Api-Key", fleet.running.api_key(1)).send()
    };
    let image = get("image/png", "").await.unwrap();
    assert_eq!(image.headers()["content-type"], "image/png");
    let image = image.bytes().await.unwrap();
    assert!(image.starts_with(b"\x89PNG"));
    let coded: Value = get("application/json", "")
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    assert_eq!(coded["mimetype"], "image/png");
    let data = coded["data"].as_str().unwrap();
    assert_eq!(
        base64::engine::general_purpose::STANDARD
            .decode(data)
            .unwrap(),
        image
    );
    let raw: Value = get("image/png", "?format=raw")
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    assert!(raw["value"].as_str().unwrap().starts_with("2@"), "{raw}");
}

#[tokio::test(flavor = "multi_thread")]
async fn codes_pair_too_and_are_refused_elsewhere() {
    let fleet = Fleet::of(Engine::Noweb).await;
    fleet
        .call(1, "POST /api/sessions", json!({"name": "a", "start": true}))
        .await;
    fleet.until_status(1, "a", "SCAN_QR_CODE").await;
    let ask = json!({"phoneNumber": "15550042"});
    let (status, code) = fleet
        .call(1, "POST /api/a/auth/request-code", ask.clone())
        .await;
    assert_eq!((status, code["code"].as_str().unwrap().len()), (201, 9));
    let odd = json!({"phoneNumber": "15550042", "method": "sms"});
    assert_eq!(
        fleet.call(1, "POST /api/a/auth/request-code", odd).await.0,
        422
    );
    fleet
        .control(1, "POST /link", json!({"session": "a"}))
        .await;
    fleet.until_status(1, "a", "WORKING").await;
    let (_, me) = fleet.call(1, "GET /api/sessions/a/me", Value::Null).await;
    assert_eq!(me["id"], "15550042@c.us");
    let (status, late) = fleet.call(1, "POST /api/a/auth/request-code", ask).await;
    assert_eq!(status, 422);
    let text = "Can request code only in SCAN_QR_CODE status. The current status is WORKING";
    assert_eq!(late["message"], text);
    let (status, qr) = fleet.call(1, "GET /api/a/auth/qr", Value::Null).await;
    assert_eq!((status, &qr["expected"]), (422, &json!(["SCAN_QR_CODE"])));
    let (status, _) = fleet
        .control(1, "POST /link", json!({"session": "a"}))
        .await;
    assert_eq!(status, 409);
}

#[tokio::test(flavor = "multi_thread")]
async fn six_codes_are_shown_and_then_the_session_fails() {
    let fleet = Fleet::start(Options {
        time_scale: 0.005,
        ..options(Engine::Noweb)
    })
    .await;
    let receiver = Receiver::start(&[]);
    let body = json!({"name": "a", "start": true, "config": receiver.config()});
    fleet.call(1, "POST /api/sessions", body).await;
    fleet.until_status(1, "a", "FAILED").await;
    let failed = |payloads: &[Value]| statuses(payloads).contains(&"FAILED");
    receiver.until("session.status", failed).await;
    let payloads = receiver.until_count("session.status", 8).await;
    let shown = statuses(&payloads)
        .into_iter()
        .filter(|status| *status == "SCAN_QR_CODE");
    assert_eq!(shown.count(), 6);
    let (_, me) = fleet.call(1, "GET /api/sessions/a/me", Value::Null).await;
    assert_eq!(me, Value::Null);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_link_is_hidden_for_two_seconds() {
    let fleet = Fleet::start(Options {
        time_scale: 0.2,
        ..options(Engine::Noweb)
    })
    .await;
    fleet.link(1, "a", json!({})).await;
    fleet
        .fault(1, json!({"kind": "drop_link", "session": "a"}))
        .await;
    assert_eq!(fleet.status(1, "a").await, "WORKING");
    let (status, answer) = fleet.send(1, "a", "1@c.us").await;
    assert_eq!(
        (status, &answer["exception"]["message"]),
        (500, &json!("Connection Closed"))
    );
    fleet.until_status(1, "a", "STARTING").await;
    fleet.until_status(1, "a", "WORKING").await;
    assert_eq!(fleet.send(1, "a", "1@c.us").await.0, 201);
    assert_eq!(fleet.heard().await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_logged_out_session_fails_until_it_is_paired_again() {
    let fleet = Fleet::of(Engine::Noweb).await;
    fleet.link(1, "a", json!({})).await;
    assert_eq!(
        fleet
            .control(1, "POST /unlink", json!({"session": "a"}))
            .await
            .0,
        200
    );
    let (_, view) = fleet.call(1, "GET /api/sessions/a", Value::Null).await;
    assert_eq!(
        (&view["status"], &view["me"]["id"]),
        (&json!("FAILED"), &json!("15550001@c.us"))
    );
    fleet
        .call(1, "POST /api/sessions/a/restart", Value::Null)
        .await;
    fleet.until_status(1, "a", "FAILED").await;
    let (status, view) = fleet
        .call(1, "POST /api/sessions/a/logout", Value::Null)
        .await;
    assert_eq!((status, &view["me"]), (201, &Value::Null));
    fleet.until_status(1, "a", "SCAN_QR_CODE").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_keeps_the_login_and_a_stopped_session_its_me() {
    let fleet = Fleet::of(Engine::Gows).await;
    fleet.link(1, "a", json!({})).await;
    let (_, view) = fleet
        .call(1, "POST /api/sessions/a/stop", Value::Null)
        .await;
    assert_eq!(
        (&view["status"], &view["me"]["id"]),
        (&json!("STOPPED"), &json!("15550001@c.us"))
    );
    fleet
        .call(1, "POST /api/sessions/a/restart", Value::Null)
        .await;
    fleet.until_status(1, "a", "WORKING").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_closed_while_scanning_fails_at_once_and_odd_statuses_can_be_played() {
    let fleet = Fleet::of(Engine::Gows).await;
    for name in ["a", "b"] {
        fleet
            .call(
                1,
                "POST /api/sessions",
                json!({"name": name, "start": true}),
            )
            .await;
        fleet.until_status(1, name, "SCAN_QR_CODE").await;
    }
    fleet
        .fault(1, json!({"kind": "close_socket", "session": "a"}))
        .await;
    assert_eq!(fleet.status(1, "a").await, "FAILED");
    fleet
        .fault(1, json!({"kind": "passkey", "session": "b"}))
        .await;
    assert_eq!(fleet.status(1, "b").await, "PASSKEY_REQUIRED");
    fleet
        .fault(1, json!({"kind": "odd_status", "session": "b"}))
        .await;
    assert_eq!(fleet.status(1, "b").await, "HIBERNATING");
}
