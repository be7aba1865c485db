//! Looks after the tables of messages: months are made ahead, and dropped when they are past
//! retention. Any number of replicas may be at it.

use std::sync::Arc;
use std::time::Duration;

use chassis::LogOnce;
use metrics::{counter, gauge};
use store::partitions::make_ahead;
use store::retention::{self, Dropped, Past};
use store::{GenericClient, StoreError};

use crate::fleet::Fleet;

/// Campaigns marked, or rows deleted, in one statement.
const BATCH: i64 = 1_000;
/// Statements in one go: a replica that is told to end ends soon, whatever has gathered.
const ROUNDS: usize = 100;

/// Months that could not be made; each is named once.
static IN_DEFAULT: LogOnce = LogOnce::new(100);
/// Months that are kept for the sake of a campaign; each is named once.
static HELD: LogOnce = LogOnce::new(100);

/// Makes the tables of the months to come.
///
/// # Errors
/// When the ledger does not answer.
pub async fn months_once(fleet: &Arc<Fleet>) -> Result<(), StoreError> {
    let mut db = fleet.store.client().await?;
    let made = make_ahead(&mut db).await?;
    counter!("scheduler_months_total", "outcome" => "made").increment(made.made);
    counter!("scheduler_months_total", "outcome" => "busy").increment(u64::from(made.busy));
    for month in made.in_default {
        if IN_DEFAULT.first(&month.to_string()) {
            tracing::warn!(
                %month,
                "messages of the month that begins on {month} are in messages_default already, so \
                 all of it stays there: some gateway's clock was far ahead"
            );
        }
    }
    Ok(())
}

/// Drops the months that are past retention, if there is one.
///
/// # Errors
/// When the ledger does not answer.
pub async fn retention_once(fleet: &Arc<Fleet>) -> Result<(), StoreError> {
    let Some(keep) = fleet.settings.retention() else {
        return Ok(());
    };
    let mut db = fleet.store.client().await?;
    let past = retention::past(&db, keep).await?;
    let held = past.iter().filter(|past| past.held_by > 0).count();
    gauge!("scheduler_months_held").set(u32::try_from(held).unwrap_or(u32::MAX));
    for past in &past {
        if past.held_by > 0 {
            say_held(past);
        } else if purged(&db, past, keep).await? {
            note(past, retention::drop_past(&mut db, past).await?);
        }
    }
    for _ in 0..ROUNDS {
        if retention::delete_strayed(&db, keep, BATCH).await? == 0 {
            break;
        }
    }
    Ok(())
}

/// Marks a month's campaigns and deletes what names its messages; false when a round was not
/// enough.
async fn purged(db: &impl GenericClient, past: &Past, keep: Duration) -> Result<bool, StoreError> {
    for _ in 0..ROUNDS {
        let marked = retention::mark(db, past, keep, BATCH).await?;
        counter!("scheduler_swept_total", "kind" => "campaign_purged").increment(marked);
        if marked == 0 && retention::delete_traces(db, past, keep, BATCH).await? == 0 {
            return Ok(true);
        }
    }
    Ok(false)
}

fn say_held(past: &Past) {
    if HELD.first(&past.name) {
        tracing::warn!(
            table = %past.name,
            campaigns = past.held_by,
            "{} is past retention and kept: {} of its campaigns have not ended long enough ago",
            past.name,
            past.held_by
        );
    }
}

fn note(past: &Past, dropped: Dropped) {
    let outcome = match dropped {
        Dropped::Gone => {
            tracing::info!(table = %past.name, "dropped {}: it is past retention", past.name);
            "dropped"
        }
        Dropped::Held => "held",
        Dropped::Busy => "busy",
    };
    counter!("scheduler_months_total", "outcome" => outcome).increment(1);
}
