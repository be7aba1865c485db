//! Senders: the numbers that campaigns are sent from, whether or not they have a session now.

use models::ids::CampaignId;
use models::phone::PhoneNumber;
use time::OffsetDateTime;

use crate::column::phone;
use crate::{GenericClient, StoreError};

const ENSURE: &str = "INSERT INTO senders (phone) VALUES ($1) ON CONFLICT DO NOTHING";

/// Makes sure that a number has its row.
pub async fn ensure(db: &impl GenericClient, phone: &PhoneNumber) -> Result<(), StoreError> {
    let statement = db.prepare_cached(ENSURE).await?;
    db.execute(&statement, &[&phone.digits()]).await?;
    Ok(())
}

/// A sender with what it has done so far.
#[derive(Debug, Clone)]
pub struct SenderTotals {
    /// Its number.
    pub phone: PhoneNumber,
    /// Campaigns ever submitted for it.
    pub campaigns: i64,
    /// Messages of all of them.
    pub messages: i64,
    /// Messages that a worker accepted.
    pub sent: i64,
    /// Messages refused for good.
    pub failed: i64,
    /// Whether its session can send right now.
    pub working: bool,
    /// When its last request was answered.
    pub last_sent_at: Option<OffsetDateTime>,
    /// Its newest campaign, and when that was submitted.
    pub last_campaign: Option<(CampaignId, OffsetDateTime)>,
}

const TOTALS: &str = "
    SELECT d.phone, n.campaigns, n.messages, n.sent, n.failed,
        EXISTS (SELECT FROM sessions s JOIN workers w ON w.id = s.worker_id
            WHERE s.phone = d.phone AND s.status = 'WORKING' AND s.wanted = 'RUNNING'
                AND w.health <> 'down'),
        d.last_sent_at, l.id, l.created_at
    FROM (SELECT phone, last_sent_at FROM senders
        WHERE phone > $1 ORDER BY phone LIMIT $2) d
    LEFT JOIN LATERAL (
        SELECT count(*) AS campaigns, COALESCE(sum(total), 0)::bigint AS messages,
            COALESCE(sum(sent + delivered + read), 0)::bigint AS sent,
            COALESCE(sum(failed), 0)::bigint AS failed
        FROM campaigns c WHERE c.sender = d.phone
    ) n ON true
    LEFT JOIN LATERAL (
        SELECT id, created_at FROM campaigns c WHERE c.sender = d.phone ORDER BY id DESC LIMIT 1
    ) l ON true
    ORDER BY d.phone";

/// Senders in the order of their digits, beginning behind `after` (empty for the first page).
pub async fn totals(
    db: &impl GenericClient,
    after: &str,
    limit: i64,
) -> Result<Vec<SenderTotals>, StoreError> {
    let statement = db.prepare_cached(TOTALS).await?;
    let rows = db.query(&statement, &[&after, &limit]).await?;
    let senders = rows.iter().map(|row| {
        Ok(SenderTotals {
            phone: phone(row.get(0))?,
            campaigns: row.get(1),
            messages: row.get(2),
            sent: row.get(3),
            failed: row.get(4),
            working: row.get(5),
            last_sent_at: row.get(6),
            last_campaign: row
                .get::<_, Option<_>>(7)
                .map(CampaignId::new)
                .zip(row.get(8)),
        })
    });
    senders.collect()
}
