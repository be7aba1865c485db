//! Linked numbers on simulated workers, known to the ledger: what an API's users would have made
//! in an hour of scanning.

use std::time::Duration;

use anyhow::{Context, bail};
use futures_util::{StreamExt, TryStreamExt, stream};
use serde_json::{Value, json};
use tokio_postgres::Client;
use uuid::Uuid;

use super::sql;
use super::stage::{Stage, until};

/// Sessions that are made at once.
const AT_ONCE: usize = 64;

/// Numbers and where their sessions are.
pub(crate) struct Fleet {
    /// The numbers.
    pub(crate) phones: Vec<String>,
    /// By number: which of the stage's workers.
    pub(crate) places: Vec<usize>,
}

/// Numbers that send, all of them different.
pub(crate) fn numbers(count: usize) -> Vec<String> {
    (0..count).map(|n| format!("2164{n:07}")).collect()
}

/// An id as the sender chooses them.
pub(crate) fn message_id() -> String {
    format!("3EB0{:018X}", Uuid::new_v4().as_u128() >> 56)
}

impl Fleet {
    /// Links `senders` numbers, spread over all workers of a stage, and writes them down.
    pub(crate) async fn link(stage: &Stage, db: &Client, senders: usize) -> anyhow::Result<Self> {
        let phones = numbers(senders);
        let places: Vec<usize> = (0..senders).map(|n| n % stage.workers.len()).collect();
        let http = reqwest::Client::builder()
            .timeout(Duration::from_secs(30))
            .build()?;
        let made = stream::iter(phones.iter().zip(&places)).map(Ok);
        made.try_for_each_concurrent(AT_ONCE, |(phone, place)| {
            let (http, worker) = (&http, &stage.workers[*place]);
            async move {
                let body = json!({"name": phone, "start": true});
                post(
                    http,
                    &format!("{}/api/sessions", worker.url),
                    &worker.api_key,
                    &body,
                )
                .await?;
                until("a session shows its code", async || {
                    let body = json!({"session": phone, "phone": phone});
                    let link = format!("{}/link", worker.control);
                    Ok(post(http, &link, &worker.api_key, &body).await.is_ok())
                })
                .await
            }
        })
        .await
        .context("the numbers could not be linked")?;
        let fleet = Self { phones, places };
        fleet.write_down(stage, db).await?;
        Ok(fleet)
    }

    /// Writes them down in the ledger of a stage on the same workers.
    pub(crate) async fn write_down(&self, stage: &Stage, db: &Client) -> anyhow::Result<()> {
        let ids: Vec<Uuid> = stage.workers.iter().map(|_| Uuid::now_v7()).collect();
        let urls: Vec<&str> = stage.workers.iter().map(|worker| &*worker.url).collect();
        let keys: Vec<&str> = stage
            .workers
            .iter()
            .map(|worker| &*worker.api_key)
            .collect();
        let capacity = self.phones.len().div_ceil(ids.len());
        sql::add_workers(db, &ids, &urls, &keys, i32::try_from(capacity)?).await?;
        let workers: Vec<Uuid> = self.places.iter().map(|place| ids[*place]).collect();
        sql::add_sessions(db, &self.phones, &workers).await
    }
}

async fn post(http: &reqwest::Client, url: &str, key: &str, body: &Value) -> anyhow::Result<Value> {
    let answer = http.post(url).header("X-Api-Key", key).json(body);
    let answer = answer.send().await?;
    let status = answer.status();
    let text = answer.text().await?;
    if !status.is_success() {
        bail!("{url} answered {status}: {text}");
    }
    Ok(serde_json::from_str(&text).unwrap_or(Value::Null))
}
