//! A session leaves its worker: back into the queue, or for good.

use models::message::MessageStatus;

use super::Due;
use crate::plan::by_key;
use crate::sessions::cancel_reopened;
use crate::standing::landed;
use crate::{Client, GenericClient, StoreError, receipts};

// An attempt to make it there may have got through: the server is told to drop it, should it come
// back. Lock order: sessions, then workers; `removals` is nobody else's.
const REQUEUE: &str = "
    WITH session AS (
        SELECT phone, worker_id, waha_name, live FROM sessions
        WHERE phone = $1 AND generation = $2 AND leased_until = $3 AND NOT created
          AND wanted = 'RUNNING'
        FOR NO KEY UPDATE
    ), freed AS (
        UPDATE workers w
        SET placed = w.placed - 1, live = w.live - CASE WHEN session.live THEN 1 ELSE 0 END
        FROM session WHERE w.id = session.worker_id
        RETURNING w.url, w.api_key, session.waha_name
    ), removed AS (
        INSERT INTO removals (worker_url, waha_name, api_key)
        SELECT url, waha_name, api_key FROM freed
        ON CONFLICT (worker_url, waha_name)
        DO UPDATE SET api_key = excluded.api_key, attempts = 0, due_at = now()
    )
    UPDATE sessions s
    SET worker_id = NULL, waha_name = NULL, live = false, status = 'QUEUED', status_at = now(),
        reason = NULL, attempts = 0, restarts = 0, leased_until = NULL, due_at = NULL
    FROM session WHERE s.phone = session.phone
    RETURNING true";

/// Gives up the place of a session that was never made there, because its worker is down. It
/// keeps its turn in the queue. `false` when it was made, or somebody else is at it.
pub async fn requeue(db: &impl GenericClient, due: &Due) -> Result<bool, StoreError> {
    let statement = db.prepare_cached(REQUEUE).await?;
    let row = db
        .query_opt(
            &statement,
            &[&due.phone.digits(), &due.generation, &due.leased_until],
        )
        .await?;
    Ok(row.is_some())
}

// A message that is on its way ends as UNKNOWN (models::message::MessageStatus): with its session
// gone nobody can look it up.
const FORGET: &str = concat!(
    "WITH lane AS (
        SELECT l.worker_id FROM lanes l JOIN sessions s ON s.worker_id = l.worker_id
        WHERE s.phone = $1 AND s.generation = $2
        FOR NO KEY UPDATE OF l
    ), session AS (
        SELECT phone, worker_id, live FROM sessions
        WHERE phone = $1 AND generation = $2 AND leased_until = $3 AND wanted = 'GONE'
          AND worker_id = (SELECT worker_id FROM lane)
        FOR UPDATE
    ), sender AS (
        SELECT d.phone, d.in_flight_campaign, d.in_flight_ordinal, d.in_flight_message_id,
            flight_step(d) AS step
        FROM senders d WHERE phone = (SELECT phone FROM session)
        FOR NO KEY UPDATE
    ), lost AS (
        UPDATE messages m
        SET status = $4, attempts = m.attempts + 1,
            waha_message_id = COALESCE(m.waha_message_id, sender.in_flight_message_id),
            error_code = 'session_removed',
            error = 'the session was removed while the message was on its way',
            steps = add_two_steps(m.steps, sender.step,
                ROW(now(), $4, NULL, NULL, NULL, 'session_removed')::message_step)
        FROM sender
        WHERE m.campaign_id = (SELECT in_flight_campaign FROM sender)
          AND m.ordinal = sender.in_flight_ordinal AND m.status = 0
        RETURNING m.campaign_id, m.ordinal, m.waha_message_id
    ), counted AS (
        UPDATE campaigns c SET next_ordinal = GREATEST(c.next_ordinal, lost.ordinal + 1),
            unknown = c.unknown + 1
        FROM lost WHERE c.id = lost.campaign_id
    ), landed AS (
        UPDATE senders s SET ",
    landed!(),
    " FROM sender WHERE s.phone = sender.phone AND sender.in_flight_campaign IS NOT NULL
    ), woken AS (
        UPDATE lanes l SET wake = l.wake + 1 FROM session WHERE l.worker_id = session.worker_id
    ), freed AS (
        UPDATE workers w
        SET placed = w.placed - 1, live = w.live - CASE WHEN session.live THEN 1 ELSE 0 END
        FROM session WHERE w.id = session.worker_id
    )
    DELETE FROM sessions s USING session WHERE s.phone = session.phone
    RETURNING (SELECT waha_message_id FROM lost)"
);

/// Drops a session that is gone from its worker, and frees its place. `false` when it is wanted
/// again, or somebody else is at it: nothing is written then.
pub async fn forget(client: &mut Client, due: &Due) -> Result<bool, StoreError> {
    let tx = client.transaction().await?;
    // It holds the lane, and with it all who speak there: whoever has the number comes first.
    tx.batch_execute(concat!(by_key!(), "; SET LOCAL lock_timeout = '1s'"))
        .await?;
    let statement = tx.prepare_cached(FORGET).await?;
    let row = tx
        .query_opt(
            &statement,
            &[
                &due.phone.digits(),
                &due.generation,
                &due.leased_until,
                &MessageStatus::Unknown.code(),
            ],
        )
        .await?;
    let Some(row) = row else { return Ok(false) };
    if let Some(id) = row.get::<_, Option<String>>(0) {
        // What WhatsApp has reported of it already proves more than its worker could tell.
        receipts::apply(&tx, &[(due.phone.digits(), id)]).await?;
    }
    cancel_reopened(&tx, &due.phone).await?;
    tx.commit().await?;
    Ok(true)
}
