//! The process: its workers, clock and shared parts; and the context that handlers carry.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use actix_web::dev::ServerHandle;
use time::OffsetDateTime;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;

use crate::fault::Fault;
use crate::heard::HeardLog;
use crate::hooks::Hook;
use crate::options::Options;
use crate::profile::Profile;
use crate::rng::Rng;
use crate::session::Session;

/// Webhook posts in flight at once, over all workers: a slow receiver must not eat all sockets.
const POSTS_IN_FLIGHT: usize = 512;

/// The instant at which a request reached its worker.
#[derive(Clone, Copy)]
pub(crate) struct Stamp {
    pub(crate) mono_ns: u64,
    pub(crate) at: OffsetDateTime,
}

/// Wall and monotonic time of the process.
pub(crate) struct Clock {
    started: Instant,
}

impl Clock {
    pub(crate) fn mono_ns(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    pub(crate) fn stamp(&self) -> Stamp {
        Stamp {
            mono_ns: self.mono_ns(),
            at: OffsetDateTime::now_utc(),
        }
    }

    /// Unix milliseconds.
    pub(crate) fn millis(&self) -> i64 {
        i64::try_from(OffsetDateTime::now_utc().unix_timestamp_nanos() / 1_000_000).unwrap_or(0)
    }
}

pub(crate) struct Sim {
    pub(crate) options: Options,
    pub(crate) workers: Vec<Worker>,
    pub(crate) heard: HeardLog,
    pub(crate) clock: Clock,
    pub(crate) http: reqwest::Client,
    pub(crate) posts: Semaphore,
    pub(crate) global_hook: Option<Arc<Hook>>,
    /// Worker number by own port.
    pub(crate) ports: HashMap<u16, usize>,
    /// Timers and webhooks live on the caller's runtime, not on the threads that serve HTTP.
    pub(crate) runtime: Handle,
    pub(crate) stopped: AtomicBool,
}

impl Sim {
    pub(crate) fn new(options: Options, own_ports: &[u16], http: reqwest::Client) -> Self {
        let clock = Clock {
            started: Instant::now(),
        };
        let boot_millis = clock.millis();
        let pick = |list: usize, number: usize| (number - 1) % list.max(1);
        let workers = (1..=options.workers.max(1)).map(|number| {
            let profile = Profile {
                version: options.versions[pick(options.versions.len(), number)],
                engine: options.engines[pick(options.engines.len(), number)],
                tier: options.tier,
            };
            let own_port = own_ports.get(number - 1).copied();
            Worker {
                own_port,
                ..Worker::new(number, profile, &options, boot_millis)
            }
        });
        let global_hook = options
            .global_hook
            .as_ref()
            .map(|hook| Arc::new(Hook::global(hook, options.hook_retries)));
        Self {
            workers: workers.collect(),
            heard: HeardLog::new(options.heard_capacity),
            clock,
            http,
            posts: Semaphore::new(POSTS_IN_FLIGHT),
            global_hook,
            ports: own_ports.iter().copied().zip(1..).collect(),
            runtime: Handle::current(),
            stopped: AtomicBool::new(false),
            options,
        }
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }
}

/// One simulated WAHA server. An idle one is this struct and nothing else: no task, no timer.
pub(crate) struct Worker {
    pub(crate) number: usize,
    pub(crate) api_key: String,
    pub(crate) profile: Profile,
    /// The worker's own port, where workers have one.
    pub(crate) own_port: Option<u16>,
    /// What listens on the own port; none while the worker is down.
    pub(crate) server: tokio::sync::Mutex<Option<ServerHandle>>,
    state: Mutex<WorkerState>,
}

/// What a worker remembers. Locked for short moments only, never across an await.
pub(crate) struct WorkerState {
    pub(crate) sessions: BTreeMap<String, Session>,
    pub(crate) locks: HashMap<String, Arc<tokio::sync::Mutex<()>>>,
    pub(crate) faults: Vec<Fault>,
    pub(crate) next_fault: u64,
    pub(crate) rng: Rng,
    /// Unix milliseconds of the last boot.
    pub(crate) started_at: i64,
    /// Grows at each restart; what was in flight across one gets no answer.
    pub(crate) boot: u64,
    /// The process is gone: connections are dropped.
    pub(crate) down: bool,
    /// Gives each run and each status of a session a number, so that timers of an earlier one
    /// know that they are late.
    pub(crate) ticks: u64,
}

impl WorkerState {
    pub(crate) fn tick(&mut self) -> u64 {
        self.ticks += 1;
        self.ticks
    }
}

impl Worker {
    fn new(number: usize, profile: Profile, options: &Options, boot_millis: i64) -> Self {
        let mut sessions = BTreeMap::new();
        if !profile.many_sessions() {
            sessions.insert("default".to_owned(), Session::new("default"));
        }
        let state = WorkerState {
            sessions,
            locks: HashMap::new(),
            faults: Vec::new(),
            next_fault: 1,
            rng: Rng::new(options.seed, number as u64),
            started_at: boot_millis,
            boot: 0,
            down: false,
            ticks: 0,
        };
        let api_key = format!("{}-{number}", options.api_key);
        Self {
            number,
            api_key,
            profile,
            own_port: None,
            server: tokio::sync::Mutex::default(),
            state: Mutex::new(state),
        }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, WorkerState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `WAHA_WORKER_ID`.
    pub(crate) fn id(&self) -> String {
        format!("sim-{}", self.number)
    }
}

/// The simulator and one of its workers: what every handler needs.
#[derive(Clone)]
pub(crate) struct Cx {
    pub(crate) sim: Arc<Sim>,
    index: usize,
}

impl Cx {
    /// The context of worker `number`, counted from 1; None when there is no such worker.
    pub(crate) fn new(sim: &Arc<Sim>, number: usize) -> Option<Self> {
        let index = number.checked_sub(1)?;
        (index < sim.workers.len()).then(|| Self {
            sim: Arc::clone(sim),
            index,
        })
    }

    pub(crate) fn worker(&self) -> &Worker {
        &self.sim.workers[self.index]
    }

    pub(crate) fn profile(&self) -> &Profile {
        &self.worker().profile
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, WorkerState> {
        self.worker().lock()
    }

    /// A wait that WAHA imposes, scaled.
    pub(crate) fn wait(&self, millis: u64) -> Duration {
        self.sim.options.wait(millis)
    }

    /// Runs `work` to its end even when the client that asked for it hangs up.
    pub(crate) async fn detached<T, F>(&self, work: F) -> Option<T>
    where
        T: Send + 'static,
        F: Future<Output = T> + Send + 'static,
    {
        self.sim.runtime.spawn(work).await.ok()
    }

    /// Runs `act` after `pause`, unless the simulator was stopped meanwhile.
    pub(crate) fn later(&self, pause: Duration, act: impl FnOnce(&Cx) + Send + 'static) {
        let cx = self.clone();
        self.sim.runtime.spawn(async move {
            tokio::time::sleep(pause).await;
            if !cx.sim.is_stopped() {
                act(&cx);
            }
        });
    }
}
