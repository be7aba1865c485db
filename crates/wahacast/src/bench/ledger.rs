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
use super::fleet::{message_id, numbers};
use super::report::Report;
use super::sql::{self, BareGroup, BareWrites};
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
    sql::analyze(&db).await?;
    let store = Store::new(&stage.database, CONNECTIONS)?;
    let mut bare = Vec::new();
    for share in &shares {
        let worker = share.tenure.worker.uuid();
        bare.push(BareWrites::new(stage.db().await?, worker).await?);
    }
    let mut rounds = Rounds::default();
    for round in 0..=extent.rounds {
        let figure = ours(&db, &store, replica, (&phones, &shares)).await?;
        let limit = by_hand(&db, &bare, &phones).await?;
        // The first of each warms caches and plans.
        if round > 0 {
            rounds.push(figure, limit);
        }
    }
    let row = rounds.row("ledger", "writes/s", Target::AtLeast(0.6));
    report
        .rows
        .push(row.noted("the limit writes the same rows of the same tables, and looks at nothing"));
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
    let each = phones.len().div_ceil(CONNECTIONS);
    let mut writes = Vec::new();
    for (share, campaigns) in shares.iter().zip(campaigns.chunks(each)) {
        writes.push((store.client().await?, groups(share, campaigns)?));
    }
    let began = Instant::now();
    let writes = writes
        .into_iter()
        .map(|(client, groups)| write(client, replica, groups));
    futures_util::future::try_join_all(writes).await?;
    let secs = began.elapsed().as_secs_f64();
    sql::forget_messages(db).await?;
    Ok((2 * phones.len() * EACH) as f64 / secs)
}

/// As the sender's writer does under load: the conclusions of one group and the claims of the next
/// in one transaction.
async fn write(
    mut client: store::Client,
    replica: ReplicaId,
    groups: Vec<Group>,
) -> anyhow::Result<()> {
    let mut before: Vec<Conclusion> = Vec::new();
    for (claims, conclusions) in groups {
        let written = ledger::write(&mut client, replica, &before, &claims).await?;
        let all = written.claimed.iter().all(Option::is_some)
            && written.concluded.iter().all(Option::is_some);
        ensure!(all, "a write was refused");
        before = conclusions;
    }
    let written = ledger::write(&mut client, replica, &before, &[]).await?;
    ensure!(written.concluded.iter().all(Option::is_some));
    Ok(())
}

/// Claims, and what they come to.
type Group = (Vec<Claim>, Vec<Conclusion>);

fn groups(share: &Share, campaigns: &[Uuid]) -> anyhow::Result<Vec<Group>> {
    let mut groups = Vec::new();
    for ordinal in 0..i32::try_from(EACH)? {
        for from in (0..share.phones.len()).step_by(GROUP) {
            let upto = (from + GROUP).min(share.phones.len());
            groups.push(group(share, campaigns, (from, upto), ordinal));
        }
    }
    Ok(groups)
}

fn group(share: &Share, campaigns: &[Uuid], (from, upto): (usize, usize), ordinal: i32) -> Group {
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
            message_id: Some(message_id()),
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

/// The same rows, by statements of [`GROUP`] rows that somebody wrote by hand.
async fn by_hand(db: &Client, bare: &[BareWrites], phones: &[String]) -> anyhow::Result<f64> {
    let campaigns = sql::add_campaigns(db, phones, EACH).await?;
    let each = phones.len().div_ceil(CONNECTIONS);
    let shares = phones.chunks(each).zip(campaigns.chunks(each));
    let groups = shares.map(|(phones, campaigns)| bare_groups(phones, campaigns));
    let groups: Vec<_> = groups.collect::<anyhow::Result<_>>()?;
    let began = Instant::now();
    let writes = bare.iter().zip(&groups).map(|(bare, groups)| async move {
        let mut before = None;
        for group in groups {
            bare.write(before, Some(group)).await?;
            before = Some(group);
        }
        bare.write(before, None).await
    });
    futures_util::future::try_join_all(writes).await?;
    let secs = began.elapsed().as_secs_f64();
    let (written, wanted) = (sql::sent(db).await?, phones.len() * EACH);
    ensure!(written == wanted as i64, "{written} of {wanted} are sent");
    sql::forget_messages(db).await?;
    Ok((2 * wanted) as f64 / secs)
}

fn bare_groups(phones: &[String], campaigns: &[Uuid]) -> anyhow::Result<Vec<BareGroup>> {
    let mut groups = Vec::new();
    for ordinal in 0..i32::try_from(EACH)? {
        for (phones, campaigns) in phones.chunks(GROUP).zip(campaigns.chunks(GROUP)) {
            groups.push(BareGroup {
                ordinal,
                phones: phones.to_vec(),
                campaigns: campaigns.to_vec(),
                ids: phones.iter().map(|_| message_id()).collect(),
            });
        }
    }
    Ok(groups)
}
