//! What the bare ledger could do at best: the same rows by hand-written statements, and nothing
//! else kept true.

use anyhow::Context;
use bytes::{BufMut, BytesMut};
use futures_util::SinkExt;
use tokio::time::Instant;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Statement};
use uuid::Uuid;

use crate::bench::TEXT;

/// Bytes that are gathered before they leave.
const CHUNK: usize = 64 * 1_024;

/// Binary COPY of new messages: the fastest door into the ledger. Returns the seconds it took.
pub(crate) async fn copy_messages(
    db: &Client,
    campaign: Uuid,
    recipients: &[String],
) -> anyhow::Result<f64> {
    let began = Instant::now();
    db.batch_execute("BEGIN").await?;
    let sink = db
        .copy_in::<_, bytes::Bytes>(
            "COPY messages (campaign_id, ordinal, recipient, variables) FROM STDIN BINARY",
        )
        .await?;
    futures_util::pin_mut!(sink);
    let mut buffer = BytesMut::with_capacity(2 * CHUNK);
    buffer.put_slice(b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0");
    for (ordinal, recipient) in (0_i32..).zip(recipients) {
        buffer.put_i16(4);
        buffer.put_i32(16);
        buffer.put_slice(campaign.as_bytes());
        buffer.put_i32(4);
        buffer.put_i32(ordinal);
        buffer.put_i32(i32::try_from(recipient.len())?);
        buffer.put_slice(recipient.as_bytes());
        buffer.put_i32(-1);
        if buffer.len() >= CHUNK {
            sink.send(buffer.split().freeze()).await?;
        }
    }
    buffer.put_i16(-1);
    sink.send(buffer.freeze()).await?;
    sink.finish().await?;
    db.batch_execute("COMMIT").await?;
    Ok(began.elapsed().as_secs_f64())
}

/// A table of such rows as `messages` has, of which nothing else must be kept true.
pub(crate) async fn bare_ledger(db: &Client) -> anyhow::Result<()> {
    db.batch_execute(
        "CREATE TABLE bare (campaign_id uuid, ordinal integer, recipient text NOT NULL,
            status smallint NOT NULL DEFAULT 0, attempts smallint NOT NULL DEFAULT 0,
            waha_message_id text, sent_at timestamptz, PRIMARY KEY (campaign_id, ordinal))
        WITH (fillfactor = 50)",
    )
    .await?;
    Ok(())
}

/// The campaign of all bare rows.
const BARE: Uuid = Uuid::from_u128(1);

/// Fills the bare table anew.
pub(crate) async fn fill_bare_ledger(db: &Client, rows: usize) -> anyhow::Result<()> {
    db.batch_execute("TRUNCATE bare").await?;
    db.execute(
        "INSERT INTO bare (campaign_id, ordinal, recipient)
        SELECT $1, n, ($2::bigint + n)::text FROM generate_series(0, $3::integer - 1) AS n",
        &[&BARE, &super::FIRST_RECIPIENT, &i32::try_from(rows)?],
    )
    .await?;
    // Or the planner takes the table for empty and reads it whole for each statement.
    db.batch_execute("VACUUM ANALYZE bare").await?;
    Ok(())
}

/// Moves each bare row on, `group` at a time, as an ack does.
pub(crate) async fn ack_bare_ledger(db: &Client, rows: usize, group: usize) -> anyhow::Result<()> {
    let ack = "UPDATE bare b SET status = 3, sent_at = now()
        FROM unnest($2::integer[]) AS i (ordinal)
        WHERE b.campaign_id = $1 AND b.ordinal = i.ordinal AND b.status = 0";
    let ack = db.prepare(ack).await?;
    for from in (0..rows).step_by(group) {
        let upto = (from + group).min(rows);
        let ordinals: Vec<i32> = (from..upto).filter_map(|n| n.try_into().ok()).collect();
        db.execute(&ack, &[&BARE, &ordinals]).await?;
    }
    Ok(())
}

/// The rows of a small campaign in one statement (its own, its only message's, its job's, which no
/// relay takes), prepared on a connection of its own.
pub(crate) struct BareInsert {
    db: Client,
    insert: Statement,
}

impl BareInsert {
    /// Prepares it.
    pub(crate) async fn new(db: Client) -> anyhow::Result<Self> {
        let insert = "WITH c AS (
                INSERT INTO campaigns (id, sender, template, total, trace_id)
                VALUES ($1, $2, $3, 1, $1)
            ), m AS (
                INSERT INTO messages (campaign_id, ordinal, recipient) VALUES ($1, 0, $4)
            ) INSERT INTO outbox (campaign_id, sender, trace_id, claimed_until)
            VALUES ($1, $2, $1, 'infinity')";
        Ok(Self {
            insert: db.prepare(insert).await?,
            db,
        })
    }

    /// One campaign of `sender`.
    pub(crate) async fn run(&self, sender: &str) -> anyhow::Result<()> {
        let parameters: [&(dyn ToSql + Sync); 4] =
            [&Uuid::now_v7(), &sender, &TEXT, &"491000000000"];
        self.db.execute(&self.insert, &parameters).await?;
        Ok(())
    }
}

/// Forgets the jobs of [`BareInsert`].
pub(crate) async fn forget_outbox(db: &Client) -> anyhow::Result<()> {
    db.batch_execute("TRUNCATE outbox").await?;
    Ok(())
}

/// The bare statement that takes a slot of the least loaded worker, `count` times; placements a
/// second and the milliseconds of each.
pub(crate) async fn bare_place(db: &Client, count: usize) -> anyhow::Result<(f64, Vec<f64>)> {
    let take = "UPDATE workers SET placed = placed + 1, live = live + 1
        WHERE id = (SELECT id FROM workers
            WHERE state = 'active' AND health = 'up' AND placed < slots AND live < max_live
            ORDER BY placed::real / GREATEST(slots, 1)::real, id LIMIT 1
            FOR NO KEY UPDATE SKIP LOCKED)
        RETURNING id";
    let take = db.prepare(take).await?;
    let (mut waits, began) = (Vec::with_capacity(count), Instant::now());
    for _ in 0..count {
        let began = Instant::now();
        db.query_opt(&take, &[])
            .await?
            .context("no worker has room")?;
        waits.push(began.elapsed().as_secs_f64() * 1e3);
    }
    Ok((count as f64 / began.elapsed().as_secs_f64(), waits))
}
