//! Who has something to say on a lane.

use std::time::Duration;

use models::campaign::CampaignStatus;
use models::delays::{DelayOverrides, Delays};
use models::ids::{CampaignId, TraceId, WorkerId};
use models::message::MessageKey;
use models::outcome::RESTRICTED;
use models::phone::PhoneNumber;
use models::template::Variables;
use tokio_postgres::Row;
use tokio_postgres::types::{Json, ToSql};

use crate::column::{duration, phone, seconds};
use crate::plan::query_by_key;
use crate::standing::{flight, standing};
use crate::{Client, GenericClient, StoreError};

/// One sender of a lane: able to speak, and with something to say or something to settle.
#[derive(Debug, Clone)]
pub struct Speaker {
    /// Its number.
    pub phone: PhoneNumber,
    /// Of its session's place here.
    pub generation: i32,
    /// Its session's name on the worker.
    pub waha_name: String,
    /// Whether the session is seen WORKING; otherwise it is here only to be settled.
    pub working: bool,
    /// Its own delays.
    pub delays: DelayOverrides,
    /// Since the answer to its last request.
    pub last_sent_ago: Option<Duration>,
    /// Since its previous campaign ended.
    pub campaign_ended_ago: Option<Duration>,
    /// How much longer the number rests.
    pub resting_for: Option<Duration>,
    /// Rests in a row so far.
    pub rests: i32,
    /// A message whose outcome nobody wrote down.
    pub in_flight: Option<InFlight>,
    /// Its oldest campaign with something to send.
    pub campaign: Option<OpenCampaign>,
}

/// A message that was claimed and not concluded.
#[derive(Debug, Clone)]
pub struct InFlight {
    /// Which one.
    pub key: MessageKey,
    /// The worker it was handed to, if at all.
    pub worker: WorkerId,
    /// The epoch of its lane in which it was claimed; `None` when it is from before that was kept.
    pub epoch: Option<i64>,
    /// Since it was claimed.
    pub claimed_ago: Duration,
}

/// A campaign as its sender needs it.
#[derive(Debug, Clone)]
pub struct OpenCampaign {
    /// Which one.
    pub id: CampaignId,
    /// What every recipient hears, placeholders and all.
    pub template: String,
    /// The campaign's own variables.
    pub variables: Variables,
    /// A file to send.
    pub media_url: Option<String>,
    /// Whether a message of it was claimed before.
    pub begun: bool,
    /// The first message that waits for another attempt, and for how long still.
    pub retry: Option<(i32, Duration)>,
    /// The first message not begun.
    pub next_ordinal: Option<i32>,
    /// Of the request that made it.
    pub trace_id: TraceId,
}

/// `s` is where the sessions come from, with the columns that are read of them.
macro_rules! roster {
    ($s:expr) => {
        concat!(
            "SELECT s.phone, s.generation, s.waha_name, s.status = 'WORKING',
                d.message_delay_ms, d.sender_switch_delay_ms, d.campaign_delay_ms,
                EXTRACT(EPOCH FROM now() - d.last_sent_at)::float8,
                EXTRACT(EPOCH FROM now() - d.campaign_ended_at)::float8,
                CASE WHEN back.again THEN 0
                    ELSE EXTRACT(EPOCH FROM d.resting_until - now())::float8 END,
                GREATEST(d.rests, d.restrictions),
                d.in_flight_campaign, d.in_flight_ordinal, d.in_flight_worker,
                EXTRACT(EPOCH FROM now() - d.in_flight_at)::float8,
                c.id, c.template, c.variables, c.media_url, c.status, c.trace_id,
                r.ordinal, CASE WHEN back.again THEN 0
                    ELSE EXTRACT(EPOCH FROM r.due_at - now())::float8 END, m.ordinal, s.worker_id,
                d.in_flight_epoch
            FROM ",
            $s,
            " JOIN senders d ON d.phone = s.phone
            LEFT JOIN LATERAL (
                SELECT id, template, variables, media_url, status, trace_id, next_ordinal
                FROM campaigns
                WHERE sender = s.phone AND completed_at IS NULL
                    AND status IN ('PENDING', 'IN_PROGRESS')
                ORDER BY id LIMIT 1
            ) c ON s.status = 'WORKING' AND s.wanted = 'RUNNING'
            LEFT JOIN LATERAL (
                SELECT ordinal, due_at, (SELECT error_code FROM messages
                        WHERE campaign_id = t.campaign_id AND ordinal = t.ordinal LIMIT 1)
                FROM retries t WHERE campaign_id = c.id ORDER BY ordinal LIMIT 1
            ) r ON true
            -- A session that came back since its last attempt has nothing left to wait for; the
            -- rests that WhatsApp imposes are not about the session and stay, whatever it was
            -- that the message at the head of the line last failed for.
            CROSS JOIN LATERAL (
                SELECT r.ordinal IS NOT NULL AND s.status_at > d.last_sent_at
                    AND NOT COALESCE(r.error_code, '') = ANY ($2)
                    AND (d.rest_code = ANY ($2) AND d.resting_until > now()) IS NOT TRUE AS again
            ) back
            LEFT JOIN LATERAL (
                SELECT ordinal FROM messages
                WHERE campaign_id = c.id AND ordinal >= c.next_ordinal AND status = 0
                    AND (campaign_id, ordinal)
                        IS DISTINCT FROM (d.in_flight_campaign, d.in_flight_ordinal)
                ORDER BY ordinal LIMIT 1
            ) m ON true
            WHERE c.id IS NOT NULL OR d.in_flight_campaign IS NOT NULL"
        )
    };
}

