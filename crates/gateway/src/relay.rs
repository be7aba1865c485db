//! Hands the outbox to the broker. Invariant: a row leaves only after the broker confirmed it, so
//! a crash may repeat a publish and never loses one.
//!
//! Any number of gateways do this at once; a lease keeps them from publishing the same rows, and
//! saves work only: a job that comes twice does no harm.

use std::time::Duration;

use broker::{PublishError, Publisher};
use metrics::{counter, gauge};
use models::job::Job;
use store::{Store, StoreError, outbox};

/// Jobs in one go. A full one is followed by the next at once.
const BATCH: i64 = 500;
/// How long a relay may take for a batch before another takes its rows. More than the confirm of
/// a hanging broker takes.
const LEASE: Duration = Duration::from_secs(30);
/// How often to look when nobody says that there is something.
pub const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Between two looks that are asked for: under load a batch gathers meanwhile, which costs as much
/// as a single job. A job that comes alone has nothing before it to wait for.
pub const PAUSE: Duration = Duration::from_millis(20);

/// Why a step did not hand everything over.
#[derive(Debug, thiserror::Error)]
pub enum RelayError {
    /// The outbox cannot be read.
    #[error("the outbox cannot be read")]
    Store(#[from] StoreError),
    /// The broker did not take a job.
    #[error("a job was not published")]
    Publish(#[source] PublishError),
}

/// Publishes what waits, until nothing does.
///
/// # Errors
/// When the ledger or the broker is away; what was not confirmed stays.
pub async fn step(store: &Store, publisher: &Publisher) -> Result<(), RelayError> {
    loop {
        let db = store.client().await?;
        let entries = outbox::lease(&db, BATCH, LEASE).await?;
        drop(db);
        let full = i64::try_from(entries.len()).is_ok_and(|count| count >= BATCH);
        if !entries.is_empty() {
            publish(store, publisher, &entries).await?;
        }
        if !full {
            return Ok(());
        }
    }
}

async fn publish(
    store: &Store,
    publisher: &Publisher,
    entries: &[outbox::Entry],
) -> Result<(), RelayError> {
    let jobs: Vec<&Job> = entries.iter().map(|entry| &entry.job).collect();
    let (mut sent, mut kept, mut failure) = (Vec::new(), Vec::new(), None);
    for (entry, result) in entries.iter().zip(publisher.publish_all(&jobs).await) {
        match result {
            Ok(()) => sent.push(entry.id),
            Err(error) => {
                kept.push(entry.id);
                failure = Some(error);
            }
        }
    }
    counter!("gateway_jobs_published_total").increment(sent.len() as u64);
    let db = store.client().await?;
    outbox::delete(&db, &sent).await?;
    if let Some(error) = failure {
        outbox::release(&db, &kept).await?;
        return Err(RelayError::Publish(error));
    }
    Ok(())
}

/// Measures what waits.
///
/// # Errors
/// When the ledger is away.
pub async fn measure(store: &Store) -> Result<(), StoreError> {
    let (jobs, oldest) = outbox::backlog(&store.client().await?).await?;
    // A gauge holds floats; no backlog comes near what they can count.
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    gauge!("outbox_jobs").set(jobs as f64);
    gauge!("outbox_oldest_seconds").set(oldest.as_secs_f64());
    Ok(())
}
