//! What is looked at to judge a bench.

use tokio_postgres::Client;
use uuid::Uuid;

/// Jobs that no broker has confirmed.
pub(crate) async fn outbox(db: &Client) -> anyhow::Result<i64> {
    let left = "SELECT count(*) FROM outbox WHERE claimed_until <> 'infinity'";
    Ok(db.query_one(left, &[]).await?.get(0))
}

/// From now on it is written down when each job's row goes, which it does once it is confirmed.
pub(crate) async fn note_confirmations(db: &Client) -> anyhow::Result<()> {
    db.batch_execute(
        "CREATE TABLE confirmed (campaign_id uuid, at timestamptz);
        CREATE FUNCTION note_confirmed() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            INSERT INTO confirmed VALUES (old.campaign_id, clock_timestamp()); RETURN NULL;
        END $$;
        CREATE TRIGGER note_confirmed AFTER DELETE ON outbox
            FOR EACH ROW EXECUTE FUNCTION note_confirmed()",
    )
    .await?;
    Ok(())
}

/// Milliseconds from each answer to the confirmation of its job; 0 where that came first.
pub(crate) async fn confirmed_after(
    db: &Client,
    answered: &[(Uuid, f64)],
) -> anyhow::Result<Vec<f64>> {
    let (ids, times): (Vec<Uuid>, Vec<f64>) = answered.iter().copied().unzip();
    let rows = db
        .query(
            "SELECT GREATEST(EXTRACT(EPOCH FROM c.at)::float8 - i.answered, 0) * 1000
            FROM unnest($1::uuid[], $2::float8[]) AS i (campaign_id, answered)
            JOIN confirmed c USING (campaign_id)",
            &[&ids, &times],
        )
        .await?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

/// All campaigns.
pub(crate) async fn campaigns(db: &Client) -> anyhow::Result<Vec<Uuid>> {
    let rows = db
        .query("SELECT id FROM campaigns ORDER BY id", &[])
        .await?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

/// Rows of a campaign's messages.
pub(crate) async fn messages_of(db: &Client, campaign: Uuid) -> anyhow::Result<i64> {
    let rows = "SELECT count(*) FROM messages WHERE campaign_id = $1";
    Ok(db.query_one(rows, &[&campaign]).await?.get(0))
}

/// Messages that workers accepted.
pub(crate) async fn sent(db: &Client) -> anyhow::Result<i64> {
    let sent = "SELECT COALESCE(sum(sent + delivered + read), 0) FROM campaigns";
    Ok(db.query_one(sent, &[]).await?.get(0))
}

/// Messages that were delivered.
pub(crate) async fn delivered(db: &Client) -> anyhow::Result<i64> {
    let row = db
        .query_one("SELECT COALESCE(sum(delivered), 0) FROM campaigns", &[])
        .await?;
    Ok(row.get(0))
}

/// Lanes that have never spoken.
pub(crate) async fn silent_lanes(db: &Client) -> anyhow::Result<i64> {
    let silent = "SELECT count(*) FROM lanes WHERE last_sent_at IS NULL";
    Ok(db.query_one(silent, &[]).await?.get(0))
}

/// Notes the lanes of a replica, and now; returns how many.
pub(crate) async fn note_lanes(db: &Client, replica: &str) -> anyhow::Result<u64> {
    db.batch_execute("CREATE TABLE noted (worker_id uuid, at timestamptz)")
        .await?;
    let held = "INSERT INTO noted SELECT worker_id, clock_timestamp() FROM lanes
        WHERE owner = (SELECT id FROM replicas WHERE name = $1 AND NOT retiring
            ORDER BY seen_at DESC LIMIT 1)";
    Ok(db.execute(held, &[&replica]).await?)
}

/// Noted lanes that have not spoken since.
pub(crate) async fn lanes_still_silent(db: &Client) -> anyhow::Result<i64> {
    let silent = "SELECT count(*) FROM noted n JOIN lanes l USING (worker_id)
        WHERE l.last_sent_at <= n.at";
    Ok(db.query_one(silent, &[]).await?.get(0))
}

/// Of those, the ones whose number has a message in flight since before.
pub(crate) async fn lanes_in_doubt(db: &Client) -> anyhow::Result<i64> {
    let doubt = "SELECT count(*) FROM noted n JOIN lanes l USING (worker_id)
        JOIN sessions s USING (worker_id) JOIN senders d ON d.phone = s.phone
        WHERE l.last_sent_at <= n.at AND d.in_flight_at <= n.at";
    Ok(db.query_one(doubt, &[]).await?.get(0))
}

/// Seconds from the note to the first message of each noted lane that has spoken since.
pub(crate) async fn silences(db: &Client) -> anyhow::Result<Vec<f64>> {
    let rows = db
        .query(
            "SELECT EXTRACT(EPOCH FROM min(m.sent_at) - n.at)::float8
            FROM noted n JOIN sessions s USING (worker_id)
            JOIN campaigns c ON c.sender = s.phone
            JOIN messages m ON m.campaign_id = c.id AND m.sent_at > n.at
            GROUP BY n.worker_id, n.at",
            &[],
        )
        .await?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}
