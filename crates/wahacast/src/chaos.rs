//! `wahacast chaos`: the whole system under a seeded script of faults, and its judges.
//!
//! Real processes, real servers, a simulated fleet that lies; a proxy between any two of them.
//! The same seed plays the same script. What the run leaves is judged by [`check`]: nobody lost,
//! nobody twice, no gap too short, every message counted once, no campaign stuck.

mod check;
mod faults;
mod history;
mod load;
mod proxy;
mod recovery;
mod report;
mod script;
mod world;

use std::path::Path;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context;
use store::Store;
use time::OffsetDateTime;
use tokio::time::{Instant, sleep_until};

use self::check::{Delays, Violation};
use self::faults::Hit;
use self::history::History;
use self::load::{Done, Load};
use self::recovery::Happened;
use self::report::Report;
use self::script::{Planned, Script};
use self::world::World;
use crate::cli::ChaosArgs;
use crate::signals::StopSignals;
use crate::supervise::Crew;
use crate::workdir::{WorkDir, write_private};

/// As in [`world`]'s settings.
const DELAYS: Delays = Delays {
    message: Duration::from_millis(400),
    switch: Duration::from_millis(200),
    campaign: Duration::from_secs(1),
};
/// Violations that are told with their story; the rest is counted.
const STORIES_MAX: usize = 20;

/// Runs the script of a seed and judges what came of it.
pub(crate) async fn run(args: ChaosArgs) -> anyhow::Result<ExitCode> {
    if !args.merge.is_empty() {
        println!("{}", report::merge(&args.merge)?);
        return Ok(ExitCode::SUCCESS);
    }
    let mut signals = StopSignals::subscribe()?;
    let seed = args.seed.unwrap_or_else(|| rand::random::<u32>().into());
    let dir = args.dir.clone();
    let dir = dir.unwrap_or_else(|| format!(".local/chaos/{seed}").into());
    let work = Arc::new(WorkDir::open(&dir)?);
    println!(
        "chaos: seed {seed}, {} minutes of load, in {}",
        args.minutes,
        dir.display()
    );
    let crew = world::crew(&work);
    let lasts = Duration::from_secs_f64(args.minutes * 60.0);
    let outcome = tokio::select! {
        outcome = torture(&work, &crew, seed, lasts) => outcome,
        signal = signals.next() => Err(anyhow::anyhow!("interrupted by {signal}")),
    };
    tokio::select! {
        () = crew.stop_all() => {}
        _ = signals.next() => anyhow::bail!("stopped at once; the next start tidies up"),
    }
    let report =
        outcome.with_context(|| format!("the run failed; its logs are in {}", dir.display()))?;
    let path = dir.join("report.json");
    write_private(&path, &serde_json::to_string_pretty(&report)?)?;
    println!("{}\nreport: {}", report.text(), path.display());
    if report.is_clean() {
        println!("chaos: every promise was kept (seed {seed})");
        return Ok(ExitCode::SUCCESS);
    }
    println!(
        "chaos: promises were broken; to repeat: wahacast chaos --seed {seed} --minutes {}",
        args.minutes
    );
    Ok(ExitCode::FAILURE)
}

async fn torture(
    work: &Arc<WorkDir>,
    crew: &Crew,
    seed: u64,
    lasts: Duration,
) -> anyhow::Result<Report> {
    let world = Arc::new(World::start(Arc::clone(work), crew.clone(), seed).await?);
    let load = Load::new(&world)?;
    load.link_all().await?;
    faults::base_lies(&world).await?;
    let script = Script::new(seed, lasts);
    write_private(
        &work.path().join("script.json"),
        &serde_json::to_string_pretty(&script)?,
    )?;
    println!("chaos: the world is up, the load begins");
    let began = Instant::now();
    let tasks = load.start(seed);
    let happened = Mutex::new(Vec::new());
    tokio::try_join!(
        play(&world, &script.parts, began, &happened),
        play(&world, &script.fleet, began, &happened),
    )?;
    sleep_until(began + lasts).await;
    println!("chaos: the faults are over, waiting for every campaign to end");
    let done = load.finish().await?;
    for task in tasks {
        task.abort();
    }
    let load_secs = began.elapsed().as_secs_f64();
    let mut faults = happened
        .into_inner()
        .unwrap_or_else(PoisonError::into_inner);
    faults.sort_by_key(|fault| fault.began);
    let (history, audit) = collect(&world).await?;
    recovery::measure(&mut faults, &history.heard);
    let violations = judge(&history, &done, &audit);
    keep(work.path(), &history, &violations)?;
    let mut report = summary(&history, &done, &violations);
    report.seed = seed;
    report.load_secs = load_secs;
    report.audited = [audit.campaigns, audit.differences.len() as u64];
    report.faults = faults;
    Ok(report)
}

