//! What a bench stands on: the servers of the whole run, and the services of one bench.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, bail};
use nix::sys::signal::Signal;
use tokio::time::{Instant, sleep};
use tokio_postgres::{Client, NoTls};

use crate::process::{Program, signal_group};
use crate::servers::{self, Given, Urls, leftovers, ports};
use crate::supervise::{Crew, Handle};
use crate::up::services::{self, Ground};
use crate::up::{Plan, Settings, SimWorker, simulator};
use crate::workdir::WorkDir;

/// What is awaited in a bench takes less, or the bench fails.
const PATIENCE: Duration = Duration::from_secs(180);
/// Between two looks at what is awaited.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Replicas of a service on one stage, at most.
const REPLICAS_MAX: u32 = 9;
/// The database of a stage beside another.
const BESIDE: &str = "wahacast_beside";

/// The servers, which all benches share, one after the other.
pub(crate) struct Hall {
    pub(crate) work: Arc<WorkDir>,
    /// Everything that was started.
    pub(crate) crew: Crew,
    urls: Mutex<Option<Urls>>,
    /// Processes of the bench that is running.
    playing: Mutex<Vec<Handle>>,
    /// The second database, while there is one.
    beside: Mutex<Option<String>>,
}

/// One bench's services, on an empty ledger.
pub(crate) struct Stage {
    ground: Ground,
    crew: Crew,
    /// The ledger.
    pub(crate) database: String,
    /// The gateway's base URL, for when it is started.
    pub(crate) gateway: String,
    /// The simulated workers.
    pub(crate) workers: Vec<SimWorker>,
    /// The services, by name, once they were started.
    handles: Mutex<BTreeMap<String, Handle>>,
    /// Replicas that the stage beside which this one stands may have; 0 where there is none.
    others: u32,
}

/// What a bench wants to stand on.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Scene<'a> {
    /// Settings of the services, over the defaults.
    pub(crate) settings: &'a [(&'a str, &'a str)],
    /// Simulated workers; 0 for none.
    pub(crate) workers: u32,
    /// Further flags of the simulator.
    pub(crate) simulator: &'a str,
}

impl Hall {
    /// Servers that are not started yet.
    pub(crate) fn new(work: &Arc<WorkDir>) -> Self {
        Self {
            work: Arc::clone(work),
            crew: Crew::new(work.path(), false),
            urls: Mutex::default(),
            playing: Mutex::default(),
            beside: Mutex::default(),
        }
    }

    /// Starts the servers.
    pub(crate) async fn open(&self) -> anyhow::Result<()> {
        leftovers::stop_noted(&self.work.path().join("pids.json")).await;
        let urls = servers::start(&self.work, &self.crew, Given::default()).await?;
        // Of a run that was killed; it may hold most of the disk.
        let beside = servers::database_beside(&urls.database, BESIDE)?;
        servers::remove_database(&beside).await?;
        *lock(&self.urls) = Some(urls);
        Ok(())
    }

    /// What figures depend on.
    pub(crate) async fn machine(&self) -> anyhow::Result<Vec<(String, String)>> {
        let urls = lock(&self.urls).clone().context("the servers are not up")?;
        let db = connect(&urls.database).await?;
        let mut facts = super::sql::server_facts(&db).await?;
        let cores = std::thread::available_parallelism()?.to_string();
        facts.push(("cores".to_owned(), cores));
        let build = if cfg!(debug_assertions) {
            "debug"
        } else {
            "release"
        };
        facts.push(("build".to_owned(), build.to_owned()));
        if cfg!(debug_assertions) {
            eprintln!("bench: this is a debug build; its figures say nothing (use `make bench`)");
        }
        Ok(facts)
    }

    /// Sets a scene on an empty ledger; services are started by the bench.
    pub(crate) async fn stage(&self, scene: Scene<'_>) -> anyhow::Result<Stage> {
        let urls = lock(&self.urls).clone().context("the servers are not up")?;
        let (plan, settings) = self.asked(scene);
        let ground = self.ground(&plan, &settings, urls).await?;
        let simulator = simulator::plan(&ground, &plan, &settings, &self.crew)?;
        if let Some((handle, _)) = &simulator {
            lock(&self.playing).push(handle.clone());
        }
        let workers = simulator::start(simulator).await?;
        Ok(self.on(ground, workers, 0))
    }

    /// The same scene on a second empty ledger of the same server: with services of its own, and
    /// with the simulated workers of the first.
    pub(crate) async fn beside(&self, first: &Stage, scene: Scene<'_>) -> anyhow::Result<Stage> {
        let mut urls = lock(&self.urls).clone().context("the servers are not up")?;
        urls.database = servers::database_beside(&urls.database, BESIDE)?;
        *lock(&self.beside) = Some(urls.database.clone());
        let (mut plan, settings) = self.asked(scene);
        plan.port = ports::choose(&self.work, &["gateway", "gateway-beside"])?["gateway-beside"];
        let ground = self.ground(&plan, &settings, urls).await?;
        Ok(self.on(ground, first.workers.clone(), REPLICAS_MAX))
    }

