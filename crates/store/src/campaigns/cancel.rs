//! Campaigns that end before they are done: cancelled by their user, or with their session.

use std::collections::BTreeMap;

use models::campaign::CampaignStatus;
use models::ids::CampaignId;
use uuid::Uuid;

use super::status;
use crate::column::phone;
use crate::plan::BY_KEY;
use crate::sessions::wake_lane;
use crate::standing::{landed, sending};
use crate::{Client, GenericClient as _, StoreError, Transaction, receipts};

/// What came of cancelling.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cancellation {
    /// What was not begun will never be sent; also when that was so already.
    Cancelled,
    /// It had ended in this state.
    Ended(CampaignStatus),
    /// There is no such campaign.
    Missing,
}

// FOR NO KEY UPDATE: the number's new campaigns, which refer to it, are accepted meanwhile.
const SENDER_OF: &str = "
    SELECT d.phone FROM senders d JOIN campaigns c ON c.sender = d.phone
    WHERE c.id = $1 FOR NO KEY UPDATE OF d";
const STATUS_OF: &str = "SELECT status FROM campaigns WHERE id = $1 FOR NO KEY UPDATE";

/// Cancels a campaign: a message that is on its way concludes as it would have, the others are
/// never sent. Cancelling twice is fine.
pub async fn cancel(client: &mut Client, id: CampaignId) -> Result<Cancellation, StoreError> {
    let tx = client.transaction().await?;
    let statement = tx.prepare_cached(SENDER_OF).await?;
    let Some(row) = tx.query_opt(&statement, &[&id.uuid()]).await? else {
        return Ok(Cancellation::Missing);
    };
    let sender = phone(row.get(0))?;
    let statement = tx.prepare_cached(STATUS_OF).await?;
    let row = tx.query_one(&statement, &[&id.uuid()]).await?;
    let status = status(row.get(0))?;
    if status.is_final() {
        return Ok(match status {
            CampaignStatus::Cancelled => Cancellation::Cancelled,
            ended => Cancellation::Ended(ended),
        });
    }
    tx.batch_execute(BY_KEY).await?;
    cancel_locked(&tx, &[id.uuid()], None).await?;
    tx.commit().await?;
    // In a statement of its own: lanes are locked before campaigns, never after. Were it lost, the
    // lane's owner would learn of the end when its next claim is refused.
    wake_lane(client, &sender).await?;
    Ok(Cancellation::Cancelled)
}

// In no order, whose sake could lead the planner through everybody's: their numbers are locked.
const LOCK_OPEN: &str = "
    SELECT id FROM campaigns WHERE sender = ANY ($1) AND completed_at IS NULL FOR NO KEY UPDATE";
const LOCK_SENDERS: &str =
    "SELECT phone FROM senders WHERE phone = ANY ($1) ORDER BY phone FOR UPDATE";

/// Cancels every open campaign of these numbers and says why; returns how many.
pub(crate) async fn cancel_of(
    tx: &Transaction<'_>,
    phones: &[&str],
    why: &str,
) -> Result<u64, StoreError> {
    tx.batch_execute(BY_KEY).await?;
    let statement = tx.prepare_cached(LOCK_SENDERS).await?;
    tx.execute(&statement, &[&phones]).await?;
    let statement = tx.prepare_cached(LOCK_OPEN).await?;
    let rows = tx.query(&statement, &[&phones]).await?;
    if rows.is_empty() {
        return Ok(0);
    }
    let ids: Vec<Uuid> = rows.iter().map(|row| row.get(0)).collect();
    cancel_locked(tx, &ids, Some(why)).await
}

const WAITING: &str = "
    DELETE FROM retries WHERE campaign_id = ANY ($1) RETURNING campaign_id, ordinal";
// One campaign at a time, because a list of them prunes no month.
const MOVE: &str = "
    UPDATE messages SET status = 6,
        steps = add_one_step(steps, now(), 6, NULL, NULL, NULL, 'campaign_cancelled')
    WHERE campaign_id = $1 AND ordinal = ANY ($2) AND status = 0";
