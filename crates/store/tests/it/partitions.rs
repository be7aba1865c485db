//! Months of messages: made ahead, without anybody's clock being trusted, and without a message
//! being lost on the way into them.

use models::message::MessageStatus;
use store::partitions::{MONTHS_AHEAD, Made, make_ahead};
use store::{GenericClient, roster};
use testkit::TestDatabase;
use uuid::Uuid;

use crate::fixture::{campaign, phone, session, worker};

/// The names of the tables that there is a month for, oldest first.
async fn tables(db: &TestDatabase) -> Vec<String> {
    let client = db.store.client().await.unwrap();
    let sql = "SELECT name FROM message_partitions ORDER BY until_id";
    let rows = client.query(sql, &[]).await.unwrap();
    rows.iter().map(|row| row.get(0)).collect()
}

/// The name of this month's table, or of one so many months later.
async fn month(db: &TestDatabase, later: i32) -> String {
    let client = db.store.client().await.unwrap();
    let sql = "SELECT to_char((now() AT TIME ZONE 'UTC') + make_interval(months => $1),
        '\"messages_\"YYYY_MM')";
    client.query_one(sql, &[&later]).await.unwrap().get(0)
}

async fn months(db: &TestDatabase) -> Vec<String> {
    let mut names = Vec::new();
    for later in 0..=MONTHS_AHEAD {
        names.push(month(db, later).await);
    }
    names
}

async fn run(db: &TestDatabase, sql: &str) {
    let client = db.store.client().await.unwrap();
    client.batch_execute(sql).await.unwrap();
}

async fn ahead(db: &TestDatabase) -> Made {
    make_ahead(&mut db.store.client().await.unwrap())
        .await
        .unwrap()
}

#[tokio::test]
async fn months_are_made_ahead_once() {
    let db = testkit::database().await;
    ahead(&db).await;
    let all = months(&db).await;
    assert_eq!(tables(&db).await, all);
    assert_eq!(ahead(&db).await, Made::default(), "nothing is left to do");
    for name in &all[1..3] {
        run(&db, &format!("DROP TABLE {name}")).await;
    }
    let (one, other) = tokio::join!(ahead(&db), ahead(&db));
    let made = one.made + other.made + ahead(&db).await.made;
    assert_eq!(made, 2, "whoever is at it");
    assert_eq!(tables(&db).await, all);
    let sql = "SELECT count(DISTINCT reloptions), min(reloptions::text) FROM pg_class
        WHERE relkind = 'r' AND relname LIKE 'messages%'";
    let client = db.store.client().await.unwrap();
    let row = client.query_one(sql, &[]).await.unwrap();
    let options: String = row.get(1);
    assert!(row.get::<_, i64>(0) == 1 && options.contains("fillfactor=30"));
}

#[tokio::test]
async fn a_message_lies_in_the_month_of_its_campaign_to_the_millisecond() {
    let db = testkit::database().await;
    ahead(&db).await;
    let client = db.store.client().await.unwrap();
    let sql = "INSERT INTO messages (campaign_id, ordinal, recipient) VALUES ($1, 0, '49')
        RETURNING tableoid::regclass::text";
    let bound = "SELECT until_id, until FROM message_partitions ORDER BY until_id LIMIT 1";
    let row = client.query_one(bound, &[]).await.unwrap();
    let (first, until): (Uuid, time::OffsetDateTime) = (row.get(0), row.get(1));
    let millis = u64::try_from(until.unix_timestamp_nanos() / 1_000_000).unwrap();
    let of = |millis| uuid::Builder::from_unix_timestamp_millis(millis, &[0xff; 10]).into_uuid();
    assert_eq!((until.day(), until.time()), (1, time::Time::MIDNIGHT));
    for (id, table) in [
        (of(millis - 1), month(&db, 0).await),
        (first, month(&db, 1).await),
        (of(millis), month(&db, 1).await),
        (Uuid::from_u128(7), "messages_default".to_owned()),
        (Uuid::max(), "messages_default".to_owned()),
    ] {
        let row = client.query_one(sql, &[&id]).await.unwrap();
        assert_eq!(row.get::<_, String>(0), table, "{id}");
    }
}

