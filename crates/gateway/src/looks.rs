//! Looks at campaigns: groups questions that come at the same time into one.
//!
//! There is no timer and no task: a lone question is asked at once, by whoever has it. While as
//! many groups are out as may be, questions wait; the first whose turn comes takes all of them
//! along. A question is answered only by statements that began after it was there, so whoever has
//! changed a campaign sees it as it is then.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use models::ids::CampaignId;
use store::campaigns::{self as ledger, Campaign, Situation};
use store::{Client, Store, StoreError};
use tokio::sync::{Semaphore, oneshot};

use crate::problem::Problem;

/// Most questions in one statement; larger groups gain little and let the first wait for the last.
const GROUP_MAX: usize = 64;
/// Questions that may wait. More are asked each by itself, and wait for a connection.
const WAITING_MAX: usize = 4_096;
/// Groups that are out at once, each on a connection of its own: one that is slow, because a number
/// has thousands of campaigns, must not hold up everybody.
const TURNS: usize = 2;

/// A campaign and, unless it is over, what surrounds it.
pub type Looked = (Campaign, Option<Situation>);

/// What comes of a question; nothing when there is no campaign of its id.
pub type Found = Result<Option<Looked>, Problem>;
type Waiting = (CampaignId, oneshot::Sender<Found>);

/// Where questions meet. Cheap to clone.
#[derive(Clone)]
pub struct Looks {
    store: Store,
    dead_after: Duration,
    waiting: Arc<Mutex<Vec<Waiting>>>,
    turns: Arc<Semaphore>,
}

impl Looks {
    /// One that takes a sender replica for dead after this time without a heartbeat.
    pub fn new(store: &Store, dead_after: Duration) -> Self {
        Self {
            store: store.clone(),
            dead_after,
            waiting: Arc::default(),
            turns: Arc::new(Semaphore::new(TURNS)),
        }
    }

    /// A campaign as it stands now, or nothing when there is none of this id.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn look(&self, id: CampaignId) -> Found {
        let Some(mut told) = self.wait(id) else {
            return self.alone(id).await;
        };
        loop {
            tokio::select! {
                biased;
                answer = &mut told => return self.heard(id, answer.ok()).await,
                turn = self.turns.acquire() => {
                    let group = self.take();
                    if group.is_empty() {
                        // Somebody else has taken it along and is asking.
                        drop(turn);
                        let answer = told.await.ok();
                        return self.heard(id, answer).await;
                    }
                    self.ask(group).await;
                }
            }
        }
    }

    fn wait(&self, id: CampaignId) -> Option<oneshot::Receiver<Found>> {
        let (tell, told) = oneshot::channel();
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.len() >= WAITING_MAX {
            return None;
        }
        waiting.push((id, tell));
        Some(told)
    }

    /// The questions that have waited longest.
    fn take(&self) -> Vec<Waiting> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = waiting.len().min(GROUP_MAX);
        waiting.drain(..taken).collect()
    }

    /// Whoever asked for the group may have been dropped with his connection; then there is no
    /// answer, and nothing was lost but time.
    async fn heard(&self, id: CampaignId, answer: Option<Found>) -> Found {
        match answer {
            Some(found) => found,
            None => self.alone(id).await,
        }
    }

    async fn alone(&self, id: CampaignId) -> Found {
        let mut found = self.find(&[id]).await?;
        Ok(found.remove(&id))
    }

    async fn find(&self, ids: &[CampaignId]) -> Result<HashMap<CampaignId, Looked>, StoreError> {
        let db = self.store.client().await?;
        let rows = ledger::some(&db, ids).await?;
        let looked = with_situations(&db, rows, self.dead_after).await?;
        Ok(looked.into_iter().map(|one| (one.0.id, one)).collect())
    }

    /// Tells everybody of a group what was found.
    async fn ask(&self, group: Vec<Waiting>) {
        metrics::histogram!("gateway_status_group_rows").record(group.len() as f64);
        let ids: Vec<CampaignId> = group.iter().map(|(id, _)| *id).collect();
        match self.find(&ids).await {
            Ok(found) => {
                for (id, tell) in group {
                    let _gone = tell.send(Ok(found.get(&id).cloned()));
                }
            }
            Err(error) if error.is_unavailable() => {
                let cause = Arc::new(error);
                for (_, tell) in group {
                    let _gone = tell.send(Err(Problem::database_away(Arc::clone(&cause))));
                }
            }
            // One that cannot be read must not hold up the others: each asks by itself.
            Err(_) => {}
        }
    }
}

/// Campaigns with what surrounds those that are not over, in their order.
///
/// # Errors
/// When the database is away.
pub async fn with_situations(
    db: &Client,
    rows: Vec<Campaign>,
    dead_after: Duration,
) -> Result<Vec<Looked>, StoreError> {
    let open = rows.iter().filter(|row| !row.status.is_final());
    let open: Vec<&Campaign> = open.collect();
    let mut situations = match open[..] {
        [] => HashMap::new(),
        _ => ledger::situations(db, &open, dead_after).await?,
    };
    let looked = rows.into_iter().map(|row| {
        let situation = situations.remove(&row.id);
        (row, situation)
    });
    Ok(looked.collect())
}
