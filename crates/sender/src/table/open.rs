//! Opening lanes: what a lane must know to speak is read for many lanes at once.
//!
//! A lane that was taken, handed to us, or wakes from being parked is put in a queue, and whatever
//! has gathered there is read by one statement of facts and few of rosters. A lane in which nobody
//! may speak for long is parked again on the spot, without ever having had a task.
//!
//! Always true: openers run only while there is something to open; each holds no more than one
//! batch, so that ten thousand lanes that come at once need no more memory than a few hundred.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use models::ids::WorkerId;
use policy::lane::Moment;
use secrecy::SecretString;
use store::lanes::{self, LaneFacts, Tenure};
use store::roster::{self, Speaker};
use store::{Client, StoreError};
use tokio::sync::mpsc;
use waha::{Timeouts, Waha};

use super::Table;
use super::entries::Opening;
use crate::lane::{Ending, LaneTask, Read};

/// Lanes whose facts are read by one statement.
const BATCH: usize = 200;
/// Sessions, at most, whose roster is read by one statement, unless one lane alone has more: with
/// their templates that is some megabytes.
const SESSIONS: i64 = 1_000;
/// Openers at once: while one reads, the other makes lanes of what it has read.
const OPENERS: usize = 2;
/// Commands that a lane may have waiting. A wake-up that finds no room is repeated by the next
/// look, so this bounds memory and nothing else.
const COMMANDS: usize = 64;
/// Wait after the ledger did not answer.
const RETRY_AFTER: Duration = Duration::from_millis(500);

/// A lane that is ours, and what the ledger knows of it.
struct Found {
    opening: Opening,
    facts: LaneFacts,
}

impl Table {
    /// Sees to it that what waits in the queue is opened.
    pub(super) fn open_queued(self: &Arc<Self>) {
        let mut openers = self.openers();
        // One is enough for what it takes at once.
        let wanted = self.entries().queued().div_ceil(BATCH).min(OPENERS);
        while *openers < wanted {
            *openers += 1;
            let table = Arc::clone(self);
            self.supervisor
                .spawn("lane opener", async move { table.open_lanes().await });
        }
    }

    async fn open_lanes(self: Arc<Self>) {
        while let Some(batch) = self.next_batch() {
            if let Err(error) = self.open_batch(&batch).await {
                tracing::debug!("lanes were not read, trying again: {error}");
                self.entries().put_back(&batch);
                self.context.clock.sleep(RETRY_AFTER).await;
            }
        }
    }

    /// `None`: there is nothing to open, and this opener has ended.
    fn next_batch(&self) -> Option<Vec<Opening>> {
        let mut openers = self.openers();
        let batch = self.entries().take_queued(BATCH);
        if batch.is_empty() || self.given_up.is_requested() {
            // Under the lock: whoever queues a lane from here on sees that it needs an opener.
            *openers -= 1;
            return None;
        }
        Some(batch)
    }

    async fn open_batch(self: &Arc<Self>, batch: &[Opening]) -> Result<(), StoreError> {
        let context = &self.context;
        let client = context.store.client().await?;
        let tenures: Vec<_> = batch.iter().map(|opening| opening.tenure).collect();
        let facts = lanes::facts(&client, context.replica, &tenures).await?;
        let mut facts: HashMap<Tenure, LaneFacts> = facts.into_iter().collect();
        let mut ours = Vec::with_capacity(batch.len());
        for opening in batch {
            match facts.remove(&opening.tenure) {
                Some(facts) => ours.push(Found {
                    opening: *opening,
                    facts,
                }),
                None => self.entries().end(opening.tenure),
            }
        }
        while !ours.is_empty() {
            let later = ours.split_off(readable(&ours));
            let read = std::mem::replace(&mut ours, later);
            self.open_found(&client, read).await?;
        }
        Ok(())
    }

