//! Workers.

use reqwest::Method;
use serde_json::{Value, json};
use testkit::free_port;
use waha_sim::{Options, Running};

use crate::app::{App, Said, app, app_with, said};

/// Simulated WAHA servers.
pub(crate) async fn servers(workers: usize) -> Running {
    let options = Options {
        workers,
        time_scale: 0.01,
        ..Options::default()
    };
    waha_sim::start(options).await.unwrap()
}

/// What registers the worker of that number.
pub(crate) fn credentials(sim: &Running, number: usize) -> Value {
    json!({"url": sim.worker_url(number), "api_key": sim.api_key(number)})
}

/// Registers it; its id.
pub(crate) async fn register(app: &App, sim: &Running, number: usize) -> String {
    let made = app
        .admin_post("/api/admin/workers", credentials(sim, number))
        .await;
    made.is(201)["id"].as_str().unwrap().to_owned()
}

async fn patch(app: &App, id: &str, change: Value) -> Said {
    said(
        app.admin(Method::PATCH, &format!("/api/admin/workers/{id}"))
            .json(&change),
    )
    .await
}

async fn delete(app: &App, path: &str) -> Said {
    said(app.admin(Method::DELETE, &format!("/api/admin/workers/{path}"))).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_is_asked_who_it_is_and_its_key_is_never_shown() {
    let (app, sim) = (
        app_with(&[("MAX_SESSIONS_PER_WORKER", "7")]).await,
        servers(1).await,
    );
    let made = app
        .admin_post("/api/admin/workers", credentials(&sim, 1))
        .await;
    let worker = made.is(201);
    assert_eq!(
        (&worker["health"], &worker["tier"]),
        (&json!("up"), &json!("CORE"))
    );
    assert_eq!(
        (&worker["capacity"], &worker["capacity_inherited"]),
        (&json!(7), &json!(true))
    );
    assert!(worker["version"].is_string() && worker["engine"] == "NOWEB");
    let list = app.admin_get("/api/admin/workers").await;
    assert_eq!(list.is(200)[0]["id"], worker["id"]);
    let one = app.admin_get(made.header("location")).await;
    for shown in [&made.body, &list.body, one.is(200)] {
        assert!(!shown.to_string().contains(&sim.api_key(1)), "{shown}");
    }
    assert_eq!(app.number("SELECT count(*) FROM lanes").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_address_is_one_worker() {
    let (app, sim) = (app().await, servers(2).await);
    register(&app, &sim, 1).await;
    let second = register(&app, &sim, 2).await;
    let mut again = credentials(&sim, 1);
    again["url"] = json!(format!("{}/", sim.worker_url(1)));
    app.admin_post("/api/admin/workers", again.clone())
        .await
        .is_problem(409, "worker-url-taken");
    // Not even when it cannot be asked.
    again["api_key"] = json!("a key that it does not take");
    app.admin_post("/api/admin/workers", again.clone())
        .await
        .is_problem(409, "worker-url-taken");
    again["api_key"] = json!(sim.api_key(1));
    patch(&app, &second, again)
        .await
        .is_problem(409, "worker-url-taken");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_cannot_be_used_is_refused_with_the_cause() {
    let (app, sim) = (app().await, servers(1).await);
    let mut wrong_key = credentials(&sim, 1);
    wrong_key["api_key"] = json!("admin");
    let refused = app
        .admin_post("/api/admin/workers", wrong_key.clone())
        .await;
    assert_eq!(refused.is_problem(422, "worker-check-failed"), ["/api_key"]);
    assert!(
        refused.body["detail"]
            .as_str()
            .unwrap()
            .contains("WAHA takes this key for none")
    );
    let away = json!({"url": format!("http://127.0.0.1:{}", free_port()), "api_key": "k"});
    let refused = app.admin_post("/api/admin/workers", away.clone()).await;
    assert_eq!(refused.is_problem(422, "worker-check-failed"), ["/url"]);
    let unseen = app.admin_post("/api/admin/workers?check=false", away).await;
    assert_eq!(unseen.is(201)["health"], "unknown");
    let weak = app
        .admin_post("/api/admin/workers?check=false", wrong_key)
        .await;
    assert!(weak.is(201)["note"].is_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_fields_are_all_named() {
    let app = app().await;
    let wrong = json!({"url": "ftp://x", "capacity": -1, "max_live": 1.5, "name": "", "x": 1});
    let refused = app.admin_post("/api/admin/workers", wrong).await;
    let pointers = refused.is_problem(422, "invalid");
    assert_eq!(
        pointers,
        ["/url", "/api_key", "/capacity", "/max_live", "/name", "/x"]
    );
    let refused = app
        .admin_post("/api/admin/workers?check=maybe", json!({}))
        .await;
    assert_eq!(refused.is_problem(422, "invalid"), ["?check"]);
    let unknown = "01980000-0000-7000-8000-000000000000";
    patch(&app, unknown, json!({"capacity": 1}))
        .await
        .is_problem(404, "worker-unknown");
    let wrong = json!({"state": "asleep", "capacity": "many"});
    let pointers = patch(&app, unknown, wrong).await.is_problem(422, "invalid");
    assert_eq!(pointers, ["/capacity", "/state"]);
    delete(&app, unknown)
        .await
        .is_problem(404, "worker-unknown");
    delete(&app, "x").await.is_problem(404, "worker-unknown");
}

#[tokio::test(flavor = "multi_thread")]
async fn any_field_can_be_changed_and_given_back_to_its_setting() {
    let (app, sim) = (app().await, servers(2).await);
    let id = register(&app, &sim, 1).await;
    let changed = patch(
        &app,
        &id,
        json!({"capacity": 3, "state": "cordoned", "name": "one"}),
    )
    .await;
    let worker = changed.is(200);
    assert_eq!(
        (&worker["capacity"], &worker["capacity_inherited"]),
        (&json!(3), &json!(false))
    );
    assert_eq!(
        (&worker["state"], &worker["name"]),
        (&json!("cordoned"), &json!("one"))
    );
    let changed = patch(&app, &id, json!({"capacity": null})).await;
    let worker = changed.is(200);
    assert_eq!(
        (&worker["capacity"], &worker["capacity_inherited"]),
        (&json!(50), &json!(true))
    );
    let refused = patch(&app, &id, json!({"api_key": "wrong"})).await;
    assert_eq!(refused.is_problem(422, "worker-check-failed"), ["/api_key"]);
    assert_eq!(
        patch(&app, &id, credentials(&sim, 2)).await.is(200)["health"],
        "up"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_holds_sessions_goes_only_by_force() {
    let (app, sim) = (app().await, servers(1).await);
    let id = register(&app, &sim, 1).await;
    app.session("42108077").await;
    app.sql("UPDATE sessions SET created = true").await;
    let campaign = app.campaign("42108077", &["1234567", "1234568"]).await;
    app.sql("UPDATE campaigns SET status = 'IN_PROGRESS'").await;
    app.sql(
        "UPDATE senders SET in_flight_campaign = (SELECT id FROM campaigns), in_flight_ordinal = 0,
        in_flight_worker = (SELECT id FROM workers), in_flight_at = now()",
    )
    .await;
    delete(&app, &id)
        .await
        .is_problem(409, "worker-holds-sessions");
    delete(&app, &format!("{id}?force=true")).await.is(204);
    app.get("/api/sessions/42108077")
        .await
        .is_problem(404, "session-unknown");
    let status = app.get(&format!("/api/status/{campaign}")).await;
    let view = status.is(200);
    assert_eq!(
        (&view["status"], &view["unknown_messages"]),
        (&json!("CANCELLED"), &json!(1))
    );
    assert_eq!(
        view["reason"],
        "the sender's session was removed with its worker"
    );
    assert_eq!(app.number("SELECT count(*) FROM removals").await, 1);
    let id = register(&app, &sim, 1).await;
    delete(&app, &id).await.is(204);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_clean_up_says_what_it_removed() {
    let (app, sim) = (app().await, servers(2).await);
    register(&app, &sim, 1).await;
    app.session("42108077").await;
    app.session("42108078").await;
    app.campaign("42108077", &["1234567"]).await;
    let cleaned = delete(&app, "cleanup").await;
    assert_eq!(
        *cleaned.is(200),
        json!({"workers_removed": 1, "sessions_removed": 2, "campaigns_cancelled": 1})
    );
    assert_eq!(
        *app.admin_get("/api/admin/workers").await.is(200),
        json!([])
    );
}
