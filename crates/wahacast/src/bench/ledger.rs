//! `ledger`: claims and conclusions a second, beside the same rows by hand-written updates.

use std::time::Duration;

use anyhow::ensure;
use models::ids::{CampaignId, ReplicaId, WorkerId};
use models::message::MessageKey;
use models::phone::PhoneNumber;
use store::Store;
use store::lanes::Tenure;
use store::ledger::{self, Claim, Conclusion, Outcome, Proof};
use tokio::time::Instant;
use tokio_postgres::Client;
use uuid::Uuid;

use super::Extent;
use super::figure::{Rounds, Target};
use super::fleet::numbers;
use super::report::Report;
use super::sql::{self, BareUpdates};
use super::stage::{Hall, Scene};

/// Rows of a statement, as the sender's writer groups them under load.
const GROUP: usize = 500;
/// Numbers, each with a campaign.
const SENDERS: usize = 4_000;
/// Messages of each in a round.
const EACH: usize = 10;
/// Connections that write at once, on both sides.
const CONNECTIONS: usize = 2;

/// Numbers of one worker, whose messages one connection writes.
struct Share {
    tenure: Tenure,
    phones: Vec<PhoneNumber>,
    generations: Vec<i32>,
}

/// Measures and reports.
pub(crate) async fn run(hall: &Hall, extent: Extent, report: &mut Report) -> anyhow::Result<()> {
    let stage = hall.stage(Scene::default()).await?;
    let db = stage.db().await?;
    sql::set_delays(&db, [Duration::ZERO; 3]).await?;
    let replica = ReplicaId::new(Uuid::now_v7());
    let (phones, shares) = people(&db, replica, extent.of(SENDERS)).await?;
    sql::bare_ledger(&db).await?;
    sql::analyze(&db).await?;
    let store = Store::new(&stage.database, CONNECTIONS)?;
    let mut updates = Vec::new();
    for _ in 0..CONNECTIONS {
        updates.push(BareUpdates::new(stage.db().await?).await?);
    }
    let mut rounds = Rounds::default();
    for round in 0..=extent.rounds {
        let figure = ours(&db, &store, replica, (&phones, &shares)).await?;
        let limit = bare(&db, &updates, phones.len() * EACH).await?;
        // The first of each warms caches and plans.
        if round > 0 {
            rounds.push(figure, limit);
        }
    }
    let row = rounds.row("ledger", "writes/s", Target::AtLeast(0.6));
    report.rows.push(row.noted(
        "a claim and a conclusion keep seven tables true; the limit updates one row of one table",
    ));
    Ok(())
}

async fn people(
    db: &Client,
    replica: ReplicaId,
    senders: usize,
) -> anyhow::Result<(Vec<String>, Vec<Share>)> {
    let phones = numbers(senders);
    let workers: Vec<Uuid> = (0..CONNECTIONS).map(|_| Uuid::now_v7()).collect();
    let urls: Vec<String> = workers.iter().map(|id| format!("http://{id}")).collect();
    let urls: Vec<&str> = urls.iter().map(String::as_str).collect();
    sql::add_workers(db, &workers, &urls, &urls, i32::try_from(senders)?).await?;
    let each = senders.div_ceil(CONNECTIONS);
    let places: Vec<Uuid> = (0..senders).map(|n| workers[n / each]).collect();
    sql::add_sessions(db, &phones, &places).await?;
    sql::own_lanes(db, replica.uuid()).await?;
    let generations = sql::generations(db).await?;
    let share = |(worker, from): (&Uuid, usize)| {
        let upto = (from + each).min(senders);
        let phones = phones[from..upto].iter().map(|phone| phone.parse());
        anyhow::Ok(Share {
            tenure: Tenure {
                worker: WorkerId::new(*worker),
                epoch: 1,
            },
            phones: phones.collect::<Result<_, _>>()?,
            generations: generations[from..upto].to_vec(),
        })
    };
    let starts = (0..CONNECTIONS).map(|n| n * each);
    let shares = workers.iter().zip(starts).map(share);
    let shares = shares.collect::<anyhow::Result<_>>()?;
    Ok((phones, shares))
}

/// Every message of a new campaign of each number claimed and concluded, in full groups.
async fn ours(
    db: &Client,
    store: &Store,
    replica: ReplicaId,
    (phones, shares): (&[String], &[Share]),
) -> anyhow::Result<f64> {
    let campaigns = sql::add_campaigns(db, phones, EACH).await?;
    let began = Instant::now();
    let each = phones.len().div_ceil(CONNECTIONS);
    let writes = shares.iter().enumerate().map(|(n, share)| {
        let from = n * each;
        let campaigns = &campaigns[from..from + share.phones.len()];
        write(store, replica, share, campaigns)
    });
    futures_util::future::try_join_all(writes).await?;
    let writes = 2 * phones.len() * EACH;
    Ok(writes as f64 / began.elapsed().as_secs_f64())
}

/// As the sender's writer does under load: the conclusions of one group and the claims of the next
/// in one transaction.
async fn write(
    store: &Store,
    replica: ReplicaId,
    share: &Share,
    campaigns: &[Uuid],
) -> anyhow::Result<()> {
    let mut client = store.client().await?;
    let mut before: Vec<Conclusion> = Vec::new();
    for ordinal in 0..i32::try_from(EACH)? {
        for from in (0..share.phones.len()).step_by(GROUP) {
            let upto = (from + GROUP).min(share.phones.len());
            let (claims, conclusions) = group(share, campaigns, (from, upto), ordinal);
            let written = ledger::write(&mut client, replica, &before, &claims).await?;
            let all = written.claimed.iter().all(Option::is_some)
                && written.concluded.iter().all(Option::is_some);
            ensure!(all, "a write was refused");
            before = conclusions;
        }
    }
    let written = ledger::write(&mut client, replica, &before, &[]).await?;
    ensure!(written.concluded.iter().all(Option::is_some));
    Ok(())
}

fn group(
    share: &Share,
    campaigns: &[Uuid],
    (from, upto): (usize, usize),
    ordinal: i32,
) -> (Vec<Claim>, Vec<Conclusion>) {
    let one = |n: usize| {
        let key = MessageKey {
            campaign: CampaignId::new(campaigns[n]),
            ordinal,
        };
        let claim = Claim {
            tenure: share.tenure,
            phone: share.phones[n].clone(),
            generation: share.generations[n],
            key,
            message_id: Some(format!("3EB0{:018X}", Uuid::new_v4().as_u128() >> 56)),
        };
        let conclusion = Conclusion {
            tenure: share.tenure,
            phone: share.phones[n].clone(),
            key,
            claimed_on: share.tenure.worker,
            outcome: Outcome::Sent {
                message_id: None,
                proof: Proof::Answer,
            },
        };
        (claim, conclusion)
    };
    (from..upto).map(one).unzip()
}

/// The same number of rows, each updated twice, by statements of [`GROUP`] rows.
async fn bare(db: &Client, updates: &[BareUpdates], rows: usize) -> anyhow::Result<f64> {
    sql::fill_bare_ledger(db, rows).await?;
    let share = rows.div_ceil(updates.len());
    let began = Instant::now();
    let updates = updates.iter().enumerate().map(|(n, updates)| {
        let (from, upto) = (n * share, ((n + 1) * share).min(rows));
        updates.run(from..upto, GROUP)
    });
    futures_util::future::try_join_all(updates).await?;
    Ok((2 * rows) as f64 / began.elapsed().as_secs_f64())
}
