//! `acks`: signed reports of workers taken in over HTTP and applied, beside bare array updates.

use std::sync::Arc;

use anyhow::{Context, ensure};
use hmac::{Hmac, Mac};
use serde_json::json;
use sha2::Sha512;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::Extent;
use super::accept::ready;
use super::cost::{self, Cpu};
use super::figure::{Rounds, Target};
use super::report::Report;
use super::send;
use super::sql::{self, Ackable};
use super::stage::{Hall, Stage};

/// Reports that are on their way at once, as of a few hundred busy workers.
const AT_ONCE: usize = 512;
/// Reports in a round: each moves a message of its own.
const REPORTS: usize = 40_000;
/// Rows of a statement of the limit.
const GROUP: usize = 500;

/// A signed webhook, ready to be posted.
struct Hook {
    path: String,
    body: String,
    signature: String,
}

/// Measures and reports.
pub(crate) async fn run(hall: &Hall, extent: Extent, report: &mut Report) -> anyhow::Result<()> {
    let (stage, db, phones) = ready(hall).await?;
    sql::bare_ledger(&db).await?;
    let reports = extent.of(REPORTS);
    let (mut rounds, mut used) = (Rounds::default(), std::collections::BTreeMap::new());
    for round in 0..=extent.rounds {
        let sent = sql::add_sent(&db, &phones, reports.div_ceil(phones.len())).await?;
        sql::fill_bare_ledger(&db, sent.len()).await?;
        let hooks = sign(&stage, &sent)?;
        let before = Cpu::of(&stage);
        let figure = post(&stage, hooks).await?;
        let span = Cpu::of(&stage).since(&before);
        let moved = sql::delivered(&db).await?;
        ensure!(moved >= sent.len() as i64, "only {moved} messages moved");
        let began = Instant::now();
        sql::ack_bare_ledger(&db, sent.len(), GROUP).await?;
        if round > 0 {
            cost::add(&mut used, &span);
            rounds.push(figure, sent.len() as f64 / began.elapsed().as_secs_f64());
        }
        sql::forget_messages(&db).await?;
    }
    let acks = f64::from(extent.rounds) * reports as f64;
    let row = rounds.row("acks", "acks/s", Target::Shown);
    let figure = row.figure;
    report.rows.push(row.noted(cost::per_unit(&used, acks)));
    if let Some(send) = send::figure(report) {
        let mut row = Rounds {
            figure: vec![figure],
            limit: vec![send],
        }
        .row("acks, beside send", "acks/s", Target::AtLeast(3.0));
        row.note = "the limit here is the send figure of the same run".to_owned();
        report.rows.push(row);
    }
    Ok(())
}

fn sign(stage: &Stage, sent: &[Ackable]) -> anyhow::Result<Vec<Hook>> {
    let key = stage.secret("WEBHOOK_HMAC_KEY")?;
    let key = Hmac::<Sha512>::new_from_slice(key.as_bytes()).context("the key has no use")?;
    let hooks = sent.iter().map(|one| {
        let body = json!({"event": "message.ack", "session": one.sender,
            "engine": "NOWEB", "payload": {"id": format!("true_{}@c.us_{}", one.to, one.id),
                "fromMe": true, "ack": 2, "ackName": "DEVICE"}})
        .to_string();
        let mut mac = key.clone();
        mac.update(body.as_bytes());
        let code = mac.finalize().into_bytes();
        Hook {
            path: format!("/api/webhook/waha/{}/{}", one.sender, one.generation),
            signature: code.iter().map(|byte| format!("{byte:02x}")).collect(),
            body,
        }
    });
    Ok(hooks.collect())
}

/// Posts all of them, many at once; reports a second until the last is answered.
async fn post(stage: &Stage, hooks: Vec<Hook>) -> anyhow::Result<f64> {
    let http = reqwest::Client::builder().tcp_nodelay(true).build()?;
    let (hooks, began) = (Arc::new(hooks), Instant::now());
    let mut posts = JoinSet::new();
    for first in 0..AT_ONCE {
        let (http, hooks, base) = (http.clone(), Arc::clone(&hooks), stage.gateway.clone());
        posts.spawn(async move {
            for hook in hooks.iter().skip(first).step_by(AT_ONCE) {
                let answer = http
                    .post(format!("{base}{}", hook.path))
                    .header("content-type", "application/json")
                    .header("X-Webhook-Hmac", &hook.signature)
                    .body(hook.body.clone())
                    .send()
                    .await?
                    .error_for_status()?;
                let _read = answer.bytes().await?;
            }
            anyhow::Ok(())
        });
    }
    while let Some(ended) = posts.join_next().await {
        ended??;
    }
    Ok(hooks.len() as f64 / began.elapsed().as_secs_f64())
}
