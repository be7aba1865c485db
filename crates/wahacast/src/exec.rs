//! `wahacast servers`: a command with a private PostgreSQL and RabbitMQ around it.

use std::os::unix::process::ExitStatusExt;
use std::process::{ExitCode, ExitStatus};

use anyhow::{Context, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::process::Command;

use crate::cli::ServersArgs;
use crate::servers::{self, Given, Urls, Wanted, leftovers};
use crate::signals::StopSignals;
use crate::supervise::Crew;
use crate::workdir::WorkDir;

/// Starts the servers, runs the command (or waits for a signal), stops the servers.
/// The exit code is the command's.
pub(crate) async fn run(args: ServersArgs) -> anyhow::Result<ExitCode> {
    let mut signals = StopSignals::subscribe()?;
    let work = WorkDir::open(&args.dir)?;
    leftovers::stop_noted(&work.path().join("pids.json")).await;
    let crew = Crew::new(work.path(), true);
    crate::control::serve(work.path(), &crew)?;
    let wanted = Wanted {
        given: Given::from(|name| std::env::var(name).ok()),
        programs: args.need,
        pooler: args.pgbouncer,
    };
    let started = tokio::select! {
        started = servers::start(&work, &crew, wanted) => started,
        signal = signals.next() => Err(anyhow::anyhow!("interrupted by {signal}")),
    };
    let outcome = match started {
        Err(fault) => Err(fault),
        Ok(urls) if args.command.is_empty() => {
            show(&urls);
            signals.next().await;
            Ok(ExitCode::SUCCESS)
        }
        Ok(urls) => run_command(&args.command, &urls, &mut signals).await,
    };
    crew.stop_all().await;
    outcome
}

fn show(urls: &Urls) {
    println!("DATABASE_URL={}", urls.database);
    if let Some(direct) = &urls.direct {
        println!("DATABASE_DIRECT_URL={direct}");
    }
    println!("AMQP_URL={}", urls.amqp);
    if let Some(management) = &urls.management {
        println!("RABBITMQ_MANAGEMENT_URL={management}");
    }
}

/// The command shares our process group, so Ctrl-C reaches it by itself; SIGTERM is passed on.
async fn run_command(
    command: &[String],
    urls: &Urls,
    signals: &mut StopSignals,
) -> anyhow::Result<ExitCode> {
    let Some((program, arguments)) = command.split_first() else {
        bail!("no command was given");
    };
    let mut child = Command::new(program)
        .args(arguments)
        .env("DATABASE_URL", &urls.database)
        .envs(urls.direct.iter().map(|url| ("DATABASE_DIRECT_URL", url)))
        .env("AMQP_URL", &urls.amqp)
        .envs(
            urls.management
                .iter()
                .map(|url| ("RABBITMQ_MANAGEMENT_URL", url)),
        )
        .kill_on_drop(true)
        .spawn()
        .with_context(|| format!("cannot run {program}"))?;
    loop {
        tokio::select! {
            status = child.wait() => return Ok(code_of(status?)),
            signal = signals.next() => {
                if let (Some(pid), "SIGTERM") = (child.id(), signal) {
                    kill(Pid::from_raw(pid.try_into()?), Signal::SIGTERM)?;
                }
            }
        }
    }
}

/// As a shell reports it: 128 plus the signal for a command that a signal ended.
fn code_of(status: ExitStatus) -> ExitCode {
    let code = status
        .code()
        .unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
    ExitCode::from(u8::try_from(code).unwrap_or(u8::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_the_commands_own() {
        let table = [(0, 0), (3 << 8, 3), (9, 137)];
        for (raw, expected) in table {
            let shown = format!("{:?}", code_of(ExitStatus::from_raw(raw)));
            assert_eq!(shown, format!("{:?}", ExitCode::from(expected)));
        }
    }
}
