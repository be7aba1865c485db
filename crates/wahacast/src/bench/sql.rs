//! The statements of the benches: here what fills the ledger, below what the bare ledger could do
//! at best, and what is looked at to judge.

mod limits;
mod looks;
mod marks;
mod past;
mod rows;

use std::time::Duration;

use anyhow::Context;
use tokio_postgres::Client;
use uuid::Uuid;

use super::TEXT;

pub(crate) use limits::*;
pub(crate) use looks::*;
pub(crate) use marks::*;
pub(crate) use past::*;
pub(crate) use rows::*;

/// Recipients of seeded campaigns count up from here; with the country code 49.
const FIRST_RECIPIENT: i64 = 491_000_000_000;

/// What of the database server's settings figures depend on.
pub(crate) async fn server_facts(db: &Client) -> anyhow::Result<Vec<(String, String)>> {
    let names = "'server_version', 'shared_buffers', 'synchronous_commit', 'fsync', \
        'wal_compression', 'max_wal_size', 'checkpoint_timeout', 'autovacuum'";
    let rows = db
        .query(
            &format!(
                "SELECT name, current_setting(name) FROM pg_settings WHERE name IN ({names})
                ORDER BY 1"
            ),
            &[],
        )
        .await?;
    Ok(rows
        .iter()
        .map(|row| (format!("postgresql {}", row.get::<_, &str>(0)), row.get(1)))
        .collect())
}

/// Global delays, as a gateway's first start would write them.
pub(crate) async fn set_delays(
    db: &Client,
    [message, switch, campaign]: [Duration; 3],
) -> anyhow::Result<()> {
    let millis = |delay: Duration| i64::try_from(delay.as_millis()).unwrap_or(i64::MAX);
    db.execute(
        "INSERT INTO settings (message_delay_ms, sender_switch_delay_ms, campaign_delay_ms)
            VALUES ($1, $2, $3)
        ON CONFLICT (id) DO UPDATE SET message_delay_ms = excluded.message_delay_ms,
            sender_switch_delay_ms = excluded.sender_switch_delay_ms,
            campaign_delay_ms = excluded.campaign_delay_ms, version = settings.version + 1",
        &[&millis(message), &millis(switch), &millis(campaign)],
    )
    .await?;
    Ok(())
}

/// Registered workers that are up, and their lanes.
pub(crate) async fn add_workers(
    db: &Client,
    ids: &[Uuid],
    urls: &[&str],
    keys: &[&str],
    capacity: i32,
) -> anyhow::Result<()> {
    db.execute(
        "WITH added AS (
            INSERT INTO workers (id, url, name, api_key, capacity, capacity_inherited, max_live,
                max_live_inherited, health, version, engine, tier, own_message_ids, check_at)
            SELECT id, url, url, key, $4, false, $4, false, 'up', '2026.8.2', 'NOWEB', 'CORE',
                true, now() + interval '1 day'
            FROM unnest($1::uuid[], $2::text[], $3::text[]) AS i (id, url, key)
            RETURNING id
        ) INSERT INTO lanes (worker_id) SELECT id FROM added",
        &[&ids, &urls, &keys, &capacity],
    )
    .await?;
    Ok(())
}

/// Numbers whose sessions work on these workers.
pub(crate) async fn add_sessions(
    db: &Client,
    phones: &[String],
    workers: &[Uuid],
) -> anyhow::Result<()> {
    db.execute(
        "INSERT INTO senders (phone) SELECT unnest($1::text[])",
        &[&phones],
    )
    .await?;
    db.execute(
        "INSERT INTO sessions (phone, worker_id, generation, waha_name, status, live, created,
            status_at)
        SELECT phone, worker_id, nextval('session_generations'), phone, 'WORKING', true, true,
            now() - interval '1 day'
        FROM unnest($1::text[], $2::uuid[]) AS i (phone, worker_id)",
        &[&phones, &workers],
    )
    .await?;
    db.execute(
        "UPDATE workers w SET placed = n.placed, live = n.placed
        FROM (SELECT worker_id, count(*)::integer AS placed FROM sessions GROUP BY 1) n
        WHERE w.id = n.worker_id",
        &[],
    )
    .await?;
    Ok(())
}

