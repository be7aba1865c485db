//! Everything that a chaos run tortures: private servers, services as processes, a simulated
//! fleet, and a proxy between any two of them.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use nix::sys::signal::Signal;
use serde_json::json;

use super::proxy::Proxy;
use super::script::Service;
use crate::demo::api::Api;
use crate::process::{Program, signal_group};
use crate::servers::{self, Given, leftovers};
use crate::supervise::{Crew, Handle};
use crate::up::services::{self, Ground};
use crate::up::{Plan, Settings, SimWorker, simulator};
use crate::workdir::WorkDir;

/// Simulated workers.
pub(crate) const WORKERS: u32 = 8;
/// Every fourth worker does not let us choose message ids.
const FLEET: &str = "--engine NOWEB,GOWS,NOWEB,WEBJS --version 2026.7.2,2026.8.2,2026.8.2,2026.7.2 \
    --time-scale 0.05 --send-delay-ms 20..120 --ack-delay-ms 50..400 --lost-ack-share 0.01 \
    --repeated-ack-share 0.02 --unordered-ack-share 0.02 --unsaved-ms 1000";
/// Longer than any other answer takes here.
const ANSWER_WITHIN: Duration = Duration::from_secs(8);

/// Quick, so that many faults fit into a minute; every relation between two settings is as in a
/// real deployment.
const SETTINGS: &[(&str, &str)] = &[
    ("MESSAGE_DELAY", "0.4"),
    ("SENDER_SWITCH_DELAY", "0.2"),
    ("CAMPAIGN_DELAY", "1"),
    ("MESSAGE_DELAY_JITTER", "0"),
    ("SENDER_TURN_MESSAGES", "5"),
    ("HEARTBEAT_SECONDS", "0.5"),
    ("REPLICA_DEAD_AFTER_SECONDS", "3"),
    ("LANE_WATCH_SECONDS", "0.5"),
    ("SEND_TIMEOUT_SECONDS", "6"),
    ("SETTLE_SILENT_SECONDS", "7"),
    ("SETTLE_QUIET_SECONDS", "1"),
    ("NUMBER_REST_SECONDS", "1"),
    ("NUMBER_REST_SECONDS_MAX", "4"),
    ("RESTRICTED_REST_SECONDS", "3"),
    ("RESTRICTED_REST_SECONDS_MAX", "6"),
    ("LANE_REST_SECONDS_MAX", "3"),
    ("WORKER_CHECK_SECONDS", "1"),
    ("ASK_AFTER_SECONDS", "3"),
    ("MAX_SESSIONS_PER_WORKER", "8"),
    ("MAX_LIVE_SESSIONS", "8"),
    ("DATABASE_URL", ""),
    ("AMQP_URL", ""),
    ("RABBITMQ_MANAGEMENT_URL", ""),
];

/// How many of each service there are.
pub(crate) const fn replicas(service: Service) -> u32 {
    match service {
        Service::Gateway | Service::Scheduler => 2,
        Service::Sender => 3,
    }
}

/// The names of a service's processes.
pub(crate) fn names(service: Service) -> Vec<String> {
    let role = role(service);
    (1..=replicas(service))
        .map(|n| format!("{role}-{n}"))
        .collect()
}

const fn role(service: Service) -> &'static str {
    match service {
        Service::Gateway => "gateway",
        Service::Scheduler => "scheduler",
        Service::Sender => "sender",
    }
}

/// The proxies of one process.
pub(crate) struct Links {
    /// To PostgreSQL.
    pub(crate) postgresql: Proxy,
    /// To RabbitMQ.
    pub(crate) rabbitmq: Proxy,
}

/// A running world. Its crew ends all of it.
pub(crate) struct World {
    pub(crate) work: Arc<WorkDir>,
    crew: Crew,
    handles: BTreeMap<String, Handle>,
    /// By process.
    pub(crate) links: BTreeMap<String, Links>,
    /// By worker, from 0.
    pub(crate) worker_links: Vec<Proxy>,
    /// From the workers to the gateways.
    pub(crate) webhooks: Proxy,
    /// The workers, where they really are.
    pub(crate) workers: Vec<SimWorker>,
    /// The gateways, past all proxies.
    pub(crate) gateways: Vec<String>,
    pub(crate) admin_key: String,
    /// The ledger, past all proxies.
    pub(crate) database: String,
}

/// What is started before anything can fail, so that it can be stopped whatever comes.
pub(crate) fn crew(work: &WorkDir) -> Crew {
    // Nothing comes back by itself: the script says when.
    Crew::new(work.path(), false)
}

