//! The health of a number: what keeps it from sending, and for how long.
//!
//! A number rests, never a recipient: what WhatsApp refused because of the number is to be said
//! again when its rest is over, by a new id, as if it had never been tried.

use std::time::Duration;

use models::outcome::RESTRICTED;
use models::phone::PhoneNumber;
use time::OffsetDateTime;

use crate::plan::BY_KEY;
use crate::sessions::wake_lane;
use crate::{Client, GenericClient, StoreError};

// Since it was judged an ack may have come, or WhatsApp may have said how long it is restricted.
const REST_SILENT: &str = "
    UPDATE senders SET resting_until = now() + make_interval(secs => $2), rest_code = 'silent',
        rest_reason = $3, rests = rests + 1
    WHERE phone = $1 AND unacked >= $4
        AND (rest_code = ANY ($5) AND resting_until > now()) IS NOT TRUE";

/// Puts a number to rest of whose last messages, `unacked` at least, WhatsApp reports nothing.
/// Returns whether that is still so.
pub async fn rest_silent(
    db: &impl GenericClient,
    sender: &PhoneNumber,
    unacked: i32,
    rest: Duration,
    reason: &str,
) -> Result<bool, StoreError> {
    let statement = db.prepare_cached(REST_SILENT).await?;
    let (rest, restricted) = (rest.as_secs_f64(), RESTRICTED.as_slice());
    let parameters: &[&(dyn tokio_postgres::types::ToSql + Sync)] =
        &[&sender.digits(), &rest, &reason, &unacked, &restricted];
    Ok(db.execute(&statement, parameters).await? > 0)
}

/// A restriction that WhatsApp put on a number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restriction {
    /// One of [`RESTRICTED`].
    pub code: &'static str,
    /// For people.
    pub reason: String,
    /// Its end, where WhatsApp states one.
    pub until: Option<OffsetDateTime>,
    /// How long the number rests where it does not: doubled for each restriction in a row.
    pub otherwise: Duration,
    /// The longest of those rests.
    pub otherwise_max: Duration,
}

// A stated end is believed, also when it is nearer than what was guessed before. One that is over
// by the database's clock says nothing, whatever the teller's own clock says. A guess never
// shortens a rest that is under way, and grows like policy::outcome::judge's: trying again soon
// makes it worse.
const RESTRICT: &str = "
    WITH locked AS MATERIALIZED (
        SELECT phone, resting_until, restrictions,
            (rest_code = ANY ($6) AND resting_until > now()) IS TRUE AS already
        FROM senders WHERE phone = $1 AND ($4::timestamptz IS NULL OR $4 > now())
            AND EXISTS (SELECT FROM sessions s WHERE s.phone = $1 AND s.generation = $8)
        FOR NO KEY UPDATE
    )
    UPDATE senders d SET
        resting_until = CASE WHEN $4 IS NOT NULL THEN $4 WHEN l.already THEN l.resting_until
            ELSE now() + make_interval(
                secs => LEAST($5 * 2 ^ LEAST(l.restrictions, 20), $7)) END,
        rest_code = $2, rest_reason = $3,
        restrictions = d.restrictions + CASE WHEN l.already THEN 0 ELSE 1 END
    FROM locked l WHERE d.phone = l.phone
    RETURNING d.resting_until IS DISTINCT FROM l.resting_until";

// Refused by the number's fault after the worker took them: FAILED for now, because at first
// nobody knew whose fault it was. A cancelled campaign's stay as they are, and so does one whose
// refusal is of an earlier id: that one was excused already.
const REFUSED: &str = "
    SELECT r.message_id, r.campaign_id FROM receipts r
    JOIN messages m USING (campaign_id, ordinal) JOIN campaigns c ON c.id = r.campaign_id
    WHERE r.sender = $1 AND r.ack = -1 AND r.ack_at > now() - interval '1 hour'
        AND m.status = 5 AND m.error_code = 'whatsapp_refused'
        AND m.waha_message_id = r.message_id AND c.status <> 'CANCELLED'
        AND c.messages_purged_at IS NULL";
const LOCK_CAMPAIGNS: &str =
    "SELECT id FROM campaigns WHERE id = ANY ($1) ORDER BY id FOR NO KEY UPDATE";
