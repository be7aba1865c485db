//! Figures over the whole fleet, or over one sender.

use std::collections::BTreeMap;
use std::time::Duration;

use models::campaign::CampaignStatus;
use models::message::MessageStatus;
use models::phone::PhoneNumber;

use crate::{GenericClient, StoreError};

/// How things stand, for everybody or for one sender.
#[derive(Debug, Clone, Default)]
pub struct Figures {
    /// Sessions that can send.
    pub active_sessions: i64,
    /// Sessions.
    pub total_sessions: i64,
    /// Sessions without a place.
    pub queued_sessions: i64,
    /// Messages that workers accepted since midnight, UTC.
    pub messages_sent_today: i64,
    /// Messages not begun, of campaigns that are not done.
    pub queue_size: i64,
    /// Campaigns that are not done.
    pub open_campaigns: i64,
    /// Campaigns.
    pub total_campaigns: i64,
    /// Numbers ever used.
    pub total_users: i64,
    /// Workers.
    pub total_workers: i64,
    /// Workers whose last check succeeded.
    pub healthy_workers: i64,
    /// Sender replicas that are alive.
    pub sender_replicas: i64,
    /// Campaign jobs that the broker has not confirmed.
    pub outbox: i64,
}

const FIGURES: &str = "
    SELECT s.working, s.all_of_them, s.queued,
        (SELECT COALESCE(sum(sent_today), 0)::bigint FROM senders
            WHERE sent_day = (now() AT TIME ZONE 'UTC')::date
                AND ($1::text IS NULL OR phone = $1::text)),
        o.messages - (SELECT count(*) FROM senders d JOIN campaigns c
            ON c.id = d.in_flight_campaign AND c.completed_at IS NULL
            WHERE $1::text IS NULL OR d.phone = $1::text),
        o.campaigns,
        (SELECT count(*) FROM campaigns WHERE $1::text IS NULL OR sender = $1::text),
        (SELECT count(*) FROM senders WHERE $1::text IS NULL OR phone = $1::text),
        (SELECT count(*) FROM workers), (SELECT count(*) FROM workers WHERE health = 'up'),
        (SELECT count(*) FROM replicas WHERE service = 'sender'
            AND seen_at > now() - make_interval(secs => $2)),
        (SELECT count(*) FROM outbox WHERE $1::text IS NULL OR sender = $1::text)
    FROM (
        SELECT count(*) FILTER (WHERE status = 'WORKING' AND wanted = 'RUNNING'
                AND w.health <> 'down') AS working,
            count(*) AS all_of_them, count(*) FILTER (WHERE worker_id IS NULL) AS queued
        FROM sessions LEFT JOIN workers w ON w.id = worker_id
        WHERE wanted <> 'GONE' AND ($1::text IS NULL OR phone = $1::text)
    ) s, (
        SELECT count(*) AS campaigns, COALESCE(sum(total - sent - delivered - read - failed
            - cancelled - suppressed - unknown), 0)::bigint AS messages
        FROM campaigns WHERE completed_at IS NULL AND ($1::text IS NULL OR sender = $1::text)
    ) o";

/// The figures of one sender, or of everybody.
pub async fn figures(
    db: &impl GenericClient,
    sender: Option<&PhoneNumber>,
    dead_after: Duration,
) -> Result<Figures, StoreError> {
    let statement = db.prepare_cached(FIGURES).await?;
    let sender = sender.map(PhoneNumber::digits);
    let row = db
        .query_one(&statement, &[&sender, &dead_after.as_secs_f64()])
        .await?;
    Ok(Figures {
        active_sessions: row.get(0),
        total_sessions: row.get(1),
        queued_sessions: row.get(2),
        messages_sent_today: row.get(3),
        queue_size: row.get(4),
        open_campaigns: row.get(5),
        total_campaigns: row.get(6),
        total_users: row.get(7),
        total_workers: row.get(8),
        healthy_workers: row.get(9),
        sender_replicas: row.get(10),
        outbox: row.get(11),
    })
}

/// How many campaigns, and how many messages, are in which state. Every state is there.
#[derive(Debug, Clone, Default)]
pub struct States {
    /// Campaigns by status.
    pub campaigns: BTreeMap<CampaignStatus, i64>,
    /// Messages by status.
    pub messages: BTreeMap<MessageStatus, i64>,
}

const STATES: &str = "
    SELECT status, count(*),
        ARRAY[COALESCE(sum(total - sent - delivered - read - failed - cancelled - suppressed
            - unknown), 0)::bigint - COALESCE(sending, 0),
            COALESCE(sending, 0), sum(sent), sum(delivered), sum(read), sum(failed),
            sum(cancelled), sum(suppressed), sum(unknown)]::bigint[]
    FROM campaigns LEFT JOIN (
        SELECT c.status AS flying, count(*) AS sending
        FROM senders d JOIN campaigns c ON c.id = d.in_flight_campaign GROUP BY c.status
    ) f ON flying = status
    GROUP BY status, sending";

/// The states of all campaigns and, from their counters, of all messages.
pub async fn states(db: &impl GenericClient) -> Result<States, StoreError> {
    let statement = db.prepare_cached(STATES).await?;
    let mut states = States {
        campaigns: CampaignStatus::ALL.iter().map(|s| (*s, 0)).collect(),
        messages: MessageStatus::ALL.iter().map(|s| (*s, 0)).collect(),
    };
    for row in db.query(&statement, &[]).await? {
        let sums: Vec<i64> = row.get(2);
        if let Some(status) = CampaignStatus::from_name(row.get(0)) {
            states.campaigns.insert(status, row.get(1));
        }
        // The array is in the order of the statuses' codes, which is that of `ALL`.
        for (status, sum) in MessageStatus::ALL.iter().zip(sums) {
            *states.messages.entry(*status).or_default() += sum;
        }
    }
    Ok(states)
}
