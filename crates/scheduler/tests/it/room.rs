//! Queueing, placing, live slots.

use models::session::SessionWanted;
use store::sessions;

use crate::world::world;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_queue_is_served_oldest_first_when_room_appears() {
    let world = world(&[(1, 1), (1, 1)]).await;
    let _replica = world.scheduler();
    let first = world.ask(1).await;
    let second = world.ask(2).await;
    let (third, fourth) = (world.ask(3).await, world.ask(4).await);
    world.reaches(&first, "SCAN_QR_CODE").await;
    world.reaches(&second, "SCAN_QR_CODE").await;
    assert_ne!(world.number(&first).await, world.number(&second).await);
    for waiting in [&third, &fourth] {
        assert_eq!(world.session(waiting).await.unwrap().status, "QUEUED");
    }
    let mut client = world.client().await;
    assert_eq!(sessions::queue_place(&client, &fourth).await.unwrap(), 2);
    sessions::remove(&mut client, &second).await.unwrap();
    drop(client);
    world.reaches(&third, "SCAN_QR_CODE").await;
    assert_eq!(world.session(&fourth).await.unwrap().status, "QUEUED");
    let mut client = world.client().await;
    sessions::remove(&mut client, &first).await.unwrap();
    drop(client);
    world.reaches(&fourth, "SCAN_QR_CODE").await;
    assert_eq!(world.loads().await, [(1, 1), (1, 1)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_live_slot_is_waited_for() {
    let world = world(&[(2, 1)]).await;
    let _replica = world.scheduler();
    let first = world.working(1).await;
    let second = world.ask(2).await;
    world.want(&first, SessionWanted::Stopped).await;
    world.reaches(&second, "SCAN_QR_CODE").await;
    assert_eq!(world.loads().await, [(2, 1)]);

    world.want(&first, SessionWanted::Running).await;
    let row = world
        .until(&first, "waits", |row| row.reason.is_some() && !row.resting)
        .await;
    assert_eq!(row.status, "STOPPED");
    assert_eq!(
        row.reason.as_deref(),
        Some("waits for a live slot on worker waha-1")
    );
    world.want(&second, SessionWanted::Stopped).await;
    world.reaches(&first, "WORKING").await;
    assert_eq!(world.loads().await, [(2, 1)]);
}
