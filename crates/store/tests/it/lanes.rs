//! Lanes under take-over, hand-over and release.

use store::GenericClient as _;
use store::lanes::{self, Arrival, Tenure};
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
async fn a_replica_that_still_has_lanes_does_not_vanish() {
    let db = testkit::database().await;
    let worker = worker(&db).await;
    session(&db, worker, &phone(1)).await;
    let (leaving, other) = (replica(&db).await, replica(&db).await);
    let client = db.store.client().await.unwrap();
    let tenure = take(&db, leaving, &phone(1)).await;

    store::replicas::leave(&client, leaving).await.unwrap();
    let arrival = lanes::arrive(&client, other, &phone(1), DEAD_AFTER).await;
    assert_eq!(arrival.unwrap(), Arrival::Woken, "it may be speaking");
    kill(&db, leaving).await;
    let adopted = lanes::adopt(&client, other, DEAD_AFTER, 9).await.unwrap();
    assert_eq!(adopted.len(), 1, "its lane is found by its row");
    assert_eq!(adopted[0].0.epoch, tenure.epoch + 1);
    store::replicas::leave(&client, leaving).await.unwrap();
    let left = client.query("SELECT FROM replicas", &[]).await.unwrap();
    assert_eq!(left.len(), 1);
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
    let mut seen = lanes::owned(&client, staying, None, 3).await.unwrap();
    let after = seen.last().map(|(tenure, _)| tenure.worker);
    seen.extend(lanes::owned(&client, staying, after, 3).await.unwrap());
    assert_eq!(seen.len(), 5);
    assert!(
        seen.iter().all(|(tenure, _)| tenure.epoch == 2),
        "each is fenced anew"
    );
    let shares = lanes::shares(&client, DEAD_AFTER).await.unwrap();
    assert_eq!((shares.replicas, shares.lanes_owned), (2, 5));
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

    let all = roster::all(&db.store.client().await.unwrap(), worker)
        .await
        .unwrap();
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
        roster::one(&db.store.client().await.unwrap(), worker, &phone(3))
            .await
            .unwrap()
            .is_none()
    );
}

/// Lanes `from..upto`, each with a sender, taken by one replica.
async fn lanes_of(
    db: &testkit::TestDatabase,
    owner: models::ids::ReplicaId,
    numbers: std::ops::Range<u32>,
) -> Vec<Tenure> {
    let mut tenures = Vec::new();
    for number in numbers {
        session(db, worker(db).await, &phone(number)).await;
        tenures.push(take(db, owner, &phone(number)).await);
    }
    tenures
}

#[tokio::test]
async fn only_what_a_dead_replica_owned_is_adopted_and_fenced() {
    let db = testkit::database().await;
    let (dead, living) = (replica(&db).await, replica(&db).await);
    let (retiring, adopter) = (replica(&db).await, replica(&db).await);
    let client = db.store.client().await.unwrap();
    let orphans = lanes_of(&db, dead, 0..3).await;
    lanes_of(&db, living, 3..5).await;
    lanes_of(&db, retiring, 5..7).await;
    session(&db, worker(&db).await, &phone(9)).await;
    store::replicas::retire(&client, retiring).await.unwrap();
    let adopt = async |by| lanes::adopt(&client, by, DEAD_AFTER, 99).await.unwrap();
    let orphaned = async || {
        let around = lanes::around(&client, DEAD_AFTER).await.unwrap();
        (around.replicas, around.orphaned)
    };
    assert_eq!(orphaned().await, (3, false));
    let sql = "UPDATE replicas SET seen_at = now() - interval '50 seconds' WHERE id = $1";
    client.execute(sql, &[&dead.uuid()]).await.unwrap();
    let around = lanes::around(&client, DEAD_AFTER).await.unwrap();
    let left = around.next_death_in.unwrap();
    assert!((1..=10).contains(&left.as_secs()), "{left:?}");
    assert_eq!(adopt(adopter).await, [], "everybody lives");

    kill(&db, dead).await;
    assert_eq!(orphaned().await, (2, true));
    assert_eq!(adopt(retiring).await, [], "it is about to end");
    assert_eq!(adopt(dead).await, [], "it is dead itself");
    let mut adopted = adopt(adopter).await;
    adopted.sort_by_key(|(tenure, _)| tenure.worker.uuid());
    let adopted: Vec<_> = adopted.into_iter().map(|(tenure, _)| tenure).collect();
    let fenced = |tenure: &Tenure| Tenure {
        epoch: tenure.epoch + 1,
        ..*tenure
    };
    assert_eq!(adopted, orphans.iter().map(fenced).collect::<Vec<_>>());
    for tenure in &orphans {
        let wake = lanes::wake(&client, dead, *tenure).await.unwrap();
        assert_eq!(wake, None, "the former owner sees that it lost the lane");
    }
    assert_eq!(orphaned().await, (2, false));
    assert_eq!(adopt(adopter).await, []);
    assert_eq!(
        lanes::woken(&client, adopter, 99).await.unwrap(),
        [],
        "who adopts a lane knows its wake number"
    );
}

