//! `status`: what users ask most, on a ledger of one message and on one of millions.

use anyhow::ensure;
use futures_util::future::try_join_all;
use reqwest::Client as Http;
use tokio::time::Instant;
use uuid::Uuid;

use super::Extent;
use super::accept::ready;
use super::figure::{Rounds, Row, Target, median, quantile};
use super::report::{Curve, Report};
use super::sql;
use super::stage::{Hall, Stage};

/// Clients that ask at once, and connections of the limit.
const CLIENTS: usize = 16;
/// Questions of each in a round.
const EACH: usize = 250;
/// Campaigns of the largest ledger, and messages of each.
const CAMPAIGNS: usize = 10_000;
const EACH_MESSAGES: usize = 1_000;
/// How much larger than on the smallest ledger p99 may be and still count as flat.
const FLAT: f64 = 1.5;

/// Measures and reports.
pub(crate) async fn run(hall: &Hall, extent: Extent, report: &mut Report) -> anyhow::Result<()> {
    let (stage, db, phones) = ready(hall).await?;
    let mut sizes = vec![
        (1, 1),
        (100, EACH_MESSAGES),
        (extent.of(CAMPAIGNS), EACH_MESSAGES),
    ];
    sizes.dedup();
    let mut campaigns: Vec<Uuid> = Vec::new();
    let (mut p99, mut last) = (Vec::new(), None);
    for (count, each) in sizes {
        let missing = count - campaigns.len().min(count);
        let senders: Vec<String> = (0..missing)
            .map(|n| phones[n % phones.len()].clone())
            .collect();
        for some in senders.chunks(1_000) {
            campaigns.extend(sql::add_campaigns(&db, some, each).await?);
        }
        sql::end_campaigns(&db).await?;
        sql::analyze(&db).await?;
        let (rounds, waits) = measure(&stage, &campaigns, extent).await?;
        p99.push(((count * each) as f64, waits));
        last = Some(rounds);
    }
    if let Some(rounds) = last {
        report
            .rows
            .push(rounds.row("status", "answers/s", Target::AtLeast(0.6)));
    }
    let messages = p99.last().map_or(0.0, |(messages, _)| *messages);
    let flat = Rounds {
        figure: p99.iter().map(|(_, waits)| *waits).skip(1).collect(),
        limit: p99.iter().map(|_| p99[0].1).skip(1).collect(),
    };
    let row = flat.row("status, p99", "ms", Target::AtMost(FLAT));
    let told = format!("the limit is p99 with one message; at most {messages:.0} here");
    report.rows.push(row.noted(told));
    report.curves.push(Curve {
        name: "status",
        size: "messages",
        cost: "p99, ms",
        lines: vec![("status".to_owned(), p99)],
    });
    list(&stage, &phones[0], report).await
}

/// Rounds of answers a second, and the median of the rounds' p99 in milliseconds.
async fn measure(
    stage: &Stage,
    campaigns: &[Uuid],
    extent: Extent,
) -> anyhow::Result<(Rounds, f64)> {
    let (mut rounds, mut p99) = (Rounds::default(), Vec::new());
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        clients.push(stage.db().await?);
    }
    for round in 0..=extent.rounds {
        let (figure, waits) = answers(stage, campaigns).await?;
        let began = Instant::now();
        let selects = clients.iter().enumerate();
        let selects = selects.map(|(n, client)| sql::bare_status(client, campaigns, n, EACH));
        try_join_all(selects).await?;
        if round > 0 {
            let limit = (CLIENTS * EACH) as f64 / began.elapsed().as_secs_f64();
            rounds.push(figure, limit);
            p99.push(quantile(&waits, 0.99));
        }
    }
    Ok((rounds, median(&p99)))
}

/// One round of all clients: answers a second, and the milliseconds of each.
pub(crate) async fn answers(stage: &Stage, campaigns: &[Uuid]) -> anyhow::Result<(f64, Vec<f64>)> {
    let (http, began) = (Http::new(), Instant::now());
    let asks = (0..CLIENTS).map(|n| ask(&http, stage, campaigns, n));
    let waits: Vec<f64> = try_join_all(asks).await?.into_iter().flatten().collect();
    Ok((waits.len() as f64 / began.elapsed().as_secs_f64(), waits))
}

/// One client's questions about campaigns here and there; milliseconds of each.
async fn ask(
    http: &Http,
    stage: &Stage,
    campaigns: &[Uuid],
    client: usize,
) -> anyhow::Result<Vec<f64>> {
    let mut waits = Vec::with_capacity(EACH);
    for n in 0..EACH {
        let id = campaigns[(client * 7_919 + n * 104_729) % campaigns.len()];
        let began = Instant::now();
        let answer = http
            .get(format!("{}/api/status/{id}", stage.gateway))
            .send()
            .await?;
        ensure!(answer.status().is_success(), "status {}", answer.status());
        let _read = answer.bytes().await?;
        waits.push(began.elapsed().as_secs_f64() * 1e3);
    }
    Ok(waits)
}

/// Pages of the list of a number's campaigns, on the largest ledger.
async fn list(stage: &Stage, sender: &str, report: &mut Report) -> anyhow::Result<()> {
    let http = Http::new();
    let url = format!(
        "{}/api/campaigns?sender_number={sender}&limit=50",
        stage.gateway
    );
    let mut waits = Vec::new();
    for _ in 0..100 {
        let began = Instant::now();
        let answer = http.get(&url).send().await?;
        ensure!(answer.status().is_success(), "list {}", answer.status());
        let _read = answer.bytes().await?;
        waits.push(began.elapsed().as_secs_f64() * 1e3);
    }
    let p99 = [quantile(&waits, 0.99)];
    let row = Row::alone(
        "status, a page of 50 campaigns p99",
        "ms",
        &p99,
        Target::Shown,
    );
    report
        .rows
        .push(row.noted(format!("median {:.1} ms", median(&waits))));
    Ok(())
}
