//! The intake: groups small campaigns that come at the same time into one statement.
//!
//! There is no timer: a lone campaign is stored at once, and under load a group grows to what one
//! write takes. A campaign is answered only when it is stored. One that finds no room here, or
//! comes when the process is ending, is stored by itself: nobody is refused for being small.
//!
//! Where the database is lost between a campaign and its answer, nobody knows whether it is stored.
//! Whoever submitted it would repeat it, and everybody would hear it twice; so its id, which no
//! other campaign has, is brought before the database again until that is known.

use std::sync::Arc;
use std::time::Duration;

use chassis::{Clock, Shutdown};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use models::ids::CampaignId;
use store::campaigns::{self as ledger, Acceptance, Submitted};
use store::{Client, Store, StoreError};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{timeout, timeout_at};

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

/// How long is tried to learn what came of a campaign whose storing was cut off.
const RECALL_MAX: Duration = Duration::from_secs(10);
/// How often, while the database is away.
const RECALL_EVERY: Duration = Duration::from_millis(250);

/// What came of handing a campaign to the ledger.
enum Handed {
    /// It is stored, or nothing of it is.
    Known(Result<Acceptance, Problem>),
    /// The database was lost on the way: it may be stored.
    Cut(Box<Submitted>),
}

type Answer = oneshot::Sender<Handed>;
type Waiting = (Submitted, Answer);

/// The way into the ledger for campaigns of any size. Cheap to clone.
#[derive(Clone)]
pub struct Intake {
    store: Store,
    clock: Clock,
    small: mpsc::Sender<Waiting>,
}

/// The small campaigns that have not been looked at yet.
pub struct Queue {
    store: Store,
    small: mpsc::Receiver<Waiting>,
}

/// An intake, and its queue, which [`run`] must be given.
pub fn queue(store: &Store, clock: &Clock) -> (Intake, Queue) {
    let (sender, receiver) = mpsc::channel(WAITING_MAX);
    let intake = Intake {
        store: store.clone(),
        clock: clock.clone(),
        small: sender,
    };
    let queue = Queue {
        store: store.clone(),
        small: receiver,
    };
    (intake, queue)
}

impl Intake {
    /// Stores a campaign whole, or nothing of it.
    ///
    /// # Errors
    /// When nothing is stored, because the database is away or a spool cannot be read; or, and then
    /// it says so, when nobody knows.
    pub async fn store(&self, submitted: Submitted) -> Result<Acceptance, Problem> {
        if !ledger::has_few(&submitted.1) {
            return self.store_many(submitted).await;
        }
        let (answer, answered) = oneshot::channel();
        let handed = match self.small.try_send((submitted, answer)) {
            Ok(()) => answered.await.map_err(|_| gone())?,
            Err(
                mpsc::error::TrySendError::Full((submitted, _))
                | mpsc::error::TrySendError::Closed((submitted, _)),
            ) => alone(&self.store, submitted).await,
        };
        match handed {
            Handed::Known(stored) => stored,
            Handed::Cut(submitted) => self.store_again(&submitted).await,
        }
    }

    async fn store_many(&self, (new, recipients): Submitted) -> Result<Acceptance, Problem> {
        let (kept, rows) = (new.clone(), recipients.len());
        let mut client = self.store.client().await?;
        let cause = match ledger::accept(&mut client, new, recipients).await {
            Err(error) if error.is_unavailable() => error,
            stored => return Ok(stored?),
        };
        drop(client);
        let recall = self.until_known(kept.id, async |client| {
            ledger::recall(client, &kept, rows).await
        });
        recall.await?.ok_or_else(|| Problem::database_away(cause))
    }

    /// Small enough to be stored anew: whichever attempt comes second finds it there.
    async fn store_again(&self, submitted: &Submitted) -> Result<Acceptance, Problem> {
        let again = self.until_known(submitted.0.id, async |client| {
            ledger::accept_again(client, submitted).await
        });
        again.await
    }

    /// Tries for some time to learn what came of a campaign.
    async fn until_known<T>(
        &self,
        id: CampaignId,
        mut learn: impl AsyncFnMut(&mut Client) -> Result<T, StoreError>,
    ) -> Result<T, Problem> {
        let until = self.clock.instant() + RECALL_MAX;
        let mut away = None;
        while self.clock.instant() < until {
            let learnt = match self.store.client().await {
                Err(error) => Err(error),
                Ok(mut client) => match timeout_at(until, learn(&mut client)).await {
                    Ok(learnt) => learnt,
                    // Whatever it still waits for, nobody else is to.
                    Err(_) => {
                        client.close();
                        break;
                    }
                },
            };
            match learnt {
                Err(error) if error.is_unavailable() => {
                    away = Some(error);
                    self.clock.sleep(RECALL_EVERY).await;
                }
                known => return Ok(known?),
            }
        }
        let unknown = Problem::perhaps_stored(id);
        Err(match away {
            Some(error) => unknown.because(error),
            None => unknown,
        })
    }
}

/// A group that ended without answers can only have been that of a process that was killed.
fn gone() -> Problem {
    Problem::not_yet("the gateway is stopping", 5)
}

/// Stores one small campaign by itself.
async fn alone(store: &Store, submitted: Submitted) -> Handed {
    let stored = match store.client().await {
        Ok(client) => ledger::accept_again(&client, &submitted).await,
        Err(error) => return Handed::Known(Err(error.into())),
    };
    match stored {
        Err(error) if error.is_unavailable() => Handed::Cut(Box::new(submitted)),
        stored => Handed::Known(stored.map_err(Problem::from)),
    }
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
    let client = match store.client().await {
        Ok(client) => client,
        Err(error) => return refuse(group, error),
    };
    let (group, answers): (Vec<_>, Vec<_>) = group.into_iter().unzip();
    let stored = ledger::accept_few(&client, &group).await;
    drop(client);
    answer(&store, stored, group.into_iter().zip(answers)).await;
}

/// Nothing of them was handed to the database.
fn refuse(group: Vec<Waiting>, error: StoreError) {
    let cause = Arc::new(error);
    for (_, answer) in group {
        let refused = Problem::database_away(Arc::clone(&cause));
        let _gone = answer.send(Handed::Known(Err(refused)));
    }
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
                let _gone = answer.send(Handed::Known(Ok(accepted)));
            }
        }
        Err(error) if error.is_unavailable() => {
            for (submitted, answer) in waiting {
                let _gone = answer.send(Handed::Cut(Box::new(submitted)));
            }
        }
        // One that the database refuses must not hold up the others.
        Err(_) => {
            for (submitted, answer) in waiting {
                let _gone = answer.send(alone(store, submitted).await);
            }
        }
    }
}
