//! `wahacast up`: the whole system on one machine.
//!
//! Servers first, then the migration, then the services and the simulator together, then the
//! registration of workers; `run.json` appears when all of it is ready. The reverse at the end.

mod run_file;
pub(crate) mod services;
mod settings;
pub(crate) mod simulator;
mod summary;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use tokio::time::Instant;

pub(crate) use run_file::{RunFacts, SimWorker};
pub(crate) use settings::Settings;

use crate::cli::UpArgs;
use crate::servers::{self, Given, leftovers};
use crate::signals::StopSignals;
use crate::supervise::Crew;
use crate::workdir::WorkDir;

/// What to start.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    /// Where data, logs and settings are kept.
    pub(crate) dir: PathBuf,
    /// The gateway's port on 127.0.0.1; 0 takes a free one.
    pub(crate) port: u16,
    /// Replicas of the scheduler.
    pub(crate) schedulers: u32,
    /// Replicas of the sender.
    pub(crate) senders: u32,
    /// Simulated WAHA workers; 0 for no simulator.
    pub(crate) sim_workers: u32,
    /// Register the simulated workers with the gateway.
    pub(crate) register: bool,
    /// Start a process again when it ends by itself.
    pub(crate) restart: bool,
}

impl From<UpArgs> for Plan {
    fn from(args: UpArgs) -> Self {
        Self {
            dir: args.dir,
            port: args.port,
            schedulers: args.schedulers,
            senders: args.senders,
            sim_workers: args.sim_workers,
            register: args.register,
            restart: !args.no_restart,
        }
    }
}

/// A directory held by this process and the children that run from it.
#[derive(Debug)]
pub(crate) struct System {
    work: Arc<WorkDir>,
    crew: Crew,
}

impl System {
    /// Takes the directory, after stopping what a killed predecessor has left running from it.
    pub(crate) async fn open(plan: &Plan) -> anyhow::Result<Self> {
        let work = WorkDir::open(&plan.dir)?;
        run_file::remove(work.path())?;
        let left = leftovers::stop_noted(&work.path().join("pids.json")).await;
        if left > 0 {
            eprintln!("wahacast: stopped {left} processes that an earlier run had left behind");
        }
        let crew = Crew::new(work.path(), plan.restart);
        crate::control::serve(work.path(), &crew)?;
        Ok(Self {
            work: Arc::new(work),
            crew,
        })
    }

    /// Starts everything that is planned and waits until it is ready.
    ///
    /// # Errors
    /// Something did not start; what did still runs until [`System::stop`].
    pub(crate) async fn start(&self, plan: &Plan, settings: &Settings) -> anyhow::Result<RunFacts> {
        let began = Instant::now();
        let given = Given::from(|name| settings.get(name));
        let urls = servers::start(&self.work, &self.crew, given).await?;
        eprintln!(
            "wahacast: servers are ready after {:.1} s",
            began.elapsed().as_secs_f64()
        );
        let ground = services::Ground::new(&self.work, plan, settings, urls)?;
        services::migrate(&ground)
            .await
            .context("the database could not be migrated")?;
        let handles = services::plan(&ground, plan, &self.crew)?;
        let simulator = simulator::plan(&ground, plan, settings, &self.crew)?;
        let services = services::start_all(handles);
        let workers = simulator::start(simulator);
        let ((), workers) = tokio::try_join!(services, workers)?;
        let facts = ground.facts(workers);
        if plan.register {
            simulator::register(&facts).await?;
        }
        run_file::publish(self.work.path(), &facts, &self.crew.roster)?;
        eprintln!(
            "wahacast: everything is ready after {:.1} s",
            began.elapsed().as_secs_f64()
        );
        Ok(facts)
    }

    /// Stops everything in order; `run.json` goes first, as it would no longer be true.
    pub(crate) async fn stop(&self) {
        self.crew.roster.withdraw();
        if let Err(fault) = run_file::remove(self.work.path()) {
            eprintln!("wahacast: {fault:#}");
        }
        self.crew.stop_all().await;
    }

    /// Where things are, for people.
    pub(crate) fn summary(&self, facts: &RunFacts) -> String {
        summary::text(self.work.path(), facts, &self.crew.roster.entries())
    }
}

/// Runs the system in the foreground until SIGINT or SIGTERM.
pub(crate) async fn run(args: UpArgs) -> anyhow::Result<ExitCode> {
    let mut signals = StopSignals::subscribe()?;
    let plan = Plan::from(args);
    let settings = Settings::load()?;
    let system = System::open(&plan).await?;
    let started = tokio::select! {
        started = system.start(&plan, &settings) => started,
        signal = signals.next() => Err(anyhow::anyhow!("interrupted by {signal}")),
    };
    let outcome = match started {
        Ok(facts) => {
            println!("{}", system.summary(&facts));
            let signal = signals.next().await;
            eprintln!("wahacast: {signal}, stopping (once more to stop at once)");
            Ok(ExitCode::SUCCESS)
        }
        Err(fault) => Err(fault),
    };
    tokio::select! {
        () = system.stop() => outcome,
        _ = signals.next() => anyhow::bail!("stopped at once; the next start tidies up"),
    }
}