    /// Reads the rosters of lanes and opens or parks each.
    async fn open_found(
        self: &Arc<Self>,
        client: &Client,
        found: Vec<Found>,
    ) -> Result<(), StoreError> {
        let asked_at = self.context.moments.now();
        let workers: Vec<_> = found.iter().map(|f| f.opening.tenure.worker).collect();
        let mut rosters = match roster::of_lanes(client, &workers).await {
            Ok(speakers) => Some(by_worker(speakers)),
            Err(error) if error.is_unavailable() => return Err(error),
            Err(error) => {
                // Somebody's row cannot be read; each lane then reads its own, and only one fails.
                tracing::warn!("rosters cannot be read together: {error}");
                None
            }
        };
        for found in found {
            let worker = found.opening.tenure.worker;
            let speakers = rosters.as_mut().map(|all| all.remove(&worker));
            let read = speakers.map(|speakers| Read {
                at: asked_at,
                wake: found.facts.wake,
                speakers: speakers.unwrap_or_default(),
            });
            self.open_one(found, read);
        }
        Ok(())
    }

    fn open_one(self: &Arc<Self>, found: Found, read: Option<Read>) {
        let (context, Found { opening, facts }) = (Arc::clone(&self.context), found);
        let tenure = opening.tenure;
        let Some(waha) = self.waha(&facts) else {
            tracing::error!(worker.id = %tenure.worker, "a worker's address cannot be read");
            return self.entries().end(tenure);
        };
        let (commands, received) = mpsc::channel(COMMANDS);
        let mut lane = Box::new(LaneTask::new(context, tenure, &facts, (waha, received)));
        if let Some(read) = read {
            lane.begin_with(
                read,
                opening.parked_until.filter(|until| self.is_soon(*until)),
            );
        }
        if let Some(Ending::Parked { until, wake }) = lane.parked_at_once() {
            let mut entries = self.entries();
            if entries.park(tenure, (until, wake), lane.has_unheard()) {
                return;
            }
        }
        if self.entries().open(tenure, facts.wake, commands) {
            let table = Arc::clone(self);
            self.supervisor
                .spawn("lane", async move { table.run_lane(tenure, lane).await });
        }
    }

    async fn run_lane(self: Arc<Self>, tenure: Tenure, mut lane: Box<LaneTask>) {
        let ending = loop {
            match lane.run(self.given_up.clone()).await {
                Ending::Parked { until, wake } => {
                    // Whoever tells it something holds this too.
                    let mut entries = self.entries();
                    if entries.park(tenure, (until, wake), lane.has_unheard()) {
                        return;
                    }
                }
                ending => break ending,
            }
        };
        tracing::info!(worker.id = %tenure.worker, epoch = tenure.epoch, ?ending, "a lane ended");
        if ending == Ending::Left {
            self.left().insert(tenure);
        }
        self.entries().end(tenure);
    }

    /// Whether a parked lane whose moment is this one is to be opened for it.
    pub(super) fn is_soon(&self, until: Moment) -> bool {
        until <= self.context.moments.now() + self.context.settings.open_ahead()
    }

    fn waha(&self, facts: &LaneFacts) -> Option<Waha> {
        let context = &self.context;
        let url = facts.url.parse().ok()?;
        let key = SecretString::from(facts.api_key.as_str());
        let timeouts = Timeouts {
            text: context.settings.send_timeout,
            media: context.settings.media_timeout(),
            ..Timeouts::default()
        };
        let waha = Waha::new(&url, key, context.http.clone());
        Some(waha.with_timeouts(timeouts))
    }
}

/// How many of these lanes' rosters are read at once: at least one.
fn readable(lanes: &[Found]) -> usize {
    let mut sessions = 0;
    let fit = lanes.iter().take_while(|found| {
        sessions += i64::from(found.facts.placed);
        sessions <= SESSIONS
    });
    fit.count().max(1)
}

fn by_worker(speakers: Vec<(WorkerId, Speaker)>) -> HashMap<WorkerId, Vec<Speaker>> {
    let mut rosters: HashMap<_, Vec<_>> = HashMap::new();
    for (worker, speaker) in speakers {
        rosters.entry(worker).or_default().push(speaker);
    }
    rosters
}
