//! Statuses are fenced, lanes woken, leases kept, and nobody waits in a circle.

use std::time::Duration;

use models::ids::WorkerId;
use models::session::SessionStatus::{ScanQrCode, Working};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use store::GenericClient as _;
use store::reconcile::{self, Conclusion, Due, Recorded};
use store::{checks, placement};

use crate::fixture;
use crate::ledger::scene;

const LEASE: Duration = Duration::from_secs(60);

fn conclusion(due: &Due) -> Conclusion {
    Conclusion {
        status: due.status,
        reason: None,
        attempts: 0,
        restarts: 0,
        created: true,
        logged_out: false,
        frees_slot: false,
        again_in: None,
    }
}

async fn wake(db: &store::Client, worker: WorkerId) -> i64 {
    let sql = "SELECT wake FROM lanes WHERE worker_id = $1";
    db.query_one(sql, &[&worker.uuid()]).await.unwrap().get(0)
}

async fn make_due(db: &store::Client) {
    db.execute("UPDATE sessions SET due_at = now()", &[])
        .await
        .unwrap();
}

#[tokio::test]
async fn a_status_is_fenced_and_wakes_the_lane() {
    let db = testkit::database().await;
    let worker = fixture::worker(&db).await;
    let phone = fixture::phone(1);
    fixture::session(&db, worker, &phone).await;
    let db = db.store.client().await.unwrap();
    let record = async |generation, status| {
        reconcile::record_status(&db, &phone, generation, status, None)
            .await
            .unwrap()
    };
    assert_eq!(record(2, ScanQrCode).await, Recorded::Refused);
    assert_eq!(record(1, Working).await, Recorded::Same);
    assert_eq!(wake(&db, worker).await, 0);
    assert_eq!(record(1, ScanQrCode).await, Recorded::Changed);
    assert_eq!(wake(&db, worker).await, 1);
    assert_eq!(record(1, ScanQrCode).await, Recorded::Same);
    assert_eq!(wake(&db, worker).await, 1);
    assert_eq!(record(1, Working).await, Recorded::Changed);
    assert_eq!(wake(&db, worker).await, 2);
}

#[tokio::test]
async fn what_is_asked_for_during_a_turn_is_looked_at_after_it() {
    let db = testkit::database().await;
    let worker = fixture::worker(&db).await;
    let phone = fixture::phone(1);
    fixture::session(&db, worker, &phone).await;
    let db = db.store.client().await.unwrap();
    make_due(&db).await;
    let claim = async || reconcile::claim_due(&db, 9, LEASE).await.unwrap();
    let due = claim().await.remove(0);
    reconcile::hint(&db, &phone, 1).await.unwrap();
    assert!(claim().await.is_empty(), "somebody is at it");
    assert!(
        reconcile::conclude(&db, &due, &conclusion(&due))
            .await
            .unwrap()
    );
    let again = claim().await.remove(0);
    // The first hand has let go: it cannot write any more.
    assert!(
        !reconcile::conclude(&db, &due, &conclusion(&due))
            .await
            .unwrap()
    );
    assert!(
        reconcile::conclude(&db, &again, &conclusion(&again))
            .await
            .unwrap()
    );
    assert!(claim().await.is_empty(), "nothing is left to do");
}

#[tokio::test]
async fn live_slots_are_counted() {
    let db = testkit::database().await;
    let worker = fixture::worker(&db).await;
    for number in [1, 2] {
        fixture::session(&db, worker, &fixture::phone(number)).await;
    }
    let db = db.store.client().await.unwrap();
    let sql = "UPDATE workers SET placed = 2, max_live = 1";
    db.execute(sql, &[]).await.unwrap();
    make_due(&db).await;
    let due = reconcile::claim_due(&db, 9, LEASE).await.unwrap();
    assert!(reconcile::take_live_slot(&db, &due[0]).await.unwrap());
    assert!(!reconcile::take_live_slot(&db, &due[1]).await.unwrap());
    let stopped = Conclusion {
        frees_slot: true,
        ..conclusion(&due[0])
    };
    assert!(reconcile::conclude(&db, &due[0], &stopped).await.unwrap());
    assert!(reconcile::take_live_slot(&db, &due[1]).await.unwrap());
    let live: i32 = db
        .query_one("SELECT live FROM workers", &[])
        .await
        .unwrap()
        .get(0);
    assert_eq!(live, 1);
}

