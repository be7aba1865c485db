//! The one statement that takes reports in and moves the messages that they prove something of.

use models::outcome::RESTRICTED;
use models::phone::PhoneNumber;
use time::OffsetDateTime;
use tokio_postgres::types::ToSql;

use crate::client::Statement;
use crate::column::phone;
use crate::{GenericClient, StoreError};

// Where a report moves a message is policy::receipt::status_after, and what ranks above what is
// known is policy::receipt::merge, both in SQL. A report writes one row: the message's, where its
// new status tells the report, else the receipt's. What is no news may have something to move all
// the same; what is of nobody yet is inserted. Whoever else makes one of these rows, or moves one
// of these messages, holds its number, as we do: a message or a number that was read stays where it
// lies and is found there again; its key stands beside, because a month that was empty when the
// plan was made is read by that. A receipt may be marked meanwhile, and is found by its key.
// `OFFSET 0` keeps apart what follows from each other: folded into one, `had` alone would stand
// there, and be worked out, some fifty times.
//
// A campaign that is complete may lose or gain its errors; one that this completes ends now. An ack
// ends a number's silence at once. It ends a row of restrictions too, but says nothing of one under
// way: that forbids new chats alone, and what was said before goes on being reported.
const APPLY: &str = "
    WITH placed AS MATERIALIZED (
        SELECT phone, generation FROM sessions WHERE phone = ANY ($1)
    ), looked AS (
        SELECT i.sender, i.message_id, i.ack AS told, COALESCE(i.at, now()) AS told_at,
            r.sender IS NOT NULL AS known, r.ack_at, r.ask_at, r.campaign_id, r.ordinal,
            m.ctid AS place, m.status, m.waha_message_id AS carried, f.flies IS TRUE AS flies,
            CASE WHEN m.status IN (3, 4) AND m.waha_message_id = i.message_id
                THEN GREATEST(r.ack, m.status - 1) ELSE r.ack END AS had
        FROM unnest($1::text[], $2::text[], $4::smallint[], $5::timestamptz[], $6::integer[])
            AS i (sender, message_id, ack, at, generation)
        LEFT JOIN receipts r ON r.sender = i.sender AND r.message_id = i.message_id
        LEFT JOIN LATERAL (
            SELECT ctid, status, waha_message_id FROM messages
            WHERE campaign_id = r.campaign_id AND ordinal = r.ordinal LIMIT 1
        ) m ON true
        LEFT JOIN LATERAL (
            SELECT true AS flies FROM senders d WHERE m.status = 0 AND d.phone = i.sender
                AND d.in_flight_campaign = r.campaign_id AND d.in_flight_ordinal = r.ordinal LIMIT 1
        ) f ON true
        WHERE i.generation IS NULL OR (i.sender, i.generation) IN (TABLE placed) OFFSET 0
    ), heard AS (
        SELECT l.*, n.news, CASE WHEN n.news THEN l.told ELSE l.had END AS ack,
            CASE WHEN n.news THEN l.told_at ELSE l.ack_at END AS at
        FROM looked l CROSS JOIN LATERAL (
            SELECT l.known AND l.told IS NOT NULL AND (l.had IS NULL OR CASE
                WHEN l.told >= 1 THEN l.told > l.had ELSE l.had < 1 AND l.told < l.had END) AS news
        ) n OFFSET 0
    ), moving AS (
        SELECT h.*, CASE WHEN flies THEN 1 ELSE status END AS was, CASE
            WHEN flies THEN NULL
            WHEN ack >= 3 AND status IN (0, 2, 3, 5, 6, 8) THEN 4
            WHEN ack = 2 AND status IN (0, 2, 5, 6, 8) THEN 3
            WHEN ack = 1 AND status IN (0, 5, 6, 8) THEN 2
            WHEN ack = 0 AND status IN (0, 6, 8) THEN 2
            WHEN ack = -1 AND status IN (2, 8) AND carried = message_id THEN 5
            END::smallint AS becomes
        FROM heard h
    ), judged AS MATERIALIZED (
        -- Of the ids that a message had, the one that WhatsApp took furthest tells what became of
        -- it; where it took none, the one that moves it.
        SELECT *, row_number() OVER (PARTITION BY campaign_id, ordinal
            ORDER BY GREATEST(ack, 0) DESC, becomes IS NULL, ack DESC NULLS LAST) = 1 AS best
        FROM moving
    ), written AS (
        -- In the order of their keys, as whoever marks them locks them. One that is marked as to be
        -- asked about is not any more, whatever told so.
        UPDATE receipts r SET ack = CASE WHEN j.news THEN j.told ELSE r.ack END,
            ack_at = CASE WHEN j.news THEN j.told_at ELSE r.ack_at END,
            ask_at = CASE WHEN j.ack = 0 THEN r.ask_at END
        FROM (
            SELECT * FROM judged
            WHERE ask_at IS NOT NULL AND ack >= 1 OR news
                AND NOT (best AND becomes IS NOT NULL AND told IN (2, 3))
            ORDER BY sender, message_id
        ) j
        WHERE r.sender = j.sender AND r.message_id = j.message_id
    ), unheard AS (
        INSERT INTO receipts (sender, message_id, ack, ack_at)
        SELECT sender, message_id, told, told_at FROM judged WHERE NOT known AND told IS NOT NULL
        ORDER BY sender, message_id
        ON CONFLICT DO NOTHING
    ), moved AS (
        UPDATE messages m SET status = j.becomes, waha_message_id = j.message_id,
            sent_at = CASE WHEN j.becomes = 5 THEN m.sent_at ELSE COALESCE(m.sent_at, j.at) END,
            delivered_at = COALESCE(m.delivered_at,
                CASE WHEN j.becomes IN (3, 4) THEN j.at END),
            read_at = COALESCE(m.read_at, CASE WHEN j.becomes = 4 THEN j.at END),
            error_code = CASE WHEN j.becomes = 5 THEN 'whatsapp_refused' END,
            error = CASE WHEN j.becomes = 5 THEN 'WhatsApp took the message and refused it' END,
            steps = add_one_step(m.steps, j.at, j.becomes, NULL, NULL, NULL,
                CASE j.ack WHEN -1 THEN 'ack_error' WHEN 0 THEN 'made' WHEN 1 THEN 'ack_server'
                    WHEN 2 THEN 'ack_device' WHEN 3 THEN 'ack_read' ELSE 'ack_played' END)
        FROM judged j
        WHERE j.best AND j.becomes IS NOT NULL AND m.campaign_id = j.campaign_id
            AND m.ordinal = j.ordinal AND m.ctid = j.place
        RETURNING m.campaign_id, m.ordinal, j.sender, j.was, j.becomes
    ), recalled AS (
        -- It was said by an earlier id, which WhatsApp took: its conclusion, which looks at the id
        -- that it carries, is to see that, and so is a refusal of the later one.
        UPDATE messages m SET waha_message_id = j.message_id FROM judged j
        WHERE j.best AND (j.was = 1 OR j.was = 2 AND j.becomes IS NULL) AND j.ack >= 1
            AND j.carried IS DISTINCT FROM j.message_id
            AND m.campaign_id = j.campaign_id AND m.ordinal = j.ordinal AND m.ctid = j.place
            AND NOT EXISTS (SELECT FROM receipts r WHERE r.sender = j.sender
                AND r.message_id = m.waha_message_id AND r.ack >= j.ack)
    ), settled AS (
        DELETE FROM retries r USING moved m
        WHERE m.was = 0 AND r.campaign_id = m.campaign_id AND r.ordinal = m.ordinal
    ), tally AS (
        SELECT campaign_id,
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
                WHEN c.cancelled + t.cancelled > 0 THEN 'CANCELLED'
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
        SELECT sender, bool_or(acked) AS acked, bool_or(ended) AS ended, bool_or(flies) AS flies
        FROM (
            SELECT sender, true AS acked, false AS ended, false AS flies FROM judged
            WHERE campaign_id IS NOT NULL AND ack >= 1
            UNION ALL SELECT sender, false, now_ended, false FROM counted
            UNION ALL SELECT sender, false, false, true FROM judged WHERE was = 1
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
            campaign_ended_at = CASE WHEN t.ended THEN now() ELSE d.campaign_ended_at END,
            -- Whoever concludes what is on its way is to see what was reported of it.
            in_flight_reported = d.in_flight_reported OR t.flies
        FROM told t CROSS JOIN LATERAL (
            SELECT ctid AS place, t.acked AND COALESCE(rest_code = 'silent', false) AS silent,
                COALESCE(rest_code = ANY ($3) AND resting_until > now(), false) AS locked
            FROM senders WHERE phone = t.sender LIMIT 1
        ) o
        WHERE d.ctid = o.place AND (t.ended OR o.silent OR t.flies OR t.acked
            AND (d.unacked > 0 OR d.last_ack_at IS NULL
                OR d.restrictions > 0 AND NOT o.locked))
        RETURNING d.phone, t.ended OR o.silent AS awake
    )
    SELECT (SELECT count(*) FROM moved), ARRAY(SELECT phone FROM woken WHERE awake),
        ARRAY(SELECT generation FROM placed)";

/// What is told of an id: the highest report, or nothing but what is written of it already.
#[derive(Debug, Clone, Copy)]
pub(super) struct Told<'a> {
    /// The number and the bare id.
    pub(super) id: (&'a str, &'a str),
    /// Of the placement that said it: nothing is taken from a former one. `None`: of ourselves.
    pub(super) generation: Option<i32>,
    /// As in [`super::Report`]; `None`: see what is written.
    pub(super) ack: Option<i16>,
    /// When; the database's time where nobody says.
    pub(super) at: Option<OffsetDateTime>,
}

