//! The lanes that this replica owns, and the one look a second that watches them all.
//!
//! The look finds lanes that were woken, lost, or handed to us, changed delays, and whether we
//! hold far more than our share. A lane that we give up is handed to another living replica in
//! one statement, so nobody has to notice that it is free.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chassis::{Shutdown, Supervisor};
use models::delays::Delays;
use models::ids::WorkerId;
use models::phone::PhoneNumber;
use policy::lane::Moment;
use secrecy::SecretString;
use store::lanes::{self, LaneFacts, Tenure, Watch};
use store::{StoreError, roster};
use tokio::sync::{mpsc, watch};
use waha::{Timeouts, Waha};

use crate::context::Context;
use crate::lane::{Command, Ending, LaneTask};

/// Commands that a lane may have waiting. A wake-up that finds no room is repeated by the next
/// look, so this bounds memory and nothing else.
const COMMANDS: usize = 64;

/// The lanes of a replica.
pub struct Table {
    context: Arc<Context>,
    supervisor: Supervisor,
    delays: watch::Sender<Delays>,
    lanes: Mutex<HashMap<WorkerId, Entry>>,
    /// Quiet lanes that wait to be handed over.
    left: Mutex<Vec<Tenure>>,
    /// The version of the global delays that every lane was told.
    settings_version: Mutex<Option<i64>>,
    /// Cuts short what is under way, at the end of the grace.
    given_up: Shutdown,
}

struct Entry {
    tenure: Tenure,
    commands: mpsc::Sender<Command>,
    wake: Option<i64>,
    leaving: bool,
    since: Moment,
}

impl Table {
    /// An empty table. `delays` is the other end of the context's.
    pub fn new(
        context: Arc<Context>,
        supervisor: Supervisor,
        delays: watch::Sender<Delays>,
    ) -> Arc<Self> {
        Arc::new(Self {
            context,
            supervisor,
            delays,
            lanes: Mutex::default(),
            left: Mutex::default(),
            settings_version: Mutex::default(),
            given_up: Shutdown::new(),
        })
    }

    /// Makes sure that a lane of ours is served.
    pub fn serve(self: &Arc<Self>, tenure: Tenure) {
        let mut lanes = self.lanes();
        if lanes
            .get(&tenure.worker)
            .is_some_and(|entry| entry.tenure == tenure)
        {
            return;
        }
        let (commands, received) = mpsc::channel(COMMANDS);
        let since = self.context.moments.now();
        let entry = Entry {
            tenure,
            commands,
            wake: None,
            leaving: false,
            since,
        };
        if let Some(former) = lanes.insert(tenure.worker, entry) {
            let _ended = former.commands.try_send(Command::Lost);
        }
        let table = Arc::clone(self);
        self.supervisor.spawn(
            "lane",
            async move { table.run_lane(tenure, received).await },
        );
    }

    /// A sender on one of our lanes may have new work.
    pub fn look_at(&self, worker: WorkerId, sender: PhoneNumber) {
        if let Some(entry) = self.lanes().get(&worker) {
            // No room means that the lane is behind; the next look wakes it.
            let _full = entry.commands.try_send(Command::LookAt(sender));
        }
    }

    /// Whether the global delays were read once.
    pub fn knows_delays(&self) -> bool {
        self.version().is_some()
    }

    async fn run_lane(self: Arc<Self>, tenure: Tenure, commands: mpsc::Receiver<Command>) {
        tracing::info!(worker.id = %tenure.worker, epoch = tenure.epoch, "a lane is ours");
        let ending = match self.open(tenure).await {
            Some((waha, facts)) => {
                let context = Arc::clone(&self.context);
                let lane = LaneTask::new(context, tenure, &facts, (waha, commands));
                lane.run(self.given_up.clone()).await
            }
            None => Ending::Lost,
        };
        tracing::info!(worker.id = %tenure.worker, epoch = tenure.epoch, ?ending, "a lane ended");
        if ending == Ending::Left {
            self.left().push(tenure);
        }
        let mut lanes = self.lanes();
        if lanes
            .get(&tenure.worker)
            .is_some_and(|entry| entry.tenure == tenure)
        {
            lanes.remove(&tenure.worker);
        }
    }

    /// Reads where a lane's worker is; `None` when the lane is no longer ours.
    async fn open(&self, tenure: Tenure) -> Option<(Waha, LaneFacts)> {
        let context = &self.context;
        loop {
            let facts = async { lanes::facts(&context.store.client().await?, tenure).await };
            match facts.await {
                Ok(facts) => {
                    let facts = facts?;
                    let url = facts.url.parse().ok()?;
                    let key = SecretString::from(facts.api_key.as_str());
                    let text = context.settings.send_timeout;
                    let timeouts = Timeouts {
                        text,
                        media: context.settings.media_timeout(),
                        ..Timeouts::default()
                    };
                    let waha = Waha::new(&url, key, context.http.clone());
                    return Some((waha.with_timeouts(timeouts), facts));
                }
                Err(error) => {
                    tracing::debug!("a lane's worker was not read, trying again: {error}");
                    context.clock.sleep(Duration::from_millis(500)).await;
                }
            }
            if self.given_up.is_requested() {
                return None;
            }
        }
    }