/// Plays one row of a script, a fault after the other.
async fn play(
    world: &World,
    row: &[Planned],
    began: Instant,
    happened: &Mutex<Vec<Happened>>,
) -> anyhow::Result<()> {
    for planned in row {
        sleep_until(began + planned.at).await;
        let hit = Hit::choose(planned, world.workers.len());
        let (fault, whom) = (planned.fault.name(), hit.whom());
        let injected = OffsetDateTime::now_utc();
        println!(
            "chaos: {:6.1} s {fault} {whom}",
            began.elapsed().as_secs_f64()
        );
        hit.inject(world)
            .await
            .with_context(|| format!("{fault} could not be made to happen to {whom}"))?;
        tokio::time::sleep(planned.lasts).await;
        hit.heal(world)
            .await
            .with_context(|| format!("{whom} did not come back from {fault}"))?;
        let mut happened = happened.lock().unwrap_or_else(PoisonError::into_inner);
        happened.push(Happened {
            fault,
            whom,
            began: injected,
            healed: OffsetDateTime::now_utc(),
            recovery: 0.0,
            silence: 0.0,
        });
    }
    Ok(())
}

async fn collect(world: &World) -> anyhow::Result<(History, store::audit::Audit)> {
    let history = History::collect(world).await?;
    let store = Store::new(&world.database, 1)?;
    let audit = store::audit::audit(&mut store.client().await?).await?;
    Ok((history, audit))
}

fn judge(history: &History, done: &Done, audit: &store::audit::Audit) -> Vec<Violation> {
    let mut found = check::recipients(history);
    found.extend(check::accepted(history, &done.accepted));
    found.extend(check::pace(history, DELAYS));
    found.extend(check::stuck(history));
    found.extend(done.violations.iter().cloned());
    found.extend(audit.differences.iter().map(|difference| Violation {
        rule: "audit",
        recipient: None,
        what: format!("{difference:?}"),
    }));
    found
}

fn summary(history: &History, done: &Done, violations: &[Violation]) -> Report {
    let mut report = Report {
        messages: history.held.len(),
        looks: done.looks,
        unanswered: done.unanswered,
        ..Report::default()
    };
    for held in history.held.values() {
        *report.by_status.entry(held.status.to_owned()).or_default() += 1;
        let own = history.own_ids.get(&held.sender).copied().unwrap_or(false);
        let counts = if own {
            &mut report.own_ids
        } else {
            &mut report.other_ids
        };
        counts[0] += 1;
        counts[1] += usize::from(held.status == "UNKNOWN");
    }
    for violation in violations {
        *report
            .violations
            .entry(violation.rule.to_owned())
            .or_default() += 1;
    }
    report
}

/// Writes down what a person needs who looks into a failed run.
fn keep(dir: &Path, history: &History, violations: &[Violation]) -> anyhow::Result<()> {
    write_private(
        &dir.join("heard.json"),
        &serde_json::to_string(&history.heard)?,
    )?;
    for violation in violations.iter().take(STORIES_MAX) {
        println!("VIOLATION {}: {}", violation.rule, violation.what);
        if let Some(recipient) = &violation.recipient {
            println!("{}", history.story(recipient));
        }
    }
    let all = serde_json::to_string_pretty(&violations)?;
    write_private(&dir.join("violations.json"), &all)
}
