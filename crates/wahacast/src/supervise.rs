//! Keeps children running, and stops, starts and lists them on request.
//!
//! One task per child owns it; everything else sends it orders. A child that ends without an
//! order is started again after a pause that doubles while it keeps ending.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context;
use serde::Serialize;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until};

use crate::process::{Program, Running};
use crate::servers::leftovers;

/// The first pause before a child that ended is started again.
const PAUSE_MIN: Duration = Duration::from_millis(500);
/// The longest such pause.
const PAUSE_MAX: Duration = Duration::from_secs(10);
/// A child that ran this long has recovered: the pause begins anew.
const STEADY_AFTER: Duration = Duration::from_secs(30);

/// Whoever uses another stops before it.
const STOP_ORDER: [&str; 7] = [
    "sender",
    "scheduler",
    "gateway",
    "waha-sim",
    "rabbitmq",
    "epmd",
    "postgres",
];

/// A live process, as `run.json` lists it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Entry {
    /// Its role: `gateway`, `sender`, `postgres`...
    pub(crate) name: String,
    /// Counts from 1 within the role.
    pub(crate) replica: u32,
    /// The process id.
    pub(crate) pid: i32,
}

/// Who is running now. Every change is written down at once, for readers and for the next start.
#[derive(Debug)]
pub(crate) struct Roster {
    pids_file: PathBuf,
    state: Mutex<RosterState>,
}

#[derive(Debug, Default)]
struct RosterState {
    entries: Vec<Option<Entry>>,
    run_file: Option<(PathBuf, serde_json::Map<String, serde_json::Value>)>,
}

impl Roster {
    /// An empty roster that notes process ids in `dir` for the next start.
    pub(crate) fn new(dir: &Path) -> Arc<Self> {
        Arc::new(Self {
            pids_file: dir.join("pids.json"),
            state: Mutex::default(),
        })
    }

    /// From now on also writes `facts` plus the processes to `path`.
    pub(crate) fn publish(
        &self,
        path: PathBuf,
        facts: serde_json::Map<String, serde_json::Value>,
    ) -> anyhow::Result<()> {
        let mut state = self.lock();
        state.run_file = Some((path, facts));
        self.save(&state)
    }

    /// Writes no more to the file of [`Roster::publish`].
    pub(crate) fn withdraw(&self) {
        self.lock().run_file = None;
    }

    /// Who is running.
    pub(crate) fn entries(&self) -> Vec<Entry> {
        self.lock().entries.iter().flatten().cloned().collect()
    }

    fn reserve(&self) -> usize {
        let mut state = self.lock();
        state.entries.push(None);
        state.entries.len() - 1
    }

    fn set(&self, place: usize, entry: Option<Entry>) {
        let mut state = self.lock();
        if let Some(slot) = state.entries.get_mut(place) {
            *slot = entry;
        }
        if let Err(fault) = self.save(&state) {
            eprintln!("wahacast: cannot write down who is running: {fault:#}");
        }
    }

    fn save(&self, state: &RosterState) -> anyhow::Result<()> {
        let live: Vec<&Entry> = state.entries.iter().flatten().collect();
        leftovers::note(&self.pids_file, live.iter().map(|entry| entry.pid))?;
        let Some((path, facts)) = &state.run_file else {
            return Ok(());
        };
        let mut all = facts.clone();
        all.insert("processes".to_owned(), serde_json::to_value(&live)?);
        crate::workdir::write_private(path, &serde_json::to_string_pretty(&all)?)
    }

    fn lock(&self) -> MutexGuard<'_, RosterState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

enum Order {
    Start(oneshot::Sender<anyhow::Result<()>>),
    Stop(oneshot::Sender<()>),
}

/// A supervised child; clones speak to the same one.
#[derive(Debug, Clone)]
pub(crate) struct Handle {
    /// `sender-2`, `postgres`...
    pub(crate) name: String,
    orders: mpsc::Sender<Order>,
}

impl Handle {
    /// Starts the child unless it runs, and waits until it is ready.
    pub(crate) async fn start(&self) -> anyhow::Result<()> {
        let (reply, answer) = oneshot::channel();
        self.orders
            .send(Order::Start(reply))
            .await
            .context("the supervisor has ended")?;
        answer.await.context("the supervisor has ended")?
    }

