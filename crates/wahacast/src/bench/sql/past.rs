//! What makes a ledger as it is after months: campaigns that have ended long ago, and their
//! messages with their whole stories.

use time::{Date, OffsetDateTime};
use tokio_postgres::Client;
use uuid::Uuid;

use crate::bench::TEXT;

/// Days for which reports are kept: `RECEIPTS_KEEP_DAYS`, as it is by default.
const RECEIPTS_KEPT_DAYS: i32 = 30;
/// Who spoke then: a replica that is long gone.
const REPLICA: Uuid = Uuid::from_u128(7);

/// A campaign that has ended; every message of it was heard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Past {
    /// Of its time.
    pub(crate) id: Uuid,
    /// Whose it is.
    pub(crate) sender: String,
    /// When it was accepted.
    pub(crate) at: OffsetDateTime,
    /// Its messages.
    pub(crate) total: i32,
}

/// Of ten messages in a row six are READ, three DELIVERED and one SENT.
const READ_OF_TEN: i32 = 6;
const DELIVERED_OF_TEN: i32 = 3;

impl Past {
    /// How many of its messages are SENT, DELIVERED and READ.
    pub(crate) fn counts(&self) -> [i32; 3] {
        let (tens, rest) = (self.total / 10, self.total % 10);
        let read = tens * READ_OF_TEN + rest.min(READ_OF_TEN);
        let delivered = tens * DELIVERED_OF_TEN + (rest - READ_OF_TEN).clamp(0, DELIVERED_OF_TEN);
        [self.total - read - delivered, delivered, read]
    }
}

/// The name of a month's table of messages.
fn table(month: Date) -> String {
    format!("messages_{}_{:02}", month.year(), u8::from(month.month()))
}

/// Makes the month's table if there is none, and lets it be filled to the brim: pages that begin
/// with room for stories to grow are full when the stories are over.
pub(crate) async fn open_month(db: &Client, month: Date) -> anyhow::Result<()> {
    let table = table(month);
    let missing = "SELECT make_messages_partition($1) WHERE to_regclass($2) IS NULL";
    db.query_opt(missing, &[&month, &table]).await?;
    db.batch_execute(&format!(
        "ALTER TABLE {table} SET (fillfactor = 100, autovacuum_enabled = false)"
    ))
    .await?;
    Ok(())
}

/// Leaves a filled month as autovacuum and time would, tuned as all months are.
pub(crate) async fn close_month(db: &Client, month: Date) -> anyhow::Result<()> {
    let table = table(month);
    db.batch_execute(&format!("ALTER TABLE {table} RESET (autovacuum_enabled)"))
        .await?;
    db.batch_execute(&format!("CALL tune_messages('{table}')"))
        .await?;
    db.batch_execute(&format!("VACUUM ANALYZE {table}")).await?;
    Ok(())
}

const CAMPAIGNS: &str = "
    INSERT INTO campaigns (id, sender, template, status, total, sent, delivered, read,
        next_ordinal, trace_id, created_at, started_at, completed_at, sweep_at)
    SELECT id, sender, $8, 'COMPLETED', total, sent, delivered, read, total, id, at, at,
        at + total * interval '1 second', at
    FROM unnest($1::uuid[], $2::text[], $3::timestamptz[], $4::integer[], $5::integer[],
        $6::integer[], $7::integer[]) AS i (id, sender, at, total, sent, delivered, read)";

