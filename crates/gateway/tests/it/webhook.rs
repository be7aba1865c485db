//! What WAHA servers report.

use hmac::{Hmac, Mac};
use reqwest::Method;
use serde_json::{Value, json};
use sha2::Sha512;

use crate::app::{App, HMAC_KEY, Said, app, said};
use crate::workers::{register, servers};

fn status(word: &str) -> Value {
    json!({"event": "session.status", "session": "42108077",
        "payload": {"name": "42108077", "status": word}})
}

fn sign(body: &str, key: &str) -> String {
    let mut mac = Hmac::<Sha512>::new_from_slice(key.as_bytes()).unwrap();
    mac.update(body.as_bytes());
    let bytes = mac.finalize().into_bytes();
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(crate) async fn report(app: &App, generation: i64, body: &Value, key: Option<&str>) -> Said {
    let body = body.to_string();
    let path = format!("/api/webhook/waha/42108077/{generation}");
    let mut request = app
        .call(Method::POST, &path)
        .header("content-type", "application/json");
    if let Some(key) = key {
        request = request.header("x-webhook-hmac", sign(&body, key));
    }
    said(request.body(body)).await
}

async fn seen(app: &App) -> String {
    let session = app.get("/api/sessions/42108077").await;
    session.is(200)["status"].as_str().unwrap().to_owned()
}

/// A gateway with a placed session, and its generation.
pub(crate) async fn placed() -> (App, waha_sim::Running, i64) {
    placed_on(app().await).await
}

pub(crate) async fn placed_on(app: App) -> (App, waha_sim::Running, i64) {
    let sim = servers(1).await;
    register(&app, &sim, 1).await;
    app.session("42108077").await;
    let generation = app.number("SELECT generation::bigint FROM sessions").await;
    (app, sim, generation)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signed_report_is_believed_if_it_is_of_this_placement() {
    let (app, _sim, generation) = placed().await;
    report(&app, generation - 1, &status("FAILED"), Some(HMAC_KEY))
        .await
        .is(200);
    assert_eq!(seen(&app).await, "STARTING", "of a former placement");
    report(&app, generation, &status("WORKING"), Some(HMAC_KEY))
        .await
        .is(200);
    assert_eq!(seen(&app).await, "WORKING");
    assert_eq!(
        app.number("SELECT wake FROM lanes").await,
        1,
        "its lane was woken"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_that_nobody_signed_is_a_hint_and_a_forged_one_is_refused() {
    let (app, _sim, generation) = placed().await;
    app.sql("UPDATE sessions SET due_at = now() + interval '1 hour'")
        .await;
    report(&app, generation, &status("WORKING"), Some("another key"))
        .await
        .is_problem(401, "signature-wrong");
    let due = "SELECT count(*) FROM sessions WHERE due_at <= now()";
    assert_eq!(
        (app.number(due).await, seen(&app).await.as_str()),
        (0, "STARTING")
    );
    report(&app, generation, &status("WORKING"), None)
        .await
        .is(200);
    assert_eq!(
        (app.number(due).await, seen(&app).await.as_str()),
        (1, "STARTING")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_unknown_is_answered_and_what_is_no_event_refused() {
    let (app, _sim, generation) = placed().await;
    report(&app, generation, &status("DANCING"), Some(HMAC_KEY))
        .await
        .is(200);
    let other = json!({"event": "call.received", "session": "42108077", "payload": {"a": 1}});
    report(&app, generation, &other, Some(HMAC_KEY))
        .await
        .is(200);
    assert_eq!(seen(&app).await, "STARTING");
    report(&app, generation, &json!([]), None)
        .await
        .is_problem(422, "invalid");
    let broken = app
        .call(Method::POST, "/api/webhook/waha/42108077/1")
        .body("{");
    said(broken).await.is_problem(400, "malformed-json");
    let path = "/api/webhook/waha/x/99999999999";
    said(app.call(Method::POST, path).body("{}"))
        .await
        .is_problem(422, "invalid");
}
