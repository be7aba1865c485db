//! The simulated workers, seen from outside the system: who holds which session, who heard what.

use anyhow::{Context, bail};
use reqwest::Client;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::up::SimWorker;

/// At most this many entries come in one answer.
const PAGE: usize = 10_000;

/// One message that a simulated WhatsApp delivered.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct Heard {
    /// The worker's number.
    pub(super) worker: u64,
    /// The session's name: the sender's phone number.
    pub(super) session: String,
    /// The recipient's chat.
    pub(super) chat: String,
    /// What was said.
    pub(super) text: String,
    /// When it arrived, on the simulator's monotonic clock.
    pub(super) arrived_mono_ns: u64,
}

/// All workers of the run.
pub(super) struct Fleet {
    client: Client,
    /// In the order of their numbers.
    pub(super) workers: Vec<SimWorker>,
}

impl Fleet {
    /// The workers that the simulator has announced.
    pub(super) fn new(workers: &[SimWorker]) -> Self {
        Self {
            client: Client::new(),
            workers: workers.to_owned(),
        }
    }

    /// What a worker says about itself.
    pub(super) async fn version(&self, worker: &SimWorker) -> anyhow::Result<String> {
        let said = self.ask(worker, "/api/server/version").await?;
        let field = |name: &str| said[name].as_str().unwrap_or("?").to_owned();
        Ok(format!(
            "WAHA {} {} {}",
            field("version"),
            field("engine"),
            field("tier")
        ))
    }

    /// The number (from 1) of the worker that holds the session of `phone`, and its status there.
    pub(super) async fn holder(&self, phone: &str) -> anyhow::Result<Option<(usize, String)>> {
        for (number, worker) in (1..).zip(&self.workers) {
            let sessions = self.ask(worker, "/api/sessions?all=true").await?;
            let list = sessions
                .as_array()
                .context("a worker's sessions are not a list")?;
            if let Some(session) = list.iter().find(|session| session["name"] == phone) {
                let status = session["status"].as_str().unwrap_or_default();
                return Ok(Some((number, status.to_owned())));
            }
        }
        Ok(None)
    }

    /// Plays the person who scans the QR code with the phone.
    pub(super) async fn scan(&self, number: usize, phone: &str) -> anyhow::Result<()> {
        let worker = self
            .workers
            .get(number - 1)
            .context("there is no such worker")?;
        let answer = self
            .client
            .post(format!("{}/link", worker.control))
            .json(&json!({"session": phone, "phone": phone}))
            .send()
            .await?;
        if !answer.status().is_success() {
            bail!(
                "scanning the QR of {phone} failed: {}",
                answer.text().await?
            );
        }
        Ok(())
    }

    /// Everything heard so far, worker by worker in the order of arrival.
    pub(super) async fn heard(&self) -> anyhow::Result<Vec<Heard>> {
        let mut all = Vec::new();
        for worker in &self.workers {
            let url = format!("{}/heard?after=0&limit={PAGE}", worker.control);
            let mut answer: Value = self.client.get(url).send().await?.json().await?;
            let mut page: Vec<Heard> = serde_json::from_value(answer["messages"].take())?;
            page.sort_by_key(|heard| heard.arrived_mono_ns);
            all.append(&mut page);
        }
        Ok(all)
    }

    async fn ask(&self, worker: &SimWorker, path: &str) -> anyhow::Result<Value> {
        let request = self.client.get(format!("{}{path}", worker.url));
        let answer = request.header("X-Api-Key", &worker.api_key).send().await?;
        Ok(answer.error_for_status()?.json().await?)
    }
}
