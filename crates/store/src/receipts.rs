//! Receipts: what WhatsApp reported of the ids that messages carry.
//!
//! Reports come before the answer to a send, twice, out of order, late or never. The highest is
//! kept, also of an id that nobody knows yet; whoever comes second, report or conclusion, moves
//! the message. Proof beats belief: an UNKNOWN message that WhatsApp reports on is SENT.

mod ask;
mod moves;

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use futures_util::future::try_join3;
use models::ids::WorkerId;
use models::phone::PhoneNumber;
use time::OffsetDateTime;
use tokio_postgres::types::ToSql;

use crate::column::seconds;
use crate::plan::BY_KEY;
use crate::sessions::wake_lane;
use crate::{Client, GenericClient, StoreError, Transaction};

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
    fn id(&self) -> (&str, &str) {
        (self.sender.digits(), &self.message_id)
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
const PLACED: &str = "SELECT phone, generation FROM sessions WHERE phone = ANY ($1)";

/// Takes a group of reports in, all or nothing, and moves the messages that they prove something
/// of. Taking the same in twice changes nothing.
pub async fn record(client: &mut Client, reports: &[Report]) -> Result<Recorded, StoreError> {
    let tx = client.transaction().await?;
    let mut heard = lock(&tx, reports).await?;
    let taken = heard.len() as u64;
    keep_highest(&mut heard);
    let told = heard.iter().map(|report| Told {
        id: report.id(),
        ack: Some(report.ack),
        at: report.at,
    });
    let applied = moves::take(&tx, &told.collect::<Vec<_>>()).await?;
    tx.commit().await?;
    for sender in &applied.awake {
        // In a statement of its own: lanes are locked before senders, never after.
        wake_lane(client, sender).await?;
    }
    Ok(Recorded {
        taken,
        moved: applied.moved,
    })
}

/// Locks the numbers of these reports, whose messages and campaigns nobody else moves then; and
/// leaves those of sessions as they are placed now. All of it goes out at once and comes back at
/// once: the statements run one after the other, and each sees what was there once the former had
/// its locks.
async fn lock<'a>(
    tx: &Transaction<'_>,
    reports: &'a [Report],
) -> Result<Vec<&'a Report>, StoreError> {
    let numbers: BTreeSet<&str> = reports.iter().map(|it| it.sender.digits()).collect();
    let numbers: Vec<&str> = numbers.into_iter().collect();
    let lock_senders = tx.prepare_cached(LOCK_SENDERS).await?;
    let read_placed = tx.prepare_cached(PLACED).await?;
    let numbers: &[&(dyn ToSql + Sync)] = &[&numbers];
    let ((), _, placed) = try_join3(
        tx.batch_execute(BY_KEY),
        tx.execute(&lock_senders, numbers),
        tx.query(&read_placed, numbers),
    )
    .await?;
    let placed: HashMap<&str, i32> = placed.iter().map(|row| (row.get(0), row.get(1))).collect();
    let current = |report: &&Report| placed.get(report.sender.digits()) == Some(&report.generation);
    Ok(reports.iter().filter(current).collect())
}

/// Leaves the highest report on each id, and of two that are as high the earlier. What ranks above
/// is `policy::receipt::merge`.
fn keep_highest(heard: &mut Vec<&Report>) {
    let rank = |ack: i16| (ack >= 1, if ack >= 1 { ack } else { -ack });
    // Without a time it is as late as now.
    let since = |report: &Report| (report.at.is_none(), report.at);
    heard.sort_unstable_by(|a, b| {
        let highest_first = || rank(b.ack).cmp(&rank(a.ack));
        let same_id = a.id().cmp(&b.id()).then_with(highest_first);
        same_id.then_with(|| since(a).cmp(&since(b)))
    });
    heard.dedup_by(|later, first| later.id() == first.id());
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
