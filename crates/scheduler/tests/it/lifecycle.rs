//! A session's life, asked for step by step.

use models::session::SessionWanted;
use store::GenericClient as _;
use store::reconcile;

use crate::world::{BOUND, world, world_of};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_is_made_linked_and_works() {
    let world = world(&[(2, 2)]).await;
    let _replica = world.scheduler();
    let phone = world.ask(1).await;
    let row = world.reaches(&phone, "SCAN_QR_CODE").await;
    assert!(row.live && row.created);
    let seen = world.at_worker(1, phone.digits()).await;
    let hook = &seen["config"]["webhooks"][0];
    let generation = seen["config"]["metadata"]["wahacast.generation"].as_str();
    let url = format!(
        "http://127.0.0.1:9/api/webhook/waha/{phone}/{}",
        generation.unwrap()
    );
    assert_eq!(hook["url"], url.as_str());
    assert_eq!(
        hook["events"],
        serde_json::json!(["session.status", "message.ack", "message.any"])
    );
    let before = world.wake(world.workers[0]).await;
    world.link(&phone, phone.digits()).await;
    let row = world
        .until(&phone, "done", |row| row.status == "WORKING" && row.resting)
        .await;
    assert_eq!((row.reason, row.created), (None, true));
    assert!(world.wake(world.workers[0]).await > before);
    assert_eq!(world.loads().await, [(1, 1)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stop_start_logout_delete() {
    let world = world(&[(2, 2)]).await;
    let _replica = world.scheduler();
    let phone = world.working(1).await;

    world.want(&phone, SessionWanted::Stopped).await;
    let stopped = world
        .until(&phone, "stopped", |row| {
            row.status == "STOPPED" && row.resting
        })
        .await;
    assert!(!stopped.live);
    assert_eq!(
        world.at_worker(1, phone.digits()).await["status"],
        "STOPPED"
    );
    assert_eq!(world.loads().await, [(1, 0)]);

    world.want(&phone, SessionWanted::Running).await;
    let row = world.reaches(&phone, "WORKING").await;
    assert!(row.live);

    let client = world.client().await;
    store::sessions::logout(&client, &phone).await.unwrap();
    let row = world.reaches(&phone, "SCAN_QR_CODE").await;
    assert!(row.live);
    world.link(&phone, phone.digits()).await;
    world.reaches(&phone, "WORKING").await;

    drop(client);
    let mut client = world.client().await;
    store::sessions::remove(&mut client, &phone).await.unwrap();
    drop(client);
    testkit::eventually("forgotten", BOUND, async || {
        world.session(&phone).await.is_none().then_some(())
    })
    .await;
    assert!(world.at_worker(1, phone.digits()).await.is_null());
    assert_eq!(world.loads().await, [(0, 0)]);

    // The number comes back with a login of its own to make.
    let again = world.ask(1).await;
    world.reaches(&again, "SCAN_QR_CODE").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_fails_is_restarted_once_and_then_left_for_a_person() {
    let world = world(&[(2, 2)]).await;
    let _replica = world.scheduler();
    let phone = world.working(1).await;
    let body = serde_json::json!({"session": phone.digits()});
    assert_eq!(world.control(1, "unlink", body).await, 200);
    let row = world
        .until(&phone, "left alone", |row| {
            row.status == "FAILED" && row.resting
        })
        .await;
    assert!(row.reason.unwrap().contains("QR code"));
    let client = world.client().await;
    let sql = "SELECT restarts FROM sessions WHERE phone = $1";
    let restarts: i32 = client
        .query_one(sql, &[&phone.digits()])
        .await
        .unwrap()
        .get(0);
    assert_eq!(restarts, 1);

    assert!(reconcile::ask(&client, &phone).await.unwrap());
    drop(client);
    world.reaches(&phone, "SCAN_QR_CODE").await;
    world.link(&phone, phone.digits()).await;
    world.reaches(&phone, "WORKING").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_old_core_takes_one_session_called_default() {
    let world = world_of(waha_sim::Version::new(2024, 10, 8), &[(5, 5)]).await;
    let _replica = world.scheduler();
    // Only its check tells that it is an old one.
    testkit::eventually("checked", BOUND, async || {
        let sql = "SELECT slots FROM workers WHERE health = 'up'";
        let row = world.client().await.query_opt(sql, &[]).await.unwrap()?;
        (row.get::<_, i32>(0) == 1).then_some(())
    })
    .await;
    let phone = world.ask(1).await;
    let second = world.ask(2).await;
    world.reaches(&phone, "SCAN_QR_CODE").await;
    world.link(&phone, "default").await;
    world.reaches(&phone, "WORKING").await;
    assert_eq!(world.session(&second).await.unwrap().status, "QUEUED");
    let config = world.at_worker(1, "default").await["config"].clone();
    assert!(config["webhooks"][0]["url"].is_string());

    // A restart forgets the webhook; it is set again, and the login is still there.
    let body = serde_json::json!({"kind": "restart", "millis": 100});
    assert_eq!(world.control(1, "fault", body).await, 201);
    testkit::eventually("the webhook is set again", BOUND, async || {
        let seen = world.at_worker(1, "default").await;
        let again = seen["status"] == "WORKING" && seen["config"] == config;
        again.then_some(())
    })
    .await;
    world.reaches(&phone, "WORKING").await;

    // Whoever comes next does not speak through that login.
    let mut client = world.client().await;
    store::sessions::remove(&mut client, &phone).await.unwrap();
    drop(client);
    world.reaches(&second, "SCAN_QR_CODE").await;
    assert_eq!(world.loads().await, [(1, 1)]);
}