    fn asked(&self, scene: Scene<'_>) -> (Plan, Settings) {
        let mut settings = Settings::default();
        for name in ["DATABASE_URL", "AMQP_URL", "RABBITMQ_MANAGEMENT_URL"] {
            settings.set(name, "");
        }
        for (name, value) in scene.settings {
            settings.set(name, value);
        }
        settings.set("WAHA_SIM_ARGS", scene.simulator);
        let plan = Plan {
            dir: self.work.path().to_owned(),
            port: 0,
            schedulers: 0,
            senders: 0,
            sim_workers: scene.workers,
            register: false,
            restart: false,
        };
        (plan, settings)
    }

    async fn ground(&self, plan: &Plan, settings: &Settings, urls: Urls) -> anyhow::Result<Ground> {
        servers::empty_database(&urls.database).await?;
        let ground = Ground::new(&self.work, plan, settings, urls)?;
        services::migrate(&ground).await?;
        Ok(ground)
    }

    fn on(&self, ground: Ground, workers: Vec<SimWorker>, others: u32) -> Stage {
        let facts = ground.facts(Vec::new());
        Stage {
            ground,
            crew: self.crew.clone(),
            database: facts.database,
            gateway: facts.gateway,
            workers,
            handles: Mutex::default(),
            others,
        }
    }

    /// Ends what the last bench has left running, and gives back the room of its second ledger.
    pub(crate) async fn clear(&self) {
        let playing = std::mem::take(&mut *lock(&self.playing));
        for handle in playing.into_iter().rev() {
            handle.stop().await;
        }
        let beside = lock(&self.beside).take();
        if let Some(url) = beside
            && let Err(cause) = servers::remove_database(&url).await
        {
            eprintln!("bench: the second database could not be removed: {cause:#}");
        }
    }
}

impl Stage {
    /// Starts replica `number` of a service and waits until it is ready.
    pub(crate) async fn start(
        &self,
        hall: &Hall,
        role: &'static str,
        number: u32,
    ) -> anyhow::Result<()> {
        let program = match role {
            "gateway" => self.the_gateway(hall)?,
            _ => {
                let number = self.others + number;
                self.ground.replica(role, "PROBES_LISTEN", number)?
            }
        };
        let name = program.name();
        let handle = self.crew.add(program);
        lock(&hall.playing).push(handle.clone());
        handle.start().await?;
        lock(&self.handles).insert(name, handle);
        Ok(())
    }

    /// The gateway, told apart from the one of the stage beside.
    fn the_gateway(&self, hall: &Hall) -> anyhow::Result<Program> {
        let mut program = self.ground.gateway()?;
        if self.others > 0 {
            program.replica = Some(self.others + 1);
            program.log = hall.work.log(&program.name());
        }
        Ok(program)
    }

    /// The name of replica `number` of a service.
    pub(crate) fn replica(&self, role: &str, number: u32) -> String {
        format!("{role}-{}", self.others + number)
    }

    /// Stops a service as its operator would.
    pub(crate) async fn stop(&self, name: &str) {
        let handle = lock(&self.handles).get(name).cloned();
        if let Some(handle) = handle {
            handle.stop().await;
        }
    }

    /// Kills a service, and all that it started, at once.
    pub(crate) fn kill(&self, name: &str) -> anyhow::Result<()> {
        let pid = self.pid(name)?;
        signal_group(pid, Signal::SIGKILL);
        Ok(())
    }

    /// The process id of a service or server.
    pub(crate) fn pid(&self, name: &str) -> anyhow::Result<i32> {
        let entries = self.crew.roster.entries();
        let mut named = entries.iter().filter(|entry| {
            entry.name == name || format!("{}-{}", entry.name, entry.replica) == name
        });
        let found = named
            .next()
            .with_context(|| format!("{name} does not run"))?;
        Ok(found.pid)
    }

    /// The roles that run now and their process ids.
    pub(crate) fn processes(&self) -> Vec<(String, i32)> {
        let entries = self.crew.roster.entries().into_iter();
        entries.map(|entry| (entry.name, entry.pid)).collect()
    }

    /// A connection of one's own to the ledger.
    pub(crate) async fn db(&self) -> anyhow::Result<Client> {
        connect(&self.database).await
    }

    /// A secret that the services share.
    pub(crate) fn secret(&self, name: &str) -> anyhow::Result<String> {
        self.ground.secret(name)
    }
}

/// A connection to a PostgreSQL.
pub(crate) async fn connect(url: &str) -> anyhow::Result<Client> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}

/// Waits until `look` says yes.
///
/// # Errors
/// It failed, or did not say so for minutes; then `what` says what was awaited.
pub(crate) async fn until(
    what: &str,
    mut look: impl AsyncFnMut() -> anyhow::Result<bool>,
) -> anyhow::Result<()> {
    let began = Instant::now();
    while !look().await? {
        if began.elapsed() > PATIENCE {
            bail!("{what}: not within {} s", PATIENCE.as_secs());
        }
        sleep(LOOK_EVERY).await;
    }
    Ok(())
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
