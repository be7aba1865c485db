//! What nobody looks after any more: lanes that want an owner, campaigns whose job was lost.
//!
//! A lane wants an owner when it was woken since its last one noticed it (`wake <> served`) and
//! nobody living owns it. Always true: sweeping changes no campaign and no message; at worst it
//! makes a job that is not needed. Each call takes a bounded batch, found by an index.

use std::time::Duration;

use models::ids::{CampaignId, TraceId};
use models::job::Job;

use crate::column::phone;
use crate::{GenericClient, StoreError};

// Living senders adopt what the dead leave, many lanes in a statement: only what they have left
// lying, or what nobody is there to take, is called for. While an owner lives its lanes are looked
// at every half minute only (`calls` stays 0); then they are wanted at once. One that died before
// anything woke its lane again (`wake = served`) may have left work all the same.
const ORPHANED: &str = "
    WITH dead AS (
        SELECT id FROM replicas
        WHERE service = 'sender' AND seen_at <= now() - make_interval(secs => $1)
            AND (seen_at <= now() - make_interval(secs => $1 + $3) OR NOT EXISTS (
                SELECT FROM replicas r WHERE r.service = 'sender' AND NOT r.retiring
                    AND r.seen_at > now() - make_interval(secs => $1)))
    ), orphaned AS (
        SELECT l.worker_id FROM lanes l JOIN dead ON l.owner = dead.id
        WHERE l.wake = l.served OR (l.calls = 0 AND l.call_at > now())
        ORDER BY l.worker_id LIMIT $2 FOR NO KEY UPDATE OF l SKIP LOCKED
    )
    UPDATE lanes l
    SET call_at = now(), calls = 0, wake = l.wake + CASE WHEN l.wake = l.served THEN 1 ELSE 0 END
    FROM orphaned WHERE l.worker_id = orphaned.worker_id";

/// Lanes whose owner has died since the last sweep want another at once, unless living senders may
/// still adopt them, for which they have `adopted_within`. Returns how many.
pub async fn orphan(
    db: &impl GenericClient,
    dead_after: Duration,
    adopted_within: Duration,
    batch: i64,
) -> Result<u64, StoreError> {
    let statement = db.prepare_cached(ORPHANED).await?;
    let parameters: &[&(dyn tokio_postgres::types::ToSql + Sync)] = &[
        &dead_after.as_secs_f64(),
        &batch,
        &adopted_within.as_secs_f64(),
    ];
    Ok(db.execute(&statement, parameters).await?)
}

const WANTING: &str = "
    WITH looked_at AS (
        SELECT l.worker_id, EXISTS (SELECT FROM replicas r WHERE r.id = l.owner
            AND r.seen_at > now() - make_interval(secs => $1)) AS owned
        FROM lanes l
        WHERE l.wake <> l.served AND l.call_at <= now()
        ORDER BY l.call_at LIMIT $2
        FOR NO KEY UPDATE OF l SKIP LOCKED
    ), called AS (
        SELECT looked_at.worker_id, looked_at.owned, c.id, c.sender, c.trace_id
        FROM looked_at LEFT JOIN LATERAL (
            (SELECT c.id, c.sender, c.trace_id
            FROM sessions s JOIN campaigns c ON c.sender = s.phone
            WHERE s.worker_id = looked_at.worker_id AND s.status = 'WORKING'
              AND c.completed_at IS NULL AND c.status IN ('PENDING', 'IN_PROGRESS')
              AND NOT looked_at.owned
            LIMIT 1)
            UNION ALL
            -- What a dead owner left on its way must be settled, also when nothing is left to say.
            (SELECT c.id, c.sender, c.trace_id
            FROM sessions s JOIN senders d ON d.phone = s.phone
            JOIN campaigns c ON c.id = d.in_flight_campaign
            WHERE s.worker_id = looked_at.worker_id AND NOT looked_at.owned
            LIMIT 1)
            LIMIT 1
        ) c ON true
    ), noted AS (
        UPDATE lanes l
        SET call_at = now() + CASE WHEN called.owned THEN interval '30 seconds'
                ELSE LEAST(interval '60 seconds', interval '5 seconds' * 2 ^ LEAST(l.calls, 4)) END,
            calls = CASE WHEN called.owned THEN 0 ELSE l.calls + 1 END,
            served = CASE WHEN called.owned OR called.id IS NOT NULL THEN l.served ELSE l.wake END
        FROM called WHERE l.worker_id = called.worker_id
    )
    SELECT id, sender, trace_id, owned FROM called";

/// What one look at the lanes found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wanting {
    /// Lanes looked at; a full batch means that there may be more.
    pub looked_at: usize,
    /// One job for each lane that wants an owner and has something to send.
    pub jobs: Vec<Job>,
}

/// The jobs that call owners for lanes that want one. Each lane is called for again after 5 s,
/// 10 s, ... 60 s until somebody takes it; one with nothing to send is put to sleep.
pub async fn wanting(
    db: &impl GenericClient,
    dead_after: Duration,
    batch: i64,
) -> Result<Wanting, StoreError> {
    let statement = db.prepare_cached(WANTING).await?;
    let parameters: &[&(dyn tokio_postgres::types::ToSql + Sync)] =
        &[&dead_after.as_secs_f64(), &batch];
    let rows = db.query(&statement, parameters).await?;
    let mut found = Wanting {
        looked_at: rows.len(),
        jobs: Vec::new(),
    };
    for row in &rows {
        let Some(campaign_id) = row.get::<_, Option<uuid::Uuid>>(0) else {
            continue;
        };
        found.jobs.push(Job {
            campaign_id: CampaignId::new(campaign_id),
            sender: phone(row.get(1))?,
            trace_id: TraceId::new(row.get(2)),
        });
    }
    Ok(found)
}

// Lanes in key order, before campaigns. A campaign that moves is left alone the longer the older
// it is; one that does not gets its lane woken each time, owned or not.
const STALE: &str = "
    WITH stale AS (
        SELECT c.id, c.sender, c.created_at FROM campaigns c
        WHERE (CASE WHEN completed_at IS NULL THEN sweep_at END) <= now()
        ORDER BY (CASE WHEN completed_at IS NULL THEN sweep_at END) LIMIT $1
    ), lane AS (
        SELECT l.worker_id FROM lanes l
        WHERE l.worker_id IN (
            SELECT s.worker_id FROM stale JOIN sessions s ON s.phone = stale.sender
            WHERE s.status = 'WORKING')
        ORDER BY l.worker_id FOR NO KEY UPDATE
    ), woken AS (
        UPDATE lanes l SET wake = l.wake + 1 FROM lane WHERE l.worker_id = lane.worker_id
        RETURNING 1
    ), locked AS (
        SELECT c.id FROM campaigns c
        WHERE c.id IN (SELECT id FROM stale) AND (SELECT count(*) FROM woken) >= 0
        ORDER BY c.id FOR NO KEY UPDATE SKIP LOCKED
    )
    UPDATE campaigns c
    SET sweep_at = now() + LEAST(interval '10 minutes',
        GREATEST(interval '30 seconds', (now() - c.created_at) / 4))
    FROM locked WHERE c.id = locked.id";

/// Wakes the lanes of open campaigns that have not been looked at for a while: whatever was lost
/// on the way to their lane is made up for. Returns how many campaigns were looked at.
pub async fn stale(db: &impl GenericClient, batch: i64) -> Result<u64, StoreError> {
    let statement = db.prepare_cached(STALE).await?;
    Ok(db.execute(&statement, &[&batch]).await?)
}
