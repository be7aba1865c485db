//! `long`: a ledger of a hundred million messages beside an empty one, on the same server.
//!
//! Each round is measured on both, one after the other, and who is first changes from round to
//! round: what the machine does within minutes moves both of a pair. Both have the same numbers on
//! the same simulated workers, and a sender and a gateway each.

mod fill;

use std::collections::BTreeMap;
use std::time::Duration;

use tokio_postgres::Client;
use uuid::Uuid;

use self::fill::Filled;
use super::figure::{Rounds, Row, Target, quantile};
use super::fleet::Fleet;
use super::report::{Report, count};
use super::stage::{Hall, Stage};
use super::{Extent, accept, cost, send, sql, status};

/// The full ledger's figure must not be less than this share of the empty one's.
const AS_GOOD: Target = Target::AtLeast(0.9);

/// One of the two ledgers.
struct Side {
    stage: Stage,
    db: Client,
    /// Of a mostly empty ledger: those that were sent in this bench.
    campaigns: Vec<Uuid>,
    /// CPU seconds by role of all rounds of `send`.
    used: BTreeMap<String, f64>,
}

/// Both, and those who speak on them.
struct Pair {
    empty: Side,
    full: Side,
    fleet: Fleet,
}

/// Measures and reports.
pub(crate) async fn run(hall: &Hall, extent: Extent, report: &mut Report) -> anyhow::Result<()> {
    let (mut pair, filled) = set(hall, extent).await?;
    let row = disk(&pair.full.db, extent.messages(), &filled).await?;
    report.rows.push(row);
    send(hall, &mut pair, extent, report).await?;
    for side in [&pair.empty, &pair.full] {
        side.stage.stop(&side.stage.replica("sender", 1)).await;
        side.stage.start(hall, "gateway", 1).await?;
    }
    pair.empty.campaigns = sql::campaigns(&pair.empty.db).await?;
    pair.full.campaigns = filled.campaigns;
    status(&mut pair, extent, report).await?;
    accept(&mut pair, extent, report).await
}

/// Sets both scenes and fills one of them.
async fn set(hall: &Hall, extent: Extent) -> anyhow::Result<(Pair, Filled)> {
    let senders = extent.of(send::SENDERS);
    let scene = send::scene(senders)?;
    let empty = side(hall.stage(scene).await?).await?;
    let full = side(hall.beside(&empty.stage, scene).await?).await?;
    let fleet = Fleet::link(&empty.stage, &empty.db, senders).await?;
    fleet.write_down(&full.stage, &full.db).await?;
    let filled = fill::fill(&full.stage.database, &fleet.phones, extent.messages()).await?;
    for side in [&empty, &full] {
        sql::analyze(&side.db).await?;
    }
    Ok((Pair { empty, full, fleet }, filled))
}

async fn side(stage: Stage) -> anyhow::Result<Side> {
    let db = stage.db().await?;
    sql::set_delays(&db, [Duration::ZERO; 3]).await?;
    Ok(Side {
        stage,
        db,
        campaigns: Vec::new(),
        used: BTreeMap::new(),
    })
}

/// What the full ledger takes of the disk, and what it was measured on.
async fn disk(db: &Client, messages: usize, filled: &Filled) -> anyhow::Result<Row> {
    let (_, bytes) = sql::disk(db).await?;
    let settings = sql::server_facts(db).await?;
    let settings: Vec<String> = settings
        .iter()
        .map(|(name, value)| format!("{} {value}", name.trim_start_matches("postgresql ")))
        .collect();
    let receipts = usize::try_from(sql::receipts(db).await?)?;
    let each = [bytes as f64 / messages as f64];
    let row = Row::alone("long, disk a message", "bytes", &each, Target::Shown);
    Ok(row.noted(format!(
        "{} messages of {} campaigns in {} months, whole stories on full pages; {} receipts of the \
         last 30 days; {:.1} GB; filled in {:.0} s. PostgreSQL: {}",
        count(messages),
        count(filled.campaigns.len()),
        filled.months,
        count(receipts),
        bytes as f64 / 1e9,
        filled.secs,
        settings.join(", "),
    )))
}

