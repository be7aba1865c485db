//! Finds the servers' programs, and installs the distribution's packages where that is allowed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, bail};
use nix::unistd::geteuid;
use tokio::process::Command;
use tokio::time::timeout;

use crate::workdir::WorkDir;

const SCRIPT: &str = include_str!("install.sh");
/// Some 35 MB are fetched; on a slow line that takes minutes, but not more than this.
const INSTALL_WITHIN: Duration = Duration::from_secs(900);

/// The folder with the newest PostgreSQL's `postgres` and `initdb`. Debian keeps them off PATH.
pub(super) fn postgres_bin() -> Option<PathBuf> {
    let mut versions: Vec<(u32, PathBuf)> = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let version = entry.file_name().to_str()?.parse().ok()?;
            Some((version, entry.path().join("bin")))
        })
        .filter(|(_, bin)| has_postgres(bin))
        .collect();
    versions.sort();
    let newest = versions.pop().map(|(_, bin)| bin);
    newest.or_else(|| {
        on_path("postgres")?
            .parent()
            .map(Path::to_owned)
            .filter(|b| has_postgres(b))
    })
}

fn has_postgres(bin: &Path) -> bool {
    bin.join("postgres").is_file() && bin.join("initdb").is_file()
}

/// RabbitMQ's own start script and Erlang's port mapper. The wrappers in the system's sbin
/// folder are avoided: they change the user and drop arguments.
pub(super) fn rabbitmq_programs() -> Option<(PathBuf, PathBuf)> {
    let server = Path::new("/usr/lib/rabbitmq/bin/rabbitmq-server");
    Some((
        server.is_file().then(|| server.to_owned())?,
        on_path("epmd")?,
    ))
}

/// What may have to be installed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Package {
    /// The ledger's server.
    Postgres,
    /// The broker.
    Rabbitmq,
    /// Any program whose package has its name.
    Program(String),
}

impl Package {
    fn name(&self) -> &str {
        match self {
            Self::Postgres => "postgresql",
            Self::Rabbitmq => "rabbitmq-server",
            Self::Program(name) => name,
        }
    }

    fn is_there(&self) -> bool {
        match self {
            Self::Postgres => postgres_bin().is_some(),
            Self::Rabbitmq => rabbitmq_programs().is_some(),
            Self::Program(name) => on_path(name).is_some(),
        }
    }
}

/// Installs what of this is missing.
///
/// # Errors
/// Something is missing and cannot be installed: one sentence says what to install.
pub(super) async fn ensure(work: &WorkDir, packages: &[Package]) -> anyhow::Result<()> {
    let missing = packages.iter().filter(|package| !package.is_there());
    let missing: Vec<_> = missing.map(Package::name).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let names = missing.join(" and ");
    let Some(mut command) = privileged_shell().await else {
        bail!(
            "{names} must be installed, and this user may not do it: run `apt-get install {}` as \
             root (or your system's equivalent){}",
            missing.join(" "),
            or_else(packages)
        );
    };
    let log = work.log("install");
    eprintln!("wahacast: installing {names} (log: {})", log.display());
    let output = fs::File::create(&log)?;
    command
        .args(["-c", SCRIPT, "wahacast-install"])
        .args(&missing);
    command
        .stdin(Stdio::null())
        .stdout(output.try_clone()?)
        .stderr(output);
    let status = timeout(INSTALL_WITHIN, command.status())
        .await
        .with_context(|| format!("installing {names} took longer than 15 minutes"))??;
    if !status.success() || !packages.iter().all(Package::is_there) {
        bail!(
            "installing {names} failed ({status}); see {}",
            log.display()
        );
    }
    Ok(())
}

/// Servers may be anywhere; a program must be here.
fn or_else(packages: &[Package]) -> &'static str {
    let server = |package: &Package| !matches!(package, Package::Program(_));
    if packages
        .iter()
        .any(|package| server(package) && !package.is_there())
    {
        ", or set DATABASE_URL and AMQP_URL"
    } else {
        ""
    }
}

/// A shell with root's rights on a system with apt; `None` where we may not have one.
async fn privileged_shell() -> Option<Command> {
    on_path("apt-get")?;
    if geteuid().is_root() {
        return Some(Command::new("sh"));
    }
    let sudo = on_path("sudo")?;
    let mut probe = Command::new(&sudo);
    probe
        .args(["-n", "true"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    if !probe.status().await.ok()?.success() {
        return None;
    }
    let mut command = Command::new(sudo);
    command.args(["-n", "sh"]);
    Some(command)
}

pub(super) fn on_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let system = ["/usr/bin", "/usr/sbin"].map(PathBuf::from);
    std::env::split_paths(&path)
        .chain(system)
        .map(|folder| folder.join(name))
        .find(|file| file.is_file())
}
