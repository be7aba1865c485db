//! Receipts: what WhatsApp reported of the ids that messages carry.
//!
//! Reports come before the answer to a send, twice, out of order, late or never. The highest is
//! kept, also of an id that nobody knows yet; whoever comes second, report or conclusion, moves
//! the message. Proof beats belief: an UNKNOWN message that WhatsApp reports on is SENT.

mod ask;

use std::time::Duration;

use models::ids::WorkerId;
use models::outcome::RESTRICTED;
use models::phone::PhoneNumber;
use time::OffsetDateTime;

use crate::column::{phone, seconds};
use crate::plan::BY_KEY;
use crate::sessions::wake_lane;
use crate::{Client, GenericClient, StoreError};

pub use ask::{Ask, asked, claim_due_asks, never_ask, prune};

/// One report of WhatsApp on one message id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The number that said it.
    pub sender: PhoneNumber,
    /// The session's placement that the report came from; a former one is refused.
    pub generation: i32,
    /// The bare id.
    pub message_id: String,
    /// -1 error, 0 made, 1 server, 2 device, 3 read, 4 played.
    pub ack: i16,
    /// When, by the worker's clock; the database's time of writing where it does not say.
    pub at: Option<OffsetDateTime>,
}

/// What a group of reports came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recorded {
    /// Reports from sessions as they are placed now.
    pub taken: u64,
    /// Messages that moved.
    pub moved: u64,
}

const LOCK_SENDERS: &str = "
    SELECT phone FROM senders WHERE phone = ANY ($1) ORDER BY phone FOR NO KEY UPDATE";
const LOCK_CAMPAIGNS: &str = "
    SELECT c.id FROM campaigns c WHERE c.id IN (
        SELECT r.campaign_id FROM unnest($1::text[], $2::text[]) AS i (sender, message_id)
        JOIN receipts r USING (sender, message_id))
    ORDER BY c.id FOR NO KEY UPDATE";

// What ranks above is policy::receipt::merge, in SQL.
const RECORD: &str = "
    WITH input AS (
        SELECT i.sender, i.message_id, i.ack, COALESCE(i.at, now()) AS at
        FROM unnest($1::text[], $2::integer[], $3::text[], $4::smallint[], $5::timestamptz[])
            AS i (sender, generation, message_id, ack, at)
        JOIN sessions s ON s.phone = i.sender AND s.generation = i.generation
    ), merged AS (
        SELECT DISTINCT ON (sender, message_id) * FROM input
        ORDER BY sender, message_id, ack >= 1 DESC,
            CASE WHEN ack >= 1 THEN ack ELSE -ack END DESC, at
    ), written AS (
        INSERT INTO receipts AS r (sender, message_id, ack, ack_at)
        SELECT sender, message_id, ack, at FROM merged ORDER BY sender, message_id
        ON CONFLICT (sender, message_id) DO UPDATE
        SET ack = excluded.ack, ack_at = excluded.ack_at,
            ask_at = CASE WHEN excluded.ack = 0 THEN r.ask_at END
        WHERE r.ack IS NULL OR CASE WHEN excluded.ack >= 1 THEN excluded.ack > r.ack
            ELSE r.ack < 1 AND excluded.ack < r.ack END
        RETURNING 1
    )
    SELECT count(*) FROM input";

/// Takes a group of reports in, all or nothing, and moves the messages that they prove something
/// of. Taking the same in twice changes nothing.
pub async fn record(client: &mut Client, reports: &[Report]) -> Result<Recorded, StoreError> {
    let ids: Vec<_> = reports
        .iter()
        .map(|report| (report.sender.digits(), report.message_id.as_str()))
        .collect();
    let tx = client.transaction().await?;
    tx.batch_execute(BY_KEY).await?;
    lock(&tx, &ids).await?;
    let statement = tx.prepare_cached(RECORD).await?;
    let (senders, message_ids) = columns(&ids);
    let generations: Vec<_> = reports.iter().map(|report| report.generation).collect();
    let acks: Vec<_> = reports.iter().map(|report| report.ack).collect();
    let times: Vec<_> = reports.iter().map(|report| report.at).collect();
    let parameters: &[&(dyn tokio_postgres::types::ToSql + Sync)] =
        &[&senders, &generations, &message_ids, &acks, &times];
    let taken: i64 = tx.query_one(&statement, parameters).await?.get(0);
    let applied = apply(&tx, &ids).await?;
    tx.commit().await?;
    for sender in &applied.awake {
        // In a statement of its own: lanes are locked before senders, never after.
        wake_lane(client, sender).await?;
    }
    Ok(Recorded {
        taken: taken.unsigned_abs(),
        moved: applied.moved,
    })
}

/// What we know ourselves of a message of which the worker must be asked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Evidence {
    /// WhatsApp's highest report on its id.
    pub ack: Option<i16>,
    /// For how long the number's session has been WORKING on that worker without a break; `None`
    /// when it is not.
    pub working_for: Option<Duration>,
}

