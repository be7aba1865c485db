//! The grouped claims and conclusions of messages: the hot path.
//!
//! Whatever gathered while the previous write was on its way goes into one transaction of at most
//! one statement each, with arrays. Every row is fenced by its lane's epoch, whose row is locked
//! first: a take-over either waits for this transaction and then sees what it did, or came before
//! it, and then nothing is written for that lane.

use futures_util::future::join4;
use models::campaign::CampaignStatus;
use models::ids::ReplicaId;
use models::outcome::RESTRICTED;
use models::template::Variables;
use tokio_postgres::types::Json;

use crate::client::Statement;
use crate::column::seconds;
use crate::plan::by_key;
use crate::standing::landed;
use crate::{Client, GenericClient, StoreError, receipts};

mod fence;
mod moves;
mod rows;

use fence::{LOCK, lock, ours};
use rows::{Rows, place, sparse};

pub use moves::{Cause, Claim, Claimed, Concluded, Conclusion, Outcome, Proof};

// Each row finds its way through the tables by their keys, and carries along what the next step
// needs: two parts of a statement that are joined to each other are compared row by row. And each
// is asked for by its whole key: a join may be planned by a part of it while a table is small, and
// goes on reading all of a campaign's messages for each of them.
const CLAIM: &str = concat!(
    "WITH taken AS (
        UPDATE senders d SET in_flight_campaign = i.campaign_id, in_flight_ordinal = i.ordinal,
            in_flight_worker = i.worker_id, in_flight_replica = $1, in_flight_epoch = i.epoch,
            in_flight_message_id = COALESCE(m.waha_message_id, i.message_id), in_flight_at = now()
        FROM unnest($2::uuid[], $3::bigint[], $4::text[], $5::uuid[], $6::integer[],
            $7::integer[], $8::text[]) WITH ORDINALITY
            AS i (worker_id, epoch, phone, campaign_id, ordinal, generation, message_id, place)
        JOIN sessions s ON s.phone = i.phone AND s.worker_id = i.worker_id
            AND s.generation = i.generation AND s.wanted = 'RUNNING'
        JOIN campaigns o ON o.id = i.campaign_id AND o.status IN ('PENDING', 'IN_PROGRESS')
            AND (i.ordinal >= o.cancelled_from) IS NOT TRUE -- once cancelled, only what was begun
        CROSS JOIN LATERAL (
            SELECT recipient, variables, attempts, waha_message_id FROM messages
            WHERE campaign_id = i.campaign_id AND ordinal = i.ordinal AND status = 0 LIMIT 1
        ) m
        WHERE d.phone = i.phone AND d.in_flight_campaign IS NULL AND ",
    ours!(),
    "
        RETURNING i.place, d.phone, i.campaign_id, i.ordinal, d.in_flight_message_id,
            i.message_id IS NOT NULL AS own_id, m.waha_message_id IS NULL AS new_id,
            m.recipient, m.variables, m.attempts,
            i.ordinal < o.next_ordinal AS again, o.status AS campaign_status
    ), begun AS (
        UPDATE campaigns c SET status = 'IN_PROGRESS', started_at = COALESCE(c.started_at, now())
        FROM taken t WHERE t.campaign_status = 'PENDING' AND c.id = t.campaign_id
    ), waited AS (
        DELETE FROM retries WHERE (campaign_id = ANY (ARRAY(
            SELECT campaign_id FROM taken WHERE again))) IS TRUE AND ctid = ANY (ARRAY(
            SELECT (SELECT ctid FROM retries r
                WHERE r.campaign_id = t.campaign_id AND r.ordinal = t.ordinal LIMIT 1)
            FROM taken t WHERE again))
    ), expected AS (
        INSERT INTO receipts (sender, message_id, campaign_id, ordinal)
        SELECT phone, in_flight_message_id, campaign_id, ordinal FROM taken t
        WHERE own_id AND (new_id OR (SELECT true FROM receipts r
            WHERE r.sender = t.phone AND r.message_id = t.in_flight_message_id LIMIT 1) IS NULL)
    )
    SELECT place, recipient, variables, attempts + 1::smallint, in_flight_message_id FROM taken"
);

