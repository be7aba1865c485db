//! One child process: how it is started, how we know that it is ready, how it is stopped.
//!
//! Every child leads its own process group, so a Ctrl-C in the terminal reaches only us and a
//! kill reaches all that the child has started.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, bail};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, timeout};

use crate::servers::account::Account;

/// Between two looks at whether a child is ready: short beside any start, cheap to do.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// How a child shows that it can be used.
#[derive(Debug, Clone)]
pub(crate) enum Ready {
    /// These ports of 127.0.0.1 accept connections.
    Ports(Vec<u16>),
    /// This PostgreSQL accepts a session.
    Postgres(String),
    /// This address answers 200.
    Http(String),
    /// It has written a line that is a JSON object with `workers`.
    Announcement,
}

/// Everything needed to start a child, any number of times.
#[derive(Debug, Clone)]
pub(crate) struct Program {
    /// What kind of process it is, as in `run.json`.
    pub(crate) role: &'static str,
    /// Counts from 1 within the role; `None` where there is only ever one.
    pub(crate) replica: Option<u32>,
    /// The file to execute.
    pub(crate) executable: PathBuf,
    /// Its arguments.
    pub(crate) arguments: Vec<OsString>,
    /// Whether it gets our own environment too, or nothing of it but `PATH`: settings and secrets
    /// of the system are not the servers' business, nor are stray variables of theirs in ours.
    pub(crate) inherits: bool,
    /// What is added to that environment.
    pub(crate) environment: Vec<(String, String)>,
    /// Whom to run as, if not as ourselves.
    pub(crate) account: Option<Account>,
    /// Where to run; must be readable for `account`.
    pub(crate) directory: PathBuf,
    /// Receives stdout and stderr, appended.
    pub(crate) log: PathBuf,
    /// How we know that it is ready.
    pub(crate) ready: Ready,
    /// How long that may take.
    pub(crate) ready_within: Duration,
    /// What asks it to stop.
    pub(crate) stop: Signal,
    /// How long it may take over stopping before it is killed.
    pub(crate) grace: Duration,
}

/// A started child.
#[derive(Debug)]
pub(crate) struct Running {
    child: Child,
    /// The process id, which is also the id of its group.
    pub(crate) pid: i32,
    log_start: u64,
}

impl Program {
    /// `sender-2`, or the role alone where there is only one.
    pub(crate) fn name(&self) -> String {
        self.replica
            .map_or_else(|| self.role.to_owned(), |n| format!("{}-{n}", self.role))
    }

    /// Starts it without waiting for it to be ready.
    pub(crate) fn spawn(&self) -> anyhow::Result<Running> {
        let log = open_log(&self.log)?;
        let log_start = log.metadata()?.len();
        let mut command = std::process::Command::new(&self.executable);
        if !self.inherits {
            command
                .env_clear()
                .envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
        }
        command
            .args(&self.arguments)
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .current_dir(&self.directory)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .process_group(0);
        if let Some(account) = &self.account {
            command.uid(account.uid).gid(account.gid);
        }
        let child = Command::from(command)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("cannot start {}", self.executable.display()))?;
        let pid = child.id().context("the child ended at once")?.try_into()?;
        Ok(Running {
            child,
            pid,
            log_start,
        })
    }

    /// Waits until it is ready.
    ///
    /// # Errors
    /// It ended, or was not ready in time; with the last lines of its log.
    pub(crate) async fn wait_ready(&self, running: &mut Running) -> anyhow::Result<()> {
        let started = Instant::now();
        loop {
            if self.is_ready(running).await {
                return Ok(());
            }
            if let Some(status) = running.child.try_wait()? {
                bail!(
                    "{} ended ({status}) before it was ready{}",
                    self.name(),
                    self.log_tail()
                );
            }
            if started.elapsed() > self.ready_within {
                let limit = self.ready_within.as_secs();
                bail!(
                    "{} was not ready within {limit} s{}",
                    self.name(),
                    self.log_tail()
                );
            }
            sleep(LOOK_EVERY).await;
        }
    }

    async fn is_ready(&self, running: &Running) -> bool {
        let look = Duration::from_secs(2);
        match &self.ready {
            Ready::Announcement => announcement_after(&self.log, running.log_start).is_some(),
            Ready::Ports(ports) => {
                for port in ports {
                    let connect = tokio::net::TcpStream::connect(("127.0.0.1", *port));
                    if !matches!(timeout(look, connect).await, Ok(Ok(_))) {
                        return false;
                    }
                }
                true
            }
            Ready::Postgres(url) => {
                let connect = tokio_postgres::connect(url, tokio_postgres::NoTls);
                matches!(timeout(look, connect).await, Ok(Ok(_)))
            }
            Ready::Http(url) => {
                let answer = timeout(look, reqwest::get(url)).await;
                matches!(answer, Ok(Ok(answer)) if answer.status() == 200)
            }
        }
    }

    /// Asks it to stop, waits out its grace, then kills its group.
    pub(crate) async fn stop(&self, mut running: Running) -> anyhow::Result<ExitStatus> {
        signal_group(running.pid, self.stop);
        if let Ok(status) = timeout(self.grace, running.child.wait()).await {
            return Ok(status?);
        }
        signal_group(running.pid, Signal::SIGKILL);
        Ok(running.child.wait().await?)
    }

    fn log_tail(&self) -> String {
        let text = fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().rev().take(8).collect();
        let tail = lines
            .into_iter()
            .rev()
            .fold(String::new(), |all, line| all + "\n    " + line);
        format!("; its log {} ends with:{tail}", self.log.display())
    }
}

impl Running {
    /// Resolves when the child has ended by itself.
    pub(crate) async fn ended(&mut self) -> std::io::Result<ExitStatus> {
        self.child.wait().await
    }
}

/// The last such line of a log.
pub(crate) fn announcement(log: &Path) -> Option<serde_json::Value> {
    announcement_after(log, 0)
}

fn announcement_after(log: &Path, start: u64) -> Option<serde_json::Value> {
    let written = fs::read(log).ok()?;
    let fresh = written.get(usize::try_from(start).ok()?..)?;
    let complete = &fresh[..=fresh.iter().rposition(|byte| *byte == b'\n')?];
    let objects = complete
        .rsplit(|byte| *byte == b'\n')
        .filter(|line| line.starts_with(b"{"));
    objects
        .filter_map(|line| serde_json::from_slice(line).ok())
        .find(|said: &serde_json::Value| said.get("workers").is_some())
}

/// Signals a child's group; one that has just ended is no fault.
pub(crate) fn signal_group(pid: i32, signal: Signal) {
    let _gone = killpg(Pid::from_raw(pid), signal);
}

fn open_log(path: &Path) -> anyhow::Result<File> {
    OpenOptions::new()
        .append(true)
        .create(true)
        .open(path)
        .with_context(|| format!("cannot write the log {}", path.display()))
}
