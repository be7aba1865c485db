//! Rows to begin with, made without the functions under test.

use std::time::Duration;

use models::ids::{CampaignId, ReplicaId, WorkerId};
use models::phone::PhoneNumber;
use store::GenericClient as _;
use store::lanes::{self, Arrival, Tenure};
use testkit::TestDatabase;
use uuid::Uuid;

/// Long enough that no heartbeat of a test grows old by accident.
pub(crate) const DEAD_AFTER: Duration = Duration::from_secs(60);

pub(crate) fn phone(number: u32) -> PhoneNumber {
    format!("216{number:08}").parse().unwrap()
}

pub(crate) async fn worker(db: &TestDatabase) -> WorkerId {
    let id = Uuid::now_v7();
    let client = db.store.client().await.unwrap();
    let sql = "INSERT INTO workers (id, url, name, api_key, capacity, capacity_inherited, max_live,
        max_live_inherited, health)
        VALUES ($1, 'http://w/' || ($1::uuid)::text, 'w', 'k', 9, false, 9, false, 'up')";
    client.execute(sql, &[&id]).await.unwrap();
    client
        .execute("INSERT INTO lanes (worker_id) VALUES ($1)", &[&id])
        .await
        .unwrap();
    WorkerId::new(id)
}

pub(crate) async fn session(db: &TestDatabase, worker: WorkerId, phone: &PhoneNumber) {
    let client = db.store.client().await.unwrap();
    client
        .execute(
            "INSERT INTO senders (phone) VALUES ($1)",
            &[&phone.digits()],
        )
        .await
        .unwrap();
    let sql = "INSERT INTO sessions (phone, worker_id, generation, waha_name, status)
        VALUES ($1, $2, 1, $1, 'WORKING')";
    client
        .execute(sql, &[&phone.digits(), &worker.uuid()])
        .await
        .unwrap();
}

pub(crate) async fn campaign(
    db: &TestDatabase,
    sender: &PhoneNumber,
    recipients: i32,
) -> CampaignId {
    let id = Uuid::now_v7();
    let client = db.store.client().await.unwrap();
    let sql = "INSERT INTO campaigns (id, sender, template, total, trace_id)
        VALUES ($1, $2, 'hello', $3, $1)";
    client
        .execute(sql, &[&id, &sender.digits(), &recipients])
        .await
        .unwrap();
    let sql = "INSERT INTO messages (campaign_id, ordinal, recipient)
        SELECT $1, n, (49000000000 + n)::text FROM generate_series(0, $2 - 1) n";
    client.execute(sql, &[&id, &recipients]).await.unwrap();
    CampaignId::new(id)
}

pub(crate) async fn replica(db: &TestDatabase) -> ReplicaId {
    let id = ReplicaId::new(Uuid::new_v4());
    let client = db.store.client().await.unwrap();
    store::replicas::beat(&client, id, "sender", "test")
        .await
        .unwrap();
    id
}

/// A replica stops beating: its last heartbeat grows older than any bound.
pub(crate) async fn kill(db: &TestDatabase, replica: ReplicaId) {
    let client = db.store.client().await.unwrap();
    let sql = "UPDATE replicas SET seen_at = now() - interval '1 day' WHERE id = $1";
    client.execute(sql, &[&replica.uuid()]).await.unwrap();
}

pub(crate) async fn take(db: &TestDatabase, replica: ReplicaId, sender: &PhoneNumber) -> Tenure {
    let client = db.store.client().await.unwrap();
    match lanes::arrive(&client, replica, sender, DEAD_AFTER)
        .await
        .unwrap()
    {
        Arrival::Ours(tenure) => tenure,
        other => panic!("the lane should be ours, not {other:?}"),
    }
}
