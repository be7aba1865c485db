//! A ledger, a broker, a simulated fleet and sender replicas inside the test's process.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use broker::{Broker, Publisher};
use chassis::config::{Settings, Source};
use chassis::{Chance, Clock, Process, Readiness, Replica, Shutdown, Supervisor};
use models::ids::{CampaignId, TraceId};
use models::job::Job;
use models::phone::PhoneNumber;
use sender::settings::SenderSettings;
use serde_json::{Value, json};
use store::GenericClient as _;
use testkit::{TestDatabase, TestVhost, eventually};
use uuid::Uuid;
use waha_sim::{Options, Running};

pub(crate) const BOUND: Duration = Duration::from_secs(60);

pub(crate) struct Scene {
    pub(crate) db: TestDatabase,
    pub(crate) vhost: TestVhost,
    pub(crate) fleet: Running,
    http: reqwest::Client,
    broker: Broker,
    publisher: Publisher,
}

/// One message as the simulated WhatsApp heard it.
#[derive(Debug, Clone)]
pub(crate) struct Heard {
    pub(crate) worker: u64,
    pub(crate) session: String,
    pub(crate) chat: String,
    pub(crate) id: String,
    pub(crate) arrived: Duration,
    pub(crate) answered: Option<Duration>,
}

pub(crate) fn phone(number: usize) -> PhoneNumber {
    format!("216{number:08}").parse().unwrap()
}