/// The sessions on one worker.
macro_rules! sessions {
    ($worker:literal) => {
        concat!(
            "(SELECT phone, worker_id, generation, waha_name, status, status_at, wanted
            FROM sessions WHERE worker_id = ",
            $worker,
            " OFFSET 0) s"
        )
    };
}

const ALL: &str = roster!(sessions!("$1"));
const ONE: &str = roster!(
    "(SELECT phone, worker_id, generation, waha_name, status, status_at, wanted
    FROM sessions WHERE worker_id = $1 AND phone = $3 OFFSET 0) s"
);
// Without OFFSET the planner is free to read all sessions for a few lanes.
const OF_LANES: &str = roster!(concat!(
    "unnest($1::uuid[]) AS lane (id) CROSS JOIN LATERAL ",
    sessions!("lane.id")
));

/// Everybody with something to say, or to settle, on a worker's lane.
pub async fn all(db: &Client, worker: WorkerId) -> Result<Vec<Speaker>, StoreError> {
    let rows = query_by_key(db, ALL, &[&worker.uuid(), &RESTRICTED.as_slice()]).await?;
    rows.iter().map(speaker).collect()
}

/// The same of many lanes at once, each speaker with the worker that it is on.
pub async fn of_lanes(
    db: &Client,
    workers: &[WorkerId],
) -> Result<Vec<(WorkerId, Speaker)>, StoreError> {
    let ids: Vec<_> = workers.iter().map(|worker| worker.uuid()).collect();
    let rows = query_by_key(db, OF_LANES, &[&ids, &RESTRICTED.as_slice()]).await?;
    let read = |row: &Row| Ok((WorkerId::new(row.get(24)), speaker(row)?));
    rows.iter().map(read).collect()
}

/// One sender of a worker's lane; `None` when it has nothing to say there.
pub async fn one(
    db: &Client,
    worker: WorkerId,
    phone: &PhoneNumber,
) -> Result<Option<Speaker>, StoreError> {
    let parameters: &[&(dyn ToSql + Sync)] =
        &[&worker.uuid(), &RESTRICTED.as_slice(), &phone.digits()];
    let rows = query_by_key(db, ONE, parameters).await?;
    rows.first().map(speaker).transpose()
}

fn speaker(row: &Row) -> Result<Speaker, StoreError> {
    let ago = |column: usize| row.get::<_, Option<f64>>(column).map(seconds);
    let delay = |column: usize| row.get::<_, Option<i64>>(column).map(duration);
    Ok(Speaker {
        phone: phone(row.get(0))?,
        generation: row.get(1),
        waha_name: row.get::<_, Option<String>>(2).unwrap_or_default(),
        working: row.get(3),
        delays: DelayOverrides {
            message: delay(4),
            sender_switch: delay(5),
            campaign: delay(6),
        },
        last_sent_ago: ago(7),
        campaign_ended_ago: ago(8),
        resting_for: ago(9).filter(|rest| !rest.is_zero()),
        rests: row.get(10),
        in_flight: in_flight(row),
        campaign: campaign(row)?,
    })
}

