//! What is known of a campaign's way to its end when it has just been accepted.

use std::collections::HashMap;

use models::delays::{DelayOverrides, Delays};
use models::ids::CampaignId;
use time::OffsetDateTime;
use tokio_postgres::Row;
use uuid::Uuid;

use super::NewCampaign;
use crate::column::duration;
use crate::plan::query_by_key;
use crate::{Client, StoreError};

/// What lies before a campaign of which nothing was sent yet. Times are the database's.
#[derive(Debug, Clone, Copy)]
pub struct Prospect {
    /// The database's clock.
    pub now: OffsetDateTime,
    /// The delays in force for the sender.
    pub delays: Delays,
    /// When its last request was answered.
    pub last_sent_at: Option<OffsetDateTime>,
    /// When its previous campaign ended.
    pub campaign_ended_at: Option<OffsetDateTime>,
    /// Senders with open campaigns on its worker, itself included; 0 when it has no worker.
    pub speakers: i64,
    /// How many older campaigns of it are not done; `None` when there are more than are counted.
    pub campaigns_before: Option<i64>,
    /// Their messages still to be sent.
    pub messages_before: i64,
}

/// Older campaigns that are counted. Whoever waits behind more learns of the end when he asks for
/// the campaign's status; counting them for each new campaign would cost more than storing it.
const COUNTED_MAX: i64 = 50;

/// One look for any number of campaigns, run by key. That a campaign is older is asked of those of
/// its number alone, by a test that no index knows: ids are in the order of time, so that the way
/// through all older ones of anybody looks short to the planner wherever a few numbers have most of
/// the campaigns.
const PROSPECT: &str = concat!(
    "
    WITH asked AS MATERIALIZED (
        SELECT a.phone, a.campaign, s.worker_id
        FROM unnest($1::text[], $2::uuid[]) AS a (phone, campaign)
        LEFT JOIN sessions s ON s.phone = a.phone AND s.wanted <> 'GONE'
    ), ",
    crowds!(),
    "
    SELECT a.campaign, now(), d.message_delay_ms, d.sender_switch_delay_ms, d.campaign_delay_ms,
        g.message_delay_ms, g.sender_switch_delay_ms, g.campaign_delay_ms,
        d.last_sent_at, d.campaign_ended_at, COALESCE(c.speakers, 0), e.campaigns, e.messages
    FROM asked a
    JOIN senders d ON d.phone = a.phone
    LEFT JOIN (SELECT message_delay_ms, sender_switch_delay_ms, campaign_delay_ms
        FROM settings LIMIT 1) g ON true
    LEFT JOIN crowds c ON c.worker_id = a.worker_id
    CROSS JOIN LATERAL (
        SELECT count(*) AS campaigns, COALESCE(sum(o.open), 0)::bigint AS messages
        FROM (SELECT total - sent - delivered - read - failed - cancelled - suppressed - unknown
                AS open
            FROM campaigns WHERE sender = a.phone AND completed_at IS NULL
                AND (id < a.campaign) IS TRUE
            LIMIT $3) o
    ) e"
);

/// What lies before each of these campaigns whose sender is known.
pub(super) async fn prospects(
    db: &Client,
    campaigns: &[&NewCampaign],
) -> Result<HashMap<CampaignId, Prospect>, StoreError> {
    let phones: Vec<&str> = campaigns.iter().map(|new| new.sender.digits()).collect();
    let ids: Vec<Uuid> = campaigns.iter().map(|new| new.id.uuid()).collect();
    let limit = COUNTED_MAX + 1;
    let rows = query_by_key(db, PROSPECT, &[&phones, &ids, &limit]).await?;
    Ok(rows.iter().map(read).collect())
}

fn read(row: &Row) -> (CampaignId, Prospect) {
    let delay = |column: usize| row.get::<_, Option<i64>>(column).map(duration);
    let own = DelayOverrides {
        message: delay(2),
        sender_switch: delay(3),
        campaign: delay(4),
    };
    let global = Delays {
        message: delay(5).unwrap_or_default(),
        sender_switch: delay(6).unwrap_or_default(),
        campaign: delay(7).unwrap_or_default(),
    };
    let campaigns = row.get::<_, i64>(11);
    let prospect = Prospect {
        now: row.get(1),
        delays: own.over(global),
        last_sent_at: row.get(8),
        campaign_ended_at: row.get(9),
        speakers: row.get(10),
        campaigns_before: (campaigns <= COUNTED_MAX).then_some(campaigns),
        messages_before: row.get(12),
    };
    (CampaignId::new(row.get(0)), prospect)
}