/// One second after the other: said, delivered two seconds later, read after a minute.
const MESSAGES: &str = "
    WITH past AS MATERIALIZED (
        SELECT id, at, total, (SELECT worker_id FROM sessions WHERE phone = sender) AS worker_id
        FROM unnest($1::uuid[], $2::text[], $3::timestamptz[], $4::integer[])
            AS i (id, sender, at, total)
    )
    INSERT INTO messages (campaign_id, ordinal, recipient, status, attempts, waha_message_id,
        sent_at, delivered_at, read_at, steps)
    SELECT c.id, n, ($5::bigint + n)::text, s.status, 1,
        '3EB0' || upper(substr(md5(c.id::text || n), 1, 18)), t.said,
        CASE WHEN s.status >= 3 THEN t.said + interval '2 seconds' END,
        CASE WHEN s.status = 4 THEN t.said + interval '1 minute' END,
        ARRAY[
            ROW(t.said - interval '0.1 seconds', 1, c.worker_id, $6::uuid, 1, NULL)::message_step,
            ROW(t.said, 2, c.worker_id, $6::uuid, 1, 'accepted')::message_step]
        || CASE s.status
            WHEN 4 THEN ARRAY[
                ROW(t.said + interval '2 seconds', 3, NULL, NULL, NULL, 'ack_device'),
                ROW(t.said + interval '1 minute', 4, NULL, NULL, NULL, 'ack_read')
                ]::message_step[]
            WHEN 3 THEN ARRAY[
                ROW(t.said + interval '2 seconds', 3, NULL, NULL, NULL, 'ack_device')
                ]::message_step[] END
    FROM past c CROSS JOIN LATERAL generate_series(0, c.total - 1) AS n
    CROSS JOIN LATERAL (
        SELECT (CASE WHEN n % 10 < $7 THEN 4 WHEN n % 10 < $8 THEN 3 ELSE 2 END)::smallint
            AS status) s
    CROSS JOIN LATERAL (SELECT c.at + (n + 1) * interval '1 second' AS said) t";

/// An ack is one less than the status that it proves.
const RECEIPTS: &str = "
    INSERT INTO receipts (sender, message_id, campaign_id, ordinal, ack, ack_at, created_at)
    SELECT c.sender, m.waha_message_id, m.campaign_id, m.ordinal, m.status - 1,
        COALESCE(m.read_at, m.delivered_at, m.sent_at), m.sent_at
    FROM unnest($1::uuid[], $2::text[], $3::timestamptz[]) AS c (id, sender, at)
    JOIN messages m ON m.campaign_id = c.id
    WHERE c.at > now() - make_interval(days => $4)";

/// Writes campaigns of one month with their messages, and with what WhatsApp reported of them
/// where that is still kept.
pub(crate) async fn add_past(db: &Client, past: &[Past]) -> anyhow::Result<()> {
    let ids: Vec<Uuid> = past.iter().map(|one| one.id).collect();
    let senders: Vec<&str> = past.iter().map(|one| &*one.sender).collect();
    let times: Vec<OffsetDateTime> = past.iter().map(|one| one.at).collect();
    let totals: Vec<i32> = past.iter().map(|one| one.total).collect();
    let count = |place: usize| past.iter().map(|one| one.counts()[place]).collect();
    let [sent, delivered, read]: [Vec<i32>; 3] = [count(0), count(1), count(2)];
    db.execute(
        CAMPAIGNS,
        &[
            &ids, &senders, &times, &totals, &sent, &delivered, &read, &TEXT,
        ],
    )
    .await?;
    let heard = READ_OF_TEN + DELIVERED_OF_TEN;
    db.execute(
        MESSAGES,
        &[
            &ids,
            &senders,
            &times,
            &totals,
            &super::FIRST_RECIPIENT,
            &REPLICA,
            &READ_OF_TEN,
            &heard,
        ],
    )
    .await?;
    db.execute(RECEIPTS, &[&ids, &senders, &times, &RECEIPTS_KEPT_DAYS])
        .await?;
    Ok(())
}

/// The folder of the server's data, and the bytes of this database in it.
pub(crate) async fn disk(db: &Client) -> anyhow::Result<(String, i64)> {
    let told = "SELECT current_setting('data_directory'),
        pg_database_size(current_database())";
    let row = db.query_one(told, &[]).await?;
    Ok((row.get(0), row.get(1)))
}

/// Receipts that are kept.
pub(crate) async fn receipts(db: &Client) -> anyhow::Result<i64> {
    let row = db.query_one("SELECT count(*) FROM receipts", &[]).await?;
    Ok(row.get(0))
}
