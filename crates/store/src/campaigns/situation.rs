//! All that decides what a campaign waits for and when it may be done, in one look.

use std::time::Duration;

use models::delays::{DelayOverrides, Delays};
use models::ids::CampaignId;
use models::phone::PhoneNumber;
use models::session::{SessionStatus, SessionWanted};
use models::worker::WorkerHealth;
use time::OffsetDateTime;
use tokio_postgres::Row;

use crate::column::duration;
use crate::column::unreadable;
use crate::{GenericClient, StoreError};

/// What surrounds a campaign of a sender. Times are the database's.
#[derive(Debug, Clone)]
pub struct Situation {
    /// The database's clock.
    pub now: OffsetDateTime,
    /// The sender's session; `None` when there is none, or it is being removed.
    pub session: Option<SessionSituation>,
    /// The delays in force for the sender.
    pub delays: Delays,
    /// When its last request was answered.
    pub last_sent_at: Option<OffsetDateTime>,
    /// When its previous campaign ended.
    pub campaign_ended_at: Option<OffsetDateTime>,
    /// Until when the number rests, and why.
    pub rest: Option<Rest>,
    /// Older campaigns of the sender that are not done: the oldest, how many, and their messages.
    pub earlier: Option<Earlier>,
    /// When the campaign's first retry is due, if nothing else is left of it.
    pub retry_at: Option<OffsetDateTime>,
    /// When the message of this sender that is on its way was claimed.
    pub in_flight_at: Option<OffsetDateTime>,
    /// Whether any sender replica is alive.
    pub replicas_alive: bool,
}

/// Where the session stands.
#[derive(Debug, Clone)]
pub struct SessionSituation {
    /// What it was last seen to do.
    pub status: SessionStatus,
    /// What its users want.
    pub wanted: SessionWanted,
    /// What it waits for itself.
    pub reason: Option<String>,
    /// When the next step for it is due.
    pub due_at: Option<OffsetDateTime>,
    /// Its place in the queue, from 1, while it is queued.
    pub queue_place: i64,
    /// Its worker, when it is placed.
    pub worker: Option<WorkerSituation>,
}

/// Where the worker stands.
#[derive(Debug, Clone)]
pub struct WorkerSituation {
    /// For people.
    pub name: String,
    /// What its last check found.
    pub health: WorkerHealth,
    /// Why it is down.
    pub health_reason: Option<String>,
    /// When it is checked next.
    pub check_at: OffsetDateTime,
    /// Until when its lane backs off, and why.
    pub rest: Option<Rest>,
    /// Senders on it with open campaigns, this one included.
    pub speakers: i64,
}

/// A time before which nothing happens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rest {
    /// Its end.
    pub until: OffsetDateTime,
    /// Why, for people.
    pub reason: String,
}

/// Older campaigns of the same sender.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Earlier {
    /// The oldest.
    pub first: CampaignId,
    /// How many.
    pub campaigns: i64,
    /// Messages that they still have to send.
    pub messages: i64,
}

const SITUATION: &str = "
    SELECT now(), s.status, s.wanted, s.reason, s.due_at,
        (SELECT count(*) FROM sessions q WHERE s.worker_id IS NULL AND q.worker_id IS NULL
            AND q.wanted = 'RUNNING' AND (q.queued_at, q.phone) <= (s.queued_at, s.phone)),
        w.name, w.health, w.health_reason, w.check_at, l.resting_until, l.rest_reason,
        (SELECT count(*) FROM sessions o WHERE o.worker_id = s.worker_id
            AND EXISTS (SELECT FROM campaigns WHERE sender = o.phone AND completed_at IS NULL)),
        d.message_delay_ms, d.sender_switch_delay_ms, d.campaign_delay_ms,
        g.message_delay_ms, g.sender_switch_delay_ms, g.campaign_delay_ms,
        d.last_sent_at, d.campaign_ended_at, d.resting_until, d.rest_reason,
        e.first, e.campaigns, e.messages,
        CASE WHEN NOT EXISTS (SELECT FROM messages m JOIN campaigns c ON c.id = m.campaign_id
                WHERE c.id = $2 AND m.ordinal >= c.next_ordinal AND m.status = 0)
            THEN (SELECT min(due_at) FROM retries WHERE campaign_id = $2) END,
        d.in_flight_at,
        EXISTS (SELECT FROM replicas WHERE service = 'sender'
            AND seen_at > now() - make_interval(secs => $3))
    FROM senders d
    LEFT JOIN settings g ON true
    LEFT JOIN sessions s ON s.phone = d.phone AND s.wanted <> 'GONE'
    LEFT JOIN workers w ON w.id = s.worker_id
    LEFT JOIN lanes l ON l.worker_id = s.worker_id
    LEFT JOIN LATERAL (
        SELECT (array_agg(id ORDER BY id))[1] AS first, count(*) AS campaigns,
            sum(total - sent - delivered - read - failed - cancelled - suppressed - unknown)::bigint
                AS messages
        FROM campaigns WHERE sender = d.phone AND completed_at IS NULL AND id < $2
    ) e ON true
    WHERE d.phone = $1";

