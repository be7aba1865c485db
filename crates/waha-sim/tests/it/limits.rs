//! Point 9: 463 and 475.

use serde_json::{Value, json};
use waha_sim::Engine;

use crate::fleet::Fleet;
use crate::receiver::Receiver;

#[tokio::test(flavor = "multi_thread")]
async fn gows_refuses_at_once_and_noweb_with_an_ack() {
    for engine in [Engine::Gows, Engine::Noweb] {
        let fleet = Fleet::of(engine).await;
        let receiver = Receiver::start(&[]);
        fleet.link(1, "a", receiver.config()).await;
        let friend = json!({"session": "a", "from": "7@c.us", "text": "hi"});
        fleet.control(1, "POST /inbound", friend).await;
        fleet
            .fault(
                1,
                json!({"kind": "error_463", "session": "a", "millis": 60000}),
            )
            .await;
        let (status, body) = fleet.send(1, "a", "1@c.us").await;
        if engine == Engine::Gows {
            assert_eq!(status, 500);
            let message = "2 UNKNOWN: server returned error 463";
            assert_eq!(body["exception"]["message"], message);
            assert_eq!(body["exception"]["code"], 2);
        } else {
            assert_eq!(status, 201);
            let acks = receiver.until_count("message.ack", 1).await;
            assert_eq!(
                (&acks[0]["ack"], &acks[0]["ackName"]),
                (&json!(-1), &json!("ERROR"))
            );
        }
        assert_eq!(fleet.heard().await.len(), 0);
        assert_eq!(
            fleet.send(1, "a", "7@c.us").await.0,
            201,
            "chats they began go on"
        );
        assert_eq!(fleet.heard().await.len(), 1);

        let (_, view) = fleet.call(1, "GET /api/sessions/a", Value::Null).await;
        assert_eq!(view["status"], "WORKING");
        assert_eq!(view["me"]["reachoutTimelock"]["isActive"], true);
        let told = |payloads: &[Value]| {
            let locked = |p: &Value| p["data"]["reachoutTimelock"]["isActive"] == true;
            payloads
                .iter()
                .any(|p| p["status"] == "WORKING" && locked(p))
        };
        receiver.until("session.status", told).await;
        let (_, lock) = fleet
            .call(1, "GET /api/sessions/a/timelock", Value::Null)
            .await;
        assert_eq!(lock["enforcementType"], "RESTRICT_ALL_COMPANIONS");
        let capping = fleet
            .call(1, "GET /api/sessions/a/capping", Value::Null)
            .await;
        assert_eq!(capping, (200, Value::Null));

        assert_eq!(fleet.control(1, "DELETE /fault", json!({})).await.0, 204);
        let (_, view) = fleet.call(1, "GET /api/sessions/a", Value::Null).await;
        assert_eq!(view["me"]["reachoutTimelock"], Value::Null);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn capping_shows_its_quota() {
    let fleet = Fleet::of(Engine::Gows).await;
    fleet.link(1, "a", json!({})).await;
    fleet.fault(1, json!({"kind": "error_475"})).await;
    let (status, body) = fleet.send(1, "a", "1@c.us").await;
    assert_eq!(status, 500);
    assert_eq!(body["exception"]["details"], "server returned error 475");
    let (_, capping) = fleet
        .call(1, "GET /api/sessions/a/capping", Value::Null)
        .await;
    assert_eq!(
        (&capping["cappingStatus"], &capping["totalQuota"]),
        (&json!("CAPPED"), &json!(1000))
    );
}
