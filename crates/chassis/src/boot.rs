//! From `main` to the last drained task, the same for every service.

use std::cell::Cell;
use std::future::Future;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use uuid::Uuid;

use crate::config::{EXIT_USAGE, Faults, Settings, Source};
use crate::telemetry::TelemetrySettings;
use crate::{BoxError, Chance, Clock, Readiness, Shutdown, Supervisor};
use crate::{chain, metrics, probes, telemetry};

/// What the drain gets even when `main` used the whole grace: tasks that only have to notice.
const DRAIN_MIN: Duration = Duration::from_millis(500);

/// How often a starting process tries a dependency that is away.
const WAIT_FOR_EVERY: Duration = Duration::from_secs(1);

crate::settings! {
    /// What every process must know about itself.
    pub struct ProcessSettings {
        /// The name of this replica in logs and views; the host's name when absent.
        "REPLICA_NAME" => replica_name: Option<String>, 1..=100_usize;
        /// Where scheduler and sender serve /livez, /readyz and /metrics (the gateway serves them
        /// on its own port). Loopback unless told otherwise; port 0 takes any free one.
        "PROBES_LISTEN" => probes_listen: SocketAddr = "127.0.0.1:9464";
        /// Seconds that a stopping process gets to finish what it holds. Most sends end within it;
        /// one that does not is settled by the lane's next owner. Less than what the orchestrator
        /// waits before it kills (30 in most).
        "SHUTDOWN_GRACE_SECONDS" => shutdown_grace: Duration = 25, 0.0..=600.0;
    }
}

/// Who this process is among its kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replica {
    /// New at every start, so a restarted replica is never taken for its former self.
    pub id: Uuid,
    /// For people; need not be unique.
    pub name: String,
}

impl Replica {
    /// A new identity, named `name` or after the host.
    #[must_use]
    pub fn new(name: Option<String>, chance: &Chance) -> Self {
        let host = || std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        let name = name.unwrap_or_else(|| host().trim().to_owned());
        let name = if name.is_empty() {
            "unnamed".to_owned()
        } else {
            name
        };
        Self {
            id: chance.uuid_v4(),
            name,
        }
    }
}

/// What [`run`] hands to a service's own start. Clone the parts that tasks need.
#[derive(Debug)]
pub struct Process<S> {
    /// The service's own settings.
    pub settings: S,
    /// The settings that all processes share.
    pub common: ProcessSettings,
    /// Who this process is.
    pub replica: Replica,
    /// The machine's clocks.
    pub clock: Clock,
    /// The machine's randomness.
    pub chance: Chance,
    /// Raised by signals and by a failing task.
    pub shutdown: Shutdown,
    /// Starts tasks, and is drained at the end.
    pub supervisor: Supervisor,
    /// What `/readyz` tells.
    pub readiness: Readiness,
}

impl<S> Process<S> {
    /// Tries a dependency until it can be used, and reports how it is; `false` when the process
    /// was told to stop first.
    ///
    /// # Errors
    /// The first failure that does not `pass` by itself.
    pub async fn wait_for<F, E>(
        &self,
        dependency: &'static str,
        mut attempt: impl FnMut() -> F,
        passes: impl Fn(&E) -> bool,
    ) -> Result<bool, E>
    where
        F: Future<Output = Result<(), E>>,
        E: Into<BoxError>,
    {
        while !self.shutdown.is_requested() {
            match attempt().await {
                Ok(()) => {
                    self.readiness.report(dependency, Ok(()));
                    return Ok(true);
                }
                Err(failure) if passes(&failure) => {
                    let failure = chain(&*failure.into());
                    self.readiness.report(dependency, Err(failure));
                    self.clock.sleep(WAIT_FOR_EVERY).await;
                }
                Err(failure) => return Err(failure),
            }
        }
        Ok(false)
    }

    /// Serves the three probe routes on `PROBES_LISTEN` until shutdown, and returns the address.
    ///
    /// # Errors
    /// When the address cannot be had.
    pub fn serve_probes(&self) -> Result<SocketAddr, BoxError> {
        let listener = probes::bind(self.common.probes_listen)?;
        let address = listener.local_addr()?;
        let serving = probes::serve(listener, self.readiness.clone(), self.shutdown.clone());
        self.supervisor.spawn("probes", serving);
        tracing::info!(%address, "probes are served at http://{address}/readyz");
        Ok(address)
    }
}

