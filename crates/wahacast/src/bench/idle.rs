//! `idle`: what a replica pays for what has nothing to do.

use std::time::Duration;

use tokio::time::sleep;
use tokio_postgres::Client;

use super::Extent;
use super::cost::{self, Cpu};
use super::figure::{Row, Target};
use super::fleet::Fleet;
use super::report::Report;
use super::sql;
use super::stage::{Hall, Scene, Stage};

/// Lanes that are owned while their only sender waits for hours.
const LANES: usize = 10_000;
/// Campaigns behind the first of a number.
const CAMPAIGNS: usize = 100_000;
/// Workers without a session.
const WORKERS: usize = 100_000;
/// Bytes for each of so many that are nothing: a process's memory moves by as much by itself.
const NOTHING: f64 = 1.0;
/// CPU is counted for this long.
const WATCHED: Duration = Duration::from_secs(10);
/// After a change, what it causes is over by then, and all lanes were read once more, which is done
/// twice a minute.
const SETTLED: Duration = Duration::from_secs(24);
/// Fewer cores are in use when nothing is done; a queue that others have left full takes a while.
const QUIET: f64 = 0.02;
/// Looks that are taken for that.
const LOOKS_MAX: usize = 6;

/// Memory in bytes and cores used of the sender replica.
struct Use {
    bytes: f64,
    cores: f64,
}

/// Measures and reports.
pub(crate) async fn run(hall: &Hall, extent: Extent, report: &mut Report) -> anyhow::Result<()> {
    let lanes = extent.of(LANES);
    let scene = Scene {
        settings: super::send::UNPACED,
        workers: u32::try_from(lanes)?,
        simulator: super::send::SILENT,
    };
    let stage = hall.stage(scene).await?;
    let db = stage.db().await?;
    sql::set_delays(
        &db,
        [Duration::from_secs(36_000), Duration::ZERO, Duration::ZERO],
    )
    .await?;
    let fleet = Fleet::link(&stage, &db, lanes).await?;
    sql::analyze(&db).await?;
    stage.start(hall, "sender", 1).await?;
    let nothing = settled(&stage).await?;
    // Each lane is owned and loaded, and its sender may not speak for ten hours.
    sql::add_campaigns(&db, &fleet.phones, 2).await?;
    sql::scatter_senders(&db, Duration::from_millis(1)).await?;
    sql::share_lanes(&db, &["sender-1".to_owned()]).await?;
    let owned = settled(&stage).await?;
    tell(report, "idle lane", 1024.0, (&nothing, &owned), lanes);
    waiting_campaigns(&db, &fleet, extent.of(CAMPAIGNS)).await?;
    let waiting = settled(&stage).await?;
    tell(
        report,
        "waiting campaign",
        NOTHING,
        (&owned, &waiting),
        extent.of(CAMPAIGNS),
    );
    sql::add_many_workers(&db, extent.of(WORKERS)).await?;
    let registered = settled(&stage).await?;
    tell(
        report,
        "registered worker",
        NOTHING,
        (&waiting, &registered),
        extent.of(WORKERS),
    );
    Ok(())
}

async fn waiting_campaigns(db: &Client, fleet: &Fleet, campaigns: usize) -> anyhow::Result<()> {
    for _ in 0..campaigns.div_ceil(fleet.phones.len()) {
        sql::add_campaigns(db, &fleet.phones, 1).await?;
    }
    Ok(())
}

async fn settled(stage: &Stage) -> anyhow::Result<Use> {
    sleep(SETTLED).await;
    let mut looks = 0;
    loop {
        let before = Cpu::of(stage);
        sleep(WATCHED).await;
        let used = Cpu::of(stage).since(&before);
        let used = Use {
            bytes: cost::memory(stage.pid("sender-1")?) as f64,
            cores: used.get("sender").copied().unwrap_or_default() / WATCHED.as_secs_f64(),
        };
        looks += 1;
        if used.cores < QUIET || looks == LOOKS_MAX {
            return Ok(used);
        }
    }
}

fn tell(
    report: &mut Report,
    what: &str,
    bytes_max: f64,
    (before, after): (&Use, &Use),
    count: usize,
) {
    let bytes = [(after.bytes - before.bytes) / count as f64];
    let (name, most) = (format!("{what}, memory"), Target::AtMost(bytes_max));
    report.rows.push(Row::alone(name, "bytes", &bytes, most));
    // A hundredth of a core is less than the clock of this figure can tell from nothing.
    let cores = [after.cores - before.cores];
    let row = Row::alone(
        format!("{what}, CPU"),
        "cores",
        &cores,
        Target::AtMost(0.01),
    );
    report.rows.push(row.noted(format!(
        "{count} of them; the replica uses {:.3} cores before and {:.3} with them",
        before.cores, after.cores
    )));
}
