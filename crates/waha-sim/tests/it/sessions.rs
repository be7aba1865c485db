//! Points 2, 3, 4, 5 and 14: session calls, error shapes, waits and the lifecycle lock.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use waha_sim::{Engine, Options};

use crate::fleet::{Fleet, options, text};

#[tokio::test(flavor = "multi_thread")]
async fn sessions_are_created_and_listed() {
    let fleet = Fleet::of(Engine::Noweb).await;
    let (status, session) = fleet
        .call(1, "POST /api/sessions", json!({"name": "a"}))
        .await;
    assert_eq!((status, &session["status"]), (201, &json!("STOPPED")));
    for start in [json!(false), json!(0), json!("")] {
        let name = format!("n{}", start.to_string().len());
        let body = json!({"name": name, "start": start});
        let (_, session) = fleet.call(1, "POST /api/sessions", body).await;
        assert_eq!(session["status"], "STOPPED", "start: {start}");
    }
    let body = json!({"name": "b", "start": true, "config": {"metadata": {"tenant": "7"}}});
    let (status, session) = fleet.call(1, "POST /api/sessions", body).await;
    assert_eq!((status, &session["status"]), (201, &json!("STARTING")));
    assert_eq!(session["assignedWorker"], "sim-1");

    let (status, twice) = fleet
        .call(1, "POST /api/sessions", json!({"name": "a"}))
        .await;
    assert_eq!(status, 422);
    assert_eq!(
        twice["message"],
        "Session 'a' already exists. Use PUT to update it."
    );
    let (_, running) = fleet.call(1, "GET /api/sessions", Value::Null).await;
    assert_eq!(running.as_array().unwrap().len(), 1);
    let (_, all) = fleet
        .call(1, "GET /api/sessions?all=true", Value::Null)
        .await;
    assert_eq!(all.as_array().unwrap().len(), 5);
    assert_eq!(
        fleet
            .call(1, "GET /api/sessions?all=maybe", Value::Null)
            .await
            .0,
        400
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_are_changed_started_stopped_and_deleted() {
    let fleet = Fleet::of(Engine::Noweb).await;
    fleet
        .call(1, "POST /api/sessions", json!({"name": "b", "start": true}))
        .await;
    let config = json!({"config": {"metadata": {"tenant": "8"}}});
    let (status, changed) = fleet.call(1, "PUT /api/sessions/b", config.clone()).await;
    assert_eq!((status, &changed["config"]), (200, &config["config"]));
    assert_eq!(fleet.call(1, "PUT /api/sessions/z", config).await.0, 404);
    let start = fleet
        .call(1, "POST /api/sessions/b/start", Value::Null)
        .await;
    assert_eq!(start.0, 201, "start of a running session does nothing");
    assert_eq!(
        fleet
            .call(1, "POST /api/sessions/z/start", Value::Null)
            .await
            .0,
        404
    );
    let (status, stopped) = fleet
        .call(1, "POST /api/sessions/b/stop", Value::Null)
        .await;
    assert_eq!((status, &stopped["status"]), (201, &json!("STOPPED")));
    let unknown = fleet
        .call(1, "POST /api/sessions/z/stop", Value::Null)
        .await;
    assert_eq!(unknown, (201, Value::Null));
    for _ in 0..2 {
        let gone = fleet.call(1, "DELETE /api/sessions/b", Value::Null).await;
        assert_eq!(gone, (200, Value::Null));
    }
    assert_eq!(
        fleet.call(1, "GET /api/sessions/b", Value::Null).await.0,
        404
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_deprecated_session_calls_work() {
    let fleet = Fleet::of(Engine::Noweb).await;
    let (status, answer) = fleet
        .call(1, "POST /api/sessions/start", json!({"name": "a"}))
        .await;
    assert_eq!((status, &answer["status"]), (201, &json!("STARTING")));
    let (status, _) = fleet
        .call(1, "POST /api/sessions/start", json!({"name": "a"}))
        .await;
    assert_eq!(status, 422);
    assert_eq!(
        fleet.call(1, "POST /api/sessions/stop", json!({})).await.0,
        400
    );
    let stop = json!({"name": "a", "logout": true});
    assert_eq!(
        fleet.call(1, "POST /api/sessions/stop", stop).await,
        (201, Value::Null)
    );
    assert_eq!(fleet.status(1, "a").await, "absent");
}

#[tokio::test(flavor = "multi_thread")]
async fn all_six_error_shapes_are_seen() {
    let fleet = Fleet::of(Engine::Noweb).await;
    let (status, one) = fleet.call(1, "GET /api/nope", Value::Null).await;
    let body = json!({"message": "Cannot GET /api/nope", "error": "Not Found", "statusCode": 404});
    assert_eq!((status, one), (404, body));

    let hook = json!({"url": "nonsense", "events": ["nope"]});
    let bad = json!({"name": "a b", "config": {"webhooks": [hook], "metadata": {"a": 1}}});
    let (status, two) = fleet.call(1, "POST /api/sessions", bad).await;
    assert_eq!((status, two["message"].as_array().unwrap().len()), (400, 4));

    fleet
        .call(1, "POST /api/sessions", json!({"name": "a"}))
        .await;
    let (status, three) = fleet.send(1, "a", "1@c.us").await;
    assert_eq!((status, &three["status"]), (422, &json!("STOPPED")));
    assert!(three.get("statusCode").is_none() && three.get("message").is_none());

    let (status, four) = fleet.send(1, "x", "1@c.us").await;
    let body = json!({"error": "Session \"x\" does not exist", "session": "x"});
    assert_eq!((status, four), (422, body));

    fleet.link(1, "w", json!({})).await;
    let typing = json!({"presence": "typing"});
    let (status, five) = fleet.call(1, "POST /api/w/presence", typing).await;
    assert!(status == 400 && five["detail"].is_string(), "{five}");

    let (status, six) = fleet
        .call(1, "POST /api/sendText", json!({"session": "w"}))
        .await;
    assert_eq!((status, &six["statusCode"]), (500, &json!(500)));
    assert_eq!(six["exception"]["name"], "TypeError");
    assert_eq!(
        six["request"],
        json!({"path": "/api/sendText", "method": "POST",
                                      "body": {"session": "w"}, "query": {}})
    );
    assert_eq!(six["version"]["version"], "2026.8.2");
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_come_after_waha_s_waits() {
    let fleet = Fleet::start(Options {
        time_scale: 0.05,
        ..options(Engine::Noweb)
    })
    .await;
    fleet
        .call(1, "POST /api/sessions", json!({"name": "stopped"}))
        .await;
    fleet
        .call(
            1,
            "POST /api/sessions",
            json!({"name": "scan", "start": true}),
        )
        .await;
    fleet.until_status(1, "scan", "SCAN_QR_CODE").await;
    for (session, millis) in [("unknown", 250), ("stopped", 250), ("scan", 500)] {
        let asked = Instant::now();
        let (status, _) = fleet.send(1, session, "1@c.us").await;
        let waited = asked.elapsed();
        assert_eq!(status, 422, "{session}");
        assert!(
            waited >= Duration::from_millis(millis),
            "{session}: {waited:?}"
        );
    }
    let (status, answer) = fleet
        .call(1, "POST /api/sendText", json!({"text": "x"}))
        .await;
    assert_eq!(
        (status, &answer["message"]),
        (400, &json!("Session name is required"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_send_that_waits_goes_out_when_the_session_gets_ready() {
    let fleet = Fleet::start(Options {
        time_scale: 0.3,
        ..options(Engine::Noweb)
    })
    .await;
    fleet
        .call(1, "POST /api/sessions", json!({"name": "a", "start": true}))
        .await;
    fleet.until_status(1, "a", "SCAN_QR_CODE").await;
    let linking = async {
        fleet
            .control(1, "POST /link", json!({"session": "a"}))
            .await;
    };
    let (sent, ()) = tokio::join!(fleet.send(1, "a", "1@c.us"), linking);
    assert_eq!(sent.0, 201);
    assert_eq!(fleet.heard().await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn lifecycle_calls_queue_for_five_seconds() {
    let fleet = Fleet::start(Options {
        time_scale: 0.1,
        ..options(Engine::Noweb)
    })
    .await;
    fleet.link(1, "a", json!({})).await;
    let calls = (0..8).map(|_| fleet.call(1, "POST /api/sessions/a/restart", Value::Null));
    let answers = futures_util::future::join_all(calls).await;
    let late: Vec<_> = answers
        .iter()
        .filter(|(status, _)| *status == 500)
        .collect();
    assert!(!late.is_empty() && late.len() < 8, "{answers:?}");
    assert_eq!(
        late[0].1["exception"]["message"],
        "async-lock timed out in queue a"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_hangs_up_does_not_stop_a_lifecycle_call() {
    let fleet = Fleet::start(Options {
        time_scale: 0.1,
        ..options(Engine::Noweb)
    })
    .await;
    fleet.link(1, "a", json!({})).await;
    let url = format!("{}/api/sessions/a/restart", fleet.running.worker_url(1));
    let request = fleet
        .http
        .post(url)
        .header("X-Api-Key", fleet.running.api_key(1));
    let hurried = request.timeout(Duration::from_millis(20)).send().await;
    assert!(hurried.unwrap_err().is_timeout());
    fleet.until_status(1, "a", "WORKING").await;
    assert_eq!(
        fleet
            .call(1, "POST /api/sendText", text("a", "1@c.us"))
            .await
            .0,
        201
    );
}
