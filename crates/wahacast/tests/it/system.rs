//! A whole system under test: `wahacast up` as a process, in a directory of its own.
//!
//! It runs on a fresh database and vhost of the servers that all tests share, except where a test
//! stops a server: then that server is the system's own. Stopped with SIGTERM at the end, also
//! after a panic; then the directory stays, and the end of each log is printed.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use serde::Deserialize;
use serde_json::{Value, json};
use tempfile::TempDir;
use testkit::{TestDatabase, TestVhost, eventually};
use tokio::sync::{Mutex, MutexGuard};
use tokio_postgres::{Client, NoTls};

use crate::api::Api;
use crate::checks::Ordered;
use crate::fleet::{Fleet, Worker};

/// A start with servers of its own takes 10 to 20 s, on a busy machine more.
const READY_WITHIN: Duration = Duration::from_secs(180);
/// Senders finish what is in flight within 25 s, RabbitMQ may need 12 s.
const STOPPED_WITHIN: Duration = Duration::from_secs(90);
/// A session's way to WORKING takes a second or two in the simulator.
pub(crate) const SESSION_WITHIN: Duration = Duration::from_secs(60);
/// Lines of each log that are printed after a failure.
const TAIL: usize = 25;

/// Pacing is measured, so no two systems share the processors.
static ONE_AT_A_TIME: Mutex<()> = Mutex::const_new(());

/// The turn of one system; held for as long as it runs.
pub(crate) async fn one_at_a_time() -> MutexGuard<'static, ()> {
    ONE_AT_A_TIME.lock().await
}

/// What to start. Settings are environment variables, as for a deployment.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) senders: u32,
    pub(crate) schedulers: u32,
    pub(crate) workers: u32,
    pub(crate) register: bool,
    pub(crate) restart: bool,
    pub(crate) own_postgres: bool,
    pub(crate) own_rabbitmq: bool,
    pub(crate) settings: Vec<(&'static str, String)>,
    /// The text of `.env`.
    pub(crate) dot_env: &'static str,
    /// Flags of the simulator.
    pub(crate) simulator: &'static str,
}

impl Plan {
    /// One of each service, `workers` registered workers, quick delays without jitter.
    pub(crate) fn new(workers: u32) -> Self {
        Self {
            senders: 1,
            schedulers: 1,
            workers,
            register: true,
            restart: true,
            own_postgres: false,
            own_rabbitmq: false,
            settings: Vec::new(),
            dot_env: "",
            simulator: "--send-delay-ms 5..25",
        }
        .with("MESSAGE_DELAY_JITTER", "0")
        .with("HEARTBEAT_SECONDS", "1")
        .with("REPLICA_DEAD_AFTER_SECONDS", "5")
        .with("MESSAGE_DELAY", "0.1")
        .with("SENDER_SWITCH_DELAY", "0.1")
        .with("CAMPAIGN_DELAY", "0")
    }

    /// Sets one variable; the last value counts.
    pub(crate) fn with(mut self, name: &'static str, value: &str) -> Self {
        self.settings.push((name, value.to_owned()));
        self
    }
}

/// `run.json`.
#[derive(Debug, Clone, Deserialize)]
struct RunFile {
    gateway: String,
    admin_api_key: String,
    database: String,
    workers: Vec<Worker>,
    processes: Vec<Process>,
}

/// A live process of `run.json`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct Process {
    pub(crate) name: String,
    pub(crate) replica: u32,
    pub(crate) pid: i32,
}

/// A running system. Dropping it stops it.
pub(crate) struct System {
    pub(crate) api: Api,
    pub(crate) fleet: Fleet,
    up: Up,
    database: String,
    _test_database: Option<TestDatabase>,
    _test_vhost: Option<TestVhost>,
    _turn: MutexGuard<'static, ()>,
}

