//! What can be typed: the subcommands and their flags.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Delivers WhatsApp campaigns through a fleet of WAHA servers.
#[derive(Debug, Parser)]
#[command(name = "wahacast", version)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the whole system on this machine until Ctrl-C.
    ///
    /// Settings come from the environment and from `.env` in the current directory; the
    /// environment wins. Where everything is stands in run.json once all of it is ready.
    Up(UpArgs),
    /// Walk through the API guide on four simulated WAHA workers, then sum up and exit.
    ///
    /// Always on servers of its own. Exits with a reason if anything is not as the guide says.
    Demo(DemoArgs),
    /// Run a command with a private PostgreSQL and RabbitMQ, then stop them.
    ///
    /// The command finds them in DATABASE_URL, AMQP_URL and RABBITMQ_MANAGEMENT_URL. With the
    /// first two already set, those servers are used and none is started. Without a command the
    /// servers stay in the foreground until interrupted.
    Servers(ServersArgs),
    /// Stop, start or restart one process of a running `up` or `servers`.
    Server(ServerArgs),
    /// Recount the ledger in DATABASE_URL from its rows and report any difference.
    ///
    /// Exits with 0 when there is none, 1 when there is one, 2 when it could not look.
    Audit(AuditArgs),
    /// Torture the whole system by a seeded script of faults, and judge what came of it.
    ///
    /// Always on servers of its own. Exits with a failure if anybody was lost, heard twice or too
    /// soon, miscounted or left waiting; the directory then holds the logs and the history.
    Chaos(ChaosArgs),
    /// Measure the system, each figure beside the limit of its parts in the same run.
    ///
    /// Always on servers of its own. Build for release first; exits with a failure only when
    /// something could not be measured, because a target missed is a figure, not a fault.
    Bench(BenchArgs),
}

/// Flags of `wahacast audit`.
#[derive(Debug, Args)]
pub struct AuditArgs {
    /// Report as one JSON object.
    #[arg(long)]
    pub json: bool,
}

/// Flags of `wahacast chaos`.
#[derive(Debug, Args)]
pub struct ChaosArgs {
    /// Repeats a script; a new one each time unless given.
    #[arg(long)]
    pub seed: Option<u64>,
    /// Minutes of load.
    #[arg(long, default_value_t = 10.0)]
    pub minutes: f64,
    /// Where data, logs and the report are kept; `.local/chaos/SEED` unless given.
    #[arg(long)]
    pub dir: Option<PathBuf>,
    /// Run nothing; print the sum of these reports.
    #[arg(long, num_args = 1.., value_name = "REPORT")]
    pub merge: Vec<PathBuf>,
}

/// Flags of `wahacast bench`.
#[derive(Debug, Args)]
pub struct BenchArgs {
    /// Which benches to run; all of them but `long` unless named.
    pub names: Vec<String>,
    /// Alternating rounds of figure and limit; medians are told.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=99))]
    pub rounds: u32,
    /// Scale of all sizes: 1 is what the targets are about, less is a quick look.
    #[arg(long, default_value_t = 1.0, value_parser = scale)]
    pub scale: f64,
    /// Messages of the full ledger of `long`; 100,000,000 by the scale unless given.
    #[arg(long)]
    pub messages: Option<usize>,
    /// Where data, logs, bench.json and the plots are kept.
    #[arg(long, default_value = ".local/bench")]
    pub dir: PathBuf,
}

fn scale(text: &str) -> Result<f64, String> {
    let scale: f64 = text.parse().map_err(|_| "a number is needed".to_owned())?;
    if scale > 0.0 && scale <= 1.0 {
        Ok(scale)
    } else {
        Err("more than 0 and at most 1 is needed".to_owned())
    }
}

/// Flags of `wahacast up`.
#[derive(Debug, Clone, Args)]
pub struct UpArgs {
    /// Port of the gateway on 127.0.0.1; 0 takes a free one.
    #[arg(long, default_value_t = 8080)]
    pub port: u16,
    /// How many schedulers to run.
    #[arg(long, default_value_t = 1)]
    pub schedulers: u32,
    /// How many senders to run.
    #[arg(long, default_value_t = 1)]
    pub senders: u32,
    /// How many WAHA workers to simulate. WAHA_SIM_ARGS holds further flags for the simulator.
    #[arg(long, default_value_t = 0)]
    pub sim_workers: u32,
    /// Register the simulated workers with the gateway.
    #[arg(long)]
    pub register: bool,
    /// Leave a process that ends by itself down, instead of starting it again.
    #[arg(long)]
    pub no_restart: bool,
    /// Where data, logs and settings are kept.
    #[arg(long, default_value = ".local")]
    pub dir: PathBuf,
}

/// Flags of `wahacast demo`.
#[derive(Debug, Args)]
pub struct DemoArgs {
    /// Port of the gateway on 127.0.0.1; 0 takes a free one.
    #[arg(long, default_value_t = 0)]
    pub port: u16,
    /// Where data, logs and settings are kept.
    #[arg(long, default_value = ".local/demo")]
    pub dir: PathBuf,
}

/// Flags of `wahacast servers`.
#[derive(Debug, Args)]
pub struct ServersArgs {
    /// Where data, logs and settings are kept.
    #[arg(long, default_value = ".local/servers-only")]
    pub dir: PathBuf,
    /// A program that the command uses; where it is missing, the package of its name is installed.
    #[arg(long, value_name = "PROGRAM")]
    pub need: Vec<String>,
    /// Put a PgBouncer in transaction mode before PostgreSQL. DATABASE_URL then leads through it,
    /// and DATABASE_DIRECT_URL past it.
    #[arg(long)]
    pub pgbouncer: bool,
    /// The command to run, after `--`.
    #[arg(last = true)]
    pub command: Vec<String>,
}

/// Flags of `wahacast server`.
#[derive(Debug, Args)]
pub struct ServerArgs {
    /// What to do.
    pub action: Action,
    /// Which process: `postgres`, `rabbitmq`, or a name from run.json such as `sender-1`.
    pub name: String,
    /// The directory of the running `up` or `servers`.
    #[arg(long, default_value = ".local")]
    pub dir: PathBuf,
}

/// What `wahacast server` does to a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Action {
    /// Stop it cleanly and keep it stopped.
    Stop,
    /// Start it and wait until it is ready.
    Start,
    /// Stop it, then start it.
    Restart,
}

/// Runs what was typed.
///
/// # Errors
/// Whatever kept the command from doing its work, as one sentence with its causes.
pub async fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    match cli.command {
        Command::Up(args) => crate::up::run(args).await,
        Command::Demo(args) => crate::demo::run(args).await,
        Command::Servers(args) => crate::exec::run(args).await,
        Command::Server(args) => crate::control::ask(&args).await,
        Command::Audit(args) => crate::audit::run(args).await,
        Command::Chaos(args) => crate::chaos::run(args).await,
        Command::Bench(args) => crate::bench::run(args).await,
    }
}
