//! The guide's fourteen steps, each a line on the screen and a check.

use std::time::Duration;

use anyhow::{bail, ensure};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::api::{Api, count, text, until};
use super::examine::Report;
use super::fleet::Fleet;
use super::progress::{self, note, step};
use super::{MESSAGE_DELAY, SWITCH_DELAY};
use crate::up::RunFacts;

/// The senders. The first three fill the first three workers; the others wait for the fourth.
const SENDERS: [&str; 5] = [
    "42108077",
    "21642108101",
    "21642108102",
    "21642108103",
    "21642108104",
];
/// Recipients of each campaign: some seconds at the pace of the demo.
const RECIPIENTS: usize = 30;
/// A session needs a second or two; more than this means that it is stuck.
const SESSION_WITHIN: Duration = Duration::from_secs(40);

/// A campaign of the demo.
#[derive(Debug, Clone)]
pub(super) struct Campaign {
    /// As the gateway named it.
    pub(super) id: String,
    /// Whose it is.
    pub(super) sender: String,
    /// Who is to hear it.
    pub(super) recipients: Vec<String>,
}

/// The walk through one running system.
pub(super) struct Walk {
    /// The gateway.
    pub(super) api: Api,
    /// The simulated workers.
    pub(super) fleet: Fleet,
}

impl Walk {
    /// A walk through the system of this run.
    pub(super) fn new(facts: &RunFacts) -> anyhow::Result<Self> {
        Ok(Self {
            api: Api::new(facts)?,
            fleet: Fleet::new(&facts.workers),
        })
    }

    /// All steps in order.
    ///
    /// # Errors
    /// The first thing that is not as the guide says.
    pub(super) async fn run(&self) -> anyhow::Result<Report> {
        let [first, second, third, fourth, fifth] = SENDERS;
        self.clear().await?;
        self.register_workers().await?;
        step(
            "5-7",
            &format!("session {first}: created, QR scanned, checked"),
        );
        self.link(first).await?;
        step(
            "8-10",
            &format!("session {second}: the same; then both are checked"),
        );
        self.link(second).await?;
        self.expect_working(&[first, second]).await?;
        self.look_at_dashboard([first, second]).await?;
        step(
            "+",
            &format!("session {third} takes the last place, {fourth} and {fifth} must wait"),
        );
        self.link(third).await?;
        self.expect_queued(&[fourth, fifth]).await?;
        let mut campaigns = self.submit("12", &[first, second, third]).await?;
        step(
            "13",
            "the status of the campaigns, until they are completed",
        );
        progress::watch(&self.api, &campaigns).await?;
        self.add_worker(&[fourth, fifth]).await?;
        let more = self.submit("+", &[fourth, fifth]).await?;
        progress::watch(&self.api, &more).await?;
        campaigns.extend(more);
        self.examine(&campaigns).await
    }

    /// An earlier demo's fleet is removed; its campaigns stay in the books.
    async fn clear(&self) -> anyhow::Result<()> {
        self.api.delete("/api/admin/workers/cleanup").await?;
        let delays = json!({
            "MESSAGE_DELAY": MESSAGE_DELAY,
            "SENDER_SWITCH_DELAY": SWITCH_DELAY,
            "CAMPAIGN_DELAY": 0,
        });
        self.api.post("/api/admin/delays", delays.clone()).await?;
        let shown = self.api.get("/api/admin/delays").await?;
        for (name, wanted) in delays.as_object().into_iter().flatten() {
            ensure!(
                shown[name].as_f64() == wanted.as_f64(),
                "{name} is shown as {} after it was set to {wanted}",
                shown[name]
            );
        }
        note(&format!(
            "pace: {MESSAGE_DELAY} s between two messages of a sender, {SWITCH_DELAY} s between \
             two senders on a worker"
        ));
        Ok(())
    }

    async fn register_workers(&self) -> anyhow::Result<()> {
        let Some((_, first_three)) = self.fleet.workers.split_last() else {
            bail!("the simulator has no workers");
        };
        step("1", "three WAHA workers are running (simulated)");
        step(
            "2",
            "no dashboard here: each worker is asked who it is instead",
        );
        for worker in first_three {
            note(&format!(
                "{}  {}",
                worker.url,
                self.fleet.version(worker).await?
            ));
        }
        step("3", "the workers are registered on /api/admin/workers");
        for (number, worker) in (1..).zip(first_three) {
            let body = json!({
                "url": worker.url, "api_key": worker.api_key, "name": format!("demo-{number}"),
            });
            self.api.post("/api/admin/workers", body).await?;
        }
        step("4", "one session and one live session per worker");
        let list = self.api.get("/api/admin/workers").await?;
        let workers = list.as_array().map_or(&[][..], Vec::as_slice);
        ensure!(
            workers.len() == 3,
            "three workers were registered, {} are listed",
            workers.len()
        );
        for worker in workers {
            let limits = (count(worker, "capacity")?, count(worker, "max_live")?);
            ensure!(
                limits == (1, 1),
                "a worker's limits are {limits:?} instead of 1 and 1"
            );
        }
        Ok(())
    }

