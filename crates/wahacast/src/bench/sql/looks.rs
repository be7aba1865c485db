//! What is asked about campaigns: a ledger of many, and the plainest statements that have what the
//! answers are made of.

use tokio_postgres::{Client, Statement};
use uuid::Uuid;

/// Ends every campaign but the newest of each number, as if all had been sent just now; of those
/// half is sent.
pub(crate) async fn settle_campaigns(db: &Client) -> anyhow::Result<()> {
    db.batch_execute(
        "UPDATE campaigns c SET status = 'COMPLETED', sent = total, next_ordinal = total,
            started_at = COALESCE(started_at, now()), completed_at = now()
        WHERE completed_at IS NULL
            AND EXISTS (SELECT FROM campaigns n WHERE n.sender = c.sender AND n.id > c.id);
        UPDATE campaigns SET status = 'IN_PROGRESS', sent = total / 2, next_ordinal = total / 2,
            started_at = now()
        WHERE completed_at IS NULL AND status = 'PENDING'",
    )
    .await?;
    Ok(())
}

macro_rules! campaign {
    ($rest:literal) => {
        concat!(
            "SELECT id, sender, status, cancel_reason, total, (SELECT count(*) FROM senders
                WHERE phone = sender AND in_flight_campaign = campaigns.id), sent, delivered, read,
                failed, cancelled, suppressed, unknown, duplicates_removed, created_at,
                started_at, completed_at, messages_purged_at
            FROM campaigns ",
            $rest
        )
    };
}

/// What surrounds one open campaign of a number.
const SITUATION: &str = "
    SELECT now(), s.status, s.wanted, s.reason, s.due_at,
        (SELECT count(*) FROM sessions q WHERE s.worker_id IS NULL AND q.worker_id IS NULL
            AND q.wanted = 'RUNNING' AND (q.queued_at, q.phone) <= (s.queued_at, s.phone)),
        w.name, w.health, w.health_reason, w.check_at, l.resting_until, l.rest_reason,
        (SELECT count(*) FROM sessions o CROSS JOIN LATERAL (
                SELECT FROM campaigns WHERE sender = o.phone AND completed_at IS NULL LIMIT 1) one
            WHERE o.worker_id = s.worker_id),
        d.message_delay_ms, d.sender_switch_delay_ms, d.campaign_delay_ms,
        g.message_delay_ms, g.sender_switch_delay_ms, g.campaign_delay_ms,
        d.last_sent_at, d.campaign_ended_at, d.resting_until, d.rest_reason,
        e.first, e.campaigns, e.messages,
        (SELECT min(due_at) FROM retries WHERE campaign_id = $2), d.in_flight_at,
        EXISTS (SELECT FROM replicas
            WHERE service = 'sender' AND seen_at > now() - interval '10 seconds')
    FROM senders d
    LEFT JOIN settings g ON true
    LEFT JOIN sessions s ON s.phone = d.phone AND s.wanted <> 'GONE'
    LEFT JOIN workers w ON w.id = s.worker_id
    LEFT JOIN lanes l ON l.worker_id = s.worker_id
    LEFT JOIN LATERAL (
        SELECT (array_agg(id ORDER BY id))[1] AS first, count(*) AS campaigns,
            sum(total - sent - delivered - read - failed - cancelled - suppressed - unknown)
                AS messages
        FROM campaigns WHERE sender = d.phone AND completed_at IS NULL AND id < $2
    ) e ON true
    WHERE d.phone = $1";

/// The bare statements, prepared on a connection of their own.
pub(crate) struct Bare {
    db: Client,
    campaign: Statement,
    list: Statement,
    situation: Statement,
}

impl Bare {
    /// Prepares them.
    pub(crate) async fn new(db: Client) -> anyhow::Result<Self> {
        let list = campaign!("WHERE sender = $1 ORDER BY id DESC LIMIT $2");
        Ok(Self {
            campaign: db.prepare(campaign!("WHERE id = $1")).await?,
            list: db.prepare(list).await?,
            situation: db.prepare(SITUATION).await?,
            db,
        })
    }

    /// What a campaign's status is made of.
    pub(crate) async fn status(&self, id: Uuid) -> anyhow::Result<()> {
        let row = self.db.query_one(&self.campaign, &[&id]).await?;
        self.around(&row).await
    }

    /// What a page of a number's campaigns is made of.
    pub(crate) async fn page(&self, sender: &str, limit: i64) -> anyhow::Result<()> {
        let rows = self.db.query(&self.list, &[&sender, &limit]).await?;
        for row in &rows {
            self.around(row).await?;
        }
        Ok(())
    }

    async fn around(&self, row: &tokio_postgres::Row) -> anyhow::Result<()> {
        let ended: Option<time::OffsetDateTime> = row.get(16);
        if ended.is_none() {
            let (id, sender): (Uuid, &str) = (row.get(0), row.get(1));
            let _around = self.db.query_one(&self.situation, &[&sender, &id]).await?;
        }
        Ok(())
    }
}