    /// Stops the child, which then stays stopped.
    pub(crate) async fn stop(&self) {
        let (reply, answer) = oneshot::channel();
        if self.orders.send(Order::Stop(reply)).await.is_ok() {
            let _ended = answer.await;
        }
    }
}

/// All children of this program, in the order in which they were added. Clones share them.
#[derive(Debug, Clone)]
pub(crate) struct Crew {
    /// Who of them is running.
    pub(crate) roster: Arc<Roster>,
    restart: bool,
    members: Arc<Mutex<Vec<(&'static str, Handle)>>>,
}

impl Crew {
    /// No children yet; notes go to `dir`. Without `restart` one that ends by itself stays down.
    pub(crate) fn new(dir: &Path, restart: bool) -> Self {
        Self {
            roster: Roster::new(dir),
            restart,
            members: Arc::default(),
        }
    }

    /// Puts a child under supervision, not started yet.
    pub(crate) fn add(&self, program: Program) -> Handle {
        let role = program.role;
        let handle = supervise(program, &self.roster, self.restart);
        self.lock().push((role, handle.clone()));
        handle
    }

    /// The child called `name`.
    pub(crate) fn find(&self, name: &str) -> anyhow::Result<Handle> {
        let members = self.lock();
        let found = members.iter().find(|(_, handle)| handle.name == name);
        found.map(|(_, handle)| handle.clone()).with_context(|| {
            let names: Vec<&str> = members.iter().map(|(_, handle)| &*handle.name).collect();
            format!(
                "there is no process {name:?} here; there are {}",
                names.join(", ")
            )
        })
    }