impl Scene {
    /// A fleet of `workers`; delays in milliseconds are the global ones.
    pub(crate) async fn new(options: Options, message_delay: i64, switch_delay: i64) -> Self {
        let (db, vhost) = (testkit::database().await, testkit::vhost().await);
        let fleet = waha_sim::start(options).await.unwrap();
        let client = db.store.client().await.unwrap();
        let sql = "INSERT INTO settings (message_delay_ms, sender_switch_delay_ms,
            campaign_delay_ms) VALUES ($1, $2, 0)";
        client
            .execute(sql, &[&message_delay, &switch_delay])
            .await
            .unwrap();
        let broker = Broker::new(&vhost.amqp_url, "test").unwrap();
        let kept = broker.clone();
        tokio::spawn(async move { kept.keep(tokio_util::sync::CancellationToken::new()).await });
        let scene = Self {
            db,
            vhost,
            http: reqwest::Client::new(),
            publisher: Publisher::new(broker.clone()),
            broker,
            fleet,
        };
        for number in 1..=scene.fleet.workers() {
            scene.register(number).await;
        }
        scene
    }

    fn worker_id(number: usize) -> Uuid {
        Uuid::from_u128(number as u128)
    }

    async fn register(&self, number: usize) {
        let client = self.db.store.client().await.unwrap();
        let (url, key) = (self.fleet.worker_url(number), self.fleet.api_key(number));
        let sql = "INSERT INTO workers (id, url, name, api_key, capacity, capacity_inherited,
            max_live, max_live_inherited, health) VALUES ($1, $2, 'w', $3, 99, false, 99, false, 'up')";
        client
            .execute(sql, &[&Self::worker_id(number), &url, &key])
            .await
            .unwrap();
        let sql = "INSERT INTO lanes (worker_id) VALUES ($1)";
        client
            .execute(sql, &[&Self::worker_id(number)])
            .await
            .unwrap();
    }

    /// A session that is WORKING on a worker, made as the scheduler would.
    pub(crate) async fn session(&self, worker: usize, phone: &PhoneNumber) {
        let (url, key) = (self.fleet.worker_url(worker), self.fleet.api_key(worker));
        let config = json!({"noweb": {"store": {"enabled": true}}});
        let body = json!({"name": phone.digits(), "start": true, "config": config});
        let create = self
            .http
            .post(format!("{url}/api/sessions"))
            .header("X-Api-Key", key);
        create
            .json(&body)
            .send()
            .await
            .unwrap()
            .error_for_status()
            .unwrap();
        let link = format!("{}/link", self.fleet.control_url(worker));
        let body = json!({"session": phone.digits(), "phone": phone.digits()});
        eventually("the session to show its QR code", BOUND, async || {
            let answer = self.http.post(&link).json(&body).send().await.ok()?;
            answer.status().is_success().then_some(())
        })
        .await;
        self.is_working(worker, phone).await;
        let client = self.db.store.client().await.unwrap();
        let sql = "INSERT INTO senders (phone) VALUES ($1)";
        client.execute(sql, &[&phone.digits()]).await.unwrap();
        let sql = "INSERT INTO sessions (phone, worker_id, generation, waha_name, status)
            VALUES ($1, $2, 1, $1, 'WORKING')";
        client
            .execute(sql, &[&phone.digits(), &Self::worker_id(worker)])
            .await
            .unwrap();
    }

    async fn is_working(&self, worker: usize, phone: &PhoneNumber) {
        let (url, key) = (self.fleet.worker_url(worker), self.fleet.api_key(worker));
        eventually("the session to be WORKING", BOUND, async || {
            let get = self
                .http
                .get(format!("{url}/api/sessions/{phone}"))
                .header("X-Api-Key", &key);
            let session: Value = get.send().await.ok()?.json().await.ok()?;
            (session["status"] == "WORKING").then_some(())
        })
        .await;
    }

    /// A campaign and its job. Recipients are numbered from `first`.
    pub(crate) async fn campaign(
        &self,
        sender: &PhoneNumber,
        first: i64,
        recipients: i32,
    ) -> CampaignId {
        let id = CampaignId::new(Uuid::now_v7());
        let client = self.db.store.client().await.unwrap();
        let sql = "INSERT INTO campaigns (id, sender, template, variables, total, trace_id)
            VALUES ($1, $2, 'hello {{name}}', '{\"name\": \"you\"}', $3, $1)";
        client
            .execute(sql, &[&id.uuid(), &sender.digits(), &recipients])
            .await
            .unwrap();
        let sql = "INSERT INTO messages (campaign_id, ordinal, recipient)
            SELECT $1, n, ($2::bigint + n)::text FROM generate_series(0, $3::int - 1) n";
        client
            .execute(sql, &[&id.uuid(), &first, &recipients])
            .await
            .unwrap();
        let trace_id = TraceId::new(id.uuid());
        let job = Job {
            campaign_id: id,
            sender: sender.clone(),
            trace_id,
        };
        eventually("the job to be confirmed", BOUND, async || {
            let _state = self.broker.state();
            let published = self.publisher.publish_all(std::slice::from_ref(&job)).await;
            published.iter().all(Result::is_ok).then_some(())
        })
        .await;
        id
    }

    pub(crate) async fn fault(&self, worker: usize, fault: Value) {
        let url = format!("{}/fault", self.fleet.control_url(worker));
        self.http
            .post(url)
            .json(&fault)
            .send()
            .await
            .unwrap()
            .error_for_status()
            .unwrap();
    }

    /// Everything that was heard, in order of arrival.
    pub(crate) async fn heard(&self) -> Vec<Heard> {
        let url = format!("{}?limit=10000", self.fleet.heard_url());
        let page: Value = self
            .http
            .get(url)
            .send()
            .await
            .unwrap()
            .json()
            .await
            .unwrap();
        let entry = |entry: &Value| Heard {
            worker: entry["worker"].as_u64().unwrap(),
            session: entry["session"].as_str().unwrap().to_owned(),
            chat: entry["chat"].as_str().unwrap().to_owned(),
            id: entry["message_id"].as_str().unwrap().to_owned(),
            arrived: Duration::from_nanos(entry["arrived_mono_ns"].as_u64().unwrap()),
            answered: entry["answered_mono_ns"].as_u64().map(Duration::from_nanos),
        };
        let mut heard: Vec<_> = page["messages"]
            .as_array()
            .unwrap()
            .iter()
            .map(entry)
            .collect();
        heard.sort_by_key(|heard| heard.arrived);
        heard
    }

    /// Waits until every campaign has ended; returns their statuses and how often each occurs.
    pub(crate) async fn all_ended(&self) -> BTreeMap<String, i64> {
        let client = self.db.store.client().await.unwrap();
        let sql = "SELECT status, count(*), count(completed_at) FROM campaigns GROUP BY status";
        eventually("all campaigns to end", BOUND, async || {
            let rows = client.query(sql, &[]).await.unwrap();
            let ended = rows
                .iter()
                .all(|row| row.get::<_, i64>(1) == row.get::<_, i64>(2));
            ended.then(|| rows.iter().map(|row| (row.get(0), row.get(1))).collect())
        })
        .await
    }

    /// The workers let us choose message ids, as their version says and a check would find.
    pub(crate) async fn own_ids(&self) {
        let client = self.db.store.client().await.unwrap();
        let sql = "UPDATE workers SET own_message_ids = true";
        client.execute(sql, &[]).await.unwrap();
    }

    /// The ids in the ledger.
    pub(crate) async fn ids(&self) -> BTreeSet<String> {
        let client = self.db.store.client().await.unwrap();
        let sql = "SELECT waha_message_id FROM messages WHERE waha_message_id IS NOT NULL";
        let rows = client.query(sql, &[]).await.unwrap();
        rows.iter().map(|row| row.get(0)).collect()
    }

    pub(crate) async fn messages_with(&self, status: i16) -> i64 {
        let client = self.db.store.client().await.unwrap();
        let sql = "SELECT count(*) FROM messages WHERE status = $1";
        client.query_one(sql, &[&status]).await.unwrap().get(0)
    }

    /// Starts a sender replica; settings are given as variables.
    pub(crate) fn sender(&self, name: &str, more: &[(&str, &str)]) -> Sender {
        let process = self.process(name, more);
        let shutdown = process.shutdown.clone();
        let task = tokio::spawn(async move { sender::start::start(process).await.unwrap() });
        Sender { shutdown, task }
    }

    /// How many replicas are known, the dead among them.
    pub(crate) async fn replicas(&self) -> i64 {
        let client = self.db.store.client().await.unwrap();
        let sql = "SELECT count(*) FROM replicas";
        client.query_one(sql, &[]).await.unwrap().get(0)
    }

    /// A sender replica that is not started yet.
    pub(crate) fn process(&self, name: &str, more: &[(&str, &str)]) -> Process<SenderSettings> {
        let mut variables = vec![
            ("DATABASE_URL", self.db.url.as_str()),
            ("AMQP_URL", self.vhost.amqp_url.as_str()),
            ("PROBES_LISTEN", "127.0.0.1:0"),
            ("REPLICA_NAME", name),
            ("MESSAGE_DELAY_JITTER", "0"),
            ("HEARTBEAT_SECONDS", "0.3"),
            ("REPLICA_DEAD_AFTER_SECONDS", "2"),
            ("LANE_WATCH_SECONDS", "0.2"),
            ("SETTLE_QUIET_SECONDS", "1"),
            ("SETTLE_SILENT_SECONDS", "3"),
            ("SEND_TIMEOUT_SECONDS", "3"),
        ];
        variables.extend_from_slice(more);
        let source = Source::from_pairs(variables);
        let shutdown = Shutdown::new();
        let chance = Chance::system();
        Process {
            settings: SenderSettings::from_source(&source).unwrap(),
            common: chassis::boot::ProcessSettings::from_source(&source).unwrap(),
            replica: Replica::new(Some(name.to_owned()), &chance),
            clock: Clock::system(),
            chance,
            supervisor: Supervisor::new(shutdown.clone()),
            shutdown,
            readiness: Readiness::new(),
        }
    }
}

/// A running replica.
pub(crate) struct Sender {
    shutdown: Shutdown,
    task: tokio::task::JoinHandle<()>,
}

impl Sender {
    /// SIGTERM: finishes what is under way and gives its lanes away.
    pub(crate) async fn stop(self) {
        self.shutdown.request();
        self.task.await.unwrap();
    }
}
