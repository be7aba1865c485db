//! What is past retention goes by months, and nothing that is still to be sent with it.

use std::time::Duration;

use models::ids::CampaignId;
use store::GenericClient;
use store::audit::audit;
use store::retention::{Dropped, Past, delete_strayed, delete_traces, drop_past, mark, past};
use store::unknown::{Resolution, Settled, settle};
use store::{campaigns, receipts};
use testkit::TestDatabase;
use uuid::Uuid;

use crate::fixture::{phone, session, worker};

/// Long enough that a month that ended a day more ago than this is past, and the one after not.
const KEEP: Duration = Duration::from_secs(40 * 86_400);
const MANY: i64 = 1_000;

/// The least id of so many days ago.
async fn id_of(db: &TestDatabase, days: i32) -> Uuid {
    let client = db.store.client().await.unwrap();
    let sql = "SELECT first_id_at(now() - make_interval(days => $1))";
    client.query_one(sql, &[&days]).await.unwrap().get(0)
}

/// A campaign of three, of so many days ago, ended so many days ago: one READ with its receipt,
/// one FAILED, one UNKNOWN.
async fn ended(db: &TestDatabase, days: i32, ended: i32) -> CampaignId {
    let id = id_of(db, days).await;
    let client = db.store.client().await.unwrap();
    let sql = "INSERT INTO campaigns (id, sender, template, variables, media_url, total, read,
            failed, unknown, trace_id, status, created_at, started_at, completed_at)
        VALUES ($1, $2, 'hello {{name}}', '{\"shop\": \"Ada\"}', 'http://m/1', 3, 1, 1, 1, $1,
            'COMPLETED_WITH_ERRORS', now() - make_interval(days => $3),
            now() - make_interval(days => $3), now() - make_interval(days => $4))";
    let sender = phone(1);
    let parameters: &[&(dyn tokio_postgres::types::ToSql + Sync)] =
        &[&id, &sender.digits(), &days, &ended];
    client.execute(sql, parameters).await.unwrap();
    let sql = "INSERT INTO messages (campaign_id, ordinal, recipient, status, waha_message_id)
        SELECT $1, n - 1, '4900000000' || n, (ARRAY[4, 5, 8])[n], $1::uuid || '-' || n
        FROM generate_series(1, 3) n";
    client.execute(sql, &[&id]).await.unwrap();
    let sql = "INSERT INTO receipts (sender, message_id, campaign_id, ordinal, ack, created_at)
        VALUES ($2, $1::uuid || '-1', $1, 0, 3, now() - make_interval(days => $3))";
    let parameters: &[&(dyn tokio_postgres::types::ToSql + Sync)] =
        &[&id, &sender.digits(), &ended];
    client.execute(sql, parameters).await.unwrap();
    CampaignId::new(id)
}

/// A ledger with a number, and months that reach so many back.
async fn ledger(months: i32) -> TestDatabase {
    let db = testkit::database().await;
    let worker = worker(&db).await;
    session(&db, worker, &phone(1)).await;
    let client = db.store.client().await.unwrap();
    let sql = "SELECT make_messages_partition((date_trunc('month', now() AT TIME ZONE 'UTC')
        - make_interval(months => n))::date) FROM generate_series(1, $1::integer) n";
    client.execute(sql, &[&months]).await.unwrap();
    db
}

async fn the_past(db: &TestDatabase) -> Vec<Past> {
    past(&db.store.client().await.unwrap(), KEEP).await.unwrap()
}

async fn count(db: &TestDatabase, sql: &str) -> i64 {
    let client = db.store.client().await.unwrap();
    let sql = format!("SELECT count(*) FROM {sql}");
    client.query_one(&sql, &[]).await.unwrap().get(0)
}

async fn purge(db: &TestDatabase, past: &Past) -> Dropped {
    let mut client = db.store.client().await.unwrap();
    while mark(&client, past, KEEP, 1).await.unwrap() > 0 {}
    while delete_traces(&client, past, KEEP, 1).await.unwrap() > 0 {}
    drop_past(&mut client, past).await.unwrap()
}

async fn differences(db: &TestDatabase) -> (u64, Vec<String>) {
    let mut client = db.store.client().await.unwrap();
    let audit = audit(&mut client).await.unwrap();
    let found = audit.differences.into_iter();
    let found = found.map(|one| format!("{} {:?}", one.what, one.campaign));
    (audit.purged, found.collect())
}

