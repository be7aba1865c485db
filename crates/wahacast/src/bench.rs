//! `wahacast bench`: the system's figures, each beside the limit of its parts in the same run.
//!
//! A figure alone says little on a small shared machine; so every bench measures, turn by turn,
//! what we do and what the bare parts could do at best, and tells the medians and their ratio. No
//! guarantee is switched off for it: commits are synchronous, publishes confirmed, lanes fenced.

mod accept;
mod acks;
mod cost;
mod figure;
mod fleet;
mod http;
mod idle;
mod ledger;
mod load;
mod long;
mod pace;
mod place;
mod recover;
mod report;
mod scale;
mod send;
mod sql;
mod stage;
mod status;
mod stream;

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, bail};
use tokio::time::Instant;

use self::report::Report;
use self::stage::Hall;
use crate::cli::BenchArgs;
use crate::signals::StopSignals;
use crate::workdir::WorkDir;

/// In the order in which they run.
const BENCHES: [&str; 12] = [
    "send",
    "ledger",
    "pace",
    "accept-small",
    "accept-large",
    "stream",
    "acks",
    "status",
    "place",
    "idle",
    "scale",
    "recover",
];

/// Named only: it takes most of an hour and half of a small disk.
const NAMED_ONLY: [&str; 1] = ["long"];
/// Messages that `long` is about.
const LONG_MESSAGES: usize = 100_000_000;

/// What every message says, ours and the limits' alike.
const TEXT: &str = "Hello, this is a measured message of usual length.";

/// How much is measured.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Extent {
    /// Alternating rounds.
    pub(crate) rounds: u32,
    scale: f64,
    /// Messages of the full ledger of `long`, where they were given.
    messages: Option<usize>,
}

impl Extent {
    /// A size that is `full` when all is measured.
    pub(crate) fn of(self, full: usize) -> usize {
        ((full as f64 * self.scale) as usize).max(1)
    }

    /// Messages of the full ledger of `long`.
    pub(crate) fn messages(self) -> usize {
        self.messages.unwrap_or_else(|| self.of(LONG_MESSAGES))
    }
}

/// Runs the benches that were named, and tells what they found.
pub(crate) async fn run(args: BenchArgs) -> anyhow::Result<ExitCode> {
    let names = chosen(&args.names)?;
    let mut signals = StopSignals::subscribe()?;
    let work = Arc::new(WorkDir::open(&args.dir)?);
    let hall = Hall::new(&work);
    let extent = Extent {
        rounds: args.rounds,
        scale: args.scale,
        messages: args.messages,
    };
    let measured = tokio::select! {
        report = measure(&hall, &names, extent) => report,
        signal = signals.next() => Err(anyhow::anyhow!("interrupted by {signal}")),
    };
    let close = async {
        hall.clear().await;
        hall.crew.stop_all().await;
    };
    tokio::select! {
        () = close => {}
        _ = signals.next() => bail!("stopped at once; the next start tidies up"),
    }
    let report = measured?;
    report.keep(work.path())?;
    println!("{}kept in {}", report.text(), work.path().display());
    Ok(if report.failed.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn chosen(names: &[String]) -> anyhow::Result<Vec<&'static str>> {
    if names.is_empty() {
        return Ok(BENCHES.to_vec());
    }
    let all = [&BENCHES[..], &NAMED_ONLY].concat();
    for name in names {
        if !all.contains(&&**name) {
            bail!("there is no bench {name:?}; there are {}", all.join(", "));
        }
    }
    let wanted = |bench: &&str| names.iter().any(|name| name == bench);
    Ok(all.into_iter().filter(wanted).collect())
}

async fn measure(hall: &Hall, names: &[&'static str], extent: Extent) -> anyhow::Result<Report> {
    hall.open().await.context("the servers did not start")?;
    let mut machine = hall.machine().await?;
    machine.push(("rounds".to_owned(), extent.rounds.to_string()));
    machine.push(("scale".to_owned(), extent.scale.to_string()));
    let mut report = Report {
        machine,
        ..Report::default()
    };
    for name in names {
        eprintln!("bench: {name}");
        let began = Instant::now();
        let before = report.rows.len();
        if let Err(cause) = one(name, hall, extent, &mut report).await {
            eprintln!("bench: {name} could not be measured: {cause:#}");
            report
                .failed
                .push(((*name).to_owned(), format!("{cause:#}")));
        }
        hall.clear().await;
        for row in &report.rows[before..] {
            eprintln!("bench:   {}", row.name);
        }
        eprintln!("bench: {name} took {:.0} s", began.elapsed().as_secs_f64());
    }
    Ok(report)
}

async fn one(name: &str, hall: &Hall, extent: Extent, report: &mut Report) -> anyhow::Result<()> {
    match name {
        "send" => send::run(hall, extent, report).await,
        "ledger" => ledger::run(hall, extent, report).await,
        "pace" => pace::run(hall, extent, report).await,
        "accept-small" => accept::small(hall, extent, report).await,
        "accept-large" => accept::large(hall, extent, report).await,
        "stream" => stream::run(hall, extent, report).await,
        "acks" => acks::run(hall, extent, report).await,
        "status" => status::run(hall, extent, report).await,
        "place" => place::run(hall, extent, report).await,
        "idle" => idle::run(hall, extent, report).await,
        "scale" => scale::run(hall, extent, report).await,
        "recover" => recover::run(hall, extent, report).await,
        "long" => long::run(hall, extent, report).await,
        other => bail!("{other} has no bench"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn benches_run_in_their_order_whatever_order_they_are_named_in() {
        let names = ["stream", "send"].map(str::to_owned);
        assert_eq!(chosen(&names).unwrap(), ["send", "stream"]);
        assert_eq!(chosen(&[]).unwrap(), BENCHES);
        let names = ["long", "send"].map(str::to_owned);
        assert_eq!(chosen(&names).unwrap(), ["send", "long"]);
        let fault = chosen(&["sent".to_owned()]).unwrap_err().to_string();
        assert!(fault.contains("sent") && fault.contains("send"), "{fault}");
    }
}