#[tokio::test]
async fn adopters_share_what_there_is_and_take_no_lane_twice() {
    let db = testkit::database().await;
    let dead = replica(&db).await;
    let orphans = lanes_of(&db, dead, 0..40).await;
    let adopters = [replica(&db).await, replica(&db).await];
    let died = async |ago: f64| {
        let client = db.store.client().await.unwrap();
        let sql = "UPDATE replicas SET seen_at = now() - make_interval(secs => $2) WHERE id = $1";
        let ago = DEAD_AFTER.as_secs_f64() + ago;
        client.execute(sql, &[&dead.uuid(), &ago]).await.unwrap();
    };
    died(1.0).await;
    let adopt = async |by| {
        let client = db.store.client().await.unwrap();
        let mut all = Vec::new();
        loop {
            let taken = lanes::adopt(&client, by, DEAD_AFTER, 7).await.unwrap();
            if taken.is_empty() {
                return all;
            }
            all.extend(taken.into_iter().map(|(tenure, _)| tenure.worker.uuid()));
        }
    };
    let (one, two) = tokio::join!(adopt(adopters[0]), adopt(adopters[1]));
    // Who met the other's locks finds what is left at its next look.
    let mut rest = adopt(adopters[0]).await;
    assert!(one.len() + rest.len() <= 20);
    died(9.0).await;
    rest.extend(adopt(adopters[0]).await);
    let counts = [one.len(), two.len()];
    assert!(counts.iter().all(|count| *count <= 20), "{counts:?}");
    let mut all = [one, two, rest].concat();
    all.sort();
    let mut wanted: Vec<_> = orphans.iter().map(|tenure| tenure.worker.uuid()).collect();
    wanted.sort();
    assert_eq!(all, wanted);
}

#[tokio::test]
async fn a_job_and_an_adopter_never_both_get_a_lane() {
    let db = testkit::database().await;
    let dead = replica(&db).await;
    let orphans = lanes_of(&db, dead, 0..20).await;
    let (adopter, consumer) = (replica(&db).await, replica(&db).await);
    kill(&db, dead).await;
    let adopting = async {
        let client = db.store.client().await.unwrap();
        let mut adopted = Vec::new();
        for _ in 0..20 {
            let taken = lanes::adopt(&client, adopter, DEAD_AFTER, 1).await.unwrap();
            adopted.extend(taken.into_iter().map(|(tenure, _)| tenure));
        }
        adopted
    };
    let consuming = async {
        let client = db.store.client().await.unwrap();
        let mut arrived = Vec::new();
        for number in (0..20).rev() {
            let arrival = lanes::arrive(&client, consumer, &phone(number), DEAD_AFTER).await;
            if let Arrival::Ours(tenure) = arrival.unwrap() {
                arrived.push(tenure);
            }
        }
        arrived
    };
    let (adopted, arrived) = tokio::join!(adopting, consuming);
    let mut all = [adopted, arrived].concat();
    assert!(all.iter().all(|tenure| tenure.epoch == 2), "{all:?}");
    all.sort_by_key(|tenure| tenure.worker.uuid());
    all.dedup();
    assert_eq!(all.len(), orphans.len());
}

#[tokio::test]
async fn an_owner_is_told_of_each_wake_once_and_of_nothing_that_is_idle() {
    let db = testkit::database().await;
    let (owner, other) = (replica(&db).await, replica(&db).await);
    let tenures = lanes_of(&db, owner, 0..3).await;
    lanes_of(&db, other, 3..5).await;
    let client = db.store.client().await.unwrap();
    let woken = async || lanes::woken(&client, owner, 99).await.unwrap();
    assert_eq!(woken().await.len(), 3, "the arrival of a job is a wake");
    assert_eq!(woken().await, []);

    store::sessions::wake_lane(&client, &phone(1))
        .await
        .unwrap();
    assert_eq!(woken().await, [(tenures[1], 2)]);
    assert_eq!(woken().await, []);
    assert_eq!(
        store::sweep::wanting(&client, DEAD_AFTER, 9)
            .await
            .unwrap()
            .looked_at,
        2,
        "a wake that its owner knows of is not the sweep's business"
    );

    lanes::hand_over(
        &client,
        other,
        &[Tenure {
            epoch: 9,
            ..tenures[0]
        }],
        DEAD_AFTER,
    )
    .await
    .unwrap();
    assert_eq!(woken().await, [], "it was not theirs");
    lanes::hand_over(&client, owner, &tenures, DEAD_AFTER)
        .await
        .unwrap();
    assert_eq!(woken().await, []);
    let theirs = lanes::woken(&client, other, 99).await.unwrap();
    let came = theirs.iter().filter(|(tenure, _)| tenure.epoch == 2);
    assert_eq!(came.count(), 3, "a lane that comes is woken");
}