/// What surrounds a campaign of `sender`; `None` when the sender is not known.
pub async fn situation(
    db: &impl GenericClient,
    sender: &PhoneNumber,
    campaign: CampaignId,
    dead_after: Duration,
) -> Result<Option<Situation>, StoreError> {
    let statement = db.prepare_cached(SITUATION).await?;
    let dead_after = dead_after.as_secs_f64();
    let row = db
        .query_opt(
            &statement,
            &[&sender.digits(), &campaign.uuid(), &dead_after],
        )
        .await?;
    row.as_ref().map(read).transpose()
}

fn read(row: &Row) -> Result<Situation, StoreError> {
    let delay = |column: usize| row.get::<_, Option<i64>>(column).map(duration);
    let own = DelayOverrides {
        message: delay(13),
        sender_switch: delay(14),
        campaign: delay(15),
    };
    let global = Delays {
        message: delay(16).unwrap_or_default(),
        sender_switch: delay(17).unwrap_or_default(),
        campaign: delay(18).unwrap_or_default(),
    };
    Ok(Situation {
        now: row.get(0),
        session: session(row)?,
        delays: own.over(global),
        last_sent_at: row.get(19),
        campaign_ended_at: row.get(20),
        rest: rest(row, 21, "the number rests"),
        earlier: row.get::<_, Option<_>>(23).map(|first| Earlier {
            first: CampaignId::new(first),
            campaigns: row.get(24),
            messages: row.get::<_, Option<_>>(25).unwrap_or_default(),
        }),
        retry_at: row.get(26),
        in_flight_at: row.get(27),
        replicas_alive: row.get(28),
    })
}

fn session(row: &Row) -> Result<Option<SessionSituation>, StoreError> {
    let Some(status) = row.get::<_, Option<&str>>(1) else {
        return Ok(None);
    };
    let wanted: &str = row.get(2);
    Ok(Some(SessionSituation {
        status: SessionStatus::from_name(status)
            .ok_or_else(|| unreadable("session status", status))?,
        wanted: SessionWanted::from_name(wanted)
            .ok_or_else(|| unreadable("session wish", wanted))?,
        reason: row.get(3),
        due_at: row.get(4),
        queue_place: row.get(5),
        worker: worker(row)?,
    }))
}

fn worker(row: &Row) -> Result<Option<WorkerSituation>, StoreError> {
    let Some(name) = row.get(6) else {
        return Ok(None);
    };
    let health: &str = row.get(7);
    Ok(Some(WorkerSituation {
        name,
        health: WorkerHealth::from_name(health)
            .ok_or_else(|| unreadable("worker health", health))?,
        health_reason: row.get(8),
        check_at: row.get(9),
        rest: rest(row, 10, "the worker refuses"),
        speakers: row.get(12),
    }))
}

/// The rest in two columns, if it lies ahead of the database's clock.
fn rest(row: &Row, column: usize, otherwise: &str) -> Option<Rest> {
    let now: OffsetDateTime = row.get(0);
    let until: OffsetDateTime = row.get::<_, Option<_>>(column)?;
    let reason: Option<String> = row.get(column + 1);
    (until > now).then(|| Rest {
        until,
        reason: reason.unwrap_or_else(|| otherwise.to_owned()),
    })
}