#[tokio::test]
async fn a_month_that_began_in_the_default_table_stays_there() {
    let db = testkit::database().await;
    ahead(&db).await;
    let last = month(&db, MONTHS_AHEAD).await;
    let before = month(&db, MONTHS_AHEAD - 1).await;
    let sql = format!(
        "CREATE TABLE ahead AS SELECT until_id AS id FROM message_partitions
            WHERE name = '{before}';
        DROP TABLE {last}, {before};
        INSERT INTO messages (campaign_id, ordinal, recipient) SELECT id, 0, '49' FROM ahead"
    );
    run(&db, &sql).await;
    let made = ahead(&db).await;
    assert_eq!((made.made, made.in_default.len(), made.busy), (1, 1, false));
    let day = made.in_default[0];
    let wanted = format!("messages_{}_{:02}", day.year(), u8::from(day.month()));
    assert_eq!((wanted, day.day()), (last, 1));
    assert_eq!(tables(&db).await, months(&db).await[..3]);
    let again = ahead(&db).await;
    assert_eq!((again.made, again.in_default), (0, made.in_default));
    run(&db, "DELETE FROM messages").await;
    assert_eq!(ahead(&db).await.made, 1, "it is empty again");
}

#[tokio::test]
async fn whoever_makes_months_does_not_wait_for_others() {
    let db = testkit::database().await;
    ahead(&db).await;
    run(&db, &format!("DROP TABLE {}", month(&db, 2).await)).await;
    let mut client = db.store.client().await.unwrap();
    let reader = client.transaction().await.unwrap();
    reader
        .execute("SELECT FROM messages_default", &[])
        .await
        .unwrap();
    let busy = ahead(&db).await;
    assert_eq!((busy.made, busy.busy), (0, true), "its lock is in the way");
    reader.commit().await.unwrap();
    let maker = client.transaction().await.unwrap();
    let alone = "SELECT pg_advisory_xact_lock(2002872418)";
    maker.execute(alone, &[]).await.unwrap();
    assert!(ahead(&db).await.busy, "another replica is at it");
    maker.commit().await.unwrap();
    assert_eq!(ahead(&db).await.made, 1);
}

/// A database of the schema before there were months.
async fn before_months(db: &TestDatabase) {
    let (first, second) = (
        include_str!("../../migrations/V1__ledger.sql"),
        include_str!("../../migrations/V2__proof.sql"),
    );
    run(db, "DROP SCHEMA public CASCADE; CREATE SCHEMA public").await;
    run(db, first).await;
    run(db, second).await;
}

const MONTHS: &str = include_str!("../../migrations/V3__partitions.sql");

/// What came after months.
async fn after_months(db: &TestDatabase) {
    run(db, include_str!("../../migrations/V5__woken_lanes.sql")).await;
    run(db, include_str!("../../migrations/V8__in_flight.sql")).await;
    run(db, include_str!("../../migrations/V9__plain_order.sql")).await;
    run(db, include_str!("../../migrations/V10__asks.sql")).await;
    run(db, include_str!("../../migrations/V11__sweep_index.sql")).await;
    run(db, include_str!("../../migrations/V12__cancelled.sql")).await;
}