#[tokio::test]
async fn forgetting_settles_the_message_on_its_way() {
    let db = testkit::database().await;
    let worker = fixture::worker(&db).await;
    let phone = fixture::phone(1);
    fixture::session(&db, worker, &phone).await;
    let campaign = fixture::campaign(&db, &phone, 2).await;
    let mut db = db.store.client().await.unwrap();
    let sql = format!(
        "UPDATE workers SET placed = 1, live = 1;
        UPDATE sessions SET live = true, due_at = now();
        UPDATE senders SET in_flight_campaign = '{campaign}', in_flight_ordinal = 0"
    );
    db.batch_execute(&sql).await.unwrap();
    let due = reconcile::claim_due(&db, 9, LEASE).await.unwrap().remove(0);
    assert!(
        !reconcile::forget(&mut db, &due).await.unwrap(),
        "it is wanted"
    );
    db.execute("UPDATE sessions SET wanted = 'GONE'", &[])
        .await
        .unwrap();
    assert!(reconcile::forget(&mut db, &due).await.unwrap());
    let sql = "SELECT w.placed + w.live, c.cancelled, c.unknown, m.status, m.error_code,
            s.in_flight_campaign IS NULL, (SELECT count(*) FROM sessions),
            (m.steps[cardinality(m.steps)]).status, (m.steps[cardinality(m.steps)]).answer
        FROM workers w, campaigns c, messages m, senders s WHERE m.ordinal = 0";
    let row = db.query_one(sql, &[]).await.unwrap();
    assert_eq!(row.get::<_, i32>(0), 0, "its place is free");
    assert_eq!((row.get::<_, i32>(1), row.get::<_, i32>(2)), (1, 1));
    assert_eq!(row.get::<_, i16>(3), 8);
    assert_eq!(row.get::<_, &str>(4), "session_removed");
    assert!(row.get::<_, bool>(5));
    assert_eq!(row.get::<_, i64>(6), 0);
    let told: (Option<i16>, Option<&str>) = (row.get(7), row.get(8));
    assert_eq!(
        told,
        (Some(8), Some("session_removed")),
        "its story says it"
    );
}

#[tokio::test]
async fn what_was_on_its_way_from_a_removed_session_ends_as_whatsapp_reported() {
    for by_force in [false, true] {
        for (ack, status) in [(-1, 5), (1, 2), (2, 3)] {
            let scene = scene(2).await;
            let claim = store::ledger::Claim {
                message_id: Some("3EB0".to_owned()),
                ..scene.claim(0)
            };
            scene.write(&[], &[claim]).await;
            let mut db = scene.db.store.client().await.unwrap();
            // Reported before anybody concluded it.
            let sql = format!(
                "UPDATE receipts SET ack = {ack}, ack_at = now();
                UPDATE workers SET placed = 1; UPDATE sessions SET wanted = 'GONE', due_at = now()"
            );
            db.batch_execute(&sql).await.unwrap();
            if by_force {
                let worker = scene.tenure.worker;
                store::workers::delete_by_force(&mut db, worker)
                    .await
                    .unwrap();
            } else {
                let due = reconcile::claim_due(&db, 9, LEASE).await.unwrap().remove(0);
                assert!(reconcile::forget(&mut db, &due).await.unwrap());
            }
            let sql = "SELECT status FROM messages WHERE ordinal = 0";
            let found: i16 = db.query_one(sql, &[]).await.unwrap().get(0);
            assert_eq!(found, status, "by force: {by_force}, ack {ack}");
        }
    }
}

/// One of the writes that meet on the same rows in a running fleet.
async fn disturb(db: &mut store::Client, rng: &mut StdRng, worker: WorkerId) {
    let phone = fixture::phone(rng.random_range(0..4));
    match rng.random_range(0..7) {
        0 => {
            let status = [Working, ScanQrCode][rng.random_range(0..2)];
            let done = reconcile::record_status(db, &phone, 1, status, None).await;
            done.unwrap();
        }
        1 => {
            for due in reconcile::claim_due(db, 2, LEASE).await.unwrap() {
                let _taken = reconcile::take_live_slot(db, &due).await.unwrap();
                let end = Conclusion {
                    frees_slot: rng.random(),
                    again_in: Some(Duration::ZERO),
                    ..conclusion(&due)
                };
                let _written = reconcile::conclude(db, &due, &end).await.unwrap();
            }
        }
        2 => {
            checks::wake(db, worker).await.unwrap();
        }
        3 => {
            let known = checks::known(db, worker).await.unwrap();
            let changes: Vec<_> = known.iter().rev().map(|known| (known, Working)).collect();
            checks::record_seen(db, worker, &changes).await.unwrap();
        }
        4 => checks::explain_down(db, worker, "gone").await.unwrap(),
        5 => {
            store::sweep::stale(db, 9).await.unwrap();
            placement::place_oldest(db).await.unwrap();
        }
        _ => {
            let wanted = models::session::SessionWanted::Running;
            store::sessions::want(db, &phone, wanted).await.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writers_meet_and_none_is_a_deadlock() {
    let db = testkit::database().await;
    let worker = fixture::worker(&db).await;
    for number in 0..4 {
        let phone = fixture::phone(number);
        fixture::session(&db, worker, &phone).await;
        fixture::campaign(&db, &phone, 1).await;
    }
    let client = db.store.client().await.unwrap();
    let sql = "UPDATE workers SET placed = 4; UPDATE campaigns SET sweep_at = now()";
    client.batch_execute(sql).await.unwrap();
    let seed = testkit::seed();
    let mut writers = tokio::task::JoinSet::new();
    for number in 0..6 {
        let store = db.store.clone();
        writers.spawn(async move {
            let mut rng = StdRng::seed_from_u64(seed ^ number);
            let mut client = store.client().await.unwrap();
            for _ in 0..150 {
                disturb(&mut client, &mut rng, worker).await;
            }
        });
    }
    writers.join_all().await;
    let sql = "SELECT w.live = (SELECT count(*) FROM sessions WHERE live) FROM workers w";
    assert!(client.query_one(sql, &[]).await.unwrap().get::<_, bool>(0));
}