impl System {
    /// Starts what is planned and waits until it is ready.
    pub(crate) async fn start(plan: Plan) -> Self {
        let turn = one_at_a_time().await;
        let database = match plan.own_postgres {
            true => None,
            false => Some(testkit::database().await),
        };
        let vhost = match plan.own_rabbitmq {
            true => None,
            false => Some(testkit::vhost().await),
        };
        let mut plan = plan;
        if let Some(database) = &database {
            plan = plan.with("DATABASE_URL", &database.url);
            plan = plan.with("DATABASE_DIRECT_URL", &database.direct_url);
        }
        if let Some(vhost) = &vhost {
            plan = plan.with("AMQP_URL", &vhost.amqp_url);
        }
        let direct = database
            .as_ref()
            .map(|database| database.direct_url.clone());
        let began = Instant::now();
        let mut up = Up::spawn(&plan);
        let run = up.ready().await;
        println!(
            "the system was ready after {:.1} s",
            began.elapsed().as_secs_f64()
        );
        Self {
            api: Api::new(&run.gateway, &run.admin_api_key),
            fleet: Fleet::new(run.workers),
            up,
            database: direct.unwrap_or(run.database),
            _test_database: database,
            _test_vhost: vhost,
            _turn: turn,
        }
    }

    /// The live processes called `name`.
    pub(crate) fn processes(&self, name: &str) -> Vec<Process> {
        let all = self
            .up
            .run_file()
            .map(|run| run.processes)
            .unwrap_or_default();
        all.into_iter()
            .filter(|process| process.name == name)
            .collect()
    }

    /// One of them. Panics when it does not run.
    pub(crate) fn process(&self, name: &str, replica: u32) -> Process {
        let found = self
            .processes(name)
            .into_iter()
            .find(|one| one.replica == replica);
        found.unwrap_or_else(|| panic!("{name}-{replica} does not run"))
    }

    /// `wahacast server stop|start|restart NAME` on this system.
    pub(crate) async fn server(&self, action: &str, name: &str) {
        let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_wahacast"));
        command
            .args(["server", action, name, "--dir"])
            .arg(&self.up.path);
        let done = command.output().await.unwrap();
        let said = String::from_utf8_lossy(&done.stderr);
        assert!(
            done.status.success(),
            "wahacast server {action} {name}: {said}"
        );
    }

    /// The directory that it runs from.
    pub(crate) fn dir(&self) -> &Path {
        &self.up.path
    }

    /// The log of process `name` (`gateway`, `sender-1`...).
    pub(crate) fn log(&self, name: &str) -> String {
        let path = self.up.path.join("logs").join(format!("{name}.log"));
        fs::read_to_string(path).unwrap_or_default()
    }

    /// A connection to the ledger, for what no answer tells: who owns which lane.
    pub(crate) async fn ledger(&self) -> Client {
        let (client, connection) = tokio_postgres::connect(&self.database, NoTls)
            .await
            .unwrap();
        tokio::spawn(connection);
        client
    }

    /// Creates a session, scans its QR and waits until it works; returns its worker's number.
    pub(crate) async fn link(&self, phone: &str) -> usize {
        let body = json!({"phone_number": phone});
        let answer = self.api.post("/api/sessions", &body).await;
        assert!([200, 201].contains(&answer.status), "{}", answer.text());
        self.scan(phone).await
    }

    /// Scans the QR of a session as soon as its worker shows one and waits until it works.
    pub(crate) async fn scan(&self, phone: &str) -> usize {
        let what = format!("{phone} to show a QR on a worker");
        let worker = eventually(&what, SESSION_WITHIN, async || {
            let (worker, status) = self.fleet.holder(phone).await?;
            (status == "SCAN_QR_CODE").then_some(worker)
        })
        .await;
        self.fleet.scan(worker, phone).await;
        self.session_is(phone, "WORKING").await;
        worker
    }