#[tokio::test]
async fn a_past_month_goes_and_its_campaigns_keep_their_totals() {
    let db = ledger(4).await;
    let old = [ended(&db, 75, 74).await, ended(&db, 76, 60).await];
    let fresh = ended(&db, 1, 1).await;
    let past = the_past(&db).await;
    let with_old = past.iter().filter(|past| past.held_by == 0).count();
    assert!(past.len() == with_old && !past.is_empty(), "{past:?}");
    let tables = count(&db, "message_partitions").await;
    for past in &past {
        assert_eq!(purge(&db, past).await, Dropped::Gone);
        assert_eq!(purge(&db, past).await, Dropped::Gone, "twice is fine");
    }
    let left = count(&db, "message_partitions").await;
    assert_eq!(left, tables - i64::try_from(past.len()).unwrap());
    assert_eq!(the_past(&db).await, []);
    assert_eq!(count(&db, "messages").await, 3);
    assert_eq!(count(&db, "receipts").await, 1);
    let client = db.store.client().await.unwrap();
    for id in old {
        let campaign = campaigns::one(&client, id).await.unwrap().unwrap();
        assert!(campaign.messages_purged_at.is_some());
        let counts = campaign.counts;
        assert_eq!((counts.total, counts.read, counts.failed), (3, 1, 1));
        let text = campaigns::text(&client, id).await.unwrap().unwrap();
        assert!(text.0.is_empty() && text.1.is_empty(), "its words are gone");
    }
    let campaign = campaigns::one(&client, fresh).await.unwrap().unwrap();
    assert_eq!(campaign.messages_purged_at, None);
    assert_eq!(differences(&db).await, (2, vec![]));
    client.execute("DELETE FROM messages", &[]).await.unwrap();
    let (_, found) = differences(&db).await;
    assert!(!found.is_empty(), "what went by itself is missed");
}

#[tokio::test]
async fn a_month_stays_while_a_campaign_of_it_goes_on() {
    for (what, sql) in [
        (
            "it has not ended",
            "UPDATE campaigns SET completed_at = NULL, status = 'IN_PROGRESS' WHERE id = $1",
        ),
        (
            "it ended lately",
            "UPDATE campaigns SET completed_at = now() - interval '39 days' WHERE id = $1",
        ),
        (
            "a message is on its way",
            "WITH cancelled AS (
                UPDATE campaigns SET unknown = 0, status = 'CANCELLED' WHERE id = $1
                RETURNING id, sender
            )
            UPDATE senders SET in_flight_campaign = id, in_flight_ordinal = 0
            FROM cancelled WHERE phone = sender",
        ),
    ] {
        let db = ledger(4).await;
        ended(&db, 76, 60).await;
        let held = ended(&db, 75, 59).await;
        let client = db.store.client().await.unwrap();
        assert_eq!(client.execute(sql, &[&held.uuid()]).await.unwrap(), 1);
        let past = the_past(&db).await;
        let month = past.iter().find(|past| past.held_by > 0);
        let month = month.unwrap_or_else(|| panic!("{what}: {past:?}"));
        assert_eq!(month.held_by, 1, "{what}");
        assert_eq!(
            purge(&db, month).await,
            Dropped::Held,
            "{what}, also when it is tried"
        );
        assert_eq!(count(&db, "messages").await, 6, "{what}");
    }
}

#[tokio::test]
async fn a_campaign_that_is_accepted_meanwhile_keeps_its_month() {
    let db = ledger(4).await;
    ended(&db, 75, 60).await;
    let past = the_past(&db).await;
    let id = id_of(&db, 75).await;
    let month = past.iter().find(|past| past.holds(id)).unwrap();
    let client = db.store.client().await.unwrap();
    assert_eq!(mark(&client, month, KEEP, MANY).await.unwrap(), 1);
    // By a gateway whose clock is wrong.
    let late = ended(&db, 75, 0).await;
    let mut db_client = db.store.client().await.unwrap();
    let dropped = drop_past(&mut db_client, month).await.unwrap();
    assert_eq!(dropped, Dropped::Held);
    let listed = campaigns::messages(&client, late, None, -1, 9).await;
    assert_eq!(listed.unwrap().len(), 3);
}

#[tokio::test]
async fn dropping_does_not_wait_for_others() {
    let db = ledger(4).await;
    let past = the_past(&db).await;
    let mut client = db.store.client().await.unwrap();
    let sender = client.transaction().await.unwrap();
    let sql = "UPDATE messages SET attempts = 0";
    sender.execute(sql, &[]).await.unwrap();
    assert_eq!(purge(&db, &past[0]).await, Dropped::Busy);
    sender.commit().await.unwrap();
    assert_eq!(purge(&db, &past[0]).await, Dropped::Gone);
}

