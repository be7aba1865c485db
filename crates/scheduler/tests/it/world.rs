//! A small fleet: simulated workers, a ledger of its own, scheduler replicas in this process.

use std::sync::Arc;
use std::time::Duration;

use broker::{Broker, Publisher};
use chassis::config::{Settings, Source};
use chassis::{Chance, Clock, Shutdown, Supervisor};
use models::phone::PhoneNumber;
use models::session::SessionWanted;
use scheduler::fleet::Fleet;
use scheduler::settings::SchedulerSettings;
use serde_json::{Value, json};
use store::GenericClient as _;
use store::{placement, sessions};
use testkit::TestDatabase;
use tokio::sync::Notify;
use uuid::Uuid;
use waha_sim::{Options, Running, Version};

/// Long against anything that is waited for, also on a busy machine.
pub(crate) const BOUND: Duration = Duration::from_secs(60);

pub(crate) struct World {
    pub(crate) db: TestDatabase,
    pub(crate) sim: Running,
    /// Ids of the registered workers, in the simulator's order.
    pub(crate) workers: Vec<Uuid>,
    http: reqwest::Client,
}

/// A session as the ledger has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) status: String,
    pub(crate) reason: Option<String>,
    pub(crate) worker: Option<Uuid>,
    pub(crate) live: bool,
    pub(crate) created: bool,
    pub(crate) resting: bool,
}

pub(crate) fn phone(number: u32) -> PhoneNumber {
    format!("216{number:08}").parse().unwrap()
}

/// Workers of the newest version with `(capacity, max_live)` each.
pub(crate) async fn world(rooms: &[(i32, i32)]) -> World {
    world_of(Version::new(2026, 8, 2), rooms).await
}

pub(crate) async fn world_of(version: Version, rooms: &[(i32, i32)]) -> World {
    let options = Options {
        workers: rooms.len(),
        own_ports: true,
        time_scale: 0.1,
        versions: vec![version],
        ..Options::default()
    };
    let sim = waha_sim::start(options).await.unwrap();
    let db = testkit::database().await;
    let client = db.store.client().await.unwrap();
    let mut workers = Vec::new();
    for (number, (capacity, max_live)) in (1..).zip(rooms) {
        let id = Uuid::from_u128(number as u128);
        let sql = "INSERT INTO workers (id, url, name, api_key, capacity, capacity_inherited,
            max_live, max_live_inherited) VALUES ($1, $2, $3, $4, $5, false, $6, false)";
        let (url, key) = (sim.worker_url(number), sim.api_key(number));
        let name = format!("waha-{number}");
        client
            .execute(sql, &[&id, &url, &name, &key, capacity, max_live])
            .await
            .unwrap();
        let lane = "INSERT INTO lanes (worker_id) VALUES ($1)";
        client.execute(lane, &[&id]).await.unwrap();
        workers.push(id);
    }
    World {
        db,
        sim,
        workers,
        http: waha::http_client().unwrap(),
    }
}

/// A scheduler replica. It stops with this value.
pub(crate) struct Replica {
    pub(crate) fleet: Arc<Fleet>,
    pub(crate) shutdown: Shutdown,
}

impl Drop for Replica {
    fn drop(&mut self) {
        self.shutdown.request();
    }
}

/// Nothing listens there: news come by asking only.
const NOBODY: &str = "http://127.0.0.1:9";

/// A replica's parts without its loops.
pub(crate) fn fleet(db: &TestDatabase, amqp_url: &str) -> Replica {
    fleet_with(db, amqp_url, ("RETENTION_DAYS", ""))
}

/// The same with a setting more.
pub(crate) fn fleet_with(db: &TestDatabase, amqp_url: &str, more: (&str, &str)) -> Replica {
    let pairs = [
        more,
        ("DATABASE_URL", db.url.as_str()),
        ("AMQP_URL", amqp_url),
        ("WEBHOOK_BASE_URL", NOBODY),
        ("WEBHOOK_HMAC_KEY", "a key for tests only"),
        ("WORKER_CHECK_SECONDS", "0.3"),
        ("SESSION_LOOK_SECONDS", "0.05"),
        ("REPLICA_DEAD_AFTER_SECONDS", "60"),
    ];
    let settings = SchedulerSettings::from_source(&Source::from_pairs(pairs)).unwrap();
    let (shutdown, broker) = (Shutdown::new(), Broker::new(amqp_url, "test").unwrap());
    let fleet = Arc::new(Fleet {
        store: db.store.clone(),
        publisher: Publisher::new(broker.clone()),
        broker,
        http: waha::http_client().unwrap(),
        clock: Clock::system(),
        chance: Chance::seeded(testkit::seed()),
        supervisor: Supervisor::new(shutdown.clone()),
        settings,
        room: Arc::new(Notify::new()),
        due: Arc::new(Notify::new()),
    });
    Replica { fleet, shutdown }
}

impl World {
    pub(crate) async fn client(&self) -> store::Client {
        self.db.store.client().await.unwrap()
    }

