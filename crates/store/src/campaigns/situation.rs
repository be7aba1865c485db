//! All that decides what campaigns wait for and when they may be done, in one look.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use models::delays::{DelayOverrides, Delays};
use models::ids::CampaignId;
use models::session::{SessionStatus, SessionWanted};
use models::worker::WorkerHealth;
use time::OffsetDateTime;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;
use uuid::Uuid;

use super::Campaign;
use crate::column::{duration, unreadable};
use crate::plan::query_by_key;
use crate::{Client, StoreError};

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

/// One look for any number of campaigns, run by key: a row for each that is open, or one without a
/// campaign for a number that has none of them. A number's open campaigns are gone through once for
/// all that were asked for; that they are older is asked as in [`super::prospect`], and OFFSET
/// keeps the planner from going through everybody's for the sake of their order. That the cursor
/// has passed all messages says that none but retries are left; the months' tables need not be
/// opened for it.
const SITUATIONS: &str = concat!(
    "
    WITH asked AS MATERIALIZED (
        SELECT i.phone, i.newest, s.*
        FROM unnest($1::text[], $2::uuid[]) AS i (phone, newest)
        LEFT JOIN LATERAL (
            SELECT worker_id, status, wanted, reason, due_at, (
                SELECT count(*) FROM sessions q WHERE o.worker_id IS NULL AND q.worker_id IS NULL
                    AND q.wanted = 'RUNNING' AND (q.queued_at, q.phone) <= (o.queued_at, o.phone)
                ) AS place
            FROM sessions o WHERE o.phone = i.phone AND o.wanted <> 'GONE' LIMIT 1
        ) s ON true
    ), ",
    crowds!(),
    "
    SELECT now(), a.status, a.wanted, a.reason, a.due_at, a.place,
        w.name, w.health, w.health_reason, w.check_at, w.resting_until, w.rest_reason, c.speakers,
        d.message_delay_ms, d.sender_switch_delay_ms, d.campaign_delay_ms,
        g.message_delay_ms, g.sender_switch_delay_ms, g.campaign_delay_ms,
        d.last_sent_at, d.campaign_ended_at, d.resting_until, d.rest_reason,
        e.first, e.ahead, e.unsent, e.retry_at, d.in_flight_at,
        EXISTS (SELECT FROM replicas WHERE service = 'sender'
            AND seen_at > now() - make_interval(secs => $4)),
        a.phone, e.id
    FROM asked a
    CROSS JOIN LATERAL (SELECT * FROM senders WHERE phone = a.phone LIMIT 1) d
    LEFT JOIN (SELECT * FROM settings LIMIT 1) g ON true
    LEFT JOIN crowds c ON c.worker_id = a.worker_id
    LEFT JOIN LATERAL (
        SELECT name, health, health_reason, check_at, resting_until, rest_reason
        FROM workers LEFT JOIN lanes ON lanes.worker_id = workers.id
        WHERE workers.id = a.worker_id LIMIT 1
    ) w ON true
    LEFT JOIN LATERAL (
        SELECT id, first, ahead, unsent::bigint, CASE WHEN next_ordinal >= total
            THEN (SELECT min(due_at) FROM retries WHERE campaign_id = id) END AS retry_at
        FROM (
            SELECT id, next_ordinal, total, first_value(id) OVER older AS first,
                count(*) OVER older - 1 AS ahead, sum(open) OVER older - open AS unsent
            FROM (SELECT id, next_ordinal, total, total - sent - delivered - read - failed
                    - cancelled - suppressed - unknown AS open
                FROM campaigns WHERE sender = a.phone AND completed_at IS NULL
                    AND (id <= a.newest) IS TRUE OFFSET 0) o
            WINDOW older AS (ORDER BY id ROWS UNBOUNDED PRECEDING)
        ) line WHERE id = ANY ($3::uuid[])
    ) e ON true"
);

/// What surrounds campaigns that are not done, by their ids; of a number that is not known,
/// nothing. A campaign that has ended since it was read has nothing before it.
pub async fn situations(
    db: &Client,
    campaigns: &[&Campaign],
    dead_after: Duration,
) -> Result<HashMap<CampaignId, Situation>, StoreError> {
    let mut newest: BTreeMap<&str, CampaignId> = BTreeMap::new();
    for campaign in campaigns {
        let newest = newest.entry(campaign.sender.digits());
        let newest = newest.or_insert(campaign.id);
        *newest = campaign.id.max(*newest);
    }
    let (phones, newest): (Vec<&str>, Vec<Uuid>) =
        newest.iter().map(|(phone, id)| (*phone, id.uuid())).unzip();
    let ids: Vec<Uuid> = campaigns
        .iter()
        .map(|campaign| campaign.id.uuid())
        .collect();
    let dead_after = dead_after.as_secs_f64();
    let parameters: &[&(dyn ToSql + Sync)] = &[&phones, &newest, &ids, &dead_after];
    let rows = query_by_key(db, SITUATIONS, parameters).await?;
    let (mut places, mut numbers) = (HashMap::new(), HashMap::new());
    for row in &rows {
        numbers.insert(row.get::<_, &str>(29), row);
        if let Some(id) = row.get::<_, Option<Uuid>>(30) {
            places.insert(id, row);
        }
    }
    let situations = campaigns.iter().filter_map(|campaign| {
        let place = places.get(&campaign.id.uuid());
        let row = place.or_else(|| numbers.get(campaign.sender.digits()))?;
        let situation = read(row).map(|situation| match place {
            Some(_) => situation,
            None => Situation {
                earlier: None,
                retry_at: None,
                ..situation
            },
        });
        Some(situation.map(|situation| (campaign.id, situation)))
    });
    situations.collect()
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
        earlier: earlier(row),
        retry_at: row.get(26),
        in_flight_at: row.get(27),
        replicas_alive: row.get(28),
    })
}

/// The first of a number's open campaigns is also the first of those before any but itself.
fn earlier(row: &Row) -> Option<Earlier> {
    let first: Uuid = row.get::<_, Option<_>>(23)?;
    let campaigns = row.get(24);
    (campaigns > 0).then(|| Earlier {
        first: CampaignId::new(first),
        campaigns,
        messages: row.get(25),
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
        queue_place: row.get::<_, Option<_>>(5).unwrap_or_default(),
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
        speakers: row.get::<_, Option<_>>(12).unwrap_or_default(),
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