    /// Stops everything in the order of [`STOP_ORDER`]; replicas of one role at the same time.
    pub(crate) async fn stop_all(&self) {
        let members = self.lock().clone();
        for role in STOP_ORDER {
            let mut stops = tokio::task::JoinSet::new();
            for (_, handle) in members.iter().filter(|(other, _)| *other == role) {
                let handle = handle.clone();
                stops.spawn(async move { handle.stop().await });
            }
            stops.join_all().await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<(&'static str, Handle)>> {
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn supervise(program: Program, roster: &Arc<Roster>, restart: bool) -> Handle {
    let (orders, inbox) = mpsc::channel(4);
    let name = program.name();
    let keeper = Keeper {
        place: roster.reserve(),
        roster: Arc::clone(roster),
        program,
        restart,
        running: None,
        again_at: None,
        pause: PAUSE_MIN,
        started_at: Instant::now(),
    };
    tokio::spawn(keeper.run(inbox));
    Handle { name, orders }
}

struct Keeper {
    program: Program,
    roster: Arc<Roster>,
    place: usize,
    restart: bool,
    running: Option<Running>,
    again_at: Option<Instant>,
    pause: Duration,
    started_at: Instant,
}

impl Keeper {
    async fn run(mut self, mut inbox: mpsc::Receiver<Order>) {
        loop {
            let again_at = self.again_at;
            tokio::select! {
                order = inbox.recv() => match order {
                    Some(order) => self.obey(order).await,
                    None => break,
                },
                status = ended(&mut self.running) => self.note_end(&status),
                () = sleep_until(again_at.unwrap_or(self.started_at)), if again_at.is_some() => {
                    self.start_again();
                }
            }
        }
        self.stop().await;
    }

    async fn obey(&mut self, order: Order) {
        match order {
            Order::Start(mut reply) => {
                // Who asked may give up, for instance on Ctrl-C during a slow start.
                let outcome = tokio::select! {
                    outcome = self.start() => Some(outcome),
                    () = reply.closed() => None,
                };
                match outcome {
                    Some(outcome) => {
                        let _nobody_waits = reply.send(outcome);
                    }
                    None => self.stop().await,
                }
            }
            Order::Stop(reply) => {
                self.stop().await;
                let _nobody_waits = reply.send(());
            }
        }
    }

    async fn start(&mut self) -> anyhow::Result<()> {
        if self.running.is_none() {
            self.spawn()?;
        }
        let Some(running) = &mut self.running else {
            return Ok(());
        };
        let ready = self.program.wait_ready(running).await;
        if ready.is_err() {
            self.stop().await;
        }
        ready
    }

    fn spawn(&mut self) -> anyhow::Result<()> {
        self.again_at = None;
        let running = self.program.spawn()?;
        self.started_at = Instant::now();
        let entry = Entry {
            name: self.program.role.to_owned(),
            replica: self.program.replica.unwrap_or(1),
            pid: running.pid,
        };
        self.running = Some(running);
        self.roster.set(self.place, Some(entry));
        Ok(())
    }

    async fn stop(&mut self) {
        self.again_at = None;
        if let Some(running) = self.running.take() {
            if let Err(fault) = self.program.stop(running).await {
                eprintln!("wahacast: stopping {}: {fault:#}", self.program.name());
            }
            self.roster.set(self.place, None);
        }
    }

    /// The child has ended without an order.
    fn note_end(&mut self, status: &str) {
        self.running = None;
        self.roster.set(self.place, None);
        let name = self.program.name();
        let log = self.program.log.display();
        if !self.restart {
            eprintln!("wahacast: {name} ended ({status}) and stays down; log: {log}");
            return;
        }
        if self.started_at.elapsed() > STEADY_AFTER {
            self.pause = PAUSE_MIN;
        }
        eprintln!(
            "wahacast: {name} ended ({status}); again in {:?}; log: {log}",
            self.pause
        );
        self.again_at = Some(Instant::now() + self.pause);
        self.pause = (self.pause * 2).min(PAUSE_MAX);
    }

    fn start_again(&mut self) {
        if let Err(fault) = self.spawn() {
            self.note_end(&format!("{fault:#}"));
        }
    }
}

/// Resolves when the child ends; never while there is none.
async fn ended(running: &mut Option<Running>) -> String {
    match running {
        None => std::future::pending().await,
        Some(running) => match running.ended().await {
            Ok(status) => status.to_string(),
            Err(fault) => fault.to_string(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::Ready;
    use nix::sys::signal::{Signal, kill};
    use nix::unistd::Pid;

    /// Says that it is ready, and then does what `script` says.
    fn program(dir: &Path, script: &str) -> Program {
        Program {
            role: "sender",
            replica: Some(1),
            executable: "/bin/sh".into(),
            arguments: vec![
                "-c".into(),
                format!("echo '{{\"workers\":[]}}'; {script}").into(),
            ],
            inherits: true,
            environment: Vec::new(),
            account: None,
            directory: dir.to_owned(),
            log: dir.join("sender-1.log"),
            ready: Ready::Announcement,
            ready_within: Duration::from_secs(10),
            stop: Signal::SIGTERM,
            grace: Duration::from_millis(200),
        }
    }

    async fn pid_other_than(crew: &Crew, old: i32) -> i32 {
        let began = Instant::now();
        while began.elapsed() < Duration::from_secs(10) {
            if let [entry] = &*crew.roster.entries()
                && entry.pid != old
            {
                return entry.pid;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("no other process in 10 s");
    }

    #[tokio::test]
    async fn a_killed_child_comes_back_and_a_stopped_one_does_not() {
        let dir = tempfile::tempdir().unwrap();
        let crew = Crew::new(dir.path(), true);
        let child = crew.add(program(dir.path(), "exec sleep 60"));
        child.start().await.unwrap();
        let first = pid_other_than(&crew, 0).await;
        kill(Pid::from_raw(first), Signal::SIGKILL).unwrap();
        let second = pid_other_than(&crew, first).await;
        child.stop().await;
        assert!(kill(Pid::from_raw(second), None).is_err());
        tokio::time::sleep(PAUSE_MIN * 2).await;
        assert_eq!(crew.roster.entries(), []);
        child.start().await.unwrap();
        crew.find("sender-1").unwrap().stop().await;
        assert!(
            crew.find("nix")
                .unwrap_err()
                .to_string()
                .contains("sender-1")
        );
    }

    #[tokio::test]
    async fn one_that_ignores_the_signal_is_killed_with_all_that_it_started() {
        let dir = tempfile::tempdir().unwrap();
        let crew = Crew::new(dir.path(), true);
        let child = crew.add(program(
            dir.path(),
            "trap '' TERM; sleep 60 & sleep 60; sleep 60",
        ));
        child.start().await.unwrap();
        let pid = pid_other_than(&crew, 0).await;
        crew.stop_all().await;
        let began = Instant::now();
        while nix::sys::signal::killpg(Pid::from_raw(pid), None).is_ok() {
            assert!(
                began.elapsed() < Duration::from_secs(10),
                "the group lives on"
            );
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    #[tokio::test]
    async fn a_failed_start_shows_the_log() {
        let dir = tempfile::tempdir().unwrap();
        let crew = Crew::new(dir.path(), false);
        let mut failing = program(dir.path(), "");
        failing.arguments = vec!["-c".into(), "echo no such database; exit 3".into()];
        let fault = crew.add(failing).start().await.unwrap_err().to_string();
        assert!(
            fault.contains("exit status: 3") && fault.contains("no such database"),
            "{fault}"
        );
        assert_eq!(crew.roster.entries(), []);
    }
}