/// Runs a service to its end. In order: settings, logs, metrics, runtime, signals, `main`, then
/// waiting for the wish to stop, then the drain.
///
/// `main` starts the service's tasks on the supervisor and may return when they run, or stay until
/// shutdown; it must watch `shutdown` wherever it waits. Exit status: 0 after a clean stop, 64 for
/// settings that cannot be used, 1 for anything else.
pub fn run<S, M, F, E>(service: &'static str, main: M) -> ExitCode
where
    S: Settings,
    M: FnOnce(Process<S>) -> F,
    F: Future<Output = Result<(), E>>,
    E: Into<BoxError>,
{
    let source = Source::from_env();
    match <(ProcessSettings, TelemetrySettings, S)>::from_source(&source) {
        Err(faults) => refuse(service, &faults),
        Ok((common, logs, settings)) => {
            telemetry::init(&logs);
            match start(service, common, settings, main) {
                Ok(code) => code,
                Err(failure) => fail(service, &failure),
            }
        }
    }
}

/// Settings are refused before there is a log writer, so this goes to stderr as it is.
#[expect(
    clippy::print_stderr,
    reason = "the log writer needs settings, and these are at fault"
)]
fn refuse(service: &str, faults: &Faults) -> ExitCode {
    eprintln!("{service} cannot start, its settings are at fault:\n{faults}");
    ExitCode::from(EXIT_USAGE)
}

fn fail(service: &str, failure: &BoxError) -> ExitCode {
    tracing::error!("{service} ends: {}", chain(&**failure));
    ExitCode::FAILURE
}

fn start<S, M, F, E>(
    service: &'static str,
    common: ProcessSettings,
    settings: S,
    main: M,
) -> Result<ExitCode, BoxError>
where
    M: FnOnce(Process<S>) -> F,
    F: Future<Output = Result<(), E>>,
    E: Into<BoxError>,
{
    metrics::install()?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let code = runtime.block_on(async {
        let shutdown = Shutdown::new();
        shutdown.listen_for_signals()?;
        let chance = Chance::system();
        let process = Process {
            replica: Replica::new(common.replica_name.clone(), &chance),
            supervisor: Supervisor::new(shutdown.clone()),
            clock: Clock::system(),
            readiness: Readiness::new(),
            settings,
            common,
            chance,
            shutdown,
        };
        Ok::<_, BoxError>(live(service, process, main).await)
    })?;
    // Tasks that missed the deadline were named; they must not hold the exit.
    runtime.shutdown_background();
    Ok(code)
}

async fn live<S, M, F, E>(service: &'static str, process: Process<S>, main: M) -> ExitCode
where
    M: FnOnce(Process<S>) -> F,
    F: Future<Output = Result<(), E>>,
    E: Into<BoxError>,
{
    let (shutdown, supervisor) = (process.shutdown.clone(), process.supervisor.clone());
    let (clock, grace) = (process.clock.clone(), process.common.shutdown_grace);
    let Replica { id, name } = process.replica.clone();
    tracing::info!(replica.id = %id, replica.name = %name, "{service} starts as {name}");
    // One deadline for what `main` finishes after the wish to stop and for the drain after it.
    let stop_by = Cell::new(None);
    let deadline = async {
        shutdown.requested().await;
        let by = clock.instant() + grace;
        stop_by.set(Some(by));
        clock.sleep_until(by).await;
    };
    let mut failed = false;
    tokio::select! {
        ended = main(process) => if let Err(cause) = ended.map_err(Into::into) {
            fail(service, &cause);
            failed = true;
            shutdown.request();
        },
        () = deadline => tracing::warn!("{service} had not finished starting at the deadline"),
    }
    shutdown.requested().await;
    let left = stop_by
        .get()
        .map(|by| by.saturating_duration_since(clock.instant()));
    let late = supervisor.drain(left.unwrap_or(grace).max(DRAIN_MIN)).await;
    if late.is_empty() {
        tracing::info!("{service} stopped");
    } else {
        tracing::warn!(?late, "{service} left tasks unfinished at the deadline");
    }
    if failed || supervisor.has_failed() {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replica_always_has_a_name_and_never_the_same_id() {
        let chance = Chance::seeded(1);
        let named = Replica::new(Some("sender-1".to_owned()), &chance);
        let unnamed = Replica::new(None, &chance);
        assert_eq!(named.name, "sender-1");
        assert!(!unnamed.name.is_empty());
        assert_ne!(named.id, unnamed.id);
    }

    fn settings() -> ProcessSettings {
        let pairs = [("PROBES_LISTEN", "127.0.0.1:0")];
        ProcessSettings::from_source(&Source::from_pairs(pairs)).unwrap()
    }

    #[test]
    fn a_service_lives_until_it_is_asked_to_stop() {
        let main = |process: Process<()>| async move {
            process.serve_probes()?;
            let shutdown = process.shutdown.clone();
            process
                .supervisor
                .spawn("worker", async move { shutdown.requested().await });
            process.shutdown.request();
            Ok::<(), BoxError>(())
        };
        let code = start("test", settings(), (), main).unwrap();
        assert_eq!(code, ExitCode::SUCCESS);
    }

    #[test]
    fn a_start_that_fails_is_a_failure() {
        let main = |_: Process<()>| async { Err::<(), _>("no ledger") };
        assert_eq!(
            start("test", settings(), (), main).unwrap(),
            ExitCode::FAILURE
        );
    }
}
