//! Months are made and dropped by whichever replica comes along.

use scheduler::storage::{months_once, retention_once};
use store::GenericClient;
use testkit::TestDatabase;

use crate::world::{BOUND, fleet, fleet_with};

const NOWHERE: &str = "amqp://127.0.0.1:9/%2f";

async fn count(db: &TestDatabase, sql: &str) -> i64 {
    let client = db.store.client().await.unwrap();
    let sql = format!("SELECT count(*) FROM {sql}");
    client.query_one(&sql, &[]).await.unwrap().get(0)
}

async fn run(db: &TestDatabase, sql: &str) {
    let client = db.store.client().await.unwrap();
    client.batch_execute(sql).await.unwrap();
}

/// The month before last, and the one before that, with an ended campaign of one message each.
const PAST: &str = "
    SELECT make_messages_partition((date_trunc('month', now() AT TIME ZONE 'UTC')
        - make_interval(months => n))::date) FROM generate_series(2, 3) n;
    INSERT INTO senders (phone) VALUES ('21600000001');
    INSERT INTO campaigns (id, sender, template, total, sent, trace_id, status, completed_at)
    SELECT since_id, '21600000001', 'hello', 1, 1, since_id, 'COMPLETED', until
    FROM message_partitions WHERE until < now() - interval '20 days';
    INSERT INTO messages (campaign_id, ordinal, recipient, status)
    SELECT id, 0, '49', 2 FROM campaigns";

#[tokio::test]
async fn a_running_replica_makes_the_months_that_are_missing() {
    let db = testkit::database().await;
    run(
        &db,
        "DO $$ DECLARE name text; BEGIN
        FOR name IN SELECT p.name FROM message_partitions p LOOP
            EXECUTE 'DROP TABLE ' || name;
        END LOOP; END $$",
    )
    .await;
    let replica = fleet(&db, NOWHERE);
    let clock = replica.fleet.clock.clone();
    scheduler::start::loops(&replica.fleet, &clock, &replica.shutdown);
    testkit::eventually("this month and three more", BOUND, async || {
        (count(&db, "message_partitions").await == 4).then_some(())
    })
    .await;
}

#[tokio::test]
async fn only_who_is_told_to_drops_months() {
    let db = testkit::database().await;
    run(&db, PAST).await;
    let tables = count(&db, "message_partitions").await;
    let for_ever = fleet(&db, NOWHERE);
    retention_once(&for_ever.fleet).await.unwrap();
    assert_eq!(count(&db, "message_partitions").await, tables);
    assert_eq!(
        count(&db, "campaigns WHERE messages_purged_at IS NULL").await,
        2
    );

    let days = ("RETENTION_DAYS", "20");
    let (one, other) = (
        fleet_with(&db, NOWHERE, days),
        fleet_with(&db, NOWHERE, days),
    );
    let goes_on = "UPDATE campaigns SET completed_at = NULL, status = 'IN_PROGRESS', sent = 0
        WHERE id = (SELECT id FROM campaigns ORDER BY id LIMIT 1)";
    run(&db, goes_on).await;
    let (first, second) = tokio::join!(retention_once(&one.fleet), retention_once(&other.fleet));
    first.unwrap();
    second.unwrap();
    // Either may have found the other at it.
    retention_once(&one.fleet).await.unwrap();
    assert_eq!(
        count(&db, "message_partitions").await,
        tables - 1,
        "one is held"
    );
    assert_eq!(count(&db, "messages").await, 1);
    let ended = "UPDATE campaigns SET completed_at = created_at - interval '30 days',
        status = 'COMPLETED', sent = 1 WHERE completed_at IS NULL";
    run(&db, ended).await;
    retention_once(&one.fleet).await.unwrap();
    assert_eq!(count(&db, "messages").await, 0);
    assert_eq!(
        count(&db, "campaigns WHERE messages_purged_at IS NOT NULL").await,
        2
    );
    months_once(&one.fleet).await.unwrap();
    assert_eq!(
        count(&db, "message_partitions").await,
        tables - 2,
        "none comes back"
    );
}