/// A campaign of `each` recipients for every sender; returns their ids.
pub(crate) async fn add_campaigns(
    db: &Client,
    senders: &[String],
    each: usize,
) -> anyhow::Result<Vec<Uuid>> {
    let ids: Vec<Uuid> = senders.iter().map(|_| Uuid::now_v7()).collect();
    let total = i32::try_from(each)?;
    db.execute(
        "INSERT INTO campaigns (id, sender, template, total, trace_id)
        SELECT id, sender, $4, $3, id
        FROM unnest($1::uuid[], $2::text[]) AS i (id, sender)",
        &[&ids, &senders, &total, &TEXT],
    )
    .await?;
    db.execute(
        "INSERT INTO messages (campaign_id, ordinal, recipient)
        SELECT id, ordinal, ($3 + place * $2 + ordinal)::text
        FROM unnest($1::uuid[]) WITH ORDINALITY AS i (id, place),
            generate_series(0, $2::integer - 1) AS ordinal",
        &[&ids, &total, &FIRST_RECIPIENT],
    )
    .await?;
    Ok(ids)
}

/// Campaigns of which nothing is said yet.
pub(crate) async fn hold_campaigns(db: &Client) -> anyhow::Result<()> {
    db.batch_execute("UPDATE campaigns SET status = 'PAUSED'")
        .await?;
    Ok(())
}

/// Lets held campaigns go, and all lanes know.
pub(crate) async fn release_campaigns(db: &Client) -> anyhow::Result<()> {
    db.batch_execute(
        "UPDATE campaigns SET status = 'PENDING' WHERE status = 'PAUSED';
        UPDATE lanes SET wake = wake + 1",
    )
    .await?;
    Ok(())
}

/// Makes the planner know the tables, as autovacuum does after a while.
pub(crate) async fn analyze(db: &Client) -> anyhow::Result<()> {
    db.batch_execute("VACUUM ANALYZE").await?;
    checkpoint(db).await
}

/// Writes all that is still to be written, of every database of the server.
pub(crate) async fn checkpoint(db: &Client) -> anyhow::Result<()> {
    db.batch_execute("CHECKPOINT").await?;
    Ok(())
}

/// Campaigns that have something left to do.
pub(crate) async fn open_campaigns(db: &Client) -> anyhow::Result<i64> {
    let open = db
        .query_one(
            "SELECT count(*) FROM campaigns WHERE completed_at IS NULL",
            &[],
        )
        .await?;
    Ok(open.get(0))
}

/// Seconds from the first beginning to the last end of these campaigns, and their messages sent.
pub(crate) async fn span(db: &Client, campaigns: &[Uuid]) -> anyhow::Result<(f64, i64)> {
    let row = db
        .query_one(
            "SELECT EXTRACT(EPOCH FROM max(completed_at) - min(started_at))::float8,
                sum(sent + delivered + read)
            FROM campaigns WHERE id = ANY ($1)",
            &[&campaigns],
        )
        .await?;
    let secs: Option<f64> = row.get(0);
    Ok((secs.context("no campaign has ended")?, row.get(1)))
}

/// Makes every lane that of a living replica; its epoch is then 1.
pub(crate) async fn own_lanes(db: &Client, replica: Uuid) -> anyhow::Result<()> {
    db.execute(
        "INSERT INTO replicas (id, service, name) VALUES ($1, 'sender', 'bench')",
        &[&replica],
    )
    .await?;
    db.execute("UPDATE lanes SET owner = $1, epoch = 1", &[&replica])
        .await?;
    Ok(())
}

/// The generations of all sessions, by number.
pub(crate) async fn generations(db: &Client) -> anyhow::Result<Vec<i32>> {
    let rows = db
        .query("SELECT generation FROM sessions ORDER BY phone", &[])
        .await?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

/// Gives everybody a last message at a moment of its own within the last `span`, so that the next
/// ones are spread as in real life.
pub(crate) async fn scatter_senders(db: &Client, span: Duration) -> anyhow::Result<()> {
    db.execute(
        "UPDATE senders SET last_sent_at = now() - random() * make_interval(secs => $1)",
        &[&span.as_secs_f64()],
    )
    .await?;
    Ok(())
}

/// Hands the lanes out to replicas in turn, as one that retires does; they find them at their next
/// look.
pub(crate) async fn share_lanes(db: &Client, replicas: &[String]) -> anyhow::Result<()> {
    db.execute(
        "WITH numbered AS (
            SELECT worker_id, row_number() OVER (ORDER BY worker_id) AS n FROM lanes
        ), owners AS (
            SELECT DISTINCT ON (name) id, array_position($1::text[], name) AS place
            FROM replicas WHERE name = ANY ($1) AND NOT retiring ORDER BY name, seen_at DESC
        )
        UPDATE lanes l SET epoch = epoch + 1, wake = wake + 1, owner = o.id
        FROM numbered n JOIN owners o ON o.place = 1 + n.n % cardinality($1::text[])
        WHERE l.worker_id = n.worker_id",
        &[&replicas],
    )
    .await?;
    Ok(())
}

