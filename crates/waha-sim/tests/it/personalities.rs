//! Points 1, 2, 4 (2024), 12 and the key rules: what version and tier change.

use serde_json::{Value, json};
use waha_sim::{Engine, Options, Tier};

use crate::fleet::{Fleet, options, version};

async fn of_version(text: &str) -> Fleet {
    Fleet::start(version(options(Engine::Noweb), text)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn each_version_reports_itself() {
    let versions = ["2024.10.8", "2026.2.1", "2026.8.2"].map(|text| text.parse().unwrap());
    let fleet = Fleet::start(Options {
        workers: 3,
        versions: versions.to_vec(),
        engines: vec![Engine::Noweb, Engine::Gows, Engine::Webjs],
        ..options(Engine::Noweb)
    })
    .await;
    let table = [
        (1, "2024.10.8", "NOWEB"),
        (2, "2026.2.1", "GOWS"),
        (3, "2026.8.2", "WEBJS"),
    ];
    for (n, version, engine) in table {
        for path in ["GET /api/version", "GET /api/server/version"] {
            let (status, about) = fleet.call(n, path, Value::Null).await;
            assert_eq!(status, 200);
            assert_eq!(about["version"], version);
            assert_eq!(
                (&about["engine"], &about["tier"]),
                (&json!(engine), &json!("CORE"))
            );
            assert_eq!(about.get("platform").is_some(), n > 1);
        }
    }
    assert_eq!(fleet.call(1, "GET /health", Value::Null).await.0, 422);
    assert_eq!(fleet.call(2, "GET /health", Value::Null).await.0, 422);
    assert_eq!(
        fleet.call(3, "GET /health", Value::Null).await.1["status"],
        "ok"
    );
    let (_, variables) = fleet
        .call(3, "GET /api/server/environment", Value::Null)
        .await;
    assert_eq!(variables["WAHA_API_KEY"], fleet.running.api_key(3));
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_checked_from_2025_6_5_on() {
    let table = [
        ("2024.10.8", 200, 200),
        ("2026.2.1", 401, 401),
        ("2026.4.3", 401, 200),
    ];
    for (version, without, in_query) in table {
        let fleet = of_version(version).await;
        let url = format!("{}/api/version", fleet.running.worker_url(1));
        let bare = fleet.http.get(&url).send().await.unwrap();
        assert_eq!(bare.status(), without, "{version}");
        let query = format!("{url}?x-api-key={}", fleet.running.api_key(1));
        assert_eq!(
            fleet.http.get(query).send().await.unwrap().status(),
            in_query,
            "{version}"
        );
        let bearer = fleet.http.get(&url).bearer_auth(fleet.running.api_key(1));
        assert_eq!(bearer.send().await.unwrap().status(), without, "{version}");
        let ping = format!("{}/ping", fleet.running.worker_url(1));
        assert_eq!(fleet.http.get(ping).send().await.unwrap().status(), 200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn old_core_has_one_session_and_no_media() {
    for (version, video) in [("2024.10.8", 422), ("2026.2.1", 501)] {
        let fleet = of_version(version).await;
        let (_, all) = fleet
            .call(1, "GET /api/sessions?all=true", Value::Null)
            .await;
        assert_eq!(all[0]["name"], "default");
        assert_eq!(
            (&all[0]["status"], &all[0]["config"]),
            (&json!("STOPPED"), &Value::Null)
        );
        let (_, running) = fleet.call(1, "GET /api/sessions", Value::Null).await;
        assert_eq!(running, json!([]));

        let other = json!({"name": "other", "start": true});
        let (status, answer) = fleet.call(1, "POST /api/sessions", other).await;
        let message = answer["message"].as_str().unwrap();
        assert!(
            status == 422 && message.contains("only 'default' session"),
            "{answer}"
        );
        assert_eq!(message.contains("b3RoZXI="), version != "2024.10.8");
        let (status, _) = fleet.call(1, "GET /api/sessions/other", Value::Null).await;
        assert_eq!(status, if version == "2024.10.8" { 404 } else { 422 });

        let default = json!({"name": "default", "start": true});
        let (status, answer) = fleet.call(1, "POST /api/sessions", default).await;
        assert!(status == 422 && answer["message"].as_str().unwrap().contains("Use PUT"));
        fleet.link(1, "default", json!({})).await;
        let (status, answer) = fleet
            .call(1, "POST /api/sessions/default/start", Value::Null)
            .await;
        assert_eq!(status, 422);
        assert_eq!(answer["message"], "Session 'default' is already started.");

        let file = json!({"mimetype": "image/png", "data": "AAAA"});
        let image = json!({"session": "default", "chatId": "1@c.us", "file": file});
        let (status, answer) = fleet.call(1, "POST /api/sendImage", image.clone()).await;
        let message = answer["message"].as_str().unwrap();
        assert!(
            status == 422 && message.contains("only in Plus version"),
            "{answer}"
        );
        assert_eq!(fleet.call(1, "POST /api/sendVideo", image).await.0, video);

        let deleted = fleet
            .call(1, "DELETE /api/sessions/default", Value::Null)
            .await;
        assert_eq!(deleted, (200, Value::Null));
        let unstarted = json!({"name": "default"});
        let created = fleet.call(1, "POST /api/sessions", unstarted).await;
        assert_eq!(created, (201, Value::Null));
        let (_, all) = fleet
            .call(1, "GET /api/sessions?all=true", Value::Null)
            .await;
        assert_eq!(all, json!([]));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plus_tier_lifts_the_limits_of_an_old_version() {
    let options = Options {
        tier: Tier::Plus,
        ..version(options(Engine::Noweb), "2025.9.1")
    };
    let fleet = Fleet::start(options).await;
    fleet.link(1, "a", json!({})).await;
    fleet.link(1, "b", json!({})).await;
    let (_, about) = fleet.call(1, "GET /api/version", Value::Null).await;
    assert_eq!(about["tier"], "PLUS");
}

#[tokio::test(flavor = "multi_thread")]
async fn in_2024_an_unknown_or_stopped_session_is_a_404_at_once() {
    let options = Options {
        time_scale: 1.0,
        ..version(options(Engine::Noweb), "2024.10.8")
    };
    let fleet = Fleet::start(options).await;
    let (status, answer) = fleet.send(1, "default", "1@c.us").await;
    assert_eq!(status, 404);
    let message = answer["message"].as_str().unwrap();
    assert!(
        message.starts_with("We didn't find a session with name 'default'.\n"),
        "{message}"
    );
    let (status, _) = fleet
        .call(1, "POST /api/sendText", json!({"chatId": "1@c.us"}))
        .await;
    assert_eq!(status, 404);
}
