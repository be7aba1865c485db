//! What every lane of a replica shares.

use std::sync::Arc;
use std::time::Duration;

use chassis::{Chance, Clock};
use models::delays::Delays;
use models::ids::ReplicaId;
use policy::outcome::Rests;
use store::Store;
use tokio::sync::{Semaphore, watch};

use crate::lease::Lease;
use crate::moments::Moments;
use crate::settings::SenderSettings;
use crate::writer::Writer;

/// The parts that lanes are made of. Held in an [`Arc`].
pub struct Context {
    /// This process.
    pub replica: ReplicaId,
    /// How it behaves.
    pub settings: SenderSettings,
    /// How long refusals make numbers and lanes rest.
    pub rests: Rests,
    /// The ledger, for reading.
    pub store: Store,
    /// The ledger, for claims and conclusions.
    pub writer: Writer,
    /// Until when we may speak.
    pub lease: Arc<Lease>,
    /// The monotonic clock.
    pub moments: Moments,
    /// The wall clock, for look-ups at workers only.
    pub clock: Clock,
    /// Jitter.
    pub chance: Chance,
    /// The global delays; changes reach every lane.
    pub delays: watch::Receiver<Delays>,
    /// The connections to workers.
    pub http: reqwest::Client,
    /// Bounds the requests under way.
    pub sends: Semaphore,
}

/// An age that no heartbeat reaches.
const NEVER: Duration = Duration::from_secs(100 * 365 * 86_400);

impl Context {
    /// Whether others may be called dead by the age of their heartbeats: not when we have just
    /// come, or come back, ourselves.
    pub fn may_judge(&self) -> bool {
        self.lease
            .may_judge(self.moments.now(), self.settings.dead_after)
    }

    /// The age of a heartbeat from which its replica is called dead.
    pub fn dead_after(&self) -> Duration {
        if self.may_judge() {
            self.settings.dead_after
        } else {
            NEVER
        }
    }
}