// A sender has one message in flight and a campaign one sender: no two rows are of one campaign.
const CONCLUDE: &str = concat!(
    "WITH moved AS (
        UPDATE messages m SET
            status = CASE WHEN o.cancelled THEN 6 ELSE i.status END,
            attempts = m.attempts + (i.uncounted IS NOT TRUE)::integer,
            waha_message_id = COALESCE(i.message_id, m.waha_message_id, d.in_flight_message_id),
            error_code = i.code, error = i.detail,
            sent_at = CASE WHEN i.status = 2 THEN now() END,
            steps = add_two_steps(m.steps, flight_step(d), ROW(now(),
                CASE WHEN o.cancelled THEN 6 ELSE i.status END, i.worker_id, $1, i.epoch,
                i.answer)::message_step)
        FROM unnest($2::uuid[], $3::bigint[], $4::text[], $5::uuid[], $6::integer[],
            $7::smallint[], $8::text[], $9::text[], $10::text[], $11::text[], $12::float8[],
            $13::boolean[], $14::boolean[], $16::uuid[]) WITH ORDINALITY
            AS i (worker_id, epoch, phone, campaign_id, ordinal, status, message_id, answer, code,
            detail, retry_secs, number_rests, uncounted, claimed_on, place)
        -- Of the claim that is in flight, not of one that somebody else has settled since.
        JOIN senders d ON d.phone = i.phone AND d.in_flight_campaign = i.campaign_id
            AND d.in_flight_ordinal = i.ordinal AND d.in_flight_worker = i.claimed_on
            AND ",
    ours!(),
    "
        LEFT JOIN LATERAL (
            SELECT true AS cancelled FROM campaigns
            WHERE i.status = 0 AND id = i.campaign_id AND status = 'CANCELLED' LIMIT 1
        ) o ON true
        WHERE m.campaign_id = i.campaign_id AND m.ordinal = i.ordinal AND m.status = 0
        RETURNING i.place, i.phone, d.ctid AS number, i.worker_id, m.campaign_id, m.ordinal,
            m.status, i.retry_secs, i.number_rests, i.code, i.detail, m.waha_message_id,
            i.message_id IS NOT NULL AS told_id, i.message_id IS NOT NULL OR d.in_flight_reported
                OR cardinality(m.steps) > 2 AS reported
    ), counted AS (
        UPDATE campaigns c SET next_ordinal = GREATEST(c.next_ordinal, m.ordinal + 1),
            sent = c.sent + (m.status = 2)::integer, failed = c.failed + (m.status = 5)::integer,
            cancelled = c.cancelled + (m.status = 6)::integer,
            unknown = c.unknown + (m.status = 8)::integer,
            status = CASE
                WHEN c.completed_at IS NOT NULL OR c.sent + c.delivered + c.read + c.failed
                    + c.cancelled + c.suppressed + c.unknown + (m.status <> 0)::integer < c.total
                    THEN c.status
                -- It was cancelled before messages of it were sent again.
                WHEN c.cancelled > 0 THEN 'CANCELLED'
                WHEN c.failed + c.unknown > 0 OR m.status IN (5, 8) THEN 'COMPLETED_WITH_ERRORS'
                ELSE 'COMPLETED' END,
            completed_at = CASE
                WHEN c.completed_at IS NOT NULL OR c.sent + c.delivered + c.read + c.failed
                    + c.cancelled + c.suppressed + c.unknown + (m.status <> 0)::integer < c.total
                    THEN c.completed_at
                ELSE now() END
        FROM moved m
        WHERE c.id = m.campaign_id
        RETURNING m.place, m.number, m.status, m.retry_secs, m.number_rests, m.code, m.detail,
            CASE WHEN m.reported THEN m.waha_message_id END AS reported_id,
            c.status AS campaign_status
    ), again AS (
        INSERT INTO retries (campaign_id, ordinal, due_at)
        SELECT campaign_id, ordinal, now() + make_interval(secs => retry_secs)
        FROM moved WHERE status = 0
        ON CONFLICT (campaign_id, ordinal) DO UPDATE SET due_at = excluded.due_at
    ), landed AS (
        UPDATE senders d SET ",
    landed!(),
    ", last_sent_at = now(),
            campaign_ended_at = CASE
                WHEN k.campaign_status IN ('COMPLETED', 'COMPLETED_WITH_ERRORS', 'CANCELLED')
                THEN now() ELSE d.campaign_ended_at END,
            -- Once for all rows: to look a time zone up takes as long as all else here.
            sent_day = (SELECT (now() AT TIME ZONE 'UTC')::date),
            sent_today = (k.status = 2)::integer + CASE
                WHEN d.sent_day = (SELECT (now() AT TIME ZONE 'UTC')::date)
                THEN d.sent_today ELSE 0 END,
            -- A time-lock that is under way outlasts what a worker says of a message, and is not
            -- shortened by it; how many there were in a row outlasts that too, until an ack comes.
            -- So does silence: every message is a probe, whatever becomes of it at the worker.
            resting_until = GREATEST(
                CASE WHEN k.number_rests THEN now() + make_interval(secs => k.retry_secs) END,
                CASE WHEN d.rest_code = 'silent'
                    OR d.rest_code = ANY ($15) AND d.resting_until > now()
                    THEN d.resting_until END),
            rest_reason = CASE WHEN k.number_rests AND k.code = ANY ($15) THEN k.detail
                WHEN d.rest_code = 'silent'
                    OR d.rest_code = ANY ($15) AND d.resting_until > now() THEN d.rest_reason
                WHEN k.number_rests THEN k.detail END,
            rest_code = CASE WHEN k.number_rests AND k.code = ANY ($15) THEN k.code
                WHEN d.rest_code = 'silent'
                    OR d.rest_code = ANY ($15) AND d.resting_until > now() THEN d.rest_code
                WHEN k.number_rests THEN k.code END,
            restrictions = d.restrictions + CASE WHEN k.number_rests AND k.code = ANY ($15)
                AND (d.rest_code = ANY ($15) AND d.resting_until > now()) IS NOT TRUE
                THEN 1 ELSE 0 END,
            rests = CASE WHEN d.rest_code = 'silent' THEN d.rests
                WHEN k.number_rests THEN d.rests + 1 ELSE 0 END,
            unacked = d.unacked + (k.status = 2)::integer,
            unacked_since = COALESCE(d.unacked_since, CASE WHEN k.status = 2 THEN now() END)
        FROM counted k
        -- Its row is locked, so it stays where it was read.
        WHERE d.ctid = k.number
        RETURNING k.place, k.campaign_status, d.unacked, d.rests,
            d.last_ack_at IS NOT NULL AS acked, d.phone, k.reported_id,
            EXTRACT(EPOCH FROM now() - d.unacked_since)::float8 AS unacked_secs
    ), told AS (
        INSERT INTO receipts AS r (sender, message_id, campaign_id, ordinal)
        SELECT phone, waha_message_id, campaign_id, ordinal FROM moved
        WHERE told_id AND status = 2
        ORDER BY phone, waha_message_id
        ON CONFLICT (sender, message_id) DO UPDATE
        SET campaign_id = excluded.campaign_id, ordinal = excluded.ordinal,
            ask_at = CASE WHEN r.ack >= 1 THEN NULL ELSE now() END
        WHERE r.campaign_id IS NULL
    ), spoken AS (
        UPDATE lanes SET last_sent_at = now(),
            resting_until = CASE WHEN n.refused THEN lanes.resting_until END,
            rest_reason = CASE WHEN n.refused THEN lanes.rest_reason END
        FROM (SELECT worker_id, bool_and(status = 0) AS refused FROM moved GROUP BY worker_id) n
        WHERE lanes.worker_id = n.worker_id
    )
    SELECT d.place, d.campaign_status, d.unacked, d.unacked_secs, d.acked, d.rests,
        d.reported_id, r.ack IS NOT NULL
    FROM landed d
    LEFT JOIN LATERAL (
        SELECT ack FROM receipts
        WHERE d.reported_id IS NOT NULL AND sender = d.phone AND message_id = d.reported_id LIMIT 1
    ) r ON true"
);