fn in_flight(row: &Row) -> Option<InFlight> {
    Some(InFlight {
        key: MessageKey {
            campaign: CampaignId::new(row.get::<_, Option<_>>(11)?),
            ordinal: row.get::<_, Option<_>>(12)?,
        },
        worker: WorkerId::new(row.get::<_, Option<_>>(13)?),
        epoch: row.get(25),
        claimed_ago: seconds(row.get::<_, Option<f64>>(14)?),
    })
}

fn campaign(row: &Row) -> Result<Option<OpenCampaign>, StoreError> {
    let Some(id) = row.get::<_, Option<_>>(15) else {
        return Ok(None);
    };
    let status: &str = row.get(19);
    let variables: Option<Json<Variables>> = row.get(17);
    let retry = row
        .get::<_, Option<i32>>(21)
        .zip(row.get::<_, Option<f64>>(22).map(seconds));
    Ok(Some(OpenCampaign {
        id: CampaignId::new(id),
        template: row.get(16),
        variables: variables
            .map(|Json(variables)| variables)
            .unwrap_or_default(),
        media_url: row.get(18),
        begun: status != CampaignStatus::Pending.name(),
        retry,
        next_ordinal: row.get(23),
        trace_id: TraceId::new(row.get(20)),
    }))
}

/// A message as it must be looked up: what was to be said, and to whom.
#[derive(Debug, Clone)]
pub struct Said {
    /// Who was to hear it.
    pub recipient: PhoneNumber,
    /// The campaign's template.
    pub template: String,
    /// The recipient's own variables.
    pub own: Variables,
    /// The campaign's variables.
    pub shared: Variables,
    /// The WhatsApp id that it carries, if it was ever given one.
    pub message_id: Option<String>,
    /// The highest report of WhatsApp on that id.
    pub ack: Option<i16>,
    /// Its attempts, this one included.
    pub attempts: i16,
    /// Whether a file goes with it.
    pub media: bool,
}

const SAID: &str = concat!(
    "SELECT m.recipient, c.template, m.variables, c.variables, r.ack, c.media_url IS NOT NULL, ",
    standing!(),
    " FROM messages m JOIN campaigns c ON c.id = m.campaign_id ",
    flight!(),
    " LEFT JOIN receipts r ON r.sender = c.sender
        AND r.message_id = COALESCE(m.waha_message_id, f.in_flight_message_id)
    WHERE m.campaign_id = $1 AND m.ordinal = $2"
);

/// What a message says; `None` if there is no such message.
pub async fn said(db: &impl GenericClient, key: MessageKey) -> Result<Option<Said>, StoreError> {
    let statement = db.prepare_cached(SAID).await?;
    let row = db
        .query_opt(&statement, &[&key.campaign.uuid(), &key.ordinal])
        .await?;
    row.map(|row| {
        let variables = |column: usize| {
            row.get::<_, Option<Json<Variables>>>(column)
                .map(|Json(v)| v)
                .unwrap_or_default()
        };
        Ok(Said {
            recipient: phone(row.get(0))?,
            template: row.get(1),
            own: variables(2),
            shared: variables(3),
            message_id: row.get(8),
            ack: row.get(4),
            attempts: row.get(7),
            media: row.get(5),
        })
    })
    .transpose()
}

const DOUBT: &str = "
    UPDATE sessions SET due_at = now()
    WHERE phone = $1 AND generation = $2 AND (due_at IS NULL OR due_at > now())";

/// A worker said that a session is not what we thought: the reconciler shall look at it now.
pub async fn doubt(
    db: &impl GenericClient,
    sender: &PhoneNumber,
    generation: i32,
) -> Result<(), StoreError> {
    let statement = db.prepare_cached(DOUBT).await?;
    db.execute(&statement, &[&sender.digits(), &generation])
        .await?;
    Ok(())
}

const GLOBAL: &str = "
    SELECT message_delay_ms, sender_switch_delay_ms, campaign_delay_ms, version FROM settings";

/// The global delays and their version; `None` before the first start of a gateway wrote them.
pub async fn global_delays(db: &impl GenericClient) -> Result<Option<(Delays, i64)>, StoreError> {
    let statement = db.prepare_cached(GLOBAL).await?;
    let row = db.query_opt(&statement, &[]).await?;
    Ok(row.map(|row| {
        let delays = Delays {
            message: duration(row.get(0)),
            sender_switch: duration(row.get(1)),
            campaign: duration(row.get(2)),
        };
        (delays, row.get(3))
    }))
}
