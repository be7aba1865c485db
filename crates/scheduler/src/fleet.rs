//! What all loops of a replica share, and how they take things in hand.

use std::sync::Arc;
use std::time::Duration;

use broker::{Broker, Publisher};
use chassis::{Backoff, Chance, Clock, LogOnce, Supervisor};
use models::phone::PhoneNumber;
use secrecy::SecretString;
use store::{Store, StoreError};
use tokio::sync::{Notify, Semaphore};
use url::Url;
use waha::{CallError, Waha};

use crate::settings::SchedulerSettings;

/// Words of workers that were new to us; each is logged once.
pub(crate) static NEW_WORDS: LogOnce = LogOnce::new(200);

/// How long to wait after a step, by how many did not lead anywhere yet.
pub(crate) const STEPS: Backoff = Backoff {
    min: Duration::from_millis(500),
    max: Duration::from_secs(60),
};

/// What all loops of a replica share.
pub struct Fleet {
    /// The ledger.
    pub store: Store,
    /// RabbitMQ, to know whether it is there.
    pub broker: Broker,
    /// For the jobs that the sweep makes.
    pub publisher: Publisher,
    /// Connections to workers.
    pub http: reqwest::Client,
    /// Time.
    pub clock: Clock,
    /// Chance.
    pub chance: Chance,
    /// Takes the tasks that are started.
    pub supervisor: Supervisor,
    /// The settings.
    pub settings: SchedulerSettings,
    /// A place or a live slot was freed.
    pub room: Arc<Notify>,
    /// A session is due, as far as this replica knows.
    pub due: Arc<Notify>,
}

impl Fleet {
    /// A handle on the worker at `url`.
    ///
    /// # Errors
    /// When `url` cannot be an address.
    pub(crate) fn waha(&self, url: &str, api_key: &SecretString) -> Result<Waha, CallError> {
        let url: Url = url.parse().map_err(|_| CallError::NotWaha {
            detail: "its address is not a URL".to_owned(),
        })?;
        Ok(Waha::new(&url, api_key.clone(), self.http.clone()))
    }

    /// Where a session's worker posts its news. The generation in it tells placements apart.
    pub(crate) fn webhook_url(&self, phone: &PhoneNumber, generation: i32) -> Url {
        let mut url = self.settings.webhook_base_url.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty()
                .extend(["api", "webhook", "waha", phone.digits()])
                .push(&generation.to_string());
        }
        url
    }
}

/// Takes due things in hand, a bounded number at once, each in a task of its own.
pub(crate) struct Hands {
    name: &'static str,
    free: Arc<Semaphore>,
    supervisor: Supervisor,
}

impl Hands {
    pub(crate) fn new(name: &'static str, count: u32, supervisor: &Supervisor) -> Self {
        Self {
            name,
            free: Arc::new(Semaphore::new(count as usize)),
            supervisor: supervisor.clone(),
        }
    }

    /// How many more may be taken now.
    pub(crate) fn free(&self) -> i64 {
        i64::try_from(self.free.available_permits()).unwrap_or(i64::MAX)
    }

    /// Does `work` in a task. What fails is said here; the lease brings the work back.
    pub(crate) fn take<F>(&self, work: F)
    where
        F: Future<Output = Result<(), StoreError>> + Send + 'static,
    {
        let name = self.name;
        // One loop claims no more than are free, so that there is one.
        let permit = Arc::clone(&self.free).try_acquire_owned();
        self.supervisor.spawn(name, async move {
            let _permit = permit;
            if let Err(error) = work.await {
                tracing::warn!("{name} could not be written down, to be repeated: {error}");
            }
        });
    }
}