#[tokio::test]
async fn messages_from_before_there_were_months_stay_where_they_are() {
    let db = testkit::database().await;
    before_months(&db).await;
    let worker = worker(&db).await;
    session(&db, worker, &phone(1)).await;
    let now = campaign(&db, &phone(1), 3).await;
    let old = "INSERT INTO messages (campaign_id, ordinal, recipient, status, variables, steps)
        SELECT id, 0, '49', 2, '{\"name\": \"Ada\"}',
            ARRAY[ROW(now(), 1, NULL, NULL, 7, 'accepted')::message_step]
        FROM (VALUES ('00000000-0000-0000-0000-000000000007'::uuid),
            ('01850000-0000-7000-8000-000000000000'), ('f0000000-0000-7000-8000-000000000000')
        ) v (id)";
    run(&db, old).await;
    let client = db.store.client().await.unwrap();
    let rows = "SELECT string_agg(m::text, ' ' ORDER BY campaign_id, ordinal) FROM messages m";
    let before: String = client.query_one(rows, &[]).await.unwrap().get(0);
    let file = "SELECT pg_relation_filenode($1::text::regclass)";
    let node: u32 = client.query_one(file, &[&"messages"]).await.unwrap().get(0);
    run(&db, &format!("BEGIN; {MONTHS}; COMMIT")).await;
    let after: String = client.query_one(rows, &[]).await.unwrap().get(0);
    assert_eq!(after, before);
    let past = client.query_one(file, &[&"messages_past"]).await.unwrap();
    assert_eq!(
        past.get::<_, u32>(0),
        node,
        "the same file: no copy was made"
    );
    let places = "SELECT count(*), tableoid::regclass::text FROM messages GROUP BY 2 ORDER BY 2";
    let rows = client.query(places, &[]).await.unwrap();
    let places: Vec<(i64, String)> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
    let place = |count, table: &str| (count, table.to_owned());
    assert_eq!(
        places,
        [place(1, "messages_default"), place(5, "messages_past")]
    );
    // This month's go on there, the next months have their own.
    ahead(&db).await;
    let mut wanted = months(&db).await;
    wanted[0] = "messages_past".to_owned();
    assert_eq!(tables(&db).await, wanted);
    after_months(&db).await;
    let listed = store::campaigns::messages(&client, now, None, -1, 9).await;
    assert_eq!(listed.unwrap().len(), 3);
    let again = "INSERT INTO messages (campaign_id, ordinal, recipient)
        SELECT campaign_id, ordinal, recipient FROM messages_past LIMIT 1";
    assert!(client.execute(again, &[]).await.is_err(), "the key holds");
}

#[tokio::test]
async fn an_empty_ledger_gets_months_only() {
    let db = testkit::database().await;
    before_months(&db).await;
    run(&db, &format!("BEGIN; {MONTHS}; COMMIT")).await;
    assert_eq!(tables(&db).await, months(&db).await[..2]);
}

#[tokio::test]
async fn what_is_on_its_way_stays_so_when_its_number_comes_to_tell_it() {
    let db = testkit::database().await;
    before_months(&db).await;
    run(&db, MONTHS).await;
    let on = worker(&db).await;
    session(&db, on, &phone(1)).await;
    let id = campaign(&db, &phone(1), 3).await;
    let replica = Uuid::from_u128(7);
    let claimed = format!(
        "UPDATE messages SET status = 1, attempts = 2, waha_message_id = 'A', steps = ARRAY[
            ROW(now(), 0, NULL, NULL, NULL, 'paused')::message_step,
            ROW(now(), 1, '{on}', '{replica}', 3, NULL)::message_step] WHERE ordinal = 0;
        UPDATE campaigns SET sending = 1, next_ordinal = 1, status = 'IN_PROGRESS';
        UPDATE senders SET in_flight_campaign = '{id}', in_flight_ordinal = 0,
            in_flight_worker = '{on}', in_flight_at = now()"
    );
    run(&db, &claimed).await;
    let client = db.store.client().await.unwrap();
    let steps = "SELECT steps::text FROM messages WHERE ordinal = 0";
    let before: String = client.query_one(steps, &[]).await.unwrap().get(0);
    after_months(&db).await;
    let after = "SELECT (m.steps || flight_step(d))::text, m.status, m.attempts
        FROM messages m, senders d WHERE m.ordinal = 0";
    let row = client.query_one(after, &[]).await.unwrap();
    assert_eq!(row.get::<_, String>(0), before, "its story is as it was");
    assert_eq!((row.get::<_, i16>(1), row.get::<_, i16>(2)), (0, 1));
    let listed = store::campaigns::messages(&client, id, None, -1, 9).await;
    let listed = &listed.unwrap()[0];
    assert_eq!(
        (
            listed.status,
            listed.attempts,
            listed.waha_message_id.as_deref()
        ),
        (MessageStatus::Sending, 2, Some("A"))
    );
    let counts = store::campaigns::one(&client, id).await.unwrap().unwrap();
    assert_eq!(counts.counts.sending, 1);
    let speaker = roster::one(&db.store.client().await.unwrap(), on, &phone(1))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(speaker.in_flight.map(|flight| flight.key.ordinal), Some(0));
    let next = speaker.campaign.and_then(|campaign| campaign.next_ordinal);
    assert_eq!(next, Some(1));
}