    /// Waits until the gateway says so; returns the session.
    pub(crate) async fn session_is(&self, phone: &str, status: &str) -> Value {
        let what = format!("session {phone} to be {status}");
        eventually(&what, SESSION_WITHIN, async || {
            let session = self
                .api
                .get(&format!("/api/sessions/{phone}"))
                .await
                .expect(200);
            (session["status"] == status).then_some(session)
        })
        .await
    }

    /// The same for many at once.
    pub(crate) async fn link_all(&self, phones: &[String]) {
        join_all(phones.iter().map(|phone| self.link(phone))).await;
    }

    /// Submits a campaign and expects 202.
    pub(crate) async fn submit(&self, sender: &str, recipients: Vec<String>) -> Ordered {
        let body = json!({
            "sender_number": sender,
            "recipients": recipients,
            "template": "Hello, this is a test message!",
            "media_url": null,
        });
        let accepted = self.api.post("/api/send", &body).await.expect(202);
        assert_eq!(accepted["status"], "PENDING", "{accepted}");
        assert_eq!(accepted["total_messages"], recipients.len(), "{accepted}");
        let id = accepted["id"].as_str().unwrap().to_owned();
        Ordered {
            id,
            sender: sender.to_owned(),
            recipients,
        }
    }

    /// Waits until the campaign has ended; returns its last status.
    pub(crate) async fn ended(&self, campaign: &Ordered, bound: Duration) -> Value {
        let path = format!("/api/status/{}", campaign.id);
        let mut last = Value::Null;
        let started = Instant::now();
        eventually(
            &format!("campaign {} to end", campaign.id),
            bound,
            async || {
                last = self.api.get(&path).await.expect(200);
                if started.elapsed() + Duration::from_secs(1) > bound {
                    eprintln!("still not ended: {last}");
                }
                let ended = ["COMPLETED", "COMPLETED_WITH_ERRORS", "CANCELLED"];
                ended
                    .contains(&last["status"].as_str().unwrap())
                    .then(|| last.clone())
            },
        )
        .await
    }

    /// While no replica comes or goes, lanes stay where they are: taken once, and moved at most
    /// twice so that each replica has its share.
    pub(crate) async fn lanes_stay(&self) {
        let sql = "SELECT epoch FROM lanes ORDER BY epoch";
        let rows = self.ledger().await.query(sql, &[]).await.unwrap();
        let epochs: Vec<i64> = rows.iter().map(|row| row.get(0)).collect();
        println!("epochs of the lanes while all is quiet: {epochs:?}");
        assert!(
            epochs.iter().all(|epoch| *epoch <= 3),
            "lanes wander about: {epochs:?}"
        );
    }

    /// Waits until at least `count` messages were heard.
    pub(crate) async fn heard_at_least(&self, count: usize, bound: Duration) {
        eventually(
            &format!("{count} messages to be heard"),
            bound,
            async || (self.fleet.heard().await.len() >= count).then_some(()),
        )
        .await;
    }
}

/// Signals one process; it must be there.
pub(crate) fn signal(process: &Process, signal: Signal) {
    kill(Pid::from_raw(process.pid), signal).unwrap();
}

/// `wahacast up` and its directory.
struct Up {
    child: Child,
    path: PathBuf,
    dir: Option<TempDir>,
    seed: u64,
}

