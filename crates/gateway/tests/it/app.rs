//! A gateway of its own for each test, and sentences to speak to it.

use std::time::Duration;

use chassis::boot::{ProcessSettings, Replica};
use chassis::config::{Settings, Source};
use chassis::{Chance, Clock, Process, Readiness, Shutdown, Supervisor};
use gateway::GatewaySettings;
use reqwest::{Client, Method, RequestBuilder, Response};
use serde_json::{Value, json};
use testkit::{TestDatabase, TestVhost, database, eventually, free_port, vhost};

pub(crate) const KEY: &str = "b7f0c2d94e1a88c35d6e";
pub(crate) const HMAC_KEY: &str = "what the WAHA servers sign with";
/// Longest wait for anything that must come.
pub(crate) const SOON: Duration = Duration::from_secs(20);

/// A gateway, its database and its vhost.
pub(crate) struct App {
    pub(crate) url: String,
    pub(crate) db: TestDatabase,
    _vhost: TestVhost,
    pub(crate) readiness: Readiness,
    http: Client,
    shutdown: Shutdown,
    _supervisor: Supervisor,
}

/// One with ordinary settings.
pub(crate) async fn app() -> App {
    app_with(&[]).await
}

/// One with these settings over the ordinary ones.
pub(crate) async fn app_with(more: &[(&str, &str)]) -> App {
    let (db, vhost) = (database().await, vhost().await);
    start(db, vhost, more).await
}

/// One on servers that are there already.
pub(crate) async fn start(db: TestDatabase, vhost: TestVhost, more: &[(&str, &str)]) -> App {
    let listen = format!("127.0.0.1:{}", free_port());
    let ordinary = [
        ("DATABASE_URL", db.url.as_str()),
        ("AMQP_URL", vhost.amqp_url.as_str()),
        ("ADMIN_API_KEY", KEY),
        ("WEBHOOK_HMAC_KEY", HMAC_KEY),
        ("GATEWAY_LISTEN", listen.as_str()),
        ("GATEWAY_DATABASE_CONNECTIONS", "4"),
        ("REPLICA_NAME", "test"),
        ("MESSAGE_DELAY_JITTER", "0"),
    ];
    let source = Source::from_pairs(ordinary.iter().chain(more).copied());
    let shutdown = Shutdown::new();
    let chance = Chance::system();
    let process = Process {
        settings: GatewaySettings::from_source(&source).unwrap(),
        common: ProcessSettings::from_source(&source).unwrap(),
        replica: Replica::new(Some("test".to_owned()), &chance),
        clock: Clock::system(),
        chance,
        supervisor: Supervisor::new(shutdown.clone()),
        shutdown: shutdown.clone(),
        readiness: Readiness::new(),
    };
    let app = App {
        url: format!("http://{listen}"),
        db,
        _vhost: vhost,
        readiness: process.readiness.clone(),
        http: Client::new(),
        shutdown,
        _supervisor: process.supervisor.clone(),
    };
    gateway::run(process).await.unwrap();
    app
}

impl App {
    /// A call by anybody.
    pub(crate) fn call(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("{}{path}", self.url))
    }

    /// A call by an operator.
    pub(crate) fn admin(&self, method: Method, path: &str) -> RequestBuilder {
        self.call(method, path).header("X-Admin-API-Key", KEY)
    }

    pub(crate) async fn get(&self, path: &str) -> Said {
        said(self.call(Method::GET, path)).await
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> Said {
        said(self.call(Method::POST, path).json(&body)).await
    }

    pub(crate) async fn admin_get(&self, path: &str) -> Said {
        said(self.admin(Method::GET, path)).await
    }

    pub(crate) async fn admin_post(&self, path: &str, body: Value) -> Said {
        said(self.admin(Method::POST, path).json(&body)).await
    }

    /// A session for this number exists; queued, because there is no worker.
    pub(crate) async fn session(&self, phone: &str) {
        let made = self
            .post("/api/sessions", json!({"phone_number": phone}))
            .await;
        assert_eq!(made.status, 201, "{}", made.body);
    }

    /// A campaign of this sender to these recipients; its id.
    pub(crate) async fn campaign(&self, sender: &str, recipients: &[&str]) -> String {
        let body = json!({"sender_number": sender, "recipients": recipients, "template": "Hello"});
        let made = self.post("/api/send", body).await;
        assert_eq!(made.status, 202, "{}", made.body);
        made.body["id"].as_str().unwrap().to_owned()
    }

    /// Asks the gateway to end, as a signal does.
    pub(crate) fn shut_down(&self) {
        self.shutdown.request();
    }

    /// Runs a statement on the ledger; how many rows it touched.
    pub(crate) async fn sql(&self, statement: &str) -> u64 {
        self.db
            .client()
            .await
            .execute(statement, &[])
            .await
            .unwrap()
    }

    /// One number from the ledger.
    pub(crate) async fn number(&self, query: &str) -> i64 {
        self.db
            .client()
            .await
            .query_one(query, &[])
            .await
            .unwrap()
            .get(0)
    }

    /// Waits until the outbox is empty: every job was confirmed.
    pub(crate) async fn until_published(&self) {
        eventually("the outbox to be empty", SOON, async || {
            (self.number("SELECT count(*) FROM outbox").await == 0).then_some(())
        })
        .await;
    }
}

impl Drop for App {
    fn drop(&mut self) {
        // The tasks end with the test's runtime; nobody waits for them here.
        self.shut_down();
    }
}

/// An answer, read.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) status: u16,
    pub(crate) headers: reqwest::header::HeaderMap,
    pub(crate) body: Value,
}

/// Sends a request and reads the answer; a body that is no JSON is null.
pub(crate) async fn said(request: RequestBuilder) -> Said {
    let answer: Response = request.send().await.unwrap();
    let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
    let bytes = answer.bytes().await.unwrap();
    let body = serde_json::from_slice(&bytes).unwrap_or_default();
    Said {
        status,
        headers,
        body,
    }
}

impl Said {
    /// It is a problem of this kind, well-formed; its pointers.
    #[track_caller]
    pub(crate) fn is_problem(&self, status: u16, kind: &str) -> Vec<String> {
        assert_eq!(
            (self.status, self.body["type"].as_str()),
            (status, Some(kind)),
            "{}",
            self.body
        );
        assert_eq!(self.header("content-type"), "application/problem+json");
        assert_eq!(self.body["status"], status);
        for field in ["title", "detail"] {
            assert!(
                !self.body[field].as_str().unwrap().is_empty(),
                "{}",
                self.body
            );
        }
        let errors = self.body["errors"].as_array().unwrap();
        errors
            .iter()
            .map(|error| error["pointer"].as_str().unwrap().to_owned())
            .collect()
    }

    #[track_caller]
    pub(crate) fn is(&self, status: u16) -> &Value {
        assert_eq!(self.status, status, "{}", self.body);
        &self.body
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }

    /// The path of the next page.
    pub(crate) fn next(&self) -> Option<String> {
        let link = self.header("link");
        let path = link.strip_prefix('<')?.strip_suffix(">; rel=\"next\"")?;
        Some(path.to_owned())
    }
}