impl World {
    /// Starts all of it in the directory of `work`, under `crew`.
    pub(crate) async fn start(work: Arc<WorkDir>, crew: Crew, seed: u64) -> anyhow::Result<Self> {
        leftovers::stop_noted(&work.path().join("pids.json")).await;
        let webhooks = Proxy::start(Vec::new()).await?;
        let settings = settings(seed, webhooks.address());
        let urls = servers::start(&work, &crew, Given::default()).await?;
        let (database, amqp) = (urls.database.clone(), urls.amqp.clone());
        // An earlier run's workers are gone with their proxies.
        servers::empty_database(&database).await?;
        let plan = plan(work.path());
        let ground = Ground::new(&work, &plan, &settings, urls)?;
        services::migrate(&ground).await?;
        let mut links = BTreeMap::new();
        let (mut handles, mut gateways) = (Vec::new(), Vec::new());
        for service in [Service::Gateway, Service::Scheduler, Service::Sender] {
            let listen = match service {
                Service::Gateway => "GATEWAY_LISTEN",
                Service::Scheduler | Service::Sender => "PROBES_LISTEN",
            };
            for number in 1..=replicas(service) {
                let mut program = ground.replica(role(service), listen, number)?;
                if service == Service::Gateway {
                    gateways.push(listens(&program)?);
                }
                let own = reroute(&mut program, &database, &amqp).await?;
                links.insert(program.name(), own);
                handles.push(crew.add(program));
            }
        }
        webhooks.retarget(gateways.clone());
        let fleet = simulator::plan(&ground, &plan, &settings, &crew)?;
        let (started, workers) = tokio::join!(
            services::start_all(handles.clone()),
            simulator::start(fleet)
        );
        started?;
        let workers = workers?;
        let mut worker_links = Vec::new();
        for worker in &workers {
            worker_links.push(Proxy::start(vec![address(&worker.url)?]).await?);
        }
        let facts = ground.facts(Vec::new());
        let world = Self {
            handles: handles
                .into_iter()
                .map(|handle| (handle.name.clone(), handle))
                .collect(),
            crew,
            work,
            links,
            worker_links,
            webhooks,
            workers,
            gateways: gateways.iter().map(|at| format!("http://{at}")).collect(),
            admin_key: facts.admin_api_key,
            database,
        };
        world.register().await?;
        Ok(world)
    }

    /// A client of each gateway.
    pub(crate) fn apis(&self) -> anyhow::Result<Vec<Api>> {
        let api = |base: &String| Api::at(base, &self.admin_key, ANSWER_WITHIN);
        self.gateways.iter().map(api).collect()
    }

    /// The workers are known by their proxies.
    async fn register(&self) -> anyhow::Result<()> {
        let api = &self.apis()?[0];
        for (worker, proxy) in self.workers.iter().zip(&self.worker_links) {
            let url = worker.url.replacen(
                &address(&worker.url)?.to_string(),
                &proxy.address().to_string(),
                1,
            );
            let body = json!({"url": url, "api_key": worker.api_key});
            api.post("/api/admin/workers", body)
                .await
                .context("a worker could not be registered")?;
        }
        Ok(())
    }

    /// Signals a process's group; one that is down is no fault.
    pub(crate) fn signal(&self, name: &str, signal: Signal) {
        for entry in self.crew.roster.entries() {
            let of_role = format!("{}-{}", entry.name, entry.replica);
            if of_role == name || entry.name == name {
                signal_group(entry.pid, signal);
            }
        }
    }

    /// Starts a process that is down and waits until it is ready.
    ///
    /// # Errors
    /// It does not become ready, tried several times: a server may find its predecessor's remains.
    pub(crate) async fn start_process(&self, name: &str) -> anyhow::Result<()> {
        let handle = self.handle(name)?;
        let mut last = Ok(());
        for _ in 0..4 {
            last = handle.start().await;
            if last.is_ok() {
                break;
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        last
    }

    /// Stops a process as its operator would.
    pub(crate) async fn stop_process(&self, name: &str) -> anyhow::Result<()> {
        self.handle(name)?.stop().await;
        Ok(())
    }

    fn handle(&self, name: &str) -> anyhow::Result<Handle> {
        match self.handles.get(name) {
            Some(handle) => Ok(handle.clone()),
            None => self.crew.find(name),
        }
    }
}

fn plan(dir: &Path) -> Plan {
    Plan {
        dir: dir.to_owned(),
        port: 0,
        schedulers: replicas(Service::Scheduler),
        senders: replicas(Service::Sender),
        sim_workers: WORKERS,
        register: false,
        restart: false,
    }
}

fn settings(seed: u64, webhooks: SocketAddr) -> Settings {
    let mut settings = Settings::default();
    for (name, value) in SETTINGS {
        settings.set(name, value);
    }
    settings.set("WEBHOOK_BASE_URL", &format!("http://{webhooks}"));
    settings.set("WAHA_SIM_ARGS", &format!("{FLEET} --seed {seed}"));
    settings
}

/// Puts a proxy before each server that a process uses.
async fn reroute(program: &mut Program, database: &str, amqp: &str) -> anyhow::Result<Links> {
    let links = Links {
        postgresql: Proxy::start(vec![address(database)?]).await?,
        rabbitmq: Proxy::start(vec![address(amqp)?]).await?,
    };
    for (name, url, proxy) in [
        ("DATABASE_URL", database, &links.postgresql),
        ("AMQP_URL", amqp, &links.rabbitmq),
    ] {
        let by_proxy = url.replacen(&address(url)?.to_string(), &proxy.address().to_string(), 1);
        program.environment.push((name.to_owned(), by_proxy));
    }
    Ok(links)
}

/// The `127.0.0.1:port` of a URL.
fn address(url: &str) -> anyhow::Result<SocketAddr> {
    let (_, rest) = url.split_once("://").context("a URL has no scheme")?;
    let authority = rest.split('/').next().unwrap_or_default();
    let place = authority.rsplit('@').next().unwrap_or_default();
    place.parse().context("a URL has no numeric address")
}

/// Where a gateway's program is told to listen.
fn listens(program: &Program) -> anyhow::Result<SocketAddr> {
    let set = program.environment.iter().rev();
    let mut set = set.filter(|(name, _)| name == "GATEWAY_LISTEN");
    let (_, address) = set.next().context("a gateway has no address")?;
    Ok(address.parse()?)
}