const EVIDENCE: &str = "
    SELECT (SELECT ack FROM receipts WHERE sender = $1 AND message_id = $2),
        (SELECT EXTRACT(EPOCH FROM now() - status_at)::float8 FROM sessions
            WHERE phone = $1 AND worker_id = $3 AND status = 'WORKING')";

/// What is known of the message that `sender` said by `message_id` on `worker`, if it was.
pub async fn evidence(
    db: &impl GenericClient,
    sender: &PhoneNumber,
    message_id: Option<&str>,
    worker: WorkerId,
) -> Result<Evidence, StoreError> {
    let statement = db.prepare_cached(EVIDENCE).await?;
    let parameters: &[&(dyn tokio_postgres::types::ToSql + Sync)] =
        &[&sender.digits(), &message_id, &worker.uuid()];
    let row = db.query_one(&statement, parameters).await?;
    Ok(Evidence {
        ack: row.get(0),
        working_for: row.get::<_, Option<f64>>(1).map(seconds),
    })
}

/// Locks what reports on these ids may move, in the order that everybody locks in.
async fn lock(db: &impl GenericClient, ids: &[(&str, &str)]) -> Result<(), StoreError> {
    let (senders, message_ids) = columns(ids);
    let statement = db.prepare_cached(LOCK_SENDERS).await?;
    db.execute(&statement, &[&senders]).await?;
    let statement = db.prepare_cached(LOCK_CAMPAIGNS).await?;
    db.execute(&statement, &[&senders, &message_ids]).await?;
    Ok(())
}

fn columns<'a>(ids: &[(&'a str, &'a str)]) -> (Vec<&'a str>, Vec<&'a str>) {
    ids.iter().copied().unzip()
}

