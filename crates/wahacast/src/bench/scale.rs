//! `scale`: senders served in time by one, two and four replicas, beside a straight line.

use std::time::Duration;

use super::Extent;
use super::figure::{Row, Target};
use super::load::{self, Paced};
use super::report::{Curve, Report};
use super::stage::Hall;

/// Senders that each replica is given.
const EACH: usize = 1_000;
/// A gap this much too long still counts as in time.
const IN_TIME_MS: f64 = 50.0;

/// Measures and reports.
pub(crate) async fn run(hall: &Hall, extent: Extent, report: &mut Report) -> anyhow::Result<()> {
    let mut served: Vec<(u32, f64)> = Vec::new();
    for replicas in [1, 2, 4] {
        let paced = Paced {
            senders: extent.of(EACH) * replicas as usize,
            per_worker: 50,
            gap: Duration::from_secs(1),
            lasts: Duration::from_secs(15),
            replicas,
        };
        let kept = load::keep(hall, paced).await?;
        hall.clear().await;
        let in_time = kept.served(IN_TIME_MS, paced.gap);
        served.push((replicas, in_time));
        let linear = f64::from(replicas) * served[0].1;
        let target = if replicas == 1 {
            Target::Shown
        } else {
            Target::AtLeast(0.9)
        };
        let name = format!("scale, {replicas} replicas");
        let mut row = Row::alone(name, "senders", &[in_time], target);
        row.limit = Some(linear);
        row.ratio = Some(in_time / linear);
        let told = format!(
            "of {}; late p99 {:.1} ms; {}",
            paced.senders,
            kept.lateness(0.99),
            kept.cores()
        );
        report.rows.push(row.noted(told));
    }
    let point = |(replicas, served): &(u32, f64)| (f64::from(*replicas), *served);
    report.curves.push(Curve {
        name: "scale",
        size: "replicas",
        cost: "senders served within 50 ms",
        lines: vec![("served".to_owned(), served.iter().map(point).collect())],
    });
    Ok(())
}