    /// Creates a session, gets its QR, scans it and waits until it works.
    async fn link(&self, phone: &str) -> anyhow::Result<()> {
        self.api
            .post("/api/sessions", json!({"phone_number": phone}))
            .await?;
        self.scan(phone).await
    }

    async fn scan(&self, phone: &str) -> anyhow::Result<()> {
        let path = format!("/api/sessions/{phone}/qr");
        let png = until(
            &format!("a QR for {phone}"),
            SESSION_WITHIN,
            async || match self.api.call(Method::GET, &path, None).await? {
                (StatusCode::OK, body) => Ok(body["qr_code"].as_str().map(str::to_owned)),
                (StatusCode::SERVICE_UNAVAILABLE, _) => Ok(None),
                (status, body) => bail!("GET {path} answered {status}: {body}"),
            },
        )
        .await?;
        // The first bytes of every PNG, in base64.
        ensure!(
            png.starts_with("iVBORw0KGgo"),
            "the QR of {phone} is not a PNG in base64"
        );
        let (worker, _) = until(
            &format!("a worker for {phone}"),
            SESSION_WITHIN,
            async || self.fleet.holder(phone).await,
        )
        .await?;
        note(&format!(
            "QR of {} bytes, scanned on worker {worker}",
            png.len() * 3 / 4
        ));
        self.fleet.scan(worker, phone).await?;
        until(
            &format!("session {phone} was to be WORKING"),
            SESSION_WITHIN,
            async || {
                let session = self.api.get(&format!("/api/sessions/{phone}")).await?;
                Ok((session["status"] == "WORKING").then_some(()))
            },
        )
        .await
    }

    async fn expect_working(&self, phones: &[&str]) -> anyhow::Result<()> {
        for phone in phones {
            let session = self.api.get(&format!("/api/sessions/{phone}")).await?;
            let status = text(&session, "status")?;
            ensure!(status == "WORKING", "session {phone} is {status}");
            note(&format!("{phone}: {status}"));
        }
        Ok(())
    }

    async fn look_at_dashboard(&self, phones: [&str; 2]) -> anyhow::Result<()> {
        step("11", "the workers themselves say which sessions they hold");
        let mut holders = Vec::new();
        for phone in phones {
            let Some((worker, status)) = self.fleet.holder(phone).await? else {
                bail!("no worker holds session {phone}");
            };
            note(&format!("worker {worker}: {phone} {status}"));
            holders.push(worker);
        }
        ensure!(
            holders[0] != holders[1],
            "both sessions are on worker {}",
            holders[0]
        );
        Ok(())
    }

    async fn expect_queued(&self, phones: &[&str]) -> anyhow::Result<()> {
        for phone in phones {
            let session = self
                .api
                .post("/api/sessions", json!({"phone_number": phone}))
                .await?;
            let status = text(&session, "status")?;
            ensure!(
                status == "QUEUED",
                "every worker is full, but session {phone} is {status}"
            );
            note(&format!("{phone}: {status}"));
        }
        Ok(())
    }

    async fn submit(&self, number: &str, senders: &[&str]) -> anyhow::Result<Vec<Campaign>> {
        step(
            number,
            &format!(
                "campaigns of {RECIPIENTS} messages, from {}",
                senders.join(", ")
            ),
        );
        let mut campaigns = Vec::new();
        for sender in senders {
            let recipients = recipients(sender);
            let numbered: Vec<Value> = (1..).zip(&recipients).map(personal).collect();
            let body = json!({
                "sender_number": sender,
                "recipients": numbered,
                "template": "Hello {{name}}, this is a test message!",
                "media_url": null,
            });
            let accepted = self.api.post("/api/send", body).await?;
            let id = text(&accepted, "id")?.to_owned();
            campaigns.push(Campaign {
                id,
                sender: (*sender).to_owned(),
                recipients,
            });
        }
        Ok(campaigns)
    }

    async fn add_worker(&self, waiting: &[&str]) -> anyhow::Result<()> {
        step(
            "14",
            "those who waited still do; a fourth worker with room for two takes them",
        );
        self.expect_queued(waiting).await?;
        let Some(worker) = self.fleet.workers.last() else {
            bail!("there is no fourth worker")
        };
        let body = json!({
            "url": worker.url, "api_key": worker.api_key, "name": "demo-4",
            "capacity": 2, "max_live": 2,
        });
        self.api.post("/api/admin/workers", body).await?;
        for phone in waiting {
            until(
                &format!("{phone} was to leave the queue"),
                SESSION_WITHIN,
                async || {
                    let session = self.api.get(&format!("/api/sessions/{phone}")).await?;
                    Ok((text(&session, "status")? != "QUEUED").then_some(()))
                },
            )
            .await?;
            self.scan(phone).await?;
        }
        self.expect_working(waiting).await
    }
}

/// A recipient with a name of its own, as `POST /api/send` takes it.
fn personal((n, number): (u32, &String)) -> Value {
    json!({"number": number, "variables": {"name": format!("friend {n}")}})
}

/// Numbers that belong to nobody, other ones for each sender.
fn recipients(sender: &str) -> Vec<String> {
    let tail = &sender[sender.len() - 3..];
    (1..=RECIPIENTS)
        .map(|n| format!("21600{tail}{n:03}"))
        .collect()
}
