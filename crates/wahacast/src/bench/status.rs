//! `status`: what users ask most, on a ledger of two messages and on one of millions: how campaigns
//! stand, those that are over and those that are not, and pages of a number's campaigns.

use std::collections::BTreeMap;

use anyhow::ensure;
use futures_util::future::try_join_all;
use serde_json::Value;
use tokio::time::Instant;
use tokio_postgres::Client;
use uuid::Uuid;

use super::Extent;
use super::cost::{self, Cpu};
use super::figure::{Rounds, Row, Target, median, quantile};
use super::fleet::numbers;
use super::http::{self, Connection};
use super::report::{Curve, Report};
use super::sql::{self, Bare};
use super::stage::{Hall, Scene, Stage};

/// Clients that ask at once, and connections of the limit.
const CLIENTS: usize = 16;
/// Questions of each in a round.
const EACH: usize = 500;
/// Campaigns of the largest ledger, and messages of each.
const CAMPAIGNS: usize = 10_000;
const EACH_MESSAGES: usize = 1_000;
/// Campaigns of a number, the newest of which is open; they are a page.
const OF_NUMBER: usize = 10;
/// Numbers on a worker, as WAHA advises.
const OF_WORKER: usize = 50;
/// How much larger than on a small ledger p99 may be and still count as flat.
const FLAT: f64 = 1.5;

/// A ledger, by number: its campaigns, oldest first.
struct Ledger {
    stage: Stage,
    db: Client,
    phones: Vec<String>,
    campaigns: Vec<Uuid>,
}

/// What was measured on one ledger.
struct Measured {
    rounds: Rounds,
    /// Milliseconds: p99 of statuses, and of pages.
    status: f64,
    page: f64,
    /// CPU seconds by role, of so many answers.
    used: BTreeMap<String, f64>,
    answers: f64,
}

/// Measures and reports.
pub(crate) async fn run(hall: &Hall, extent: Extent, report: &mut Report) -> anyhow::Result<()> {
    let mut ledger = ready(hall, extent).await?;
    let (mut statuses, mut pages, mut last) = (Vec::new(), Vec::new(), None);
    let mut sizes = vec![(2, 1), (100, EACH_MESSAGES)];
    sizes.push((extent.of(CAMPAIGNS).max(100), EACH_MESSAGES));
    sizes.dedup();
    for (count, each) in sizes {
        ledger.grow(count, each).await?;
        let measured = ledger.measure(extent).await?;
        let messages = (count * each) as f64;
        statuses.push((messages, measured.status));
        pages.push((messages, measured.page));
        last = Some(measured);
    }
    if let Some(measured) = last {
        let row = measured
            .rounds
            .row("status", "answers/s", Target::AtLeast(0.6));
        let told = cost::per_unit(&measured.used, measured.answers);
        report.rows.push(row.noted(told));
    }
    report.rows.push(flat("status, p99", &statuses));
    // A page of the smallest ledger is shorter.
    report.rows.push(flat("status, p99 of a page", &pages[1..]));
    report.curves.push(Curve {
        name: "status",
        size: "messages",
        cost: "p99, ms",
        lines: vec![
            ("status".to_owned(), statuses),
            (format!("a page of {OF_NUMBER}"), pages),
        ],
    });
    Ok(())
}

/// The longest wait of any size, beside that of the smallest.
fn flat(name: &str, by_size: &[(f64, f64)]) -> Row {
    let (least, first) = by_size.first().copied().unwrap_or_default();
    let others = by_size.iter().skip(1).copied();
    let longest = others.max_by(|a, b| a.1.total_cmp(&b.1));
    let (size, worst) = longest.unwrap_or_default();
    let mut rounds = Rounds::default();
    rounds.push(worst, first);
    let told = format!("with {size:.0} messages; the limit is p99 with {least:.0}");
    rounds.row(name, "ms", Target::AtMost(FLAT)).noted(told)
}