/// What reports moved.
#[derive(Debug, Default)]
pub(crate) struct Applied {
    /// Messages.
    pub(super) moved: u64,
    /// Numbers that may have something to say now.
    pub(super) awake: Vec<PhoneNumber>,
    /// The generations of the numbers' sessions as they are placed now.
    pub(super) placed: Vec<i32>,
}

/// Moves the messages of these ids to where their receipts prove them. Their numbers must be locked
/// in this transaction, by an earlier statement.
pub(crate) async fn apply<S: AsRef<str> + Sync>(
    db: &impl GenericClient,
    ids: &[(&str, S)],
) -> Result<Applied, StoreError> {
    if ids.is_empty() {
        return Ok(Applied::default());
    }
    let told = ids.iter().map(|(sender, id)| Told {
        id: (sender, id.as_ref()),
        generation: None,
        ack: None,
        at: None,
    });
    take(db, &statement(db).await?, &told.collect::<Vec<_>>()).await
}

/// What [`take`] runs.
pub(super) async fn statement(db: &impl GenericClient) -> Result<Statement, StoreError> {
    Ok(db.prepare_cached(APPLY).await?)
}

/// Writes down what is told of these ids, each of which stands there once for a placement, and
/// moves their messages as [`apply`] does. Their numbers must be locked in this transaction, by an
/// earlier statement.
pub(super) async fn take(
    db: &impl GenericClient,
    statement: &Statement,
    told: &[Told<'_>],
) -> Result<Applied, StoreError> {
    let (senders, message_ids): (Vec<_>, Vec<_>) = told.iter().map(|told| told.id).unzip();
    let generations: Vec<_> = told.iter().map(|told| told.generation).collect();
    let (acks, times): (Vec<_>, Vec<_>) = told.iter().map(|told| (told.ack, told.at)).unzip();
    let parameters: &[&(dyn ToSql + Sync)] = &[
        &senders,
        &message_ids,
        &RESTRICTED.as_slice(),
        &acks,
        &times,
        &generations,
    ];
    let row = db.query_one(statement, parameters).await?;
    let awake: Vec<&str> = row.get(1);
    Ok(Applied {
        moved: row.get::<_, i64>(0).unsigned_abs(),
        awake: awake.into_iter().map(phone).collect::<Result<_, _>>()?,
        placed: row.get(2),
    })
}