// The receipt stays and goes on naming its message: a report that the old id was taken after all
// may come late, and must find the message before it is said again.
const EXCUSE: &str = "
    WITH moved AS (
        UPDATE messages m SET status = 0, attempts = GREATEST(m.attempts - 1, 0),
            waha_message_id = NULL, sent_at = NULL, error_code = $3, error = $4,
            steps = add_one_step(m.steps, now(), 0, NULL, NULL, NULL, $3)
        FROM receipts r
        WHERE r.sender = $1 AND r.message_id = ANY ($2) AND r.ack = -1
            AND m.campaign_id = r.campaign_id AND m.ordinal = r.ordinal AND m.status = 5
            AND m.error_code = 'whatsapp_refused' AND m.waha_message_id = r.message_id
            AND EXISTS (SELECT FROM campaigns c
                WHERE c.id = m.campaign_id AND c.messages_purged_at IS NULL)
        RETURNING m.campaign_id, m.ordinal
    ), again AS (
        INSERT INTO retries (campaign_id, ordinal, due_at)
        SELECT campaign_id, ordinal, d.resting_until FROM moved, senders d WHERE d.phone = $1
        ON CONFLICT (campaign_id, ordinal) DO UPDATE SET due_at = excluded.due_at
    )
    UPDATE campaigns c SET failed = c.failed - n.moved, status = 'IN_PROGRESS', completed_at = NULL
    FROM (SELECT campaign_id, count(*)::integer AS moved FROM moved GROUP BY campaign_id) n
    WHERE c.id = n.campaign_id AND c.status <> 'CANCELLED'";

/// WhatsApp keeps a number from starting chats: it rests, and what was refused for it within the
/// last hour is PENDING again; unless the restriction is over, or told by a former placement of the
/// number's session. Returns whether anything changed.
pub async fn restrict(
    client: &mut Client,
    sender: &PhoneNumber,
    generation: i32,
    restriction: &Restriction,
) -> Result<bool, StoreError> {
    let tx = client.transaction().await?;
    tx.batch_execute(BY_KEY).await?;
    let statement = tx.prepare_cached(RESTRICT).await?;
    let otherwise = restriction.otherwise.as_secs_f64();
    let otherwise_max = restriction.otherwise_max.as_secs_f64();
    let (phone, restricted) = (sender.digits(), RESTRICTED.as_slice());
    let parameters: &[&(dyn tokio_postgres::types::ToSql + Sync)] = &[
        &phone,
        &restriction.code,
        &restriction.reason,
        &restriction.until,
        &otherwise,
        &restricted,
        &otherwise_max,
        &generation,
    ];
    let Some(row) = tx.query_opt(&statement, parameters).await? else {
        return Ok(false);
    };
    let rested: bool = row.get(0);
    let statement = tx.prepare_cached(REFUSED).await?;
    let rows = tx.query(&statement, &[&phone]).await?;
    if !rows.is_empty() {
        let ids: Vec<&str> = rows.iter().map(|row| row.get(0)).collect();
        let campaigns: Vec<uuid::Uuid> = rows.iter().map(|row| row.get(1)).collect();
        let statement = tx.prepare_cached(LOCK_CAMPAIGNS).await?;
        tx.execute(&statement, &[&campaigns]).await?;
        let statement = tx.prepare_cached(EXCUSE).await?;
        let parameters: &[&(dyn tokio_postgres::types::ToSql + Sync)] =
            &[&phone, &ids, &restriction.code, &restriction.reason];
        tx.execute(&statement, parameters).await?;
    }
    tx.commit().await?;
    let changed = rested || !rows.is_empty();
    if changed {
        // In a statement of its own: lanes are locked before senders, never after.
        wake_lane(client, sender).await?;
    }
    Ok(changed)
}

/// What a number's health is judged by. Times are the database's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HealthFacts {
    /// The database's clock.
    pub now: OffsetDateTime,
    /// Until when it rests; in the past when it did.
    pub resting_until: Option<OffsetDateTime>,
    /// Why, as a stable word.
    pub rest_code: Option<String>,
    /// Why, for people.
    pub rest_reason: Option<String>,
    /// Messages accepted by workers since the last ack.
    pub unacked: i32,
    /// When the first of those was.
    pub unacked_since: Option<OffsetDateTime>,
    /// When its last ack came.
    pub last_ack_at: Option<OffsetDateTime>,
}

impl HealthFacts {
    /// Reads [`health_columns`], which begin at `first`.
    pub(crate) fn read(row: &tokio_postgres::Row, first: usize) -> Self {
        Self {
            now: row.get(first),
            resting_until: row.get(first + 1),
            rest_code: row.get(first + 2),
            rest_reason: row.get(first + 3),
            unacked: row.get(first + 4),
            unacked_since: row.get(first + 5),
            last_ack_at: row.get(first + 6),
        }
    }
}

/// What a number's health is judged by, of sender `d`.
macro_rules! health_columns {
    () => {
        "now(), d.resting_until, d.rest_code, d.rest_reason, d.unacked, d.unacked_since,
            d.last_ack_at"
    };
}
pub(crate) use health_columns;
