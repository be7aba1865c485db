//! Delays.

use reqwest::Method;
use serde_json::json;

use crate::app::{app, app_with, said};

#[tokio::test(flavor = "multi_thread")]
async fn global_delays_begin_as_set_and_change_in_part() {
    let app = app_with(&[("MESSAGE_DELAY", "4"), ("SENDER_SWITCH_DELAY", "0.5")]).await;
    let all = |message: f64, switch: f64, campaign: f64| {
        let mut all = json!({"MESSAGE_DELAY": message, "SENDER_SWITCH_DELAY": switch});
        all["CAMPAIGN_DELAY"] = json!(campaign);
        all
    };
    assert_eq!(
        *app.admin_get("/api/admin/delays").await.is(200),
        all(4.0, 0.5, 10.0)
    );
    let change = json!({"MESSAGE_DELAY": 2, "SENDER_SWITCH_DELAY": 5});
    let changed = app.admin_post("/api/admin/delays", change).await;
    assert_eq!(*changed.is(200), all(2.0, 5.0, 10.0));
    let changed = app
        .admin_post("/api/admin/delays", json!({"CAMPAIGN_DELAY": 0.2}))
        .await;
    assert_eq!(*changed.is(200), all(2.0, 5.0, 0.2));
    assert_eq!(app.number("SELECT version FROM settings").await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_delays_are_all_named() {
    let app = app().await;
    let wrong = json!({"MESSAGE_DELAY": -1, "SENDER_SWITCH_DELAY": "5", "CAMPAIGN_DELAY": 86401,
        "DELAY": 1});
    let refused = app.admin_post("/api/admin/delays", wrong).await;
    assert_eq!(
        refused.is_problem(422, "invalid"),
        [
            "/MESSAGE_DELAY",
            "/SENDER_SWITCH_DELAY",
            "/CAMPAIGN_DELAY",
            "/DELAY"
        ]
    );
    let path = "/api/admin/user-delays?message_delay=soon&campaign_delay=1e9";
    let refused = said(app.admin(Method::POST, path)).await;
    assert_eq!(
        refused.is_problem(422, "invalid"),
        ["?message_delay", "?campaign_delay"]
    );
    let refused = said(app.admin(Method::POST, "/api/admin/user-delays?message_delay=1")).await;
    assert_eq!(refused.is_problem(422, "invalid"), ["?sender_number"]);
    let refused = app.admin_get("/api/admin/user-delays").await;
    assert_eq!(refused.is_problem(422, "invalid"), ["?sender_number"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_senders_own_delays_go_before_the_global_ones() {
    let app = app().await;
    let path = "/api/admin/user-delays?sender_number=42108077";
    let shown = |message: f64, switch: f64, own: bool| {
        json!({"sender_number": "42108077", "message_delay": message,
            "sender_switch_delay": switch, "campaign_delay": 10.0, "inherited":
            {"message_delay": !own, "sender_switch_delay": !own, "campaign_delay": true}})
    };
    assert_eq!(*app.admin_get(path).await.is(200), shown(30.0, 1.0, false));
    let set = said(app.admin(
        Method::POST,
        &format!("{path}&message_delay=3&sender_switch_delay=7"),
    ))
    .await;
    assert_eq!(*set.is(200), shown(3.0, 7.0, true));
    let set = app.admin_post(path, json!({"message_delay": 4})).await;
    assert_eq!(*set.is(200), shown(4.0, 7.0, true));
    let body = json!({"sender_number": "+42108077", "message_delay": 5});
    let set = app.admin_post("/api/admin/user-delays", body).await;
    assert_eq!(*set.is(200), shown(5.0, 7.0, true));
    assert_eq!(*app.admin_get(path).await.is(200), shown(5.0, 7.0, true));
    let cleared = said(app.admin(Method::DELETE, path)).await;
    assert_eq!(*cleared.is(200), shown(30.0, 1.0, false));
}
