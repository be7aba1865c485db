//! Lanes and campaigns that nobody looks after are found, the others left alone.

use std::time::Duration;

use models::ids::WorkerId;
use store::GenericClient as _;
use store::{lanes, sweep};
use testkit::TestDatabase;

use crate::fixture::{self, DEAD_AFTER};

/// How long living senders have to adopt a dead one's lanes.
const SOON: Duration = Duration::from_secs(5);

/// `(wake, served, calls, due now)` of a lane.
async fn lane(db: &TestDatabase, worker: WorkerId) -> (i64, i64, i32, bool) {
    let client = db.store.client().await.unwrap();
    let sql = "SELECT wake, served, calls, call_at <= now() FROM lanes WHERE worker_id = $1";
    let row = client.query_one(sql, &[&worker.uuid()]).await.unwrap();
    (row.get(0), row.get(1), row.get(2), row.get(3))
}

#[tokio::test]
async fn a_dead_owners_lane_is_called_for_at_once_and_a_living_ones_not() {
    let db = testkit::database().await;
    let (worker, sender) = (fixture::worker(&db).await, fixture::phone(1));
    fixture::session(&db, worker, &sender).await;
    let campaign = fixture::campaign(&db, &sender, 3).await;
    let owner = fixture::replica(&db).await;
    fixture::take(&db, owner, &sender).await;
    let client = db.store.client().await.unwrap();
    let calls = async || sweep::wanting(&client, DEAD_AFTER, 9).await.unwrap();

    let found = calls().await;
    assert_eq!(
        (found.looked_at, found.jobs.len()),
        (1, 0),
        "its owner lives"
    );
    assert_eq!(
        calls().await.looked_at,
        0,
        "and is not looked at again soon"
    );
    assert_eq!(
        sweep::orphan(&client, DEAD_AFTER, SOON, 9).await.unwrap(),
        0
    );

    fixture::kill(&db, owner).await;
    assert_eq!(
        sweep::orphan(&client, DEAD_AFTER, SOON, 9).await.unwrap(),
        1
    );
    let found = calls().await;
    assert_eq!(found.jobs.len(), 1);
    assert_eq!(found.jobs[0].campaign_id, campaign);
    let (_, _, called, due) = lane(&db, worker).await;
    assert_eq!((called, due), (1, false));
    assert_eq!(
        sweep::orphan(&client, DEAD_AFTER, SOON, 9).await.unwrap(),
        0
    );

    let heir = fixture::replica(&db).await;
    let taken = lanes::arrive(&client, heir, &sender, DEAD_AFTER).await;
    assert!(matches!(taken, Ok(lanes::Arrival::Ours(_))));
    assert_eq!(lane(&db, worker).await.2, 0);
}

#[tokio::test]
async fn what_a_dead_owner_left_on_its_way_is_called_for_though_its_campaign_is_over() {
    let db = testkit::database().await;
    let (worker, sender) = (fixture::worker(&db).await, fixture::phone(1));
    fixture::session(&db, worker, &sender).await;
    let campaign = fixture::campaign(&db, &sender, 3).await;
    let owner = fixture::replica(&db).await;
    fixture::take(&db, owner, &sender).await;
    let client = db.store.client().await.unwrap();
    for sql in [
        "UPDATE senders SET in_flight_campaign = $1, in_flight_ordinal = 0,
            in_flight_worker = (SELECT worker_id FROM lanes), in_flight_at = now()
         WHERE $1::uuid IS NOT NULL",
        "UPDATE campaigns SET status = 'CANCELLED', completed_at = now() WHERE id = $1",
    ] {
        client.execute(sql, &[&campaign.uuid()]).await.unwrap();
    }
    fixture::kill(&db, owner).await;
    sweep::orphan(&client, DEAD_AFTER, SOON, 9).await.unwrap();
    let found = sweep::wanting(&client, DEAD_AFTER, 9).await.unwrap();
    assert_eq!(found.jobs.len(), 1, "somebody must settle it");
    assert_eq!(found.jobs[0].sender, sender);
}