impl Up {
    fn spawn(plan: &Plan) -> Self {
        let seed = testkit::seed();
        // The servers run as users of their own, who must be able to pass.
        let open = fs::Permissions::from_mode(0o755);
        let made = tempfile::Builder::new()
            .prefix("wahacast-it-")
            .permissions(open)
            .tempdir();
        let dir = made.unwrap();
        let path = dir.path().to_owned();
        let output = File::create(path.join("up.log")).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_wahacast"));
        command.env_clear();
        for name in ["PATH", "HOME", "TMPDIR", "RUST_BACKTRACE", "LOG_LEVEL"] {
            command.envs(std::env::var_os(name).map(|value| (name, value)));
        }
        command.env(
            "WAHA_SIM_ARGS",
            format!(
                "--time-scale 0.05 --ack-delay-ms 20..80 --seed {seed} {}",
                plan.simulator
            ),
        );
        command.envs(plan.settings.iter().map(|(name, value)| (name, value)));
        command.args(["up", "--port", "0", "--dir"]).arg(&path);
        for (flag, count) in [
            ("--schedulers", plan.schedulers),
            ("--senders", plan.senders),
            ("--sim-workers", plan.workers),
        ] {
            command.arg(flag).arg(count.to_string());
        }
        command.args(plan.register.then_some("--register"));
        command.args((!plan.restart).then_some("--no-restart"));
        fs::write(path.join(".env"), plan.dot_env).unwrap();
        command.current_dir(&path).stdin(Stdio::null());
        command.stdout(output.try_clone().unwrap()).stderr(output);
        let child = command.spawn().unwrap();
        Self {
            child,
            path,
            dir: Some(dir),
            seed,
        }
    }

    fn run_file(&self) -> Option<RunFile> {
        let text = fs::read_to_string(self.path.join("run.json")).ok()?;
        serde_json::from_str(&text).ok()
    }

    async fn ready(&mut self) -> RunFile {
        eventually("`wahacast up` to be ready", READY_WITHIN, async || {
            if let Some(status) = self.child.try_wait().unwrap() {
                panic!("`wahacast up` ended with {status} before it was ready");
            }
            self.run_file()
        })
        .await
    }

    /// SIGTERM, then patience, then force: no process outlives its test.
    fn stop(&mut self) -> Result<(), String> {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap_or(i32::MAX));
        let children = self.run_file().map(|run| run.processes).unwrap_or_default();
        if let Ok(Some(status)) = self.child.try_wait() {
            return Err(format!("`wahacast up` had ended by itself ({status})"));
        }
        kill(pid, Signal::SIGTERM).map_err(|cause| cause.to_string())?;
        let began = Instant::now();
        while began.elapsed() < STOPPED_WITHIN {
            match self.child.try_wait() {
                Ok(None) => std::thread::sleep(Duration::from_millis(20)),
                Ok(Some(status)) if status.success() => return gone(&children),
                other => return Err(format!("`wahacast up` ended with {other:?}")),
            }
        }
        for process in children {
            let _gone = killpg(Pid::from_raw(process.pid), Signal::SIGKILL);
        }
        let _ended = self.child.kill().and_then(|()| self.child.wait());
        Err(format!(
            "`wahacast up` did not stop within {STOPPED_WITHIN:?}"
        ))
    }

    fn tell(&mut self) {
        eprintln!("to replay: WAHACAST_TEST_SEED={}", self.seed);
        eprintln!("everything of this run stays in {}", self.path.display());
        tail(&self.path.join("up.log"));
        let logs = fs::read_dir(self.path.join("logs"));
        let mut logs: Vec<_> = logs
            .into_iter()
            .flatten()
            .flatten()
            .map(|one| one.path())
            .collect();
        logs.sort();
        logs.iter().for_each(|log| tail(log));
        if let Some(dir) = &mut self.dir {
            dir.disable_cleanup(true);
        }
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        let stopped = self.stop();
        if std::thread::panicking() {
            self.tell();
        }
        if let Err(fault) = stopped {
            eprintln!("{fault}");
            assert!(std::thread::panicking(), "{fault}");
        }
    }
}

/// Whoever stops cleanly leaves nobody behind.
fn gone(children: &[Process]) -> Result<(), String> {
    let alive = |one: &&Process| kill(Pid::from_raw(one.pid), None).is_ok();
    match children.iter().find(alive) {
        Some(left) => Err(format!("`wahacast up` ended and left {left:?} running")),
        None => Ok(()),
    }
}

fn tail(log: &Path) {
    let text = fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    eprintln!("--- {} ({} lines)", log.display(), lines.len());
    for line in &lines[lines.len().saturating_sub(TAIL)..] {
        eprintln!("    {line}");
    }
}