/// Every join is written in the order in which it is to be made: from the input to the tables, by
/// their keys.
const BEGIN: &str = concat!("BEGIN; ", by_key!(), "; SET LOCAL join_collapse_limit = 1");

/// What a group of writes came to; the places are those of the arguments.
#[derive(Debug, Default)]
pub struct Written {
    /// `None`: refused, because the lane, the session, the campaign or the message moved on.
    pub claimed: Vec<Option<Claimed>>,
    /// `None`: refused, because the lane moved on.
    pub concluded: Vec<Option<Concluded>>,
}

/// Writes a group: conclusions first, so that a sender's next claim finds it free. All or nothing.
pub async fn write(
    db: &mut Client,
    replica: ReplicaId,
    conclusions: &[Conclusion],
    claims: &[Claim],
) -> Result<Written, StoreError> {
    let statements = Statements::of(db).await?;
    let written = write_inside(db, &statements, replica, (conclusions, claims)).await;
    let end = if written.is_ok() {
        "COMMIT"
    } else {
        "ROLLBACK"
    };
    match (written, db.batch_execute(end).await) {
        (Ok(written), Ok(())) => Ok(written),
        (Err(error), _) => Err(error),
        (Ok(_), Err(error)) => Err(error.into()),
    }
}

/// What a group runs. Known before it begins, so that all of it leaves at once.
struct Statements {
    lock: Statement,
    conclude: Statement,
    claim: Statement,
}

impl Statements {
    async fn of(db: &Client) -> Result<Self, StoreError> {
        Ok(Self {
            lock: db.prepare_cached(LOCK).await?,
            conclude: db.prepare_cached(CONCLUDE).await?,
            claim: db.prepare_cached(CLAIM).await?,
        })
    }
}

