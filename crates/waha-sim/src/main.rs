//! The simulator as a process: one JSON line on standard output when ready, logs on standard
//! error, prompt end on SIGTERM and SIGINT.

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

mod cli;

#[tokio::main]
async fn main() -> ExitCode {
    // Without a level of its own for it, the server logs every connection dropped on purpose.
    let quiet = "info,actix_server=warn,actix_http=off";
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .with_env_filter(EnvFilter::try_from_default_env().unwrap_or_else(|_| quiet.into()))
        .init();
    match run(cli::Cli::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(cli: cli::Cli) -> Result<(), Box<dyn std::error::Error>> {
    // Registered first: a signal that comes while starting must not be lost.
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let running = waha_sim::start(cli.into_options()?).await?;
    let workers: Vec<_> = (1..=running.workers())
        .map(|number| {
            json!({
                "url": running.worker_url(number),
                "api_key": running.api_key(number),
                "control": running.control_url(number),
            })
        })
        .collect();
    let line = json!({"port": running.port(), "workers": workers}).to_string();
    let mut out = std::io::stdout();
    writeln!(out, "{line}")?;
    out.flush()?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!("stopping");
    running.stop().await;
    Ok(())
}