/// Rounds of the same on both, the full ledger's figure beside the empty one's. The first of each
/// warms caches and plans.
async fn rounds(
    pair: &mut Pair,
    extent: Extent,
    mut figure: impl AsyncFnMut(&mut Side, &Fleet) -> anyhow::Result<f64>,
) -> anyhow::Result<Rounds> {
    let mut rounds = Rounds::default();
    // The log of changed pages begins anew for both, not in the middle of a pair.
    sql::checkpoint(&pair.full.db).await?;
    for round in 0..=extent.rounds {
        let (full, empty);
        if round % 2 == 0 {
            empty = figure(&mut pair.empty, &pair.fleet).await?;
            full = figure(&mut pair.full, &pair.fleet).await?;
        } else {
            full = figure(&mut pair.full, &pair.fleet).await?;
            empty = figure(&mut pair.empty, &pair.fleet).await?;
        }
        if round > 0 {
            rounds.push(full, empty);
        }
    }
    Ok(rounds)
}

async fn send(
    hall: &Hall,
    pair: &mut Pair,
    extent: Extent,
    report: &mut Report,
) -> anyhow::Result<()> {
    for side in [&pair.empty, &pair.full] {
        side.stage.start(hall, "sender", 1).await?;
    }
    let sent = rounds(pair, extent, async |side, fleet| {
        send::ours(&side.db, &side.stage, fleet, &mut side.used).await
    })
    .await?;
    let all = f64::from(extent.rounds + 1) * (pair.fleet.phones.len() * send::EACH) as f64;
    let row = sent.row("long, send", "messages/s", AS_GOOD);
    report.rows.push(row.noted(format!(
        "{}; of the empty ledger {}",
        cost::per_unit(&pair.full.used, all),
        cost::per_unit(&pair.empty.used, all),
    )));
    Ok(())
}

async fn status(pair: &mut Pair, extent: Extent, report: &mut Report) -> anyhow::Result<()> {
    let mut p99 = BTreeMap::new();
    let answers = rounds(pair, extent, async |side, _| {
        let (rate, waits) = status::answers(&side.stage, &side.campaigns).await?;
        p99.insert(side.stage.database.clone(), quantile(&waits, 0.99));
        Ok(rate)
    })
    .await?;
    let last = |side: &Side| p99.get(&side.stage.database).copied().unwrap_or_default();
    let row = answers.row("long, status", "answers/s", AS_GOOD);
    report.rows.push(row.noted(format!(
        "p99 of the last round {:.1} ms, of the empty ledger {:.1} ms",
        last(&pair.full),
        last(&pair.empty),
    )));
    Ok(())
}

async fn accept(pair: &mut Pair, extent: Extent, report: &mut Report) -> anyhow::Result<()> {
    let clients = accept::CLIENTS.min(pair.fleet.phones.len());
    let each = extent.of(accept::EACH);
    let small = rounds(pair, extent, async |side, fleet| {
        let (rate, _) = accept::submit(&side.stage, &fleet.phones[..clients], each).await?;
        accept::confirmed(&side.db).await?;
        Ok(rate)
    })
    .await?;
    let row = small.row("long, accept-small", "campaigns/s", AS_GOOD);
    report.rows.push(row);
    let recipients = accept::recipients(extent.of(accept::RECIPIENTS));
    let body = accept::whole(&pair.fleet.phones[0], &recipients)?;
    let large = rounds(pair, extent, async |side, _| {
        let whole = (&body, recipients.len());
        let secs = accept::submit_whole(&side.stage, &side.db, whole).await?;
        Ok(recipients.len() as f64 / secs)
    })
    .await?;
    let row = large.row("long, accept-large", "recipients/s", AS_GOOD);
    report.rows.push(row);
    Ok(())
}
