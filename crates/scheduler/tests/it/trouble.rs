//! Workers that go away, come back, restart, or hold what is not ours.

use serde_json::json;
use store::GenericClient as _;
use store::removals;

use crate::world::{BOUND, World, world};

async fn health(world: &World, number: usize) -> (String, Option<String>) {
    let sql = "SELECT health, health_reason FROM workers WHERE id = $1";
    let client = world.client().await;
    let row = client.query_one(sql, &[&world.workers[number - 1]]).await;
    let row = row.unwrap();
    (row.get(0), row.get(1))
}

async fn becomes(world: &World, number: usize, wanted: &str) -> Option<String> {
    testkit::eventually(wanted, BOUND, async || {
        let (health, reason) = health(world, number).await;
        (health == wanted).then_some(reason)
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_goes_down_and_comes_back() {
    let world = world(&[(2, 2)]).await;
    let _replica = world.scheduler();
    let phone = world.working(1).await;
    world.control(1, "fault", json!({"kind": "refuse"})).await;
    assert!(becomes(&world, 1, "down").await.is_some());
    let row = world
        .until(&phone, "explained", |row| row.reason.is_some())
        .await;
    assert_eq!(row.status, "WORKING", "nobody knows better");
    assert!(row.reason.unwrap().contains("does not answer"));
    let before = world.wake(world.workers[0]).await;
    world.clear_faults(1).await;
    assert_eq!(becomes(&world, 1, "up").await, None);
    assert!(world.wake(world.workers[0]).await > before);
    world
        .until(&phone, "as before", |row| {
            row.status == "WORKING" && row.reason.is_none()
        })
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_was_never_made_leaves_a_dead_worker() {
    let world = world(&[(2, 2), (2, 2)]).await;
    let replica = world.scheduler();
    becomes(&world, 1, "up").await;
    becomes(&world, 2, "up").await;
    world.control(1, "fault", json!({"kind": "refuse"})).await;
    let phone = world.ask(1).await;
    world.reaches(&phone, "SCAN_QR_CODE").await;
    assert_eq!(world.number(&phone).await, 2);
    becomes(&world, 1, "down").await;
    assert_eq!(world.loads().await, [(0, 0), (1, 1)]);
    drop(replica);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_is_noticed_and_survived() {
    let world = world(&[(3, 3)]).await;
    let _replica = world.scheduler();
    let (works, stopped) = (world.working(1).await, world.working(2).await);
    world
        .want(&stopped, models::session::SessionWanted::Stopped)
        .await;
    world.reaches(&stopped, "STOPPED").await;
    let before = world.wake(world.workers[0]).await;
    let body = json!({"kind": "restart", "millis": 50});
    assert_eq!(world.control(1, "fault", body).await, 201);
    testkit::eventually("the lane is woken", BOUND, async || {
        (world.wake(world.workers[0]).await > before).then_some(())
    })
    .await;
    testkit::eventually("it works again", BOUND, async || {
        let seen = world.at_worker(1, works.digits()).await;
        (seen["status"] == "WORKING").then_some(())
    })
    .await;
    world
        .until(&works, "works", |row| {
            row.status == "WORKING" && row.resting
        })
        .await;
    // News of before the restart may come late and in any order; what counts is where it ends.
    world
        .until(&stopped, "stays stopped", |row| {
            row.status == "STOPPED" && !row.live && row.resting
        })
        .await;
    let seen = world.at_worker(1, stopped.digits()).await;
    assert_eq!(seen["status"], "STOPPED");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_status_that_nobody_knows_is_ignored() {
    let world = world(&[(1, 1)]).await;
    let _replica = world.scheduler();
    let phone = world.working(1).await;
    let body = json!({"kind": "odd_status", "session": phone.digits()});
    assert_eq!(world.control(1, "fault", body).await, 201);
    let client = world.client().await;
    let sql = "UPDATE sessions SET due_at = now() WHERE phone = $1";
    client.execute(sql, &[&phone.digits()]).await.unwrap();
    let row = world
        .until(&phone, "looked at", |row| row.reason.is_some())
        .await;
    assert_eq!(row.status, "WORKING");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_left_behind_is_removed_unless_it_is_placed_again() {
    let world = world(&[(2, 2)]).await;
    let replica = world.scheduler();
    let (stays, goes) = (world.working(1).await, world.working(2).await);
    let client = world.client().await;
    // As a forced removal of the worker leaves it, but for the one that came back.
    let sql = "DELETE FROM sessions WHERE phone = $1";
    client.execute(sql, &[&goes.digits()]).await.unwrap();
    let sql = "INSERT INTO removals (worker_url, waha_name, api_key) VALUES ($1, $2, $3)";
    for phone in [&stays, &goes] {
        let (url, key) = (world.sim.worker_url(1), world.sim.api_key(1));
        client
            .execute(sql, &[&url, &phone.digits(), &key])
            .await
            .unwrap();
    }
    testkit::eventually("removed", BOUND, async || {
        world
            .at_worker(1, goes.digits())
            .await
            .is_null()
            .then_some(())
    })
    .await;
    testkit::eventually("nothing is left to remove", BOUND, async || {
        let sql = "SELECT count(*) FROM removals";
        let left: i64 = client.query_one(sql, &[]).await.unwrap().get(0);
        (left == 0).then_some(())
    })
    .await;
    assert_eq!(
        world.at_worker(1, stays.digits()).await["status"],
        "WORKING"
    );

    // A server that is gone for good is given up.
    let gone = removals::Removal {
        worker_url: "http://127.0.0.1:9".to_owned(),
        api_key: "k".into(),
        waha_name: "x".to_owned(),
        attempts: 10,
    };
    let sql = "INSERT INTO removals (worker_url, waha_name, api_key, attempts, due_at)
        VALUES ($1, $2, 'k', 10, now() + interval '1 hour')";
    client
        .execute(sql, &[&gone.worker_url, &gone.waha_name])
        .await
        .unwrap();
    scheduler::remove::remove(&replica.fleet, &gone)
        .await
        .unwrap();
    let left: i64 = client
        .query_one("SELECT count(*) FROM removals", &[])
        .await
        .unwrap()
        .get(0);
    assert_eq!(left, 0);
}
