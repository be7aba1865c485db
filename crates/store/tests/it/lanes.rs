//! Lanes under take-over, hand-over and release.

use store::GenericClient as _;
use store::lanes::{self, Arrival};
use store::roster;

use crate::fixture::{DEAD_AFTER, kill, phone, replica, session, take, worker};

#[tokio::test]
async fn a_lane_has_one_owner_until_it_dies_and_then_a_new_epoch() {
    let db = testkit::database().await;
    let worker = worker(&db).await;
    session(&db, worker, &phone(1)).await;
    let (first, second) = (replica(&db).await, replica(&db).await);
    let client = db.store.client().await.unwrap();

    let tenure = take(&db, first, &phone(1)).await;
    let arrival = lanes::arrive(&client, second, &phone(1), DEAD_AFTER)
        .await
        .unwrap();
    assert_eq!(arrival, Arrival::Woken);
    assert_eq!(
        take(&db, first, &phone(1)).await,
        tenure,
        "the owner keeps its epoch"
    );

    kill(&db, first).await;
    let successor = take(&db, second, &phone(1)).await;
    assert_eq!(successor.epoch, tenure.epoch + 1);
    let wake = lanes::wake(&client, first, tenure).await.unwrap();
    assert_eq!(wake, None, "the former owner sees that it lost the lane");
}

#[tokio::test]
async fn a_job_for_a_sender_without_a_place_changes_nothing() {
    let db = testkit::database().await;
    let replica = replica(&db).await;
    let client = db.store.client().await.unwrap();
    let arrival = lanes::arrive(&client, replica, &phone(1), DEAD_AFTER)
        .await
        .unwrap();
    assert_eq!(arrival, Arrival::NotPlaced);
}

#[tokio::test]
async fn no_job_falls_between_the_last_look_and_the_release() {
    let db = testkit::database().await;
    let worker = worker(&db).await;
    session(&db, worker, &phone(1)).await;
    let (owner, other) = (replica(&db).await, replica(&db).await);
    let client = db.store.client().await.unwrap();
    let tenure = take(&db, owner, &phone(1)).await;

    let wake = lanes::wake(&client, owner, tenure).await.unwrap().unwrap();
    lanes::arrive(&client, other, &phone(1), DEAD_AFTER)
        .await
        .unwrap();
    assert!(
        !lanes::release(&client, owner, tenure, wake).await.unwrap(),
        "it was woken since"
    );
    let wake = lanes::wake(&client, owner, tenure).await.unwrap().unwrap();
    assert!(lanes::release(&client, owner, tenure, wake).await.unwrap());
    assert!(
        !lanes::release(&client, owner, tenure, wake).await.unwrap(),
        "it is ours no more"
    );
    take(&db, other, &phone(1)).await;
}

#[tokio::test]
async fn lanes_are_handed_to_living_replicas_that_are_not_retiring() {
    let db = testkit::database().await;
    let (leaving, staying) = (replica(&db).await, replica(&db).await);
    let (retiring, dead) = (replica(&db).await, replica(&db).await);
    let client = db.store.client().await.unwrap();
    store::replicas::retire(&client, retiring).await.unwrap();
    kill(&db, dead).await;
    let mut tenures = Vec::new();
    for number in 0..5 {
        session(&db, worker(&db).await, &phone(number)).await;
        tenures.push(take(&db, leaving, &phone(number)).await);
    }
    let gone = lanes::hand_over(&client, leaving, &tenures, DEAD_AFTER)
        .await
        .unwrap();
    assert_eq!(gone, 5);
    let seen = lanes::watch(&client, staying, DEAD_AFTER).await.unwrap();
    assert_eq!(seen.lanes.len(), 5);
    assert!(
        seen.lanes.iter().all(|(tenure, _)| tenure.epoch == 2),
        "each is fenced anew"
    );
    assert_eq!((seen.replicas, seen.lanes_owned), (2, 5));
}

#[tokio::test]
async fn without_another_replica_lanes_become_free_and_wanting() {
    let db = testkit::database().await;
    let worker = worker(&db).await;
    session(&db, worker, &phone(1)).await;
    let leaving = replica(&db).await;
    let client = db.store.client().await.unwrap();
    let tenure = take(&db, leaving, &phone(1)).await;
    lanes::hand_over(&client, leaving, &[tenure], DEAD_AFTER)
        .await
        .unwrap();
    let sql = "SELECT count(*) FROM lanes WHERE owner IS NULL AND wake <> served";
    let free: i64 = client.query_one(sql, &[]).await.unwrap().get(0);
    assert_eq!(free, 1);
}

#[tokio::test]
async fn the_roster_lists_senders_with_work_and_their_first_campaign() {
    let db = testkit::database().await;
    let worker = worker(&db).await;
    for number in 1..=3 {
        session(&db, worker, &phone(number)).await;
    }
    let first = crate::fixture::campaign(&db, &phone(1), 3).await;
    crate::fixture::campaign(&db, &phone(1), 3).await;
    crate::fixture::campaign(&db, &phone(2), 3).await;
    let client = db.store.client().await.unwrap();
    let sql = "UPDATE sessions SET status = 'SCAN_QR_CODE' WHERE phone = $1";
    client.execute(sql, &[&phone(2).digits()]).await.unwrap();

    let all = roster::all(&client, worker).await.unwrap();
    assert_eq!(
        all.len(),
        1,
        "only a WORKING session with work has something to say"
    );
    let campaign = all[0].campaign.as_ref().unwrap();
    assert_eq!(
        (campaign.id, campaign.next_ordinal),
        (first, Some(0)),
        "first come, first served"
    );
    assert!(
        roster::one(&client, worker, &phone(3))
            .await
            .unwrap()
            .is_none()
    );
}
