//! The outbox: campaign jobs that the broker has not confirmed yet. A row leaves only after the
//! broker confirmed it, so a crash may repeat a publish and never loses one.

use std::time::Duration;

use models::ids::{CampaignId, TraceId};
use models::job::Job;

use crate::column::{phone, seconds};
use crate::{GenericClient, StoreError};

/// A job that waits to be published.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Its row.
    pub id: i64,
    /// What to publish.
    pub job: Job,
}

const LEASE: &str = "
    UPDATE outbox SET claimed_until = now() + make_interval(secs => $2)
    WHERE id IN (SELECT id FROM outbox WHERE claimed_until < now()
        ORDER BY id LIMIT $1 FOR UPDATE SKIP LOCKED)
    RETURNING id, campaign_id, sender, trace_id";

/// Takes up to `limit` jobs, oldest first, which no other relay takes for the time of the lease.
pub async fn lease(
    db: &impl GenericClient,
    limit: i64,
    lease: Duration,
) -> Result<Vec<Entry>, StoreError> {
    let statement = db.prepare_cached(LEASE).await?;
    let rows = db
        .query(&statement, &[&limit, &lease.as_secs_f64()])
        .await?;
    let entries = rows.iter().map(|row| {
        Ok(Entry {
            id: row.get(0),
            job: Job {
                campaign_id: CampaignId::new(row.get(1)),
                sender: phone(row.get(2))?,
                trace_id: TraceId::new(row.get(3)),
            },
        })
    });
    let mut entries = entries.collect::<Result<Vec<_>, StoreError>>()?;
    entries.sort_unstable_by_key(|entry| entry.id);
    Ok(entries)
}

const DELETE: &str = "DELETE FROM outbox WHERE id = ANY ($1)";

/// Drops jobs that the broker has confirmed.
pub async fn delete(db: &impl GenericClient, ids: &[i64]) -> Result<(), StoreError> {
    let statement = db.prepare_cached(DELETE).await?;
    db.execute(&statement, &[&ids]).await?;
    Ok(())
}

const RELEASE: &str = "UPDATE outbox SET claimed_until = '-infinity' WHERE id = ANY ($1)";

/// Gives leased jobs back that could not be published.
pub async fn release(db: &impl GenericClient, ids: &[i64]) -> Result<(), StoreError> {
    let statement = db.prepare_cached(RELEASE).await?;
    db.execute(&statement, &[&ids]).await?;
    Ok(())
}

const BACKLOG: &str = "
    SELECT count(*), COALESCE(EXTRACT(EPOCH FROM now() - min(created_at)), 0)::float8 FROM outbox";

/// How many jobs wait, and for how long the oldest has.
pub async fn backlog(db: &impl GenericClient) -> Result<(i64, Duration), StoreError> {
    let statement = db.prepare_cached(BACKLOG).await?;
    let row = db.query_one(&statement, &[]).await?;
    Ok((row.get(0), seconds(row.get(1))))
}
