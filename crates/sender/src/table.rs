//! The lanes that this replica owns: opened, watched, parked and handed over.
//!
//! A lane that we give up is handed to another living replica in one statement, so nobody has to
//! notice that it is free. A lane in which nobody may speak for long is parked: it is ours and has
//! nothing but its entry here, so that what is idle costs next to nothing.

mod entries;
mod look;
mod open;

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chassis::{Shutdown, Supervisor};
use models::delays::Delays;
use models::ids::WorkerId;
use models::phone::PhoneNumber;
use store::StoreError;
use store::lanes::Tenure;
use tokio::sync::{Notify, watch};

use self::entries::Entries;
use self::look::Looks;
use crate::context::Context;

/// The lanes of a replica.
pub struct Table {
    context: Arc<Context>,
    supervisor: Supervisor,
    delays: watch::Sender<Delays>,
    lanes: Mutex<Entries>,
    /// Quiet lanes that wait to be handed over.
    left: Mutex<HashSet<Tenure>>,
    looks: Mutex<Looks>,
    /// Raised when the next look should not wait for its time.
    look_now: Arc<Notify>,
    /// Tasks that open lanes. Locked before `lanes` by whoever locks both.
    openers: Mutex<usize>,
    /// Cuts short what is under way, at the end of the grace.
    given_up: Shutdown,
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
            looks: Mutex::default(),
            look_now: Arc::default(),
            openers: Mutex::default(),
            given_up: Shutdown::new(),
        })
    }

    /// Makes sure that a lane of ours is served.
    pub fn serve(self: &Arc<Self>, tenure: Tenure) {
        let now = self.context.moments.now();
        let fresh = self.entries().serve(tenure, now);
        if fresh {
            tracing::info!(worker.id = %tenure.worker, epoch = tenure.epoch, "a lane is ours");
            self.open_queued();
        }
    }

    /// A sender on one of our lanes may have new work.
    pub fn look_at(self: &Arc<Self>, worker: WorkerId, sender: PhoneNumber) {
        self.entries().look_at(worker, sender);
        self.open_queued();
    }

    /// Notified when the next look should not wait for its time.
    pub fn look_now(&self) -> Arc<Notify> {
        Arc::clone(&self.look_now)
    }

    /// Whether the global delays were read once.
    pub fn knows_delays(&self) -> bool {
        self.looks().settings_version.is_some()
    }

    /// How many lanes are here, and how many of them are parked.
    pub fn count(&self) -> (usize, usize) {
        let entries = self.entries();
        (entries.len(), entries.parked())
    }

    /// Lets every lane finish what is under way, and hands all of them over; what is not done at
    /// the end of `grace` stays for its new owner to settle.
    pub async fn drain(&self, grace: Duration) -> Result<(), StoreError> {
        let context = &self.context;
        store::replicas::retire(&context.store.client().await?, context.replica).await?;
        let deadline = context.moments.now() + grace;
        self.leave_all();
        while !self.entries().is_empty() && context.moments.now() < deadline {
            context.clock.sleep(Duration::from_millis(20)).await;
            self.leave_all();
        }
        self.given_up.request();
        let late = self.entries().tenures();
        if !late.is_empty() {
            tracing::warn!(
                lanes = late.len(),
                "left with messages under way at the deadline"
            );
        }
        self.left().extend(late);
        self.hand_over_left().await
    }

    fn leave_all(&self) {
        let staying = self.entries().staying(usize::MAX);
        self.leave(staying);
    }

    fn entries(&self) -> MutexGuard<'_, Entries> {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn left(&self) -> MutexGuard<'_, HashSet<Tenure>> {
        self.left.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn looks(&self) -> MutexGuard<'_, Looks> {
        self.looks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn openers(&self) -> MutexGuard<'_, usize> {
        self.openers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
