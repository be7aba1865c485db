//! Point 13: a worker that restarts.

use serde_json::{Value, json};
use waha_sim::{Engine, Options};

use crate::fleet::{Fleet, options, text, version};

async fn until_up(fleet: &Fleet) {
    let end = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while fleet.try_call(1, "GET /ping", Value::Null).await.is_err() {
        assert!(
            std::time::Instant::now() < end,
            "the worker never came back"
        );
        tokio::time::sleep(std::time::Duration::from_millis(2)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn assigned_sessions_come_back_by_themselves() {
    let fleet = Fleet::start(Options {
        time_scale: 0.5,
        ..options(Engine::Noweb)
    })
    .await;
    fleet.link(1, "runs", json!({})).await;
    fleet.link(1, "rests", json!({})).await;
    fleet
        .call(1, "POST /api/sessions/rests/stop", Value::Null)
        .await;
    let (_, before) = fleet.call(1, "GET /api/server/status", Value::Null).await;
    let (status, stopping) = fleet.call(1, "POST /api/server/stop", json!({})).await;
    assert_eq!((status, stopping), (201, json!({"stopping": true})));
    let end = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while fleet.try_call(1, "GET /ping", Value::Null).await.is_ok() {
        assert!(
            std::time::Instant::now() < end,
            "the worker never went down"
        );
    }
    until_up(&fleet).await;
    let (_, all) = fleet
        .call(1, "GET /api/sessions?all=true", Value::Null)
        .await;
    for session in all.as_array().unwrap() {
        assert_eq!(session["status"], "STOPPED");
        assert_eq!(session["me"]["id"], "15550001@c.us");
    }
    let (_, after) = fleet.call(1, "GET /api/server/status", Value::Null).await;
    assert!(after["startTimestamp"].as_i64() > before["startTimestamp"].as_i64());
    assert!(after["uptime"].as_i64() < before["uptime"].as_i64());
    fleet.until_status(1, "runs", "WORKING").await;
    assert_eq!(fleet.status(1, "rests").await, "STOPPED");
}

#[tokio::test(flavor = "multi_thread")]
async fn old_core_forgets_its_configuration() {
    let fleet = Fleet::start(version(options(Engine::Noweb), "2026.2.1")).await;
    fleet
        .link(1, "default", json!({"metadata": {"a": "b"}}))
        .await;
    fleet
        .fault(1, json!({"kind": "restart", "millis": 10}))
        .await;
    until_up(&fleet).await;
    let (_, view) = fleet
        .call(1, "GET /api/sessions/default", Value::Null)
        .await;
    assert_eq!(
        (&view["status"], &view["config"]),
        (&json!("STOPPED"), &Value::Null)
    );
    fleet
        .call(1, "POST /api/sessions/default/start", Value::Null)
        .await;
    fleet.until_status(1, "default", "WORKING").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_with_its_own_port_refuses_connections_while_it_is_down() {
    let fleet = Fleet::start(Options {
        workers: 2,
        own_ports: true,
        ..options(Engine::Gows)
    })
    .await;
    fleet.link(1, "a", json!({})).await;
    fleet
        .fault(1, json!({"kind": "restart", "millis": 500}))
        .await;
    let end = std::time::Instant::now() + std::time::Duration::from_secs(10);
    let fresh = || reqwest::Client::new().get(format!("{}/ping", fleet.running.worker_url(1)));
    while !fresh().send().await.is_err_and(|error| error.is_connect()) {
        assert!(std::time::Instant::now() < end, "the port never closed");
    }
    assert_eq!(fleet.call(2, "GET /ping", Value::Null).await.0, 200);
    until_up(&fleet).await;
    fleet.until_status(1, "a", "WORKING").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_send_in_flight_gets_no_answer() {
    let fleet = Fleet::of(Engine::Noweb).await;
    fleet.link(1, "a", json!({})).await;
    fleet
        .fault(1, json!({"kind": "slow_answer", "millis": 300, "count": 1}))
        .await;
    let restart = async {
        while fleet.heard().await.is_empty() {
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        }
        fleet.fault(1, json!({"kind": "restart"})).await;
    };
    let send = fleet.try_call(1, "POST /api/sendText", text("a", "1@c.us"));
    let (sent, ()) = tokio::join!(send, restart);
    assert!(sent.is_err());
    assert_eq!(fleet.heard().await.len(), 1);
}