    /// One look at all lanes.
    pub async fn look(self: &Arc<Self>) -> Result<(), StoreError> {
        let context = &self.context;
        let asked_at = context.moments.now();
        let client = context.store.client().await?;
        let seen = lanes::watch(&client, context.replica, context.settings.dead_after).await?;
        metrics::gauge!("sender_lanes_owned").set(seen.lanes.len() as f64);
        if *self.version() != Some(seen.settings_version)
            && let Some((delays, version)) = roster::global_delays(&client).await?
        {
            self.delays
                .send_if_modified(|known| std::mem::replace(known, delays) != delays);
            *self.version() = Some(version);
        }
        drop(client);
        self.take_note(&seen, asked_at);
        self.level(&seen);
        self.hand_over_left().await
    }

    fn take_note(self: &Arc<Self>, seen: &Watch, asked_at: Moment) {
        let left: Vec<_> = self.left().clone();
        for (tenure, wake) in seen
            .lanes
            .iter()
            .filter(|(tenure, _)| !left.contains(tenure))
        {
            self.serve(*tenure);
            if let Some(entry) = self.lanes().get_mut(&tenure.worker)
                && entry.wake != Some(*wake)
                && entry.commands.try_send(Command::Look).is_ok()
            {
                entry.wake = Some(*wake);
            }
        }
        let ours: HashMap<_, _> = seen
            .lanes
            .iter()
            .map(|(t, _)| (t.worker, t.epoch))
            .collect();
        for entry in self.lanes().values().filter(|entry| entry.since < asked_at) {
            if ours.get(&entry.tenure.worker) != Some(&entry.tenure.epoch) {
                let _ended = entry.commands.try_send(Command::Lost);
            }
        }
    }

    /// Gives some lanes up when we hold far more than our share of what one look saw. Lanes that
    /// came since then are not in it, and must not be weighed against it.
    fn level(&self, seen: &Watch) {
        let mut lanes = self.lanes();
        // Lanes that have left are still ours in the ledger until they are handed over.
        let left = self.left().clone();
        let held = seen
            .lanes
            .iter()
            .filter(|(tenure, _)| !left.contains(tenure));
        let leaving = lanes.values().filter(|entry| entry.leaving).count();
        let own = held.count().saturating_sub(leaving);
        let excess = excess(own, seen.lanes_owned, seen.replicas);
        for entry in lanes
            .values_mut()
            .filter(|entry| !entry.leaving)
            .take(excess)
        {
            entry.leaving = entry.commands.try_send(Command::Leave).is_ok();
        }
    }

    async fn hand_over_left(&self) -> Result<(), StoreError> {
        let left = self.left().clone();
        if left.is_empty() {
            return Ok(());
        }
        let context = &self.context;
        let client = context.store.client().await?;
        let dead_after = context.settings.dead_after;
        let gone = lanes::hand_over(&client, context.replica, &left, dead_after).await?;
        tracing::info!(lanes = gone, "handed lanes over to other replicas");
        self.left().retain(|tenure| !left.contains(tenure));
        Ok(())
    }

    /// Lets every lane finish what is under way, and hands all of them over; what is not done at
    /// the end of `grace` stays for its new owner to settle.
    pub async fn drain(&self, grace: Duration) -> Result<(), StoreError> {
        let context = &self.context;
        store::replicas::retire(&context.store.client().await?, context.replica).await?;
        for entry in self.lanes().values_mut() {
            entry.leaving = entry.commands.try_send(Command::Leave).is_ok();
        }
        let deadline = context.moments.now() + grace;
        while !self.lanes().is_empty() && context.moments.now() < deadline {
            context.clock.sleep(Duration::from_millis(20)).await;
            for entry in self.lanes().values_mut().filter(|entry| !entry.leaving) {
                entry.leaving = entry.commands.try_send(Command::Leave).is_ok();
            }
        }
        self.given_up.request();
        let late: Vec<_> = self.lanes().values().map(|entry| entry.tenure).collect();
        if !late.is_empty() {
            tracing::warn!(
                lanes = late.len(),
                "left with messages under way at the deadline"
            );
        }
        self.left().extend(late);
        self.hand_over_left().await?;
        store::replicas::leave(&context.store.client().await?, context.replica).await
    }

    fn lanes(&self) -> MutexGuard<'_, HashMap<WorkerId, Entry>> {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn left(&self) -> MutexGuard<'_, Vec<Tenure>> {
        self.left.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn version(&self) -> MutexGuard<'_, Option<i64>> {
        self.settings_version
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// How many lanes to give up: those above the even share, but only when they are a tenth of it or
/// more, so that replicas do not pass lanes to and fro.
fn excess(own: usize, owned_by_all: i64, replicas: i64) -> usize {
    let replicas = usize::try_from(replicas).unwrap_or_default();
    if replicas < 2 {
        return 0;
    }
    // Our own may be missing among all, when our heartbeat is late.
    let all = usize::try_from(owned_by_all).unwrap_or_default().max(own);
    let share = all.div_ceil(replicas);
    let excess = own.saturating_sub(share);
    if excess >= (share / 10).max(1) {
        excess
    } else {
        0
    }
}

#[cfg(test)]
mod tests {
    use super::excess;

    #[test]
    fn a_replica_gives_up_what_is_far_above_its_share() {
        for (own, all, replicas, wanted) in [
            (3, 3, 1, 0),
            (3, 3, 2, 1),
            (2, 3, 2, 0),
            (1, 3, 2, 0),
            (1_000, 1_000, 2, 500),
            (520, 1_000, 2, 0),
            (560, 1_000, 2, 60),
            (3, 3, 0, 0),
            (1, 0, 1, 0),
            (1, 0, 2, 0),
            (0, 0, 0, 0),
        ] {
            assert_eq!(
                excess(own, all, replicas),
                wanted,
                "{own} of {all} on {replicas}"
            );
        }
    }
}