/// The statements leave together and run one after the other, so that the server need not wait for
/// us between two of them while it holds the locks. After one that fails the others do nothing.
/// Where it is the very first that fails, each is a transaction of its own, and what is repeated
/// then finds that it was done.
async fn write_inside(
    db: &Client,
    statements: &Statements,
    replica: ReplicaId,
    (conclusions, claims): (&[Conclusion], &[Claim]),
) -> Result<Written, StoreError> {
    let (begun, locked, concluded, claimed) = join4(
        db.batch_execute(BEGIN),
        lock(db, &statements.lock, replica, (conclusions, claims)),
        conclude(db, &statements.conclude, replica, conclusions),
        claim(db, &statements.claim, replica, claims),
    )
    .await;
    begun?;
    locked?;
    let (concluded, reported) = concluded?;
    let claimed = claimed?;
    // WhatsApp's word came before the worker's: it counts from the first moment. A number has no
    // claim of a message in the group that concludes it, so it is all the same what came first.
    receipts::apply(db, &reported).await?;
    Ok(Written { claimed, concluded })
}

async fn claim(
    db: &Client,
    statement: &Statement,
    replica: ReplicaId,
    claims: &[Claim],
) -> Result<Vec<Option<Claimed>>, StoreError> {
    if claims.is_empty() {
        return Ok(Vec::new());
    }
    let rows = Rows::new(
        claims
            .iter()
            .map(|claim| (claim.tenure, &claim.phone, claim.key)),
    );
    let generations: Vec<_> = claims.iter().map(|claim| claim.generation).collect();
    let ids: Vec<_> = claims
        .iter()
        .map(|claim| claim.message_id.as_deref())
        .collect();
    let replica = replica.uuid();
    let parameters = rows.parameters(&replica, &[&generations, &ids]);
    let mut claimed: Vec<_> = claims.iter().map(|_| None).collect();
    for row in db.query(statement, &parameters).await? {
        let variables: Option<Json<Variables>> = row.get(2);
        claimed[place(row.get(0))] = Some(Claimed {
            recipient: crate::column::phone(row.get(1))?,
            variables: variables
                .map(|Json(variables)| variables)
                .unwrap_or_default(),
            attempt: row.get(3),
            message_id: row.get(4),
        });
    }
    Ok(claimed)
}

/// What each came to, and the ids of those that WhatsApp had reported on by then.
type Ended<'a> = (Vec<Option<Concluded>>, Vec<(&'a str, String)>);

async fn conclude<'a>(
    db: &Client,
    statement: &Statement,
    replica: ReplicaId,
    conclusions: &'a [Conclusion],
) -> Result<Ended<'a>, StoreError> {
    if conclusions.is_empty() {
        return Ok(Ended::default());
    }
    let rows = Rows::new(conclusions.iter().map(|c| (c.tenure, &c.phone, c.key)));
    let outcomes = || conclusions.iter().map(|conclusion| &conclusion.outcome);
    let statuses: Vec<_> = outcomes().map(|outcome| outcome.status().code()).collect();
    let answers: Vec<_> = outcomes().map(Outcome::answer).collect();
    let ids = sparse(outcomes().map(Outcome::message_id));
    let codes = sparse(outcomes().map(|o| o.cause().map(|cause| cause.code.as_str())));
    let details = sparse(outcomes().map(|o| o.cause().map(|cause| cause.detail.as_str())));
    let retries = sparse(outcomes().map(Outcome::retry_secs));
    let rests = sparse(outcomes().map(|o| o.number_rests().then_some(true)));
    let uncounted = sparse(outcomes().map(|o| o.uncounted().then_some(true)));
    let claimed_on: Vec<_> = conclusions.iter().map(|c| c.claimed_on.uuid()).collect();
    let (replica, restricted) = (replica.uuid(), RESTRICTED.as_slice());
    let parameters = rows.parameters(
        &replica,
        &[
            &statuses,
            &ids,
            &answers,
            &codes,
            &details,
            &retries,
            &rests,
            &uncounted,
            &restricted,
            &claimed_on,
        ],
    );
    let mut reported = Vec::new();
    let mut concluded: Vec<_> = conclusions.iter().map(|_| None).collect();
    for row in db.query(statement, &parameters).await? {
        let status: &str = row.get(1);
        let campaign = CampaignStatus::from_name(status).ok_or_else(|| StoreError::Unreadable {
            what: "campaign status",
            value: status.to_owned(),
        })?;
        let place = place(row.get(0));
        if let (true, Some(id)) = (row.get(7), row.get::<_, Option<String>>(6)) {
            reported.push((conclusions[place].phone.digits(), id));
        }
        concluded[place] = Some(Concluded {
            campaign,
            unacked: row.get(2),
            unacked_for: row.get::<_, Option<f64>>(3).map(seconds),
            ever_acked: row.get(4),
            rests: row.get(5),
        });
    }
    Ok((concluded, reported))
}