/// Workers that nobody will ever call, half full, and their lanes.
pub(crate) async fn add_many_workers(db: &Client, count: usize) -> anyhow::Result<()> {
    db.execute(
        "WITH added AS (
            INSERT INTO workers (id, url, name, api_key, capacity, capacity_inherited, max_live,
                max_live_inherited, placed, live, health, version, engine, tier, check_at)
            SELECT id, 'http://' || id, id, 'key', 50, false, 50, false, n % 40, n % 40, 'up',
                '2026.8.2', 'NOWEB', 'CORE', now() + interval '1 day'
            FROM (SELECT gen_random_uuid() AS id, n FROM generate_series(1, $1::integer) AS n) i
            RETURNING id
        ) INSERT INTO lanes (worker_id) SELECT id FROM added",
        &[&i32::try_from(count)?],
    )
    .await?;
    Ok(())
}

/// Sessions that wait for a place.
pub(crate) async fn queue_sessions(db: &Client, count: usize) -> anyhow::Result<()> {
    db.execute(
        "WITH added AS (
            INSERT INTO senders (phone)
            SELECT (218000000000 + (SELECT count(*) FROM senders) + n)::text
            FROM generate_series(1, $1::integer) AS n RETURNING phone
        ) INSERT INTO sessions (phone) SELECT phone FROM added",
        &[&i32::try_from(count)?],
    )
    .await?;
    Ok(())
}

/// Ends every campaign, as if all had been sent an hour ago.
pub(crate) async fn end_campaigns(db: &Client) -> anyhow::Result<()> {
    db.batch_execute(
        "UPDATE campaigns SET status = 'COMPLETED', sent = total, next_ordinal = total,
            started_at = now(), completed_at = now() WHERE completed_at IS NULL",
    )
    .await?;
    Ok(())
}

/// A message that a worker accepted and on which WhatsApp has not reported.
#[derive(Debug, Clone)]
pub(crate) struct Ackable {
    /// Its number.
    pub(crate) sender: String,
    /// Of the number's session.
    pub(crate) generation: i32,
    /// Who heard it.
    pub(crate) to: String,
    /// The id that it carries.
    pub(crate) id: String,
}

/// A campaign of `each` messages of every sender, all of them sent; the messages in an order in
/// which reports of many numbers mix.
pub(crate) async fn add_sent(
    db: &Client,
    senders: &[String],
    each: usize,
) -> anyhow::Result<Vec<Ackable>> {
    let campaigns = add_campaigns(db, senders, each).await?;
    db.execute(
        "UPDATE messages SET status = 2, attempts = 1, sent_at = now(), waha_message_id = '3EB0'
            || upper(substr(md5(campaign_id::text || ordinal), 1, 18))
        WHERE campaign_id = ANY ($1)",
        &[&campaigns],
    )
    .await?;
    end_campaigns(db).await?;
    let rows = db
        .query(
            "WITH made AS (
                INSERT INTO receipts (sender, message_id, campaign_id, ordinal)
                SELECT c.sender, m.waha_message_id, m.campaign_id, m.ordinal
                FROM messages m JOIN campaigns c ON c.id = m.campaign_id WHERE c.id = ANY ($1)
            )
            SELECT c.sender, s.generation, m.recipient, m.waha_message_id
            FROM messages m JOIN campaigns c ON c.id = m.campaign_id
            JOIN sessions s ON s.phone = c.sender
            WHERE c.id = ANY ($1) ORDER BY m.ordinal, c.sender",
            &[&campaigns],
        )
        .await?;
    analyze(db).await?;
    let ackable = |row: &tokio_postgres::Row| Ackable {
        sender: row.get(0),
        generation: row.get(1),
        to: row.get(2),
        id: row.get(3),
    };
    Ok(rows.iter().map(ackable).collect())
}

/// Empties the tables that a round has filled.
pub(crate) async fn forget_messages(db: &Client) -> anyhow::Result<()> {
    db.batch_execute("TRUNCATE messages, campaigns, retries, receipts, outbox")
        .await?;
    Ok(())
}