/// A gateway, and numbers on workers that nobody sends for.
async fn ready(hall: &Hall, extent: Extent) -> anyhow::Result<Ledger> {
    let stage = hall.stage(Scene::default()).await?;
    let db = stage.db().await?;
    let phones = numbers(extent.of(CAMPAIGNS).max(100).div_ceil(OF_NUMBER));
    let count = phones.len().div_ceil(OF_WORKER);
    let workers: Vec<Uuid> = (0..count).map(|_| Uuid::now_v7()).collect();
    let urls: Vec<String> = (1..=count)
        .map(|n| format!("http://127.0.0.{n}:9"))
        .collect();
    let urls: Vec<&str> = urls.iter().map(String::as_str).collect();
    let capacity = i32::try_from(OF_WORKER)?;
    sql::add_workers(&db, &workers, &urls, &vec!["key"; count], capacity).await?;
    let places: Vec<Uuid> = (0..phones.len()).map(|n| workers[n % count]).collect();
    sql::add_sessions(&db, &phones, &places).await?;
    stage.start(hall, "gateway", 1).await?;
    Ok(Ledger {
        stage,
        db,
        phones,
        campaigns: Vec::new(),
    })
}

impl Ledger {
    async fn grow(&mut self, count: usize, each: usize) -> anyhow::Result<()> {
        let added = self.campaigns.len()..count;
        let senders = added.map(|n| self.phones[n / OF_NUMBER].clone());
        let senders: Vec<String> = senders.collect();
        for some in senders.chunks(1_000) {
            let ids = sql::add_campaigns(&self.db, some, each).await?;
            self.campaigns.extend(ids);
        }
        sql::settle_campaigns(&self.db).await?;
        sql::analyze(&self.db).await
    }

    /// Rounds of answers a second beside what the bare statements do, after one in which every
    /// answer is read.
    async fn measure(&self, extent: Extent) -> anyhow::Result<Measured> {
        let mut bare = Vec::new();
        for _ in 0..CLIENTS {
            bare.push(Bare::new(self.stage.db().await?).await?);
        }
        let (mut rounds, mut used) = (Rounds::default(), BTreeMap::new());
        let (mut status, mut page) = (Vec::new(), Vec::new());
        let answers = (CLIENTS * EACH) as f64;
        for round in 0..=extent.rounds {
            // One that is idle while the limit is measured may be closed.
            let opens = (0..CLIENTS).map(|_| Connection::open(&self.stage.gateway));
            let mut clients = try_join_all(opens).await?;
            let (before, began) = (Cpu::of(&self.stage), Instant::now());
            let clients = clients.iter_mut().enumerate();
            let asks = clients.map(|(n, connection)| self.ask(connection, n, round == 0));
            let waits: Vec<_> = try_join_all(asks).await?.into_iter().flatten().collect();
            let figure = answers / began.elapsed().as_secs_f64();
            let spent = Cpu::of(&self.stage).since(&before);
            let began = Instant::now();
            try_join_all(
                bare.iter()
                    .enumerate()
                    .map(|(n, bare)| self.select(bare, n)),
            )
            .await?;
            if round > 0 {
                rounds.push(figure, answers / began.elapsed().as_secs_f64());
                cost::add(&mut used, &spent);
                let (pages, statuses): (Vec<_>, Vec<_>) =
                    waits.into_iter().partition(|(is_page, _)| *is_page);
                let millis = |(_, wait)| wait;
                status.push(quantile(
                    &statuses.into_iter().map(millis).collect::<Vec<_>>(),
                    0.99,
                ));
                page.push(quantile(
                    &pages.into_iter().map(millis).collect::<Vec<_>>(),
                    0.99,
                ));
            }
        }
        Ok(Measured {
            rounds,
            status: median(&status),
            page: median(&page),
            used,
            answers: answers * f64::from(extent.rounds),
        })
    }

