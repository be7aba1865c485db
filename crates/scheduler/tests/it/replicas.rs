//! Two replicas share the work and do no harm.

use std::collections::BTreeSet;
use std::time::Duration;

use store::GenericClient as _;
use store::reconcile;

use crate::world::world;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_replicas_bring_a_fleet_up_and_down() {
    let world = world(&[(4, 4), (4, 4), (4, 4)]).await;
    let (_one, _two) = (world.scheduler(), world.scheduler());
    let mut phones = Vec::new();
    for number in 0..14 {
        phones.push(world.ask(number).await);
    }
    let (placed, queued) = phones.split_at(12);
    for phone in placed {
        world.reaches(phone, "SCAN_QR_CODE").await;
    }
    assert_eq!(world.loads().await, [(4, 4); 3]);
    for phone in &placed[..2] {
        let mut client = world.client().await;
        store::sessions::remove(&mut client, phone).await.unwrap();
    }
    for phone in queued {
        world.reaches(phone, "SCAN_QR_CODE").await;
    }
    for phone in phones.iter().skip(2) {
        let number = world.number(phone).await;
        for worker in 1..=3 {
            let there = !world.at_worker(worker, phone.digits()).await.is_null();
            assert_eq!(there, worker == number, "it lives once, on its worker");
        }
    }
    assert_eq!(world.loads().await, [(4, 4); 3]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_is_in_one_hand_at_a_time() {
    let world = world(&[(9, 9)]).await;
    let client = world.client().await;
    client
        .execute("UPDATE workers SET health = 'up'", &[])
        .await
        .unwrap();
    for number in 0..6 {
        world.ask(number).await;
    }
    let lease = Duration::from_secs(60);
    let mut seen = BTreeSet::new();
    for batch in [4, 4, 4] {
        for due in reconcile::claim_due(&client, batch, lease).await.unwrap() {
            assert!(seen.insert(due.phone.clone()), "taken twice");
            // Somebody asks meanwhile: not before the first has let go.
            reconcile::hint(&client, &due.phone, due.generation)
                .await
                .unwrap();
        }
    }
    assert_eq!(seen.len(), 6);
    // Who took them died: they come back when the lease is over.
    let sql = "UPDATE sessions SET leased_until = now() - interval '1 second'";
    client.execute(sql, &[]).await.unwrap();
    let again = reconcile::claim_due(&client, 9, lease).await.unwrap();
    assert_eq!(again.len(), 6);
}
