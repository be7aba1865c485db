//! The simulated WAHA workers, seen from outside the system: who holds what, who heard what when.

use std::time::{Duration, SystemTime};

use reqwest::Client;
use serde::Deserialize;
use serde_json::{Value, json};
use time::OffsetDateTime;

/// A worker, as `run.json` has it.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Worker {
    pub(crate) url: String,
    pub(crate) api_key: String,
    pub(crate) control: String,
}

/// One message that a simulated phone received.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Heard {
    /// The worker's number, from 1.
    pub(crate) worker: usize,
    pub(crate) session: String,
    pub(crate) chat: String,
    pub(crate) text: String,
    #[serde(with = "time::serde::rfc3339")]
    pub(crate) arrived_at: OffsetDateTime,
    pub(crate) arrived_mono_ns: u64,
    pub(crate) answered_mono_ns: Option<u64>,
}

impl Heard {
    /// The recipient's number.
    pub(crate) fn recipient(&self) -> &str {
        self.chat.split('@').next().unwrap_or_default()
    }

    pub(crate) fn arrived(&self) -> SystemTime {
        self.arrived_at.into()
    }
}

/// All workers of a run.
#[derive(Debug, Clone)]
pub(crate) struct Fleet {
    client: Client,
    pub(crate) workers: Vec<Worker>,
}

impl Fleet {
    pub(crate) fn new(workers: Vec<Worker>) -> Self {
        Self {
            client: Client::builder().no_proxy().build().unwrap(),
            workers,
        }
    }

    /// What a worker's dashboard shows: `GET /api/sessions?all=true` on worker `number`.
    pub(crate) async fn dashboard(&self, number: usize) -> Vec<Value> {
        let worker = &self.workers[number - 1];
        let request = self
            .client
            .get(format!("{}/api/sessions?all=true", worker.url));
        let answer = request
            .header("X-Api-Key", &worker.api_key)
            .send()
            .await
            .unwrap();
        answer.error_for_status().unwrap().json().await.unwrap()
    }

    /// The number of the worker that holds a session, and the session's status there.
    pub(crate) async fn holder(&self, session: &str) -> Option<(usize, String)> {
        for number in 1..=self.workers.len() {
            let held = self.dashboard(number).await;
            if let Some(found) = held.iter().find(|one| one["name"] == session) {
                let status = found["status"].as_str().unwrap_or_default();
                return Some((number, status.to_owned()));
            }
        }
        None
    }

    /// Plays the person who scans the QR code of `session` on worker `number`.
    pub(crate) async fn scan(&self, number: usize, session: &str) {
        let url = format!("{}/link", self.workers[number - 1].control);
        let body = json!({"session": session, "phone": session});
        let answer = self.client.post(url).json(&body).send().await.unwrap();
        let status = answer.status();
        let text = answer.text().await.unwrap();
        assert!(
            status.is_success(),
            "scanning the QR of {session}: {status} {text}"
        );
    }

    /// Kills worker `number` and starts it again after `down`.
    pub(crate) async fn restart(&self, number: usize, down: Duration) {
        let url = format!("{}/fault", self.workers[number - 1].control);
        let millis = u64::try_from(down.as_millis()).unwrap();
        let body = json!({"kind": "restart", "millis": millis});
        let answer = self.client.post(url).json(&body).send().await.unwrap();
        answer.error_for_status().unwrap();
    }

    /// Everything heard so far, in order of arrival.
    pub(crate) async fn heard(&self) -> Vec<Heard> {
        let Some(worker) = self.workers.first() else {
            return Vec::new();
        };
        let (all_workers, _) = worker.control.rsplit_once('/').unwrap();
        let mut heard: Vec<Heard> = Vec::new();
        let mut after = 0;
        loop {
            let url = format!("{all_workers}/heard?after={after}&limit=10000");
            let mut page: Value = self
                .client
                .get(url)
                .send()
                .await
                .unwrap()
                .json()
                .await
                .unwrap();
            let next = page["next"].as_u64().unwrap();
            let mut messages: Vec<Heard> = serde_json::from_value(page["messages"].take()).unwrap();
            if next == after {
                heard.sort_by_key(|heard| heard.arrived_mono_ns);
                return heard;
            }
            heard.append(&mut messages);
            after = next;
        }
    }
}