// Where a report moves a message is policy::receipt::status_after, in SQL. A campaign that is
// complete may lose or gain its errors; one that this completes ends now. An ack ends a number's
// silence at once. It ends a row of restrictions too, but says nothing of one under way: that
// forbids new chats alone, and what was said before goes on being reported.
const APPLY: &str = "
    WITH heard AS MATERIALIZED (
        SELECT r.sender, r.message_id, r.ack, r.ack_at, r.campaign_id, r.ordinal
        FROM unnest($1::text[], $2::text[]) AS i (sender, message_id)
        JOIN receipts r USING (sender, message_id)
        WHERE r.campaign_id IS NOT NULL AND r.ack IS NOT NULL
    ), judged AS MATERIALIZED (
        SELECT DISTINCT ON (h.campaign_id, h.ordinal) h.*, m.status AS was, CASE
            WHEN h.ack >= 3 AND m.status IN (0, 2, 3, 5, 6, 8) THEN 4
            WHEN h.ack = 2 AND m.status IN (0, 2, 5, 6, 8) THEN 3
            WHEN h.ack = 1 AND m.status IN (0, 5, 6, 8) THEN 2
            WHEN h.ack = 0 AND m.status IN (0, 6, 8) THEN 2
            WHEN h.ack = -1 AND m.status IN (2, 8) AND m.waha_message_id = h.message_id THEN 5
            END::smallint AS becomes
        FROM heard h JOIN messages m USING (campaign_id, ordinal)
        ORDER BY h.campaign_id, h.ordinal, h.ack DESC
    ), moved AS (
        UPDATE messages m SET status = j.becomes, waha_message_id = j.message_id,
            sent_at = CASE WHEN j.becomes = 5 THEN m.sent_at ELSE COALESCE(m.sent_at, j.ack_at) END,
            delivered_at = COALESCE(m.delivered_at,
                CASE WHEN j.becomes IN (3, 4) THEN j.ack_at END),
            read_at = COALESCE(m.read_at, CASE WHEN j.becomes = 4 THEN j.ack_at END),
            error_code = CASE WHEN j.becomes = 5 THEN 'whatsapp_refused' END,
            error = CASE WHEN j.becomes = 5 THEN 'WhatsApp took the message and refused it' END,
            steps = add_step(m.steps, j.ack_at, j.becomes, NULL, NULL, NULL,
                CASE j.ack WHEN -1 THEN 'ack_error' WHEN 0 THEN 'made' WHEN 1 THEN 'ack_server'
                    WHEN 2 THEN 'ack_device' WHEN 3 THEN 'ack_read' ELSE 'ack_played' END)
        FROM judged j
        WHERE m.campaign_id = j.campaign_id AND m.ordinal = j.ordinal AND j.becomes IS NOT NULL
        RETURNING m.campaign_id, m.ordinal, j.sender, j.was, j.becomes
    ), recalled AS (
        -- It is on its way again although an earlier id of it was heard: its conclusion, which
        -- looks at the id that it carries, is to see that.
        UPDATE messages m SET waha_message_id = h.message_id FROM heard h
        WHERE m.campaign_id = h.campaign_id AND m.ordinal = h.ordinal AND m.status = 1
            AND h.ack >= 1 AND m.waha_message_id IS DISTINCT FROM h.message_id
    ), settled AS (
        DELETE FROM retries r USING moved m
        WHERE r.campaign_id = m.campaign_id AND r.ordinal = m.ordinal
    ), tally AS (
        SELECT campaign_id, count(*)::integer AS all_moved,
            (sum((becomes = 2)::integer - (was = 2)::integer))::integer AS sent,
            (sum((becomes = 3)::integer - (was = 3)::integer))::integer AS delivered,
            (sum((becomes = 4)::integer))::integer AS read,
            (sum((becomes = 5)::integer - (was = 5)::integer))::integer AS failed,
            (sum(-(was = 6)::integer))::integer AS cancelled,
            (sum(-(was = 8)::integer))::integer AS unknown,
            (sum((was = 0)::integer))::integer AS ended
        FROM moved GROUP BY campaign_id
    ), counted AS (
        UPDATE campaigns c SET sent = c.sent + t.sent, delivered = c.delivered + t.delivered,
            read = c.read + t.read, failed = c.failed + t.failed,
            cancelled = c.cancelled + t.cancelled, unknown = c.unknown + t.unknown,
            status = CASE
                WHEN c.status = 'CANCELLED' OR c.sent + c.delivered + c.read + c.failed
                    + c.cancelled + c.suppressed + c.unknown + t.ended < c.total THEN c.status
                WHEN c.failed + t.failed + c.unknown + t.unknown > 0 THEN 'COMPLETED_WITH_ERRORS'
                ELSE 'COMPLETED' END,
            completed_at = CASE
                WHEN c.completed_at IS NOT NULL OR c.sent + c.delivered + c.read + c.failed
                    + c.cancelled + c.suppressed + c.unknown + t.ended < c.total
                THEN c.completed_at ELSE now() END
        FROM tally t
        WHERE c.id = t.campaign_id
        RETURNING c.sender, t.ended > 0 AND c.completed_at IS NOT NULL AS now_ended
    ), told AS (
        -- Put together and grouped, not joined: parts that are joined to each other are compared
        -- row by row.
        SELECT sender, bool_or(acked) AS acked, bool_or(ended) AS ended FROM (
            SELECT sender, ack >= 1 AS acked, false AS ended FROM heard
            UNION ALL SELECT sender, false, now_ended FROM counted
        ) facts GROUP BY sender
    ), woken AS (
        UPDATE senders d SET
            unacked = CASE WHEN t.acked THEN 0 ELSE d.unacked END,
            unacked_since = CASE WHEN t.acked THEN NULL ELSE d.unacked_since END,
            last_ack_at = CASE WHEN t.acked THEN now() ELSE d.last_ack_at END,
            resting_until = CASE WHEN NOT o.silent THEN d.resting_until END,
            rest_reason = CASE WHEN NOT o.silent THEN d.rest_reason END,
            rest_code = CASE WHEN NOT o.silent THEN d.rest_code END,
            rests = CASE WHEN o.silent THEN 0 ELSE d.rests END,
            restrictions = CASE WHEN t.acked AND NOT o.locked THEN 0 ELSE d.restrictions END,
            campaign_ended_at = CASE WHEN t.ended THEN now() ELSE d.campaign_ended_at END
        FROM told t CROSS JOIN LATERAL (
            SELECT phone, t.acked AND COALESCE(rest_code = 'silent', false) AS silent,
                COALESCE(rest_code = ANY ($3) AND resting_until > now(), false) AS locked
            FROM senders WHERE phone = t.sender LIMIT 1
        ) o
        WHERE d.phone = o.phone AND (t.ended OR o.silent OR t.acked
            AND (d.unacked > 0 OR d.last_ack_at IS NULL
                OR d.restrictions > 0 AND NOT o.locked))
        RETURNING d.phone, t.ended OR o.silent AS awake
    )
    SELECT (SELECT count(*) FROM moved), ARRAY(SELECT phone FROM woken WHERE awake)";

/// What the known reports on some ids moved.
#[derive(Debug, Default)]
pub(crate) struct Applied {
    /// Messages.
    moved: u64,
    /// Numbers that may have something to say now.
    awake: Vec<PhoneNumber>,
}

/// Moves the messages of these ids to where their receipts prove them. Their campaigns must be
/// locked in this transaction, by an earlier statement.
pub(crate) async fn apply<S: AsRef<str> + Sync>(
    db: &impl GenericClient,
    ids: &[(&str, S)],
) -> Result<Applied, StoreError> {
    if ids.is_empty() {
        return Ok(Applied::default());
    }
    let ids: Vec<_> = ids.iter().map(|(s, id)| (*s, id.as_ref())).collect();
    let (senders, message_ids) = columns(&ids);
    let statement = db.prepare_cached(APPLY).await?;
    let parameters: &[&(dyn tokio_postgres::types::ToSql + Sync)] =
        &[&senders, &message_ids, &RESTRICTED.as_slice()];
    let row = db.query_one(&statement, parameters).await?;
    let awake: Vec<&str> = row.get(1);
    Ok(Applied {
        moved: row.get::<_, i64>(0).unsigned_abs(),
        awake: awake.into_iter().map(phone).collect::<Result<_, _>>()?,
    })
}
