//! Points 2 and 14: bodies, ports and what happens before a route is chosen.

use serde_json::{Value, json};
use waha_sim::{Engine, Options};

use crate::fleet::{Fleet, options};

#[tokio::test(flavor = "multi_thread")]
async fn a_body_is_read_before_the_key_is_checked() {
    let fleet = Fleet::of(Engine::Noweb).await;
    let url = format!("{}/api/sendText", fleet.running.worker_url(1));
    let request = fleet
        .http
        .post(&url)
        .header("Content-Type", "application/json");
    let answer = request.body("{nope").send().await.unwrap();
    assert_eq!(answer.status(), 400);
    let answer = fleet.http.post(&url).json(&json!({})).send().await.unwrap();
    assert_eq!(answer.status(), 401);
    let body: Value = answer.json().await.unwrap();
    assert_eq!(body, json!({"message": "Unauthorized", "statusCode": 401}));
    let outside = format!("{}/dashboard", fleet.running.worker_url(1));
    assert_eq!(fleet.http.get(outside).send().await.unwrap().status(), 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn more_than_fifty_mebibytes_are_a_500() {
    let fleet = Fleet::of(Engine::Noweb).await;
    let url = format!("{}/api/sendText", fleet.running.worker_url(1));
    let request = fleet
        .http
        .post(&url)
        .header("Content-Type", "application/json");
    let answer = request
        .body(vec![b' '; (50 << 20) + 1])
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 500);
    let body: Value = answer.json().await.unwrap();
    assert_eq!(body["exception"]["name"], "PayloadTooLargeError");
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_can_have_ports_of_their_own() {
    let options = Options {
        workers: 3,
        own_ports: true,
        ..options(Engine::Noweb)
    };
    let fleet = Fleet::start(options).await;
    let urls: Vec<String> = (1..=3).map(|n| fleet.running.worker_url(n)).collect();
    assert!(urls[0] != urls[1] && !urls[0].contains("/w/"), "{urls:?}");
    for n in 1..=3 {
        fleet.link(n, "a", json!({})).await;
        fleet.send(n, "a", &format!("{n}@c.us")).await;
    }
    let heard = fleet.heard().await;
    for (index, entry) in heard.iter().enumerate() {
        assert_eq!(
            (&entry["worker"], &entry["seq"]),
            (&json!(index + 1), &json!(index + 1))
        );
    }
    assert_eq!(heard.len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_is_known_by_its_number_and_key_only() {
    let fleet = Fleet::start(Options {
        workers: 2,
        ..options(Engine::Noweb)
    })
    .await;
    let url = format!("{}/api/version", fleet.running.worker_url(2));
    let wrong = fleet
        .http
        .get(&url)
        .header("X-Api-Key", fleet.running.api_key(1));
    assert_eq!(wrong.send().await.unwrap().status(), 401);
    let absent = format!("{}/ping", fleet.running.worker_url(3));
    assert_eq!(fleet.http.get(absent).send().await.unwrap().status(), 404);
    fleet.running.stop().await;
    assert!(fleet.http.get(url).send().await.is_err());
}
