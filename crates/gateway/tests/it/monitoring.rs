//! Figures.

use serde_json::json;

use crate::app::app;

#[tokio::test(flavor = "multi_thread")]
async fn figures_count_what_there_is() {
    let app = app().await;
    app.session("42108077").await;
    app.session("42108078").await;
    app.campaign("42108077", &["1234567", "1234568"]).await;
    let metrics = app.admin_get("/api/admin/metrics").await;
    let view = metrics.is(200);
    for (field, wanted) in [
        ("active_sessions", 0),
        ("messages_sent_today", 0),
        ("current_queue_size", 2),
        ("total_campaigns", 1),
        ("total_users", 2),
        ("total_sessions", 2),
        ("queued_sessions", 2),
    ] {
        assert_eq!(view[field], wanted, "{field}");
    }
    assert!(view["server_uptime"].as_i64().unwrap() < 60);
    let own = app.get("/api/metrics?sender_number=42108078").await;
    assert_eq!(
        (&own.is(200)["total_campaigns"], &own.body["total_sessions"]),
        (&json!(0), &json!(1))
    );
    assert_eq!(
        app.get("/api/metrics").await.is_problem(422, "invalid"),
        ["?sender_number"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn users_campaigns_and_sessions_are_listed() {
    let app = app().await;
    app.session("42108077").await;
    app.session("42108078").await;
    let id = app.campaign("42108077", &["1234567", "1234568"]).await;
    let users = app.admin_get("/api/admin/users?limit=1").await;
    let user = &users.is(200)[0];
    assert_eq!(
        (&user["phone_number"], &user["total_messages"]),
        (&json!("42108077"), &json!(2))
    );
    assert_eq!(
        (&user["active_session"], &user["last_campaign_id"]),
        (&json!(false), &json!(id))
    );
    let second = app.admin_get(&users.next().unwrap()).await;
    assert_eq!(second.is(200)[0]["phone_number"], "42108078");
    let campaigns = app.admin_get("/api/admin/campaigns").await;
    assert_eq!(campaigns.is(200)["campaign_status"]["PENDING"], 1);
    assert_eq!(campaigns.body["message_status"]["PENDING"], 2);
    assert_eq!(campaigns.body["message_status"]["SENT"], 0);
    assert_eq!(campaigns.body["recent_campaigns"][0]["id"], json!(id));
    assert_eq!(
        *app.admin_get("/api/admin/sessions").await.is(200),
        json!([])
    );
    let numbers = app.admin_get("/api/admin/session-numbers").await;
    assert_eq!(
        *numbers.is(200),
        json!({"count": 2, "numbers": ["42108077", "42108078"]})
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn prometheus_figures_are_served() {
    chassis::metrics::install().unwrap();
    let app = app().await;
    app.session("42108077").await;
    let text = app
        .call(reqwest::Method::GET, "/metrics")
        .send()
        .await
        .unwrap()
        .text()
        .await
        .unwrap();
    assert!(
        text.contains("gateway_requests_total{route=\"/api/sessions\""),
        "{text}"
    );
    assert!(!text.contains("42108077"));
}
