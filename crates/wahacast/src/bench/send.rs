//! `send`: messages a second through one sender replica that nothing holds back, beside the same
//! requests in a bare loop that stores nothing.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_postgres::Client;

use super::cost::{self, Cpu};
use super::figure::{Rounds, Row, Target};
use super::fleet::{Fleet, message_id};
use super::load::heard_so_far;
use super::report::Report;
use super::sql;
use super::stage::{Hall, Scene, Stage, until};
use super::{Extent, TEXT};

/// One message of each is on its way at once.
pub(crate) const SENDERS: usize = 2_000;
/// Messages of each sender in a round.
pub(crate) const EACH: usize = 40;
/// So that a worker has as many sessions as WAHA advises at most.
const SENDERS_PER_WORKER: usize = 50;

/// Nothing waits, and nobody rests because the simulator sends no acks here: those have a bench
/// of their own.
pub(crate) const UNPACED: &[(&str, &str)] = &[
    ("MESSAGE_DELAY", "0"),
    ("SENDER_SWITCH_DELAY", "0"),
    ("CAMPAIGN_DELAY", "0"),
    ("MESSAGE_DELAY_JITTER", "0"),
    ("SENDER_TURN_MESSAGES", "10000"),
    ("SILENCE_MESSAGES", "100000"),
];
/// A simulator that adds no wait of its own.
pub(crate) const SILENT: &str = "--time-scale 0.001 --send-delay-ms 0 --lost-ack-share 1 \
    --heard-capacity 1000 --stored-messages 10";

/// Measures and reports.
pub(crate) async fn run(hall: &Hall, extent: Extent, report: &mut Report) -> anyhow::Result<()> {
    let senders = extent.of(SENDERS);
    let stage = hall.stage(scene(senders)?).await?;
    let db = stage.db().await?;
    sql::set_delays(&db, [Duration::ZERO; 3]).await?;
    let fleet = Arc::new(Fleet::link(&stage, &db, senders).await?);
    stage.start(hall, "sender", 1).await?;
    sql::analyze(&db).await?;
    let (mut rounds, mut used) = (Rounds::default(), BTreeMap::new());
    // The first of each warms caches and plans.
    ours(&db, &stage, &fleet, &mut BTreeMap::new()).await?;
    bare(&stage, &fleet).await?;
    for _ in 0..extent.rounds {
        let figure = ours(&db, &stage, &fleet, &mut used).await?;
        rounds.push(figure, bare(&stage, &fleet).await?);
    }
    let messages = (extent.rounds as usize * senders * EACH) as f64;
    let row = rounds.row("send", "messages/s", Target::AtLeast(0.5));
    report.rows.push(row.noted(cost::per_unit(&used, messages)));
    Ok(())
}

/// What `senders` numbers that nothing holds back stand on.
pub(crate) fn scene(senders: usize) -> anyhow::Result<Scene<'static>> {
    Ok(Scene {
        settings: UNPACED,
        workers: u32::try_from(senders.div_ceil(SENDERS_PER_WORKER))?,
        simulator: SILENT,
    })
}

/// One round of the whole: every sender has a campaign, and all of them are sent.
pub(crate) async fn ours(
    db: &Client,
    stage: &Stage,
    fleet: &Fleet,
    used: &mut BTreeMap<String, f64>,
) -> anyhow::Result<f64> {
    let campaigns = sql::add_campaigns(db, &fleet.phones, EACH).await?;
    let heard_before = heard_so_far(stage).await?;
    let before = Cpu::of(stage);
    sql::share_lanes(db, &[stage.replica("sender", 1)]).await?;
    until("all campaigns end", async || {
        Ok(sql::open_campaigns(db).await? == 0)
    })
    .await?;
    cost::add(used, &Cpu::of(stage).since(&before));
    let (secs, sent) = sql::span(db, &campaigns).await?;
    ensure!(
        sent == (fleet.phones.len() * EACH) as i64,
        "only {sent} messages were sent"
    );
    let heard = heard_so_far(stage).await? - heard_before;
    ensure!(
        heard == sent.unsigned_abs(),
        "{heard} messages were heard of {sent}"
    );
    Ok(sent as f64 / secs)
}

/// The same requests by the bare client, one of each sender on its way at a time.
async fn bare(stage: &Stage, fleet: &Fleet) -> anyhow::Result<f64> {
    let http = reqwest::Client::builder()
        .tcp_nodelay(true)
        .no_proxy()
        .build()?;
    let began = Instant::now();
    let mut loops = JoinSet::new();
    for (number, (phone, place)) in fleet.phones.iter().zip(&fleet.places).enumerate() {
        let worker = stage.workers.get(*place).context("a worker is missing")?;
        let (http, phone) = (http.clone(), phone.clone());
        let (url, key) = (
            format!("{}/api/sendText", worker.url),
            worker.api_key.clone(),
        );
        loops.spawn(async move {
            for ordinal in 0..EACH {
                let to = 491_000_000_000_u64 + (number * EACH + ordinal) as u64;
                let body = json!({"session": phone, "chatId": format!("{to}@c.us"),
                    "text": TEXT,
                    "linkPreview": false,
                    "id": message_id()});
                let request = http.post(&url).header("X-Api-Key", &key).json(&body);
                let answer = request.send().await?.error_for_status()?;
                let _read = answer.bytes().await?;
            }
            anyhow::Ok(())
        });
    }
    while let Some(ended) = loops.join_next().await {
        ended??;
    }
    let messages = fleet.phones.len() * EACH;
    Ok(messages as f64 / began.elapsed().as_secs_f64())
}

/// The figure that other benches are held against: messages a second, from the table.
pub(crate) fn figure(report: &Report) -> Option<f64> {
    let row: Option<&Row> = report.rows.iter().find(|row| row.name == "send");
    row.map(|row| row.figure)
}
