//! `wahacast demo`: the guide's "Testing manually" walk over real HTTP, then a summary.
//!
//! It runs on servers of its own whatever the environment says, because it begins by removing
//! all workers and sessions. Anything that deviates from the guide ends it with the reason.

pub(crate) mod api;
mod checks;
mod examine;
mod fleet;
mod progress;
mod summary;
mod walk;

use std::process::ExitCode;

use anyhow::Context;
use tokio::time::Instant;

use crate::cli::DemoArgs;
use crate::signals::StopSignals;
use crate::up::{Plan, Settings, System};

/// Short enough to watch, long enough to tell a kept gap from a network's noise.
const MESSAGE_DELAY: f64 = 0.2;
/// Longer than the message delay, so that the two can be told apart.
const SWITCH_DELAY: f64 = 0.5;
/// A tenth of WAHA's own waits; a send takes as long as a quick real one.
const SIMULATOR: &str = "--time-scale 0.1 --send-delay-ms 20..60 --ack-delay-ms 50..200";

/// Starts the system, walks, sums up, stops the system.
pub(crate) async fn run(args: DemoArgs) -> anyhow::Result<ExitCode> {
    let began = Instant::now();
    let mut signals = StopSignals::subscribe()?;
    let plan = Plan {
        dir: args.dir,
        port: args.port,
        schedulers: 1,
        senders: 1,
        sim_workers: 4,
        register: false,
        restart: true,
    };
    let system = System::open(&plan).await?;
    let outcome = tokio::select! {
        outcome = present(&system, &plan) => outcome,
        signal = signals.next() => Err(anyhow::anyhow!("interrupted by {signal}")),
    };
    let outcome = outcome.with_context(|| {
        format!(
            "the demo failed (logs: {})",
            plan.dir.join("logs").display()
        )
    });
    if let Ok(report) = &outcome {
        println!("{report}");
    }
    println!("stopping...");
    tokio::select! {
        () = system.stop() => {}
        _ = signals.next() => anyhow::bail!("stopped at once; the next start tidies up"),
    }
    outcome?;
    println!(
        "done in {:.0} s: everything was as the guide says",
        began.elapsed().as_secs_f64()
    );
    Ok(ExitCode::SUCCESS)
}

async fn present(system: &System, plan: &Plan) -> anyhow::Result<String> {
    println!("starting PostgreSQL, RabbitMQ, the services and four simulated WAHA workers");
    let facts = system.start(plan, &settings()).await?;
    let walk = walk::Walk::new(&facts)?;
    let report = walk.run().await?;
    Ok(summary::text(&report))
}

/// One session per worker as the guide wants it; exact gaps, and short turns to show switches.
fn settings() -> Settings {
    let mut settings = Settings::default();
    for name in [
        "DATABASE_URL",
        "AMQP_URL",
        "RABBITMQ_MANAGEMENT_URL",
        "WEBHOOK_BASE_URL",
    ] {
        settings.set(name, "");
    }
    settings.set("MAX_SESSIONS_PER_WORKER", "1");
    settings.set("MAX_LIVE_SESSIONS", "1");
    settings.set("MESSAGE_DELAY_JITTER", "0");
    settings.set("SENDER_TURN_MESSAGES", "5");
    settings.set("WAHA_SIM_ARGS", SIMULATOR);
    settings
}
