//! UNKNOWN messages, settled by a person who knows better than any machine.

use models::ids::CampaignId;
use models::phone::PhoneNumber;
use time::OffsetDateTime;

use crate::column::phone;
use crate::sessions::wake_lane;
use crate::{Client, GenericClient, StoreError};

/// What a person says of UNKNOWN messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resolution {
    /// They were heard.
    Sent,
    /// They were not, and shall not be.
    Failed,
    /// They shall be said again, at the risk of being heard twice.
    Resend,
}

impl Resolution {
    /// The word in requests.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sent => "SENT",
            Self::Failed => "FAILED",
            Self::Resend => "RESEND",
        }
    }

    /// Where it puts a message.
    const fn status(self) -> i16 {
        match self {
            Self::Sent => 2,
            Self::Failed => 5,
            Self::Resend => 0,
        }
    }
}

const LOCK_SENDER: &str = "
    SELECT d.phone FROM senders d JOIN campaigns c ON c.sender = d.phone
    WHERE c.id = $1 FOR NO KEY UPDATE OF d";
const LOCK_CAMPAIGN: &str =
    "SELECT messages_purged_at FROM campaigns WHERE id = $1 FOR NO KEY UPDATE";
const SETTLE: &str = "
    WITH moved AS (
        UPDATE messages SET status = $2::smallint,
            waha_message_id = CASE WHEN $2 <> 0 THEN waha_message_id END,
            error_code = CASE WHEN $2 <> 2 THEN 'settled_by_operator' END,
            error = CASE WHEN $2 <> 2 THEN 'its outcome was unknown; an operator settled it' END,
            steps = add_one_step(steps, now(), $2::smallint, NULL, NULL, NULL, 'operator')
        WHERE campaign_id = $1 AND status = 8 AND ($3::text[] IS NULL OR recipient = ANY ($3))
        RETURNING campaign_id, ordinal
    ), n AS (
        SELECT count(*)::integer AS moved FROM moved
    ), again AS (
        INSERT INTO retries (campaign_id, ordinal, due_at)
        SELECT campaign_id, ordinal, now() FROM moved WHERE $2 = 0
        ON CONFLICT DO NOTHING
    )
    UPDATE campaigns c SET unknown = c.unknown - n.moved,
        sent = c.sent + CASE WHEN $2 = 2 THEN n.moved ELSE 0 END,
        failed = c.failed + CASE WHEN $2 = 5 THEN n.moved ELSE 0 END,
        status = CASE
            WHEN n.moved = 0 OR c.completed_at IS NULL THEN c.status
            WHEN $2 = 0 THEN 'IN_PROGRESS'
            WHEN c.status = 'CANCELLED' THEN c.status
            WHEN $2 = 2 AND c.failed = 0 AND c.unknown = n.moved THEN 'COMPLETED'
            ELSE c.status END,
        completed_at = CASE WHEN $2 = 0 AND n.moved > 0 THEN NULL ELSE c.completed_at END,
        cancel_reason = CASE WHEN $2 = 0 AND n.moved > 0 THEN NULL ELSE c.cancel_reason END
    FROM n WHERE c.id = $1
    RETURNING n.moved";

/// What came of settling.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settled {
    /// There is no such campaign.
    Missing,
    /// Its messages were deleted then, because they were past retention.
    Purged(OffsetDateTime),
    /// So many messages were settled.
    Messages(u64),
}

/// Settles a campaign's UNKNOWN messages, or those to `recipients` alone; a campaign with
/// messages to be said again goes on.
pub async fn settle(
    client: &mut Client,
    campaign: CampaignId,
    recipients: Option<&[PhoneNumber]>,
    resolution: Resolution,
) -> Result<Settled, StoreError> {
    let tx = client.transaction().await?;
    let statement = tx.prepare_cached(LOCK_SENDER).await?;
    let Some(row) = tx.query_opt(&statement, &[&campaign.uuid()]).await? else {
        return Ok(Settled::Missing);
    };
    let sender = phone(row.get(0))?;
    let statement = tx.prepare_cached(LOCK_CAMPAIGN).await?;
    let row = tx.query_one(&statement, &[&campaign.uuid()]).await?;
    if let Some(purged_at) = row.get(0) {
        return Ok(Settled::Purged(purged_at));
    }
    let statement = tx.prepare_cached(SETTLE).await?;
    let recipients: Option<Vec<&str>> =
        recipients.map(|list| list.iter().map(PhoneNumber::digits).collect());
    let row = tx
        .query_one(
            &statement,
            &[&campaign.uuid(), &resolution.status(), &recipients],
        )
        .await?;
    let moved = row.get::<_, i32>(0).unsigned_abs().into();
    tx.commit().await?;
    if moved > 0 && resolution == Resolution::Resend {
        // In a statement of its own: lanes are locked before senders, never after.
        wake_lane(client, &sender).await?;
    }
    Ok(Settled::Messages(moved))
}