#[tokio::test]
async fn nothing_brings_a_purged_campaign_back() {
    let db = ledger(4).await;
    let id = ended(&db, 75, 60).await;
    let mut client = db.store.client().await.unwrap();
    let past = the_past(&db).await;
    let marked = async |past: &Past| mark(&client, past, KEEP, MANY).await.unwrap();
    let mut found = 0;
    for past in &past {
        found += marked(past).await;
    }
    assert_eq!(found, 1);
    let before = "campaigns WHERE status = 'COMPLETED_WITH_ERRORS' AND read = 1 AND unknown = 1";
    // Its rows are still there: a process may die between the mark and the drop.
    for gone in [false, true] {
        let settled = settle(&mut client, id, None, Resolution::Resend).await;
        assert!(matches!(settled.unwrap(), Settled::Purged(_)));
        let report = receipts::Report {
            sender: phone(1),
            generation: 1,
            message_id: format!("{id}-1"),
            ack: 4,
            at: None,
        };
        receipts::record(&mut client, &[report]).await.unwrap();
        let cancelled = campaigns::cancel(&mut client, id).await.unwrap();
        assert!(matches!(cancelled, campaigns::Cancellation::Ended(_)));
        assert_eq!(count(&db, before).await, 1, "gone: {gone}");
        assert_eq!(differences(&db).await, (1, vec![]), "gone: {gone}");
        for past in &past {
            assert_eq!(purge(&db, past).await, Dropped::Gone);
        }
    }
    let reopen = "UPDATE campaigns SET completed_at = NULL";
    assert!(
        client.execute(reopen, &[]).await.is_err(),
        "the schema forbids it"
    );
}

#[tokio::test]
async fn a_late_refusal_does_not_excuse_a_purged_message() {
    let db = ledger(4).await;
    let id = ended(&db, 75, 60).await;
    let mut client = db.store.client().await.unwrap();
    let sql = "UPDATE messages SET status = 5, error_code = 'whatsapp_refused';
        UPDATE receipts SET ack = -1, ack_at = now();
        UPDATE campaigns SET read = 0, failed = 3, unknown = 0, messages_purged_at = now()";
    client.batch_execute(sql).await.unwrap();
    let restriction = store::health::Restriction {
        code: "time_locked",
        reason: "error 463".to_owned(),
        until: None,
        otherwise: KEEP,
        otherwise_max: KEEP,
    };
    let changed = store::health::restrict(&mut client, &phone(1), 1, &restriction).await;
    assert!(changed.unwrap(), "the number rests");
    assert_eq!(count(&db, "messages WHERE status = 5").await, 3);
    let campaign = campaigns::one(&client, id).await.unwrap().unwrap();
    assert!(campaign.completed_at.is_some());
}

#[tokio::test]
async fn what_strayed_into_the_default_table_goes_campaign_by_campaign() {
    let db = ledger(0).await;
    let old = ended(&db, 400, 60).await;
    let lately = ended(&db, 401, 10).await;
    assert_eq!(count(&db, "messages_default").await, 6);
    let client = db.store.client().await.unwrap();
    let mut deleted = Vec::new();
    while *deleted.last().unwrap_or(&1) > 0 {
        deleted.push(delete_strayed(&client, KEEP, 2).await.unwrap());
    }
    assert_eq!(deleted, [2, 1, 0]);
    for (id, left) in [(old, 0), (lately, 3)] {
        let listed = campaigns::messages(&client, id, None, -1, 9).await;
        assert_eq!(listed.unwrap().len(), left);
        let campaign = campaigns::one(&client, id).await.unwrap().unwrap();
        assert_eq!(campaign.messages_purged_at.is_some(), left == 0);
    }
    assert_eq!(differences(&db).await, (1, vec![]));
}

#[tokio::test]
async fn old_receipts_are_found_by_their_age() {
    let db = ledger(0).await;
    ended(&db, 2, 1).await;
    ended(&db, 50, 41).await;
    let client = db.store.client().await.unwrap();
    let pruned = async || receipts::prune(&client, KEEP, KEEP, MANY).await.unwrap();
    assert_eq!((pruned().await, pruned().await), (1, 0));
    let index = "SELECT indexdef FROM pg_indexes WHERE indexname = 'receipts_old'";
    let index: String = client.query_one(index, &[]).await.unwrap().get(0);
    assert!(index.contains("btree"), "one of ranges forgets nothing");
}
