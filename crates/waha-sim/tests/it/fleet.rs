//! A simulator and a client to speak to it.

use std::time::{Duration, Instant};

use reqwest::{Client, Method};
use serde_json::{Value, json};
use waha_sim::{Engine, Options, Running, Version};

/// Longest wait for a condition.
const PATIENCE: Duration = Duration::from_secs(10);

pub(crate) struct Fleet {
    pub(crate) running: Running,
    pub(crate) http: Client,
}

pub(crate) fn options(engine: Engine) -> Options {
    Options {
        engines: vec![engine],
        time_scale: 0.02,
        ack_delay_ms: (1, 20),
        ..Options::default()
    }
}

pub(crate) fn version(options: Options, version: &str) -> Options {
    let versions = vec![version.parse::<Version>().unwrap()];
    Options {
        versions,
        ..options
    }
}

impl Fleet {
    pub(crate) async fn start(options: Options) -> Self {
        let running = waha_sim::start(options).await.unwrap();
        Self {
            running,
            http: Client::new(),
        }
    }

    pub(crate) async fn of(engine: Engine) -> Self {
        Self::start(options(engine)).await
    }

    /// Calls worker `n` with its key.
    pub(crate) async fn call(&self, n: usize, call: &str, body: Value) -> (u16, Value) {
        self.try_call(n, call, body).await.unwrap()
    }

    /// The same, for calls that may get no answer.
    pub(crate) async fn try_call(
        &self,
        n: usize,
        call: &str,
        body: Value,
    ) -> reqwest::Result<(u16, Value)> {
        let (method, path) = call.split_once(' ').unwrap();
        let url = format!("{}{path}", self.running.worker_url(n));
        let request = self.http.request(method.parse::<Method>().unwrap(), url);
        let request = request.header("X-Api-Key", self.running.api_key(n));
        let request = if body.is_null() {
            request
        } else {
            request.json(&body)
        };
        read(request.send().await?).await
    }

    /// Calls the control API of worker `n`.
    pub(crate) async fn control(&self, n: usize, call: &str, body: Value) -> (u16, Value) {
        let (method, path) = call.split_once(' ').unwrap();
        let url = format!("{}{path}", self.running.control_url(n));
        let request = self.http.request(method.parse::<Method>().unwrap(), url);
        let request = if body.is_null() {
            request
        } else {
            request.json(&body)
        };
        read(request.send().await.unwrap()).await.unwrap()
    }

    pub(crate) async fn fault(&self, n: usize, fault: Value) {
        let (status, answer) = self.control(n, "POST /fault", fault).await;
        assert_eq!(status, 201, "{answer}");
    }

    pub(crate) async fn status(&self, n: usize, session: &str) -> String {
        let (_, view) = self
            .call(n, &format!("GET /api/sessions/{session}"), Value::Null)
            .await;
        view["status"].as_str().unwrap_or("absent").to_owned()
    }

    pub(crate) async fn until_status(&self, n: usize, session: &str, wanted: &str) {
        let end = Instant::now() + PATIENCE;
        while self.status(n, session).await != wanted {
            assert!(Instant::now() < end, "{session} never became {wanted}");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// Creates, starts and links a session.
    pub(crate) async fn link(&self, n: usize, session: &str, config: Value) {
        let call = if self.status(n, session).await == "absent" {
            "POST /api/sessions".to_owned()
        } else {
            format!("PUT /api/sessions/{session}")
        };
        let body = json!({"name": session, "start": true, "config": config});
        let (status, answer) = self.call(n, &call, body).await;
        assert!(status < 300, "{answer}");
        let start = format!("POST /api/sessions/{session}/start");
        self.call(n, &start, Value::Null).await;
        self.until_status(n, session, "SCAN_QR_CODE").await;
        let body = json!({"session": session, "phone": "15550001"});
        assert_eq!(self.control(n, "POST /link", body).await.0, 200);
        self.until_status(n, session, "WORKING").await;
    }

    pub(crate) async fn send(&self, n: usize, session: &str, chat: &str) -> (u16, Value) {
        self.call(n, "POST /api/sendText", text(session, chat))
            .await
    }

    /// Everything that was heard, of all workers.
    pub(crate) async fn heard(&self) -> Vec<Value> {
        let answer = self
            .http
            .get(self.running.heard_url())
            .send()
            .await
            .unwrap();
        let (_, answer) = read(answer).await.unwrap();
        answer["messages"].as_array().unwrap().clone()
    }
}

pub(crate) fn text(session: &str, chat: &str) -> Value {
    json!({"session": session, "chatId": chat, "text": "hello"})
}

async fn read(answer: reqwest::Response) -> reqwest::Result<(u16, Value)> {
    let status = answer.status().as_u16();
    let bytes = answer.bytes().await?;
    Ok((
        status,
        serde_json::from_slice(&bytes).unwrap_or(Value::Null),
    ))
}
