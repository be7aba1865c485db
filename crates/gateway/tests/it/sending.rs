//! POST /api/send.

use reqwest::Method;
use serde_json::json;

use crate::app::{Said, app, app_with, said};

#[tokio::test(flavor = "multi_thread")]
async fn the_example_of_the_guide_is_accepted() {
    let app = app().await;
    app.session("42108077").await;
    let body = r#"{
        "sender_number": "42108077",
        "recipients": ["21642108101"],
        "template": "Hello, this is a test message!",
        "media_url": null
    }"#;
    let request = app
        .call(Method::POST, "/api/send")
        .header("content-type", "application/json");
    let accepted = said(request.body(body)).await;
    let view = accepted.is(202);
    assert_eq!(view["status"], "PENDING");
    assert_eq!(view["sender_number"], "42108077");
    assert_eq!(
        (&view["total_messages"], &view["duplicates_removed"]),
        (&json!(1), &json!(0))
    );
    assert!(view["created_at"].is_string() && view["estimated_finish_at"].is_string());
    let status_url = view["status_url"].as_str().unwrap();
    assert_eq!(accepted.header("location"), status_url);
    let status = app.get(status_url).await;
    assert_eq!(
        status.is(200)["reason"],
        "the sender's session is QUEUED at place 1: no worker has room for it"
    );
    assert_eq!(accepted.header("x-trace-id").len(), 36);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_accepted_campaign_has_its_job_published() {
    let app = app().await;
    app.session("42108077").await;
    app.campaign("42108077", &["21642108101"]).await;
    app.until_published().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_trace_of_the_caller_is_kept() {
    let app = app().await;
    app.session("42108077").await;
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let body = json!({"sender_number": "42108077", "recipients": ["1234567"], "template": "x"});
    let request = app.call(Method::POST, "/api/send").json(&body);
    let header = format!("00-{trace}-00f067aa0ba902b7-01");
    let accepted = said(request.header("traceparent", header)).await;
    accepted.is(202);
    assert_eq!(accepted.header("x-trace-id").replace('-', ""), trace);
    let query = format!("SELECT count(*) FROM campaigns WHERE trace_id = '{trace}'");
    assert_eq!(app.number(&query).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sender_without_a_session_is_told_how_to_make_one() {
    let app = app().await;
    let body = json!({"sender_number": "42108077", "recipients": ["1234567"], "template": "x"});
    let refused = app.post("/api/send", body).await;
    refused.is_problem(409, "sender-unknown");
    assert!(
        refused.body["detail"]
            .as_str()
            .unwrap()
            .contains("POST /api/sessions")
    );
    assert_eq!(app.number("SELECT count(*) FROM campaigns").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_fault_is_listed_at_once() {
    let app = app().await;
    let body = json!({
        "recipients": ["12a", 7, {"number": "1234567", "variables": {"x": {}}}],
        "template": "{{a b}}", "media_url": "cat", "scheduled_at": "2026-12-01T00:00:00Z"
    });
    let pointers = app.post("/api/send", body).await.is_problem(422, "invalid");
    assert_eq!(
        pointers,
        [
            "/sender_number",
            "/media_url",
            "/template",
            "/scheduled_at",
            "/recipients/0",
            "/recipients/1",
            "/recipients/2/variables"
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_recipients_can_be_skipped() {
    let app = app().await;
    app.session("42108077").await;
    let body = json!({"sender_number": "42108077", "recipients": ["1234567", "x", "+1234567"],
        "template": "x", "on_invalid": "skip"});
    let accepted = app.post("/api/send", body).await;
    let view = accepted.is(202);
    assert_eq!(
        (&view["total_messages"], &view["duplicates_removed"]),
        (&json!(1), &json!(1))
    );
    assert_eq!(
        view["skipped"],
        json!([{"index": 1, "detail": "\"x\" has a letter in it"}])
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_that_cannot_be_taken() {
    let app = app_with(&[("MAX_BODY_BYTES", "1024"), ("MAX_STREAM_BYTES", "1024")]).await;
    let post = |kind: &'static str, body: String| {
        let request = app
            .call(Method::POST, "/api/send")
            .header("content-type", kind);
        said(request.body(body))
    };
    post("application/json", "{".to_owned())
        .await
        .is_problem(400, "malformed-json");
    post("application/json", String::new())
        .await
        .is_problem(400, "malformed-json");
    post("application/json", "[]".to_owned())
        .await
        .is_problem(422, "invalid");
    post("text/plain", "{}".to_owned())
        .await
        .is_problem(415, "unsupported-media-type");
    post("application/x-www-form-urlencoded", "{}".to_owned())
        .await
        .is_problem(415, "unsupported-media-type");
    let large = format!("{{\"template\": \"{}\"}}", "x".repeat(2_000));
    post("application/json", large.clone())
        .await
        .is_problem(413, "body-too-large");
    post("application/x-ndjson", large)
        .await
        .is_problem(413, "body-too-large");
    post("application/x-ndjson", String::new())
        .await
        .is_problem(400, "malformed-json");
    post("application/x-ndjson", "{}\n{".to_owned())
        .await
        .is_problem(400, "malformed-json");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_thousand_recipients_in_one_request() {
    let app = app().await;
    app.session("42108077").await;
    let recipients: Vec<String> = (0..100_000).map(|n| format!("216{n:08}")).collect();
    let body = json!({"sender_number": "42108077", "recipients": recipients, "template": "x"});
    let accepted = app.post("/api/send", body).await;
    assert_eq!(accepted.is(202)["total_messages"], 100_000);
    assert_eq!(app.number("SELECT count(*) FROM messages").await, 100_000);
    assert_eq!(
        app.number("SELECT max(ordinal)::bigint FROM messages")
            .await,
        99_999
    );
}

async fn stream(app: &crate::app::App, lines: &str) -> Said {
    let request = app
        .call(Method::POST, "/api/send")
        .header("content-type", "application/x-ndjson");
    said(request.body(lines.to_owned())).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_campaign_can_be_streamed_line_by_line() {
    let app = app().await;
    app.session("42108077").await;
    let lines = concat!(
        "{\"sender_number\": \"42108077\", \"template\": \"Hi {{name}}\", ",
        "\"variables\": {\"name\": \"you\"}}\r\n",
        "\"21642108101\"\n\n",
        "{\"number\": \"21642108102\", \"variables\": {\"name\": \"Leila\"}}",
    );
    let accepted = stream(&app, lines).await;
    assert_eq!(accepted.is(202)["total_messages"], 2);
    let path = format!(
        "{}?details=true",
        accepted.body["status_url"].as_str().unwrap()
    );
    let status = app.get(&path).await;
    let texts: Vec<_> = status.is(200)["messages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|m| m["text"].clone())
        .collect();
    assert_eq!(texts, ["Hi you", "Hi Leila"]);
    let faults = stream(&app, "{\"template\": \"x\"}\n\"x\"\n").await;
    assert_eq!(
        faults.is_problem(422, "invalid"),
        ["/sender_number", "/recipients/0"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_breaks_off_leaves_nothing() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let app = app().await;
    app.session("42108077").await;
    let address = app.url.trim_start_matches("http://").to_owned();
    let mut wire = tokio::net::TcpStream::connect(&address).await.unwrap();
    let head = format!(
        "POST /api/send HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/x-ndjson\r\n\
         content-length: 10000\r\n\r\n\
         {{\"sender_number\": \"42108077\", \"template\": \"x\"}}\n\"1234567\"\n"
    );
    wire.write_all(head.as_bytes()).await.unwrap();
    wire.shutdown().await.unwrap();
    let mut answer = Vec::new();
    wire.read_to_end(&mut answer).await.unwrap_or_default();
    let answer = String::from_utf8_lossy(&answer);
    assert!(answer.is_empty() || answer.contains("400"), "{answer}");
    // The gateway answers others meanwhile, and has kept nothing.
    app.get("/livez").await.is(200);
    for table in ["campaigns", "messages", "outbox"] {
        assert_eq!(
            app.number(&format!("SELECT count(*) FROM {table}")).await,
            0,
            "{table}"
        );
    }
}
