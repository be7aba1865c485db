//! `place`: a session placed among a thousand workers and among a million.

use anyhow::{Context, ensure};
use store::{Store, placement};
use tokio::time::Instant;

use super::Extent;
use super::figure::{Rounds, Row, Target, quantile};
use super::report::{Curve, Report};
use super::sql;
use super::stage::{Hall, Scene};

/// Workers, from size to size.
const SIZES: [usize; 4] = [1_000, 10_000, 100_000, 1_000_000];
/// Sessions placed in a round.
const SESSIONS: usize = 1_000;

/// Measures and reports.
pub(crate) async fn run(hall: &Hall, extent: Extent, report: &mut Report) -> anyhow::Result<()> {
    let stage = hall.stage(Scene::default()).await?;
    let db = stage.db().await?;
    let store = Store::new(&stage.database, 1)?;
    let client = store.client().await?;
    let (mut curve, mut bare) = (Vec::new(), Vec::new());
    let mut have = 0;
    for size in SIZES.map(|size| extent.of(size)) {
        sql::add_many_workers(&db, size - have).await?;
        have = size;
        sql::analyze(&db).await?;
        let (mut rounds, mut p99, mut limits) = (Rounds::default(), Vec::new(), Vec::new());
        for round in 0..=extent.rounds {
            sql::queue_sessions(&db, SESSIONS).await?;
            let mut waits = Vec::with_capacity(SESSIONS);
            let began = Instant::now();
            for _ in 0..SESSIONS {
                let began = Instant::now();
                let placed = placement::place_oldest(&client).await?;
                ensure!(placed.is_some(), "a session found no room");
                waits.push(began.elapsed().as_secs_f64() * 1e3);
            }
            let figure = SESSIONS as f64 / began.elapsed().as_secs_f64();
            let (limit, bare) = sql::bare_place(&db, SESSIONS).await?;
            if round > 0 {
                rounds.push(figure, limit);
                p99.push(quantile(&waits, 0.99));
                limits.push(quantile(&bare, 0.99));
            }
        }
        let name = format!("place, {size} workers");
        report
            .rows
            .push(rounds.row(name, "placements/s", Target::Shown));
        curve.push((size as f64, super::figure::median(&p99)));
        bare.push((size as f64, super::figure::median(&limits)));
    }
    let first = curve.first().context("nothing was placed")?.1;
    let worst = curve.iter().map(|(_, p99)| p99 / first).fold(0.0, f64::max);
    let row = Row::alone(
        "place, p99 ratio across sizes",
        "",
        &[worst],
        Target::AtMost(1.5),
    );
    let told: Vec<String> = curve.iter().map(|(_, p99)| format!("{p99:.2}")).collect();
    report
        .rows
        .push(row.noted(format!("p99 in ms by size: {}", told.join(", "))));
    report.curves.push(Curve {
        name: "place",
        size: "workers",
        cost: "p99, ms",
        lines: vec![
            ("placement".to_owned(), curve),
            ("bare statement".to_owned(), bare),
        ],
    });
    Ok(())
}
