//! Sessions, as far as the gateway makes them: the scheduler does the rest.

use reqwest::Method;
use serde_json::json;
use waha::sessions::SessionConfig;
use waha_sim::Running;

use crate::app::{App, app, said};
use crate::workers::{register, servers};

/// Plays the scheduler: makes the session on its worker and writes its status down.
async fn made_on_worker(app: &App, sim: &Running, status: &str) {
    let url = sim.worker_url(1).parse().unwrap();
    let waha = waha::Waha::new(&url, sim.api_key(1).into(), waha::http_client().unwrap());
    let config = SessionConfig {
        metadata: [].into(),
        webhooks: Vec::new(),
    };
    waha.create_session("42108077", &config).await.unwrap();
    app.sql(&format!(
        "UPDATE sessions SET created = true, status = '{status}'"
    ))
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn asked_for_twice_it_is_one() {
    let app = app().await;
    let body = json!({"phone_number": "+216 42 108 077"});
    let made = app.post("/api/sessions", body.clone()).await;
    let view = made.is(201);
    assert_eq!(
        (&view["phone_number"], &view["status"]),
        (&json!("21642108077"), &json!("QUEUED"))
    );
    assert_eq!(
        (&view["worker"], &view["data"]["queue_place"]),
        (&json!(null), &json!(1))
    );
    assert!(
        view["message"].as_str().unwrap().contains("place 1"),
        "{view}"
    );
    app.post("/api/sessions", body).await.is(200);
    let got = app.get(made.header("location")).await;
    assert_eq!(got.is(200)["phone_number"], "21642108077");
}

#[tokio::test(flavor = "multi_thread")]
async fn it_goes_to_a_worker_with_room_or_waits_in_the_queue() {
    let (app, sim) = (app().await, servers(2).await);
    let ids = [register(&app, &sim, 1).await, register(&app, &sim, 2).await];
    app.sql("UPDATE workers SET capacity = 1, max_live = 1")
        .await;
    let mut used = Vec::new();
    for phone in ["42108077", "42108078"] {
        let made = app
            .post("/api/sessions", json!({"phone_number": phone}))
            .await;
        assert_eq!(made.is(201)["status"], "STARTING");
        used.push(made.body["worker"]["id"].as_str().unwrap().to_owned());
    }
    used.sort();
    assert_eq!(used, ids, "each on a worker of its own");
    let third = app
        .post("/api/sessions", json!({"phone_number": "42108079"}))
        .await;
    assert_eq!(third.is(201)["status"], "QUEUED");
    let active = app.admin_get("/api/admin/sessions").await;
    assert_eq!(active.is(200).as_array().unwrap().len(), 2);
    let all = app.admin_get("/api/sessions?limit=2").await;
    assert_eq!(all.is(200)[0]["phone_number"], "42108079");
    let rest = app.admin_get(&all.next().unwrap()).await;
    assert_eq!(
        (rest.is(200).as_array().unwrap().len(), rest.next()),
        (1, None)
    );
}

/// As clients of the original do.
#[tokio::test(flavor = "multi_thread")]
async fn starting_a_number_that_is_new_makes_its_session() {
    let app = app().await;
    let path = "/api/sessions/42108077";
    let wrong = app.post("/api/sessions/12345x/start", json!({})).await;
    assert_eq!(wrong.is_problem(422, "invalid"), ["{phone_number}"]);
    for status in [201, 200] {
        let started = app.post(&format!("{path}/start"), json!({})).await;
        let view = started.is(status);
        assert_eq!(
            (&view["status"], &view["data"]["queue_place"]),
            (&json!("QUEUED"), &json!(1))
        );
    }
    assert_eq!(app.get(path).await.is(200)["status"], "QUEUED");
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_and_wrong_numbers() {
    let app = app().await;
    let calls = ["", "/qr", "/me"].map(|call| (Method::GET, call));
    let more = ["/stop", "/logout", "/pairing-code"].map(|call| (Method::POST, call));
    for (method, call) in calls.into_iter().chain(more).chain([(Method::DELETE, "")]) {
        let unknown =
            said(app.admin(method.clone(), &format!("/api/sessions/1234567{call}"))).await;
        unknown.is_problem(404, "session-unknown");
        let wrong = said(app.admin(method, &format!("/api/sessions/12345x{call}"))).await;
        assert_eq!(wrong.is_problem(422, "invalid"), ["{phone_number}"]);
    }
    let refused = app
        .post(
            "/api/sessions",
            json!({"phone_number": 42108077, "name": "x"}),
        )
        .await;
    assert_eq!(
        refused.is_problem(422, "invalid"),
        ["/phone_number", "/name"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_qr_code_comes_as_json_and_as_a_picture() {
    let (app, sim) = (app().await, servers(1).await);
    register(&app, &sim, 1).await;
    app.session("42108077").await;
    made_on_worker(&app, &sim, "STARTING").await;
    let code = app.get("/api/sessions/42108077/qr").await;
    let view = code.is(200);
    assert_eq!(view["status"], "SCAN_QR_CODE");
    assert!(
        view["qr_code"].as_str().unwrap().starts_with("iVBORw0KGgo"),
        "{view}"
    );
    assert!(view["expires_at"].is_string());
    for request in [
        app.call(Method::GET, "/api/sessions/42108077/qr?format=image"),
        app.call(Method::GET, "/api/sessions/42108077/qr")
            .header("accept", "image/png"),
    ] {
        let answer = request.send().await.unwrap();
        assert_eq!(
            (answer.status().as_u16(), &answer.headers()["content-type"]),
            (200, &"image/png".parse().unwrap())
        );
        assert!(answer.bytes().await.unwrap().starts_with(b"\x89PNG"));
    }
    let pairing = app
        .post("/api/sessions/42108077/pairing-code", json!(null))
        .await;
    assert!(pairing.is(200)["code"].as_str().unwrap().len() > 4);
    app.sql("UPDATE sessions SET status = 'WORKING'").await;
    let linked = app.get("/api/sessions/42108077/qr").await;
    assert_eq!(
        (&linked.is(200)["status"], &linked.body["qr_code"]),
        (&json!("WORKING"), &json!(null))
    );
    let me = app.get("/api/sessions/42108077/me").await;
    assert_eq!(me.is(200)["phone_number"], "42108077");
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_waits_for_a_code_for_ever() {
    let (app, sim) = (app().await, servers(1).await);
    app.session("42108070").await;
    app.get("/api/sessions/42108070/qr")
        .await
        .is_problem(409, "session-state");
    register(&app, &sim, 1).await;
    app.sql("UPDATE sessions SET worker_id = (SELECT id FROM workers), status = 'STARTING'")
        .await;
    let refused = app.get("/api/sessions/42108070/qr").await;
    refused.is_problem(503, "unavailable");
    assert_eq!(refused.header("retry-after"), "2");
    app.get("/api/sessions/42108070/me")
        .await
        .is_problem(409, "session-state");
}

#[tokio::test(flavor = "multi_thread")]
async fn stop_start_and_log_out_say_what_is_wanted() {
    let (app, sim) = (app().await, servers(1).await);
    register(&app, &sim, 1).await;
    app.session("42108077").await;
    let due = "SELECT count(*) FROM sessions WHERE due_at <= now()";
    for (call, wanted) in [
        ("stop", "STOPPED"),
        ("start", "RUNNING"),
        ("logout", "RUNNING"),
    ] {
        app.sql("UPDATE sessions SET due_at = NULL").await;
        let said = app
            .post(&format!("/api/sessions/42108077/{call}"), json!(null))
            .await;
        assert_eq!(said.is(200)["data"]["wanted"], wanted);
        assert_eq!(app.number(due).await, 1, "{call}");
    }
    assert_eq!(
        app.number("SELECT count(*) FROM sessions WHERE logout")
            .await,
        1
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn removing_one_cancels_its_campaigns_and_it_can_come_again() {
    let (app, sim) = (app().await, servers(1).await);
    register(&app, &sim, 1).await;
    app.session("42108077").await;
    let id = app.campaign("42108077", &["1234567"]).await;
    let path = "/api/sessions/42108077";
    let refused = said(app.call(Method::DELETE, path)).await;
    refused.is_problem(401, "admin-key-missing");
    let removed = said(app.admin(Method::DELETE, path)).await;
    assert_eq!(removed.is(200)["status"], "STARTING");
    assert!(
        removed.body["message"]
            .as_str()
            .unwrap()
            .ends_with("cancelled with it: 1")
    );
    app.get(path).await.is_problem(404, "session-unknown");
    said(app.admin(Method::DELETE, path))
        .await
        .is_problem(404, "session-unknown");
    let status = app.get(&format!("/api/status/{id}")).await;
    assert_eq!(
        (&status.is(200)["status"], &status.body["reason"]),
        (
            &json!("CANCELLED"),
            &json!("the sender's session was removed")
        )
    );
    let body = json!({"sender_number": "42108077", "recipients": ["1234567"], "template": "x"});
    app.post("/api/send", body)
        .await
        .is_problem(409, "sender-unknown");
    app.session("42108077").await;
    app.get(path).await.is(200);
}
