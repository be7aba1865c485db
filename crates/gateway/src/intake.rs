//! The intake: groups small campaigns that come at the same time into one statement.
//!
//! There is no timer: a lone campaign is stored at once, and under load a group grows to what one
//! write takes. A campaign is answered only when it is stored. One that finds no room here, or
//! comes when the process is ending, is stored by itself: nobody is refused for being small.

use std::sync::Arc;
use std::time::Duration;

use chassis::Shutdown;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use store::campaigns::{self as ledger, Acceptance, Submitted};
use store::{Store, StoreError};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use crate::problem::Problem;

/// Most campaigns in one statement; larger groups gain little and let the first wait for the last.
const GROUP_MAX: usize = 64;
/// Campaigns that may wait: what two seconds bring. More are stored each by itself.
const WAITING_MAX: usize = 4_096;
/// How long the next group waits for the one before. Usually that is the pace: what comes in the
/// meantime costs one commit together. But a group that waits for the lock of a session that is
/// being deleted must not hold up everybody.
const TURN: Duration = Duration::from_millis(50);
/// Groups that may be late at once; each holds a connection.
const LATE_MAX: usize = 3;

type Answer = oneshot::Sender<Result<Acceptance, Problem>>;
type Waiting = (Submitted, Answer);

/// The way into the ledger for campaigns of any size. Cheap to clone.
#[derive(Clone)]
pub struct Intake {
    store: Store,
    small: mpsc::Sender<Waiting>,
}

/// The small campaigns that have not been looked at yet.
pub struct Queue {
    store: Store,
    small: mpsc::Receiver<Waiting>,
}

/// An intake, and its queue, which [`run`] must be given.
pub fn queue(store: &Store) -> (Intake, Queue) {
    let (sender, receiver) = mpsc::channel(WAITING_MAX);
    let (store, small) = (store.clone(), sender);
    let queue = Queue {
        store: store.clone(),
        small: receiver,
    };
    (Intake { store, small }, queue)
}

impl Intake {
    /// Stores a campaign whole, or nothing of it.
    ///
    /// # Errors
    /// When nothing is stored, because the database is away or a spool cannot be read.
    pub async fn store(&self, submitted: Submitted) -> Result<Acceptance, Problem> {
        if !ledger::has_few(&submitted.1) {
            return Ok(alone(&self.store, submitted).await?);
        }
        let (answer, answered) = oneshot::channel();
        match self.small.try_send((submitted, answer)) {
            Ok(()) => answered.await.unwrap_or_else(|_| Err(gone())),
            Err(
                mpsc::error::TrySendError::Full((submitted, _))
                | mpsc::error::TrySendError::Closed((submitted, _)),
            ) => Ok(alone(&self.store, submitted).await?),
        }
    }
}

/// A group that ended without answers can only have been that of a process that was killed.
fn gone() -> Problem {
    Problem::not_yet("the gateway is stopping", 5)
}

async fn alone(store: &Store, (new, recipients): Submitted) -> Result<Acceptance, StoreError> {
    let mut client = store.client().await?;
    ledger::accept(&mut client, new, recipients).await
}

/// Stores groups until shutdown, and then what still waits.
pub async fn run(mut queue: Queue, shutdown: Shutdown) {
    let mut late = FuturesUnordered::new();
    loop {
        let mut group = Vec::new();
        tokio::select! {
            biased;
            Some(()) = late.next() => continue,
            taken = queue.small.recv_many(&mut group, GROUP_MAX), if late.len() < LATE_MAX => {
                if taken == 0 {
                    break;
                }
            }
            () = shutdown.requested(), if !queue.small.is_closed() => queue.small.close(),
        }
        if group.is_empty() {
            continue;
        }
        let mut written = Box::pin(write(queue.store.clone(), group));
        if timeout(TURN, &mut written).await.is_err() {
            late.push(written);
        }
    }
    while late.next().await.is_some() {}
}

async fn write(store: Store, group: Vec<Waiting>) {
    metrics::histogram!("gateway_accept_group_rows").record(group.len() as f64);
    let (group, answers): (Vec<_>, Vec<_>) = group.into_iter().unzip();
    let stored = together(&store, &group).await;
    answer(&store, stored, group.into_iter().zip(answers)).await;
}

async fn together(store: &Store, group: &[Submitted]) -> Result<Vec<Acceptance>, StoreError> {
    let client = store.client().await?;
    ledger::accept_few(&client, group).await
}

/// Tells everybody of a group what came of it. Whoever asked may have gone: the campaign stays.
async fn answer(
    store: &Store,
    stored: Result<Vec<Acceptance>, StoreError>,
    waiting: impl Iterator<Item = Waiting>,
) {
    match stored {
        Ok(stored) => {
            for (accepted, (_, answer)) in stored.into_iter().zip(waiting) {
                let _gone = answer.send(Ok(accepted));
            }
        }
        Err(error) if error.is_unavailable() => {
            let cause = Arc::new(error);
            for (_, answer) in waiting {
                let _gone = answer.send(Err(Problem::database_away(Arc::clone(&cause))));
            }
        }
        // One that the database refuses must not hold up the others.
        Err(_) => {
            for (submitted, answer) in waiting {
                let stored = alone(store, submitted).await;
                let _gone = answer.send(stored.map_err(Problem::from));
            }
        }
    }
}
