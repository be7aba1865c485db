//! `accept-small` and `accept-large`: campaigns taken in over HTTP, beside what the bare ledger
//! takes.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, ensure};
use futures_util::future::try_join_all;
use reqwest::Client as Http;
use serde_json::{Value, json};
use tokio::time::Instant;
use tokio_postgres::Client;
use uuid::Uuid;

use super::cost::{self, Cpu};
use super::figure::{Rounds, Row, Target, quantile};
use super::fleet::numbers;
use super::report::Report;
use super::sql::{self, BareInsert};
use super::stage::{Hall, Scene, Stage, until};
use super::{Extent, TEXT};

/// Clients of `accept-small`, and connections of its limit.
pub(crate) const CLIENTS: usize = 32;
/// Campaigns of each of them in a round.
pub(crate) const EACH: usize = 150;
/// Recipients of the one request of `accept-large`.
pub(crate) const RECIPIENTS: usize = 100_000;

/// A gateway, a number for each client that nobody sends for, and an HTTP client.
pub(crate) async fn ready(hall: &Hall) -> anyhow::Result<(Stage, Client, Vec<String>)> {
    let stage = hall.stage(Scene::default()).await?;
    let db = stage.db().await?;
    let phones = numbers(CLIENTS);
    let worker = [Uuid::now_v7()];
    sql::add_workers(&db, &worker, &["http://127.0.0.1:9"], &["key"], 100).await?;
    sql::add_sessions(&db, &phones, &[worker[0]; CLIENTS]).await?;
    stage.start(hall, "gateway", 1).await?;
    Ok((stage, db, phones))
}

/// Measures and reports campaigns of one recipient.
pub(crate) async fn small(hall: &Hall, extent: Extent, report: &mut Report) -> anyhow::Result<()> {
    let (stage, db, phones) = ready(hall).await?;
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        clients.push(BareInsert::new(stage.db().await?).await?);
    }
    let each = extent.of(EACH);
    let (mut rounds, mut used) = (Rounds::default(), BTreeMap::new());
    for round in 0..=extent.rounds {
        let before = Cpu::of(&stage);
        let (figure, _) = submit(&stage, &phones, each).await?;
        confirmed(&db).await?;
        let span = Cpu::of(&stage).since(&before);
        let limit = insert(&clients, &phones, each).await?;
        sql::forget_outbox(&db).await?;
        if round > 0 {
            cost::add(&mut used, &span);
            rounds.push(figure, limit);
        }
    }
    let row = rounds.row("accept-small", "campaigns/s", Target::AtLeast(0.6));
    let campaigns = f64::from(extent.rounds) * (CLIENTS * each) as f64;
    report
        .rows
        .push(row.noted(cost::per_unit(&used, campaigns)));
    // Noting when each job's row goes costs something: a round of its own, that counts for nothing
    // else.
    sql::note_confirmations(&db).await?;
    let (_, answered) = submit(&stage, &phones, each).await?;
    confirmed(&db).await?;
    let waits = sql::confirmed_after(&db, &answered).await?;
    ensure!(waits.len() == answered.len(), "a job was never confirmed");
    let p99 = [quantile(&waits, 0.99)];
    let row = Row::alone(
        "accept-small, job confirmed p99",
        "ms",
        &p99,
        Target::AtMost(250.0),
    );
    let told = format!("after the answer; median {:.1} ms", quantile(&waits, 0.5));
    report.rows.push(row.noted(told));
    Ok(())
}

/// Every client submits one campaign after the other; when each was answered, by the wall clock.
pub(crate) async fn submit(
    stage: &Stage,
    phones: &[String],
    each: usize,
) -> anyhow::Result<(f64, Vec<(Uuid, f64)>)> {
    let (http, began) = (Http::new(), Instant::now());
    let http = &http;
    let submits = phones.iter().map(|phone| async move {
        let mut answered = Vec::with_capacity(each);
        for n in 0..each {
            let to = 491_000_000_000_u64 + n as u64;
            let body = json!({"sender_number": phone, "recipients": [to.to_string()],
                "template": TEXT});
            let id = accepted(http.post(format!("{}/api/send", stage.gateway)).json(&body)).await?;
            let now = time::OffsetDateTime::now_utc().unix_timestamp_nanos() as f64 / 1e9;
            answered.push((id, now));
        }
        anyhow::Ok(answered)
    });
    let answered: Vec<_> = try_join_all(submits).await?.into_iter().flatten().collect();
    Ok((
        answered.len() as f64 / began.elapsed().as_secs_f64(),
        answered,
    ))
}