    /// Starts a scheduler replica. Its broker is nowhere.
    pub(crate) fn scheduler(&self) -> Replica {
        let replica = fleet(&self.db, "amqp://127.0.0.1:9/%2f");
        let clock = Clock::system();
        scheduler::start::loops(&replica.fleet, &clock, &replica.shutdown);
        replica
    }

    /// Asks for a session, as the gateway does.
    pub(crate) async fn ask(&self, number: u32) -> PhoneNumber {
        let phone = phone(number);
        let mut client = self.client().await;
        sessions::create(&mut client, &phone).await.unwrap();
        placement::place_oldest(&client).await.unwrap();
        phone
    }

    pub(crate) async fn want(&self, phone: &PhoneNumber, wanted: SessionWanted) {
        let mut client = self.client().await;
        sessions::want(&mut client, phone, wanted).await.unwrap();
    }

    pub(crate) async fn session(&self, phone: &PhoneNumber) -> Option<Row> {
        let sql = "SELECT status, reason, worker_id, live, created, due_at IS NULL
            FROM sessions WHERE phone = $1";
        let client = self.client().await;
        let row = client.query_opt(sql, &[&phone.digits()]).await.unwrap()?;
        Some(Row {
            status: row.get(0),
            reason: row.get(1),
            worker: row.get(2),
            live: row.get(3),
            created: row.get(4),
            resting: row.get(5),
        })
    }

    /// Waits until a session is in `status`.
    pub(crate) async fn reaches(&self, phone: &PhoneNumber, status: &str) -> Row {
        self.until(phone, status, |row| row.status == status).await
    }

    pub(crate) async fn until(
        &self,
        phone: &PhoneNumber,
        what: &str,
        enough: impl Fn(&Row) -> bool,
    ) -> Row {
        testkit::eventually(what, BOUND, async || {
            self.session(phone).await.filter(|row| enough(row))
        })
        .await
    }

    /// The number of the worker that a session is on.
    pub(crate) async fn number(&self, phone: &PhoneNumber) -> usize {
        let worker = self.session(phone).await.unwrap().worker.unwrap();
        1 + self.workers.iter().position(|id| *id == worker).unwrap()
    }

    /// A person scans the QR code.
    pub(crate) async fn link(&self, phone: &PhoneNumber, name: &str) {
        let number = self.number(phone).await;
        let body = json!({"session": name, "phone": phone.digits()});
        let status = self.control(number, "link", body).await;
        assert_eq!(status, 200);
    }

    /// From nothing to `WORKING`.
    pub(crate) async fn working(&self, number: u32) -> PhoneNumber {
        let phone = self.ask(number).await;
        self.reaches(&phone, "SCAN_QR_CODE").await;
        self.link(&phone, phone.digits()).await;
        self.reaches(&phone, "WORKING").await;
        phone
    }

    pub(crate) async fn control(&self, worker: usize, call: &str, body: Value) -> u16 {
        let url = format!("{}/{call}", self.sim.control_url(worker));
        let request = self.http.post(url).json(&body);
        request.send().await.unwrap().status().as_u16()
    }

    /// Says something at a worker, past the ledger; whatever it answers.
    pub(crate) async fn say(&self, worker: usize, from: &PhoneNumber, to: &str, id: &str) {
        let url = format!("{}/api/sendText", self.sim.worker_url(worker));
        let body = json!({"session": from.digits(), "chatId": format!("{to}@c.us"),
            "text": "hello", "id": id});
        let request = self.http.post(url).json(&body);
        let key = self.sim.api_key(worker);
        request.header("X-Api-Key", key).send().await.unwrap();
    }

    pub(crate) async fn clear_faults(&self, worker: usize) {
        let url = format!("{}/fault", self.sim.control_url(worker));
        self.http.delete(url).send().await.unwrap();
    }

    /// What a worker says itself about a session; null when it does not know it.
    pub(crate) async fn at_worker(&self, worker: usize, name: &str) -> Value {
        let url = format!("{}/api/sessions/{name}", self.sim.worker_url(worker));
        let request = self
            .http
            .get(url)
            .header("X-Api-Key", self.sim.api_key(worker));
        let Ok(answer) = request.send().await else {
            return json!("it is away");
        };
        if answer.status().is_success() {
            answer.json().await.unwrap()
        } else {
            Value::Null
        }
    }

    pub(crate) async fn wake(&self, worker: Uuid) -> i64 {
        let sql = "SELECT wake FROM lanes WHERE worker_id = $1";
        let client = self.client().await;
        client.query_one(sql, &[&worker]).await.unwrap().get(0)
    }

    /// `(placed, live)` of each worker, which must agree with its sessions.
    pub(crate) async fn loads(&self) -> Vec<(i32, i32)> {
        let sql = "SELECT w.placed, w.live, count(s.phone)::integer,
                (count(s.phone) FILTER (WHERE s.live))::integer
            FROM workers w LEFT JOIN sessions s ON s.worker_id = w.id
            GROUP BY w.id ORDER BY w.id";
        let rows = self.client().await.query(sql, &[]).await.unwrap();
        rows.iter()
            .map(|row| {
                let counted: (i32, i32) = (row.get(0), row.get(1));
                assert_eq!(counted, (row.get(2), row.get(3)), "the counters are wrong");
                counted
            })
            .collect()
    }
}
