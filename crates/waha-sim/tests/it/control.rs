//! The control API: pages of `heard`, faults, determinism.

use serde_json::{Value, json};
use waha_sim::{Engine, Options};

use crate::fleet::{Fleet, options};

#[tokio::test(flavor = "multi_thread")]
async fn heard_is_paged_and_filtered() {
    let fleet = Fleet::start(Options {
        workers: 2,
        ..options(Engine::Noweb)
    })
    .await;
    for n in [1, 2] {
        fleet.link(n, "a", json!({})).await;
    }
    for chat in 0..6 {
        fleet.send(chat % 2 + 1, "a", &format!("{chat}@c.us")).await;
    }
    let (_, page) = fleet
        .control(2, "GET /heard?after=0&limit=2", Value::Null)
        .await;
    let chats = |page: &Value| -> Vec<String> {
        let messages = page["messages"].as_array().unwrap();
        messages
            .iter()
            .map(|entry| entry["chat"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(chats(&page), ["1@c.us", "3@c.us"]);
    let next = format!("GET /heard?after={}&limit=9", page["next"]);
    let (_, page) = fleet.control(2, &next, Value::Null).await;
    assert_eq!(
        (chats(&page), &page["next"]),
        (vec!["5@c.us".to_owned()], &json!(6))
    );
    assert_eq!(fleet.heard().await.len(), 6);
    let (status, _) = fleet.control(1, "GET /heard?after=x", Value::Null).await;
    assert_eq!(status, 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn nonsense_is_refused() {
    let fleet = Fleet::of(Engine::Noweb).await;
    let table = [
        ("POST /fault", json!({"kind": "nope"}), 400),
        (
            "POST /fault",
            json!({"kind": "silent", "probability": 2}),
            400,
        ),
        ("POST /link", json!({}), 400),
        ("POST /link", json!({"session": "absent"}), 409),
        ("POST /unlink", json!({"session": "absent"}), 409),
        (
            "POST /inbound",
            json!({"session": "absent", "from": "1", "text": "x"}),
            409,
        ),
        ("GET /nope", Value::Null, 404),
    ];
    for (call, body, status) in table {
        let (got, answer) = fleet.control(1, call, body).await;
        assert_eq!(got, status, "{call}: {answer}");
        assert!(answer["error"].is_string(), "{answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_seed_gives_the_same_luck() {
    let mut runs = Vec::new();
    for seed in [5, 5, 6] {
        let fleet = Fleet::start(Options {
            seed,
            ..options(Engine::Noweb)
        })
        .await;
        fleet.link(1, "a", json!({})).await;
        fleet
            .fault(1, json!({"kind": "silent", "probability": 0.5}))
            .await;
        for chat in 0..24 {
            fleet.send(1, "a", &format!("{chat}@c.us")).await;
        }
        let heard = fleet.heard().await;
        let run: Vec<String> = heard
            .iter()
            .map(|e| format!("{}{}", e["chat"], e["message_id"]))
            .collect();
        assert!(!run.is_empty() && run.len() < 24);
        runs.push(run);
    }
    assert_eq!(runs[0], runs[1]);
    assert_ne!(runs[0], runs[2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn faults_are_listed_with_their_strikes() {
    let fleet = Fleet::of(Engine::Noweb).await;
    fleet.link(1, "a", json!({})).await;
    fleet
        .fault(1, json!({"kind": "empty_answer", "count": 2, "after": 1}))
        .await;
    let mut answers = Vec::new();
    for _ in 0..2 {
        answers.push(fleet.send(1, "a", "1@c.us").await.1.is_null());
    }
    assert_eq!(answers, [false, true]);
    let (_, list) = fleet.control(1, "GET /fault", Value::Null).await;
    assert_eq!(list["faults"][0]["struck"], 1);
    fleet.send(1, "a", "1@c.us").await;
    let (_, list) = fleet.control(1, "GET /fault", Value::Null).await;
    assert_eq!(list["faults"], json!([]));
}
