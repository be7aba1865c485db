//! The intake: groups small campaigns that come at the same time into one statement.
//!
//! There is no timer: a lone campaign is stored at once, and under load a group grows to what one
//! write takes. A campaign is answered only when it is stored. One that finds no room here, or
//! comes when the process is ending, is stored by itself: nobody is refused for being small.

use std::sync::Arc;

use chassis::Shutdown;
use store::campaigns::{self as ledger, Acceptance, Submitted};
use store::{Store, StoreError};
use tokio::sync::{Mutex, mpsc, oneshot};

use crate::problem::Problem;

/// Most campaigns in one statement; larger groups gain little and let the first wait for the last.
const GROUP_MAX: usize = 64;
/// Campaigns that may wait: what two seconds bring. More are stored each by itself.
const WAITING_MAX: usize = 4_096;
/// Groups under way at once. The second one gathers and is sent while the first is committed, and
/// goes on when the first has to wait for the lock of a session that is being deleted.
const GROUPS: usize = 2;

type Answer = oneshot::Sender<Result<Acceptance, Problem>>;
type Waiting = (Submitted, Answer);

/// The way into the ledger for campaigns of any size. Cheap to clone.
#[derive(Clone)]
pub struct Intake {
    store: Store,
    small: mpsc::Sender<Waiting>,
}

/// The small campaigns that have not been looked at yet.
#[derive(Clone)]
pub struct Queue {
    store: Store,
    small: Arc<Mutex<mpsc::Receiver<Waiting>>>,
}

/// An intake, and its queues, which [`run`] must be given one each.
pub fn queues(store: &Store) -> (Intake, [Queue; GROUPS]) {
    let (sender, receiver) = mpsc::channel(WAITING_MAX);
    let receiver = Arc::new(Mutex::new(receiver));
    let queue = || Queue {
        store: store.clone(),
        small: Arc::clone(&receiver),
    };
    let intake = Intake {
        store: store.clone(),
        small: sender,
    };
    (intake, std::array::from_fn(|_| queue()))
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
pub async fn run(queue: Queue, shutdown: Shutdown) {
    loop {
        let mut group = Vec::new();
        let mut small = queue.small.lock().await;
        tokio::select! {
            biased;
            taken = small.recv_many(&mut group, GROUP_MAX) => if taken == 0 { return },
            () = shutdown.requested() => small.close(),
        }
        // The other queue gathers while this one writes.
        drop(small);
        if group.is_empty() {
            continue;
        }
        metrics::histogram!("gateway_accept_group_rows").record(group.len() as f64);
        let (group, answers): (Vec<_>, Vec<_>) = group.into_iter().unzip();
        let stored = together(&queue.store, &group).await;
        answer(&queue.store, stored, group.into_iter().zip(answers)).await;
    }
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