#[tokio::test]
async fn a_wake_while_the_owner_looks_is_told_now_or_next_time() {
    let db = testkit::database().await;
    let owner = replica(&db).await;
    lanes_of(&db, owner, 0..1).await;
    let looking = async {
        let client = db.store.client().await.unwrap();
        let mut last = 0;
        while last < 51 {
            for (_, wake) in lanes::woken(&client, owner, 99).await.unwrap() {
                assert!(wake > last, "each wake is told once");
                last = wake;
            }
        }
    };
    let waking = async {
        let client = db.store.client().await.unwrap();
        for _ in 0..50 {
            store::sessions::wake_lane(&client, &phone(0))
                .await
                .unwrap();
        }
    };
    let both = async { tokio::join!(looking, waking) };
    tokio::time::timeout(DEAD_AFTER, both).await.unwrap();
}

#[tokio::test]
async fn facts_and_rosters_of_many_lanes_are_those_of_each() {
    let db = testkit::database().await;
    let owner = replica(&db).await;
    let mut tenures = lanes_of(&db, owner, 0..4).await;
    session(&db, tenures[1].worker, &phone(10)).await;
    for number in [0, 1, 1, 10, 3] {
        crate::fixture::campaign(&db, &phone(number), 3).await;
    }
    let client = db.store.client().await.unwrap();
    let sql = "UPDATE senders SET last_sent_at = now() - interval '1 hour', message_delay_ms = 7,
        in_flight_campaign = CASE WHEN phone = $1 THEN gen_random_uuid() END,
        in_flight_ordinal = 0, in_flight_at = now() - interval '1 hour',
        in_flight_worker = gen_random_uuid()";
    client.execute(sql, &[&phone(2).digits()]).await.unwrap();
    let sql = "UPDATE lanes SET last_sent_at = now() - interval '1 hour',
        resting_until = now() + interval '1 hour' WHERE worker_id = $1";
    let resting = tenures[3].worker.uuid();
    client.execute(sql, &[&resting]).await.unwrap();

    let workers: Vec<_> = tenures.iter().map(|tenure| tenure.worker).collect();
    let reader = db.store.client().await.unwrap();
    let many = roster::of_lanes(&reader, &workers).await.unwrap();
    let mut speakers = 0;
    for worker in workers {
        let mut one = roster::all(&reader, worker).await.unwrap();
        let mut of_many: Vec<_> = many.iter().filter(|(on, _)| *on == worker).collect();
        one.sort_by_key(|speaker| speaker.phone.digits().to_owned());
        of_many.sort_by_key(|(_, speaker)| speaker.phone.digits().to_owned());
        let named = |speaker: &roster::Speaker| {
            let campaign = speaker.campaign.as_ref();
            let campaign = campaign.map(|c| (c.id, c.next_ordinal, c.template.clone()));
            let key = speaker.in_flight.as_ref().map(|in_flight| in_flight.key);
            let name = (speaker.phone.clone(), speaker.waha_name.clone());
            (name, speaker.delays, campaign, key, speaker.working)
        };
        let one: Vec<_> = one.iter().map(named).collect();
        let of_many: Vec<_> = of_many.iter().map(|(_, speaker)| named(speaker)).collect();
        assert_eq!(one, of_many);
        speakers += one.len();
    }
    assert_eq!(speakers, 5, "four with a campaign, one to be settled");

    tenures.push(Tenure {
        epoch: 7,
        ..tenures[0]
    });
    let facts = lanes::facts(&client, owner, &tenures).await.unwrap();
    let of = |lane: usize| &facts.iter().find(|(t, _)| *t == tenures[lane]).unwrap().1;
    assert_eq!(facts.len(), 4, "the fifth is of another tenure");
    assert_eq!(
        (of(0).wake, of(0).in_flight, of(2).in_flight),
        (1, false, true)
    );
    assert!(of(3).resting_for.is_some() && of(0).resting_for.is_none());
    assert!(of(3).last_sent_ago.is_some() && of(0).last_sent_ago.is_none());
    let other = replica(&db).await;
    assert!(
        lanes::facts(&client, other, &tenures)
            .await
            .unwrap()
            .is_empty()
    );
}