    /// One client's questions over HTTP; of each, whether it was about a page, and milliseconds.
    async fn ask(
        &self,
        connection: &mut Connection,
        client: usize,
        read: bool,
    ) -> anyhow::Result<Waits> {
        let mut waits = Vec::with_capacity(EACH);
        for n in 0..EACH {
            let question = self.question(client, n);
            let (path, wanted) = match question {
                Question::Status(id) => (format!("/api/status/{id}"), 1),
                Question::Page(phone) => {
                    let path = format!("/api/campaigns?sender_number={phone}&limit={OF_NUMBER}");
                    (path, self.campaigns.len().min(OF_NUMBER))
                }
            };
            let began = Instant::now();
            let answer = connection
                .call(&http::get(&self.stage.gateway, &path))
                .await?;
            waits.push((wanted > 1, began.elapsed().as_secs_f64() * 1e3));
            let entries = answer
                .windows(KEY.len())
                .filter(|part| *part == KEY)
                .count();
            ensure!(entries == wanted, "{path} told of {entries}, not {wanted}");
            if read {
                self.check(&serde_json::from_slice(answer)?, &question)?;
            }
        }
        Ok(waits)
    }

    /// The same questions by the bare statements.
    async fn select(&self, bare: &Bare, client: usize) -> anyhow::Result<()> {
        for n in 0..EACH {
            match self.question(client, n) {
                Question::Status(id) => bare.status(id).await?,
                Question::Page(phone) => bare.page(phone, OF_NUMBER as i64 + 1).await?,
            }
        }
        Ok(())
    }

    /// Of five, two are about what is over, two about what is under way, and one asks for a page;
    /// all of them here and there in the ledger.
    fn question(&self, client: usize, n: usize) -> Question<'_> {
        let numbers = self.campaigns.len().div_ceil(OF_NUMBER);
        let number = (client * 7_919 + n * 104_729) % numbers;
        let campaigns = &self.campaigns[number * OF_NUMBER..];
        let campaigns = &campaigns[..campaigns.len().min(OF_NUMBER)];
        match n % 5 {
            0 | 2 => Question::Status(campaigns[(client + n) % (campaigns.len() - 1)]),
            1 | 3 => Question::Status(campaigns[campaigns.len() - 1]),
            _ => Question::Page(&self.phones[number]),
        }
    }

    /// Whether an answer is about what was asked, and says how it stands.
    fn check(&self, answer: &Value, question: &Question<'_>) -> anyhow::Result<()> {
        let entries = answer
            .as_array()
            .map_or(std::slice::from_ref(answer), |all| all);
        for entry in entries {
            let asked = match question {
                Question::Status(id) => entry["id"] == id.to_string(),
                Question::Page(phone) => entry["sender_number"] == *phone,
            };
            let over = entry["status"] == "COMPLETED" && entry["completed_at"].is_string();
            let open = entry["status"] == "IN_PROGRESS"
                && entry["reason"].is_string()
                && entry["estimated_finish_at"].is_string();
            ensure!(asked && (over || open), "an odd answer: {entry}");
        }
        Ok(())
    }
}

/// One round of all clients that ask where campaigns stand: answers a second, and the milliseconds
/// of each.
pub(crate) async fn answers(stage: &Stage, campaigns: &[Uuid]) -> anyhow::Result<(f64, Vec<f64>)> {
    let began = Instant::now();
    let asks = (0..CLIENTS).map(|client| ask_status(stage, campaigns, client));
    let waits: Vec<f64> = try_join_all(asks).await?.into_iter().flatten().collect();
    Ok((waits.len() as f64 / began.elapsed().as_secs_f64(), waits))
}

async fn ask_status(stage: &Stage, campaigns: &[Uuid], client: usize) -> anyhow::Result<Vec<f64>> {
    let (mut connection, mut waits) = (
        Connection::open(&stage.gateway).await?,
        Vec::with_capacity(EACH),
    );
    for n in 0..EACH {
        let id = campaigns[(client * 7_919 + n * 104_729) % campaigns.len()];
        let began = Instant::now();
        let asked = http::get(&stage.gateway, &format!("/api/status/{id}"));
        let _read = connection.call(&asked).await?;
        waits.push(began.elapsed().as_secs_f64() * 1e3);
    }
    Ok(waits)
}

/// What every entry of an answer has once.
const KEY: &[u8] = b"\"sender_number\"";

type Waits = Vec<(bool, f64)>;

/// What is asked.
enum Question<'a> {
    Status(Uuid),
    Page(&'a str),
}
