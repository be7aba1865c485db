//! `pace`: ten thousand numbers on one replica, each at its own two seconds.

use std::time::Duration;

use super::Extent;
use super::figure::{Row, Target};
use super::load::{self, Paced};
use super::report::Report;
use super::stage::Hall;

/// However small the scale: some gaps must come after the warm-up.
const SHORTEST: Duration = Duration::from_secs(12);

/// Measures and reports.
pub(crate) async fn run(hall: &Hall, extent: Extent, report: &mut Report) -> anyhow::Result<()> {
    let paced = Paced {
        senders: extent.of(10_000),
        per_worker: 50,
        gap: Duration::from_secs(2),
        lasts: Duration::from_secs(120)
            .mul_f64(extent.of(100) as f64 / 100.0)
            .max(SHORTEST),
        replicas: 1,
    };
    let kept = load::keep(hall, paced).await?;
    let early = [kept.early as f64];
    let late = [kept.lateness(0.99)];
    let told = format!(
        "{} senders, {} gaps, {:.0} messages/s; late p50 {:.1} ms, p99.9 {:.1} ms; {}",
        paced.senders,
        kept.gaps,
        kept.rate,
        kept.lateness(0.5),
        kept.lateness(0.999),
        kept.cores(),
    );
    report.rows.push(Row::alone(
        "pace, early",
        "gaps",
        &early,
        Target::AtMost(0.0),
    ));
    let row = Row::alone("pace, late p99", "ms", &late, Target::AtMost(50.0));
    report.rows.push(row.noted(told));
    Ok(())
}
