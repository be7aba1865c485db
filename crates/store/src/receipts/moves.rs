//! The one statement that takes reports in and moves the messages that they prove something of.

use models::outcome::RESTRICTED;
use models::phone::PhoneNumber;
use time::OffsetDateTime;
use tokio_postgres::types::ToSql;

use crate::column::{phone, place};
use crate::{GenericClient, StoreError};

// Where a report moves a message is policy::receipt::status_after, and what ranks above what is
// written is policy::receipt::merge, both in SQL. A receipt is nearly always there, made by the
// claim, and a report nearly always news: with $6 it is found by its update alone, and the caller
// comes again without $6 for what was no news, which may have something to move all the same, and
// for what is of nobody yet, which is inserted. A message that carried several ids may move in both
// runs, and ends where the highest report of all proves it. Whoever else makes one of these rows,
// or moves one of these messages, holds its number, as we do: a message or a number that was read
// stays where it lies and is found there again.
//
// A campaign that is complete may lose or gain its errors; one that this completes ends now. An ack
// ends a number's silence at once. It ends a row of restrictions too, but says nothing of one under
// way: that forbids new chats alone, and what was said before goes on being reported.
const APPLY: &str = "
    WITH written AS (
        UPDATE receipts r SET ack = i.ack, ack_at = COALESCE(i.at, now()),
            ask_at = CASE WHEN i.ack = 0 THEN r.ask_at END
        FROM unnest($1::text[], $2::text[], $4::smallint[], $5::timestamptz[]) WITH ORDINALITY
            AS i (sender, message_id, ack, at, place)
        WHERE $6 AND r.sender = i.sender AND r.message_id = i.message_id
            AND (r.ack IS NULL OR CASE WHEN i.ack >= 1 THEN i.ack > r.ack
                ELSE r.ack < 1 AND i.ack < r.ack END)
        RETURNING r.sender, r.message_id, r.ack, r.ack_at, r.campaign_id, r.ordinal, i.place
    ), looked AS MATERIALIZED (
        SELECT i.sender, i.message_id, i.ack AS told, COALESCE(i.at, now()) AS told_at,
            r.sender IS NOT NULL AS known, r.ack, r.ack_at, r.campaign_id, r.ordinal
        FROM unnest($1::text[], $2::text[], $4::smallint[], $5::timestamptz[])
            AS i (sender, message_id, ack, at)
        LEFT JOIN receipts r ON r.sender = i.sender AND r.message_id = i.message_id
        WHERE NOT $6
    ), unheard AS (
        INSERT INTO receipts (sender, message_id, ack, ack_at)
        SELECT sender, message_id, told, told_at FROM looked WHERE NOT known AND told IS NOT NULL
        ON CONFLICT DO NOTHING
    ), heard AS MATERIALIZED (
        SELECT sender, message_id, ack, ack_at, campaign_id, ordinal FROM written
        WHERE campaign_id IS NOT NULL
        UNION ALL
        SELECT sender, message_id, ack, ack_at, campaign_id, ordinal FROM looked
        WHERE campaign_id IS NOT NULL AND ack IS NOT NULL
    ), judged AS MATERIALIZED (
        SELECT DISTINCT ON (h.campaign_id, h.ordinal) h.sender, h.message_id, h.ack, h.ack_at,
            h.campaign_id, h.ordinal, m.ctid AS place,
            CASE WHEN f.flies THEN 1 ELSE m.status END AS was, CASE
            WHEN f.flies THEN NULL
            WHEN h.ack >= 3 AND m.status IN (0, 2, 3, 5, 6, 8) THEN 4
            WHEN h.ack = 2 AND m.status IN (0, 2, 5, 6, 8) THEN 3
            WHEN h.ack = 1 AND m.status IN (0, 5, 6, 8) THEN 2
            WHEN h.ack = 0 AND m.status IN (0, 6, 8) THEN 2
            WHEN h.ack = -1 AND m.status IN (2, 8) AND m.waha_message_id = h.message_id THEN 5
            END::smallint AS becomes
        FROM heard h JOIN messages m USING (campaign_id, ordinal)
        LEFT JOIN LATERAL (
            SELECT true AS flies FROM senders d WHERE m.status = 0 AND d.phone = h.sender
                AND d.in_flight_campaign = m.campaign_id AND d.in_flight_ordinal = m.ordinal LIMIT 1
        ) f ON true
        ORDER BY h.campaign_id, h.ordinal, h.ack DESC
    ), moved AS (
        UPDATE messages m SET status = j.becomes, waha_message_id = j.message_id,
            sent_at = CASE WHEN j.becomes = 5 THEN m.sent_at ELSE COALESCE(m.sent_at, j.ack_at) END,
            delivered_at = COALESCE(m.delivered_at,
                CASE WHEN j.becomes IN (3, 4) THEN j.ack_at END),
            read_at = COALESCE(m.read_at, CASE WHEN j.becomes = 4 THEN j.ack_at END),
            error_code = CASE WHEN j.becomes = 5 THEN 'whatsapp_refused' END,
            error = CASE WHEN j.becomes = 5 THEN 'WhatsApp took the message and refused it' END,
            steps = add_one_step(m.steps, j.ack_at, j.becomes, NULL, NULL, NULL,
                CASE j.ack WHEN -1 THEN 'ack_error' WHEN 0 THEN 'made' WHEN 1 THEN 'ack_server'
                    WHEN 2 THEN 'ack_device' WHEN 3 THEN 'ack_read' ELSE 'ack_played' END)
        FROM judged j
        WHERE m.campaign_id = j.campaign_id AND m.ctid = j.place AND j.becomes IS NOT NULL
        RETURNING m.campaign_id, m.ordinal, j.sender, j.was, j.becomes
    ), recalled AS (
        -- It is on its way again although an earlier id of it was heard: its conclusion, which
        -- looks at the id that it carries, is to see that.
        UPDATE messages m SET waha_message_id = j.message_id FROM judged j
        WHERE j.was = 1 AND j.ack >= 1 AND m.campaign_id = j.campaign_id AND m.ordinal = j.ordinal
            AND m.status = 0 AND m.waha_message_id IS DISTINCT FROM j.message_id
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
            SELECT sender, true AS acked, false AS ended, false AS flies FROM heard WHERE ack >= 1
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
        ARRAY(SELECT place FROM written)";

/// What is told of an id: the highest report, or nothing but what is written of it already.
#[derive(Debug, Clone, Copy)]
pub(super) struct Told<'a> {
    /// The number and the bare id.
    pub(super) id: (&'a str, &'a str),
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
}

