//! `acks`: signed reports of workers taken in over HTTP and applied, beside bare array updates.

use anyhow::{Context, ensure};
use hmac::{Hmac, Mac};
use serde_json::json;
use sha2::Sha512;
use tokio::time::Instant;

use super::Extent;
use super::accept::ready;
use super::cost::{self, Cpu};
use super::figure::{Rounds, Target};
use super::http;
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
        let took = http::all(&stage.gateway, hooks, AT_ONCE).await?;
        let span = Cpu::of(&stage).since(&before);
        let figure = sent.len() as f64 / took.as_secs_f64();
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

/// One signed webhook for each of these, as it goes over the wire.
fn sign(stage: &Stage, sent: &[Ackable]) -> anyhow::Result<Vec<Vec<u8>>> {
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
        let signature: String = code.iter().map(|byte| format!("{byte:02x}")).collect();
        let path = format!("/api/webhook/waha/{}/{}", one.sender, one.generation);
        let headers = [
            ("content-type", "application/json"),
            ("X-Webhook-Hmac", &signature),
        ];
        http::post(&stage.gateway, &path, &headers, &body)
    });
    Ok(hooks.collect())
}
