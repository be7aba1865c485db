//! What the new owner of lanes needs to know of their workers and of their past.

use std::time::Duration;

use models::ids::{ReplicaId, WorkerId};

use super::Tenure;
use crate::column::seconds;
use crate::{GenericClient, StoreError};

/// What is to be known of one lane.
#[derive(Debug, Clone)]
pub struct LaneFacts {
    /// Its wake number: what changes after it was read raises it.
    pub wake: i64,
    /// Where the worker is.
    pub url: String,
    /// Its key. Never to be logged.
    pub api_key: String,
    /// Whether it lets us choose the ids of messages.
    pub own_message_ids: bool,
    /// Sessions that have a place there: how long its roster may be, about.
    pub placed: i32,
    /// How long ago the lane's last request was answered; `None` if there never was one.
    pub last_sent_ago: Option<Duration>,
    /// How much longer the lane backs off.
    pub resting_for: Option<Duration>,
    /// Whether the lane has a message in flight, so that its last gap cannot be proved.
    pub in_flight: bool,
}

// A lane at a time by its key, whatever the planner believes of the tables.
const FACTS: &str = "
    SELECT g.worker_id, g.epoch, f.wake, f.url, f.api_key, f.own_message_ids, f.placed,
        f.last_sent_secs, f.resting_secs, f.in_flight
    FROM unnest($2::uuid[], $3::bigint[]) AS g (worker_id, epoch)
    CROSS JOIN LATERAL (
        SELECT l.wake, w.url, w.api_key, w.own_message_ids, w.placed,
            EXTRACT(EPOCH FROM now() - l.last_sent_at)::float8 AS last_sent_secs,
            EXTRACT(EPOCH FROM l.resting_until - now())::float8 AS resting_secs,
            EXISTS (SELECT FROM sessions s JOIN senders d ON d.phone = s.phone
                WHERE s.worker_id = l.worker_id AND d.in_flight_campaign IS NOT NULL) AS in_flight
        FROM lanes l JOIN workers w ON w.id = l.worker_id
        WHERE l.worker_id = g.worker_id AND l.epoch = g.epoch AND l.owner = $1
        LIMIT 1
    ) f";

/// The facts about lanes that are ours; those that are not any more are left out.
pub async fn facts(
    db: &impl GenericClient,
    replica: ReplicaId,
    tenures: &[Tenure],
) -> Result<Vec<(Tenure, LaneFacts)>, StoreError> {
    let statement = db.prepare_cached(FACTS).await?;
    let workers: Vec<_> = tenures.iter().map(|tenure| tenure.worker.uuid()).collect();
    let epochs: Vec<_> = tenures.iter().map(|tenure| tenure.epoch).collect();
    let rows = db
        .query(&statement, &[&replica.uuid(), &workers, &epochs])
        .await?;
    let facts = rows.iter().map(|row| {
        let ago = |column: usize| row.get::<_, Option<f64>>(column).map(seconds);
        let tenure = Tenure {
            worker: WorkerId::new(row.get(0)),
            epoch: row.get(1),
        };
        let facts = LaneFacts {
            wake: row.get(2),
            url: row.get(3),
            api_key: row.get(4),
            own_message_ids: row.get(5),
            placed: row.get(6),
            last_sent_ago: ago(7),
            resting_for: ago(8).filter(|rest| !rest.is_zero()),
            in_flight: row.get(9),
        };
        (tenure, facts)
    });
    Ok(facts.collect())
}
