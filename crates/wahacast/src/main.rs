//! `wahacast`: starts, demonstrates and examines the whole system on one machine.

use std::process::ExitCode;

use clap::Parser;
use wahacast::cli::{Cli, run};

#[tokio::main]
async fn main() -> ExitCode {
    match run(Cli::parse()).await {
        Ok(code) => code,
        Err(error) => {
            eprintln!("wahacast: {error:#}");
            ExitCode::FAILURE
        }
    }
}