// A campaign that had begun has ended now: the next one of its sender keeps the campaign delay.
const CANCEL: &str = concat!(
    "WITH paced AS (
        UPDATE senders SET campaign_ended_at = now() WHERE phone = ANY (ARRAY(
            SELECT sender FROM campaigns WHERE id = ANY ($1) AND started_at IS NOT NULL))
    )
    UPDATE campaigns c SET status = 'CANCELLED', completed_at = now(), cancel_reason = $2,
        cancelled = total - sent - delivered - read - failed - suppressed - unknown - ",
    sending!(),
    ", cancelled_at = COALESCE(cancelled_at, now()),
        cancelled_from = COALESCE(cancelled_from, GREATEST(next_ordinal, (
            SELECT in_flight_ordinal + 1 FROM senders d
            WHERE d.phone = c.sender AND d.in_flight_campaign = c.id))),
        next_ordinal = total
    WHERE id = ANY ($1)"
);

/// However many messages a campaign has, none is written that was not begun: it says for all of
/// them, from an ordinal on, that they are cancelled, and its cursor passes them. Those that wait
/// for another attempt were begun; there are few, unless a person just had many said again.
async fn cancel_locked(
    tx: &Transaction<'_>,
    ids: &[Uuid],
    why: Option<&str>,
) -> Result<u64, StoreError> {
    let statement = tx.prepare_cached(WAITING).await?;
    let mut waiting: BTreeMap<Uuid, Vec<i32>> = BTreeMap::new();
    for row in tx.query(&statement, &[&ids]).await? {
        waiting.entry(row.get(0)).or_default().push(row.get(1));
    }
    let statement = tx.prepare_cached(MOVE).await?;
    for (campaign, ordinals) in &waiting {
        tx.execute(&statement, &[campaign, ordinals]).await?;
    }
    let statement = tx.prepare_cached(CANCEL).await?;
    Ok(tx.execute(&statement, &[&ids, &why]).await?)
}

const ABANDON: &str = concat!(
    "WITH held AS (
        SELECT d.phone, d.in_flight_campaign AS campaign_id, d.in_flight_ordinal AS ordinal,
            d.in_flight_message_id AS message_id, flight_step(d) AS step
        FROM senders d
        WHERE phone = ANY ($1) AND in_flight_campaign IS NOT NULL ORDER BY phone FOR UPDATE
    ), freed AS (
        UPDATE senders d SET ",
    landed!(),
    ", last_sent_at = now()
        FROM held WHERE d.phone = held.phone
    ), moved AS (
        UPDATE messages m SET status = 8, attempts = m.attempts + 1,
            waha_message_id = COALESCE(m.waha_message_id, held.message_id),
            error_code = 'session_removed',
            error = 'the session was removed while the message was on its way',
            steps = add_two_steps(m.steps, held.step,
                ROW(now(), 8, NULL, NULL, NULL, 'session_removed')::message_step)
        FROM held WHERE m.campaign_id = held.campaign_id AND m.ordinal = held.ordinal
            AND m.status = 0
        RETURNING m.campaign_id, m.ordinal, held.phone, m.waha_message_id
    ), counted AS (
        UPDATE campaigns c SET next_ordinal = GREATEST(c.next_ordinal, moved.ordinal + 1),
            unknown = c.unknown + 1
        FROM moved WHERE c.id = moved.campaign_id
    )
    SELECT phone, waha_message_id FROM moved WHERE waha_message_id IS NOT NULL"
);

/// Concludes what is on its way for these numbers, because nobody will hear the answer any more:
/// as what WhatsApp has reported of it, else as UNKNOWN. Their campaigns must be ended in the same
/// transaction.
pub(crate) async fn abandon_in_flight(
    tx: &Transaction<'_>,
    phones: &[&str],
) -> Result<(), StoreError> {
    let statement = tx.prepare_cached(LOCK_SENDERS).await?;
    tx.execute(&statement, &[&phones]).await?;
    let statement = tx.prepare_cached(ABANDON).await?;
    let rows = tx.query(&statement, &[&phones]).await?;
    let ids: Vec<(&str, &str)> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
    receipts::apply(tx, &ids).await?;
    Ok(())
}