/// Moves the messages of these ids to where their receipts prove them. Their numbers must be locked
/// in this transaction, by an earlier statement.
pub(crate) async fn apply<S: AsRef<str> + Sync>(
    db: &impl GenericClient,
    ids: &[(&str, S)],
) -> Result<Applied, StoreError> {
    let told = ids.iter().map(|(sender, id)| Told {
        id: (sender, id.as_ref()),
        ack: None,
        at: None,
    });
    let (applied, _) = run(db, &told.collect::<Vec<_>>(), Look::AtWhatIsWritten).await?;
    Ok(applied)
}

/// Writes down what is told of these ids, each of which stands there once, and moves their messages
/// as [`apply`] does. Their numbers must be locked in this transaction, by an earlier statement.
pub(super) async fn take(
    db: &impl GenericClient,
    told: &[Told<'_>],
) -> Result<Applied, StoreError> {
    let (mut applied, written) = run(db, told, Look::ForNews).await?;
    if written.len() < told.len() {
        let mut rest = vec![true; told.len()];
        for place in written {
            rest[place] = false;
        }
        let rest = told
            .iter()
            .zip(rest)
            .filter_map(|(told, rest)| rest.then_some(*told));
        let rest = rest.collect::<Vec<_>>();
        let (more, _) = run(db, &rest, Look::AtWhatIsWritten).await?;
        applied.moved += more.moved;
        applied.awake.extend(more.awake);
    }
    Ok(applied)
}

/// What [`APPLY`] goes by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Look {
    /// What is told ranks above what is written; whatever does not is left alone.
    ForNews,
    /// What is written; what is told of ids without a receipt is written.
    AtWhatIsWritten,
}

/// Runs [`APPLY`]; also the places of what was news.
async fn run(
    db: &impl GenericClient,
    told: &[Told<'_>],
    look: Look,
) -> Result<(Applied, Vec<usize>), StoreError> {
    if told.is_empty() {
        return Ok((Applied::default(), Vec::new()));
    }
    let (senders, message_ids): (Vec<_>, Vec<_>) = told.iter().map(|told| told.id).unzip();
    let (acks, times): (Vec<_>, Vec<_>) = told.iter().map(|told| (told.ack, told.at)).unzip();
    let statement = db.prepare_cached(APPLY).await?;
    let parameters: &[&(dyn ToSql + Sync)] = &[
        &senders,
        &message_ids,
        &RESTRICTED.as_slice(),
        &acks,
        &times,
        &(look == Look::ForNews),
    ];
    let row = db.query_one(&statement, parameters).await?;
    let awake: Vec<&str> = row.get(1);
    let applied = Applied {
        moved: row.get::<_, i64>(0).unsigned_abs(),
        awake: awake.into_iter().map(phone).collect::<Result<_, _>>()?,
    };
    let places = row.get::<_, Vec<i64>>(2);
    Ok((applied, places.into_iter().map(place).collect()))
}
