//! Receipts: what WhatsApp reported of the ids that messages carry.
//!
//! Reports come before the answer to a send, twice, out of order, late or never. The highest is
//! kept, also of an id that nobody knows yet; whoever comes second, report or conclusion, moves
//! the message. Proof beats belief: an UNKNOWN message that WhatsApp reports on is SENT.

mod ask;
mod moves;

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::future::join4;
use models::ids::WorkerId;
use models::phone::PhoneNumber;
use time::OffsetDateTime;
use tokio_postgres::types::ToSql;

use crate::column::seconds;
use crate::plan::BEGIN_BY_KEY;
use crate::sessions::wake_lane;
use crate::{Client, GenericClient, StoreError};

use moves::Told;

pub use ask::{Ask, asked, claim_due_asks, never_ask, note_unheard, prune};
pub(crate) use moves::apply;

/// One report of WhatsApp on one message id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The number that said it.
    pub sender: PhoneNumber,
    /// The session's placement that the report came from; a former one is refused.
    pub generation: i32,
    /// The bare id.
    pub message_id: String,
    /// -1 error, 0 made, 1 server, 2 device, 3 read, 4 played.
    pub ack: i16,
    /// When, by the worker's clock; the database's time of writing where it does not say.
    pub at: Option<OffsetDateTime>,
}

impl Report {
    /// Whose it is: the placement, the number and the bare id.
    fn of(&self) -> (i32, &str, &str) {
        (self.generation, self.sender.digits(), &self.message_id)
    }
}

/// What a group of reports came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recorded {
    /// Reports from sessions as they are placed now.
    pub taken: u64,
    /// Messages that moved.
    pub moved: u64,
}

const LOCK_SENDERS: &str = "
    SELECT phone FROM senders WHERE phone = ANY ($1) ORDER BY phone FOR NO KEY UPDATE";

/// Takes a group of reports in, all or nothing, and moves the messages that they prove something
/// of. Taking the same in twice changes nothing.
///
/// All of it leaves at once: the statements run one after the other, each sees what was there once
/// the former had its locks, and the server waits for nobody while it holds them. After one that
/// fails the others do nothing, and the end rolls back.
pub async fn record(client: &mut Client, reports: &[Report]) -> Result<Recorded, StoreError> {
    // Whose messages and campaigns nobody else moves then.
    let numbers: BTreeSet<&str> = reports.iter().map(|it| it.sender.digits()).collect();
    let numbers: Vec<&str> = numbers.into_iter().collect();
    let numbers: &[&(dyn ToSql + Sync)] = &[&numbers];
    let told = highest(reports);
    let lock = client.prepare_cached(LOCK_SENDERS).await?;
    let apply = moves::statement(client).await?;
    let (begun, locked, applied, ended) = join4(
        client.batch_execute(BEGIN_BY_KEY),
        client.execute(&lock, numbers),
        moves::take(client, &apply, &told),
        client.batch_execute("COMMIT"),
    )
    .await;
    begun?;
    locked?;
    let applied = applied?;
    ended?;
    for sender in &applied.awake {
        // In a transaction of its own: lanes are locked before senders, never after.
        wake_lane(client, sender).await?;
    }
    // No two placements have the same generation.
    let taken = |report: &&Report| applied.placed.contains(&report.generation);
    Ok(Recorded {
        taken: reports.iter().filter(taken).count() as u64,
        moved: applied.moved,
    })
}

/// The highest report on each id of a placement, and of two that are as high the earlier. What
/// ranks above is `policy::receipt::merge`.
fn highest(reports: &[Report]) -> Vec<Told<'_>> {
    let rank = |ack: i16| (ack >= 1, if ack >= 1 { ack } else { -ack });
    // Without a time it is as late as now.
    let since = |report: &Report| (report.at.is_none(), report.at);
    let mut heard: Vec<&Report> = reports.iter().collect();
    heard.sort_unstable_by(|a, b| {
        let highest_first = || rank(b.ack).cmp(&rank(a.ack));
        let same = a.of().cmp(&b.of()).then_with(highest_first);
        same.then_with(|| since(a).cmp(&since(b)))
    });
    heard.dedup_by(|later, first| later.of() == first.of());
    let told = heard.into_iter().map(|report| Told {
        id: (report.sender.digits(), &report.message_id),
        generation: Some(report.generation),
        ack: Some(report.ack),
        at: report.at,
    });
    told.collect()
}

/// What we know ourselves of a message of which the worker must be asked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Evidence {
    /// WhatsApp's highest report on its id.
    pub ack: Option<i16>,
    /// For how long the number's session has been WORKING on that worker without a break; `None`
    /// when it is not.
    pub working_for: Option<Duration>,
}

const EVIDENCE: &str = "
    SELECT (SELECT ack FROM receipts WHERE sender = $1 AND message_id = $2),
        (SELECT EXTRACT(EPOCH FROM now() - status_at)::float8 FROM sessions
            WHERE phone = $1 AND worker_id = $3 AND status = 'WORKING')";

/// What is known of the message that `sender` said by `message_id` on `worker`, if it was.
pub async fn evidence(
    db: &impl GenericClient,
    sender: &PhoneNumber,
    message_id: Option<&str>,
    worker: WorkerId,
) -> Result<Evidence, StoreError> {
    let statement = db.prepare_cached(EVIDENCE).await?;
    let parameters: &[&(dyn ToSql + Sync)] = &[&sender.digits(), &message_id, &worker.uuid()];
    let row = db.query_one(&statement, parameters).await?;
    Ok(Evidence {
        ack: row.get(0),
        working_for: row.get::<_, Option<f64>>(1).map(seconds),
    })
}
