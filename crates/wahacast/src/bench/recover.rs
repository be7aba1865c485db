//! `recover`: a replica that holds thousands of lanes is killed; when does everybody speak again?

use std::time::Duration;

use anyhow::ensure;

use super::Extent;
use super::figure::{Row, Target, quantile};
use super::load::{self, Paced};
use super::report::Report;
use super::sql;
use super::stage::{Hall, until};

/// Lanes of the one that is killed; the other has as many.
const LANES: usize = 5_000;
/// `REPLICA_DEAD_AFTER_SECONDS`, as it is by default.
const DEAD_AFTER: f64 = 10.0;

/// Measures and reports.
pub(crate) async fn run(hall: &Hall, extent: Extent, report: &mut Report) -> anyhow::Result<()> {
    let paced = Paced {
        senders: 2 * extent.of(LANES),
        per_worker: 1,
        gap: Duration::from_secs(5),
        lasts: Duration::from_secs(60),
        replicas: 2,
    };
    let (stage, db, _fleet) = load::set(hall, paced).await?;
    load::begin(hall, (&stage, &db), paced).await?;
    stage.start(hall, "scheduler", 1).await?;
    until("everybody speaks", async || {
        Ok(sql::silent_lanes(&db).await? == 0)
    })
    .await?;
    let noted = sql::note_lanes(&db, "sender-1").await?;
    stage.kill("sender-1")?;
    until("everybody speaks again", async || {
        Ok(sql::lanes_still_silent(&db).await? <= sql::lanes_in_doubt(&db).await?)
    })
    .await?;
    let doubt = sql::lanes_in_doubt(&db).await?;
    let silence = sql::silences(&db).await?;
    ensure!(
        10 * noted >= 9 * extent.of(LANES) as u64 && silence.len() as i64 + doubt >= noted as i64,
        "{noted} lanes were held, of which {} have spoken since",
        silence.len()
    );
    let last = [quantile(&silence, 1.0)];
    let name = format!("recover, {} lanes", silence.len());
    let row = Row::alone(name, "s", &last, Target::AtMost(DEAD_AFTER + 2.0));
    report.rows.push(row.noted(format!(
        "from the kill to the first message of the last lane; median {:.1} s; {doubt} numbers wait \
         until it is sure that their last message did not leave",
        quantile(&silence, 0.5),
    )));
    Ok(())
}