/// The id of a campaign that was accepted.
pub(crate) async fn accepted(request: reqwest::RequestBuilder) -> anyhow::Result<Uuid> {
    let answer = request.send().await?;
    let status = answer.status();
    let body: Value = answer.json().await?;
    ensure!(
        status.as_u16() == 202,
        "a campaign was answered with {status}: {body}"
    );
    let id = body["id"].as_str().context("an answer has no id")?;
    Ok(id.parse()?)
}

/// Waits until no job waits for the broker.
pub(crate) async fn confirmed(db: &Client) -> anyhow::Result<()> {
    until("every job is confirmed", async || {
        Ok(sql::outbox(db).await? == 0)
    })
    .await
}

/// The same rows by one transaction each, and nothing else.
async fn insert(clients: &[BareInsert], phones: &[String], each: usize) -> anyhow::Result<f64> {
    let began = Instant::now();
    let inserts = clients.iter().zip(phones).map(|(client, phone)| async {
        for _ in 0..each {
            client.run(phone).await?;
        }
        anyhow::Ok(())
    });
    try_join_all(inserts).await?;
    Ok((clients.len() * each) as f64 / began.elapsed().as_secs_f64())
}

/// Measures and reports one request with many recipients.
pub(crate) async fn large(hall: &Hall, extent: Extent, report: &mut Report) -> anyhow::Result<()> {
    let (stage, db, phones) = ready(hall).await?;
    let recipients = recipients(extent.of(RECIPIENTS));
    let body = whole(&phones[0], &recipients)?;
    let (mut rounds, mut used) = (Rounds::default(), BTreeMap::new());
    for round in 0..=extent.rounds {
        let before = Cpu::of(&stage);
        let secs = submit_whole(&stage, &db, (&body, recipients.len())).await?;
        let span = Cpu::of(&stage).since(&before);
        let figure = recipients.len() as f64 / secs;
        let secs = sql::copy_messages(&db, Uuid::now_v7(), &recipients).await?;
        if round > 0 {
            cost::add(&mut used, &span);
            rounds.push(figure, recipients.len() as f64 / secs);
        }
    }
    let row = rounds.row("accept-large", "recipients/s", Target::AtLeast(0.4));
    let all = f64::from(extent.rounds) * recipients.len() as f64;
    report.rows.push(row.noted(cost::per_unit(&used, all)));
    Ok(())
}

/// The body of a request with all of these recipients.
pub(crate) fn whole(sender: &str, recipients: &[String]) -> anyhow::Result<bytes::Bytes> {
    let body = json!({"sender_number": sender, "recipients": recipients, "template": TEXT});
    Ok(serde_json::to_vec(&body)?.into())
}

/// Seconds until a body with so many recipients is accepted, over a connection of its own; all of
/// them are in the ledger then.
pub(crate) async fn submit_whole(
    stage: &Stage,
    db: &Client,
    (body, recipients): (&bytes::Bytes, usize),
) -> anyhow::Result<f64> {
    let http = Http::builder().timeout(Duration::from_secs(120)).build()?;
    let began = Instant::now();
    let request = http
        .post(format!("{}/api/send", stage.gateway))
        .header("content-type", "application/json")
        .body(body.clone());
    let id = accepted(request).await?;
    let secs = began.elapsed().as_secs_f64();
    stored(db, id, recipients).await?;
    Ok(secs)
}

/// That a campaign's recipients are all in the ledger.
pub(crate) async fn stored(db: &Client, campaign: Uuid, recipients: usize) -> anyhow::Result<()> {
    let stored = sql::messages_of(db, campaign).await?;
    ensure!(stored == recipients as i64, "only {stored} are stored");
    Ok(())
}

/// Numbers that are all different.
pub(crate) fn recipients(count: usize) -> Vec<String> {
    (0..count).map(|n| format!("49151{n:08}")).collect()
}