#[tokio::test]
async fn a_lane_without_work_is_put_to_sleep() {
    let db = testkit::database().await;
    let (worker, sender) = (fixture::worker(&db).await, fixture::phone(1));
    fixture::session(&db, worker, &sender).await;
    fixture::campaign(&db, &sender, 3).await;
    let client = db.store.client().await.unwrap();
    for (sql, jobs) in [
        ("UPDATE sessions SET status = 'SCAN_QR_CODE'", 0),
        ("UPDATE sessions SET status = 'WORKING'", 1),
        ("UPDATE campaigns SET completed_at = now()", 0),
    ] {
        client.execute(sql, &[]).await.unwrap();
        let sql = "UPDATE lanes SET wake = wake + 1, call_at = now()";
        client.execute(sql, &[]).await.unwrap();
        let found = sweep::wanting(&client, DEAD_AFTER, 9).await.unwrap();
        assert_eq!(found.jobs.len(), jobs);
        let (wake, served, ..) = lane(&db, worker).await;
        assert_eq!(wake == served, jobs == 0);
    }
}

#[tokio::test]
async fn a_campaign_whose_job_was_lost_wakes_its_lane() {
    let db = testkit::database().await;
    let (worker, sender) = (fixture::worker(&db).await, fixture::phone(1));
    fixture::session(&db, worker, &sender).await;
    fixture::campaign(&db, &sender, 3).await;
    let client = db.store.client().await.unwrap();
    assert_eq!(
        sweep::stale(&client, 9).await.unwrap(),
        0,
        "it is too young"
    );
    let sql = "UPDATE campaigns SET sweep_at = now()";
    client.execute(sql, &[]).await.unwrap();
    assert_eq!(sweep::stale(&client, 9).await.unwrap(), 1);
    assert_eq!(lane(&db, worker).await.0, 1);
    assert_eq!(sweep::stale(&client, 9).await.unwrap(), 0);
    let found = sweep::wanting(&client, DEAD_AFTER, 9).await.unwrap();
    assert_eq!(found.jobs.len(), 1);
}

#[tokio::test]
async fn living_senders_have_a_moment_to_adopt_what_a_dead_one_left() {
    let db = testkit::database().await;
    let (worker, sender) = (fixture::worker(&db).await, fixture::phone(1));
    fixture::session(&db, worker, &sender).await;
    let owner = fixture::replica(&db).await;
    fixture::take(&db, owner, &sender).await;
    let client = db.store.client().await.unwrap();
    assert_eq!(lanes::woken(&client, owner, 9).await.unwrap().len(), 1);
    let sql = "UPDATE replicas SET seen_at = now() - make_interval(secs => $1)";
    let dead_for = DEAD_AFTER.as_secs_f64() + 1.0;
    client.execute(sql, &[&dead_for]).await.unwrap();
    let heir = fixture::replica(&db).await;
    assert_eq!(
        sweep::orphan(&client, DEAD_AFTER, SOON, 9).await.unwrap(),
        0
    );
    store::replicas::retire(&client, heir).await.unwrap();
    assert_eq!(
        sweep::orphan(&client, DEAD_AFTER, SOON, 9).await.unwrap(),
        1,
        "nobody is there to adopt it"
    );
}

#[tokio::test]
async fn a_replica_is_not_forgotten_while_lanes_are_its() {
    let db = testkit::database().await;
    let (worker, sender) = (fixture::worker(&db).await, fixture::phone(1));
    fixture::session(&db, worker, &sender).await;
    let (owner, other) = (fixture::replica(&db).await, fixture::replica(&db).await);
    fixture::take(&db, owner, &sender).await;
    fixture::kill(&db, owner).await;
    fixture::kill(&db, other).await;
    let client = db.store.client().await.unwrap();
    let forgotten = async || store::replicas::forget_unseen(&client, SOON).await.unwrap();
    assert_eq!(forgotten().await, 1, "the other's");
    client
        .execute("UPDATE lanes SET owner = NULL", &[])
        .await
        .unwrap();
    assert_eq!(forgotten().await, 1);
}
