//! The deployed binaries as child processes: gateway, scheduler, sender.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use nix::sys::signal::Signal;
use tokio::process::Command;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::{Plan, RunFacts, Settings, SimWorker};
use crate::process::{Program, Ready};
use crate::servers::{Urls, ports};
use crate::supervise::{Crew, Handle};
use crate::workdir::WorkDir;

/// A service that cannot reach its servers in this time has the wrong address.
const READY_WITHIN: Duration = Duration::from_secs(60);
/// Longer than the services' own default of 25 s, after which they end by themselves.
const GRACE: Duration = Duration::from_secs(30);
/// Migrations of a large database take their time; a stuck one must end nevertheless.
const MIGRATE_WITHIN: Duration = Duration::from_secs(600);

/// What all children stand on: directory, binaries, addresses, secrets.
#[derive(Debug)]
pub(crate) struct Ground {
    pub(super) work: Arc<WorkDir>,
    binaries: PathBuf,
    urls: Urls,
    gateway: u16,
    admin_api_key: String,
    environment: Vec<(String, String)>,
}

impl Ground {
    /// Chooses the gateway's port and makes the secrets that are not set.
    pub(crate) fn new(
        work: &Arc<WorkDir>,
        plan: &Plan,
        settings: &Settings,
        urls: Urls,
    ) -> anyhow::Result<Self> {
        let secret = |name| settings.get(name).map_or_else(|| work.secret(name), Ok);
        let gateway = match plan.port {
            0 => ports::choose(work, &["gateway"])?["gateway"],
            port if ports::is_free(port) => port,
            port => bail!("port {port} is in use; choose another with --port, or 0 for a free one"),
        };
        let admin_api_key = secret("ADMIN_API_KEY")?;
        let called_back = settings.get("WEBHOOK_BASE_URL");
        let mut environment = settings.for_children();
        environment.extend(
            [
                // Their output goes to files, which are read without a terminal.
                ("NO_COLOR", "1".to_owned()),
                ("DATABASE_URL", urls.database.clone()),
                (
                    "DATABASE_DIRECT_URL",
                    urls.direct.clone().unwrap_or_default(),
                ),
                ("AMQP_URL", urls.amqp.clone()),
                ("ADMIN_API_KEY", admin_api_key.clone()),
                ("WEBHOOK_HMAC_KEY", secret("WEBHOOK_HMAC_KEY")?),
                (
                    "WEBHOOK_BASE_URL",
                    called_back.unwrap_or_else(|| loopback(gateway)),
                ),
            ]
            .map(|(name, value)| (name.to_owned(), value)),
        );
        let own = std::env::current_exe()?;
        let binaries = own
            .parent()
            .context("this program lies in no folder")?
            .to_owned();
        let work = Arc::clone(work);
        Ok(Self {
            work,
            binaries,
            urls,
            gateway,
            admin_api_key,
            environment,
        })
    }

    /// A secret of this directory.
    pub(crate) fn secret(&self, name: &str) -> anyhow::Result<String> {
        self.work.secret(name)
    }

    /// What `run.json` says.
    pub(crate) fn facts(&self, workers: Vec<SimWorker>) -> RunFacts {
        RunFacts {
            gateway: loopback(self.gateway),
            admin_api_key: self.admin_api_key.clone(),
            amqp: self.urls.amqp.clone(),
            rabbitmq_management: self.urls.management.clone(),
            database: self.urls.database.clone(),
            workers,
        }
    }

    /// The binary called `name`, beside this one.
    pub(super) fn binary(&self, name: &str) -> anyhow::Result<PathBuf> {
        let path = self.binaries.join(name);
        if !path.is_file() {
            bail!(
                "{} is missing; build it with `cargo build --workspace --bins`",
                path.display()
            );
        }
        Ok(path)
    }

    /// A service that answers on `port`; the setting `listen` tells it so.
    fn service(&self, role: &'static str, listen: &str, port: u16) -> anyhow::Result<Program> {
        let mut environment = self.environment.clone();
        environment.push((listen.to_owned(), format!("127.0.0.1:{port}")));
        Ok(Program {
            role,
            replica: None,
            executable: self.binary(&format!("wahacast-{role}"))?,
            arguments: Vec::new(),
            inherits: true,
            environment,
            account: None,
            directory: self.work.path().to_owned(),
            log: self.work.log(role),
            ready: Ready::Http(format!("{}/readyz", loopback(port))),
            ready_within: READY_WITHIN,
            stop: Signal::SIGTERM,
            grace: GRACE,
        })
    }

    /// The gateway, on the port that was chosen for it.
    pub(crate) fn gateway(&self) -> anyhow::Result<Program> {
        let mut program = self.service("gateway", "GATEWAY_LISTEN", self.gateway)?;
        let name = ("REPLICA_NAME".to_owned(), "gateway".to_owned());
        program.environment.push(name);
        Ok(program)
    }

    /// Replica `number` of a service, which answers on the port that the setting `listen` tells.
    pub(crate) fn replica(
        &self,
        role: &'static str,
        listen: &str,
        number: u32,
    ) -> anyhow::Result<Program> {
        let name = format!("{role}-{number}");
        let port = ports::choose(&self.work, &[&name])?[&name];
        let mut program = self.service(role, listen, port)?;
        program.replica = Some(number);
        program.log = self.work.log(&name);
        program.environment.push(("REPLICA_NAME".to_owned(), name));
        Ok(program)
    }
}

/// The base URL of a port of this machine.
pub(crate) fn loopback(port: u16) -> String {
    format!("http://127.0.0.1:{port}")
}

/// Brings the database to the version of these binaries.
pub(crate) async fn migrate(ground: &Ground) -> anyhow::Result<()> {
    let log = ground.work.log("migrate");
    let output = std::fs::File::create(&log)?;
    let mut command = Command::new(ground.binary("wahacast-gateway")?);
    command
        .arg("migrate")
        .envs(ground.environment.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::null())
        .stdout(output.try_clone()?)
        .stderr(output)
        .kill_on_drop(true);
    let status = timeout(MIGRATE_WITHIN, command.status())
        .await
        .context("it took too long")??;
    if !status.success() {
        bail!("`wahacast-gateway migrate` failed ({status}){}", tail(&log));
    }
    Ok(())
}

fn tail(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    text.lines()
        .rev()
        .take(5)
        .fold(String::new(), |all, line| format!("\n    {line}{all}"))
}

/// Puts every service under supervision, none started yet.
pub(super) fn plan(ground: &Ground, plan: &Plan, crew: &Crew) -> anyhow::Result<Vec<Handle>> {
    let mut programs = vec![ground.gateway()?];
    for (role, replicas) in [("scheduler", plan.schedulers), ("sender", plan.senders)] {
        for number in 1..=replicas {
            programs.push(ground.replica(role, "PROBES_LISTEN", number)?);
        }
    }
    Ok(programs
        .into_iter()
        .map(|program| crew.add(program))
        .collect())
}

/// Starts all of them at once; the first that fails decides.
pub(crate) async fn start_all(handles: Vec<Handle>) -> anyhow::Result<()> {
    let mut starts: JoinSet<anyhow::Result<()>> = handles
        .into_iter()
        .map(|handle| async move { handle.start().await })
        .collect();
    while let Some(started) = starts.join_next().await {
        started??;
    }
    Ok(())
}

/// Arguments that stand in a setting, separated by blanks.
pub(super) fn words(text: &str) -> Vec<OsString> {
    text.split_whitespace().map(OsString::from).collect()
}
