//! A private PostgreSQL: one cluster, one user with a password, one database.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::process::Command;
use tokio::time::sleep;

use super::account::{self, Home};
use super::{install, ports};
use crate::process::{Program, Ready};
use crate::supervise::Crew;
use crate::workdir::{WorkDir, write_private};

const USER: &str = "wahacast";
const DATABASE: &str = "wahacast";

/// For many pools and test databases at once, and for bulk loads: full pages compress well, and
/// fewer checkpoints mean fewer full pages. `ALTER SYSTEM` can change any of it.
const SETTINGS: &str = "\
max_connections = 300
max_wal_size = 4GB
checkpoint_timeout = 15min
log_line_prefix = '%m [%p] '
";

/// Makes the cluster on first use, starts it and returns its URL.
pub(super) async fn start(work: &WorkDir, crew: &Crew) -> anyhow::Result<String> {
    let bin = install::postgres_bin().context("PostgreSQL is not installed")?;
    let home = account::home(work.path(), "postgres", &["postgres"])?;
    let cluster = home.path.join("data");
    let password = work.secret("POSTGRES_PASSWORD")?;
    if !cluster.join("wahacast-ready").exists() {
        initialise(&bin, &home, &cluster, &password).await?;
    }
    drop_stale_pid_file(&cluster).await?;
    let port = ports::choose(work, &["postgres"])?["postgres"];
    let url = |database: &str| format!("postgres://{USER}:{password}@127.0.0.1:{port}/{database}");
    let program = Program {
        role: "postgres",
        replica: None,
        executable: bin.join("postgres"),
        arguments: arguments(&cluster, port),
        inherits: false,
        environment: vec![("LC_ALL".to_owned(), "C.UTF-8".to_owned())],
        account: home.account,
        directory: home.path,
        log: work.log("postgres"),
        ready: Ready::Postgres(url("postgres")),
        ready_within: Duration::from_secs(60),
        stop: Signal::SIGINT,
        grace: Duration::from_secs(15),
    };
    crew.add(program).start().await?;
    ensure_database(&url("postgres")).await?;
    Ok(url(DATABASE))
}

fn arguments(cluster: &Path, port: u16) -> Vec<std::ffi::OsString> {
    let mut arguments = vec!["-D".into(), cluster.into()];
    // No socket file: its path may be too long for one, and the port with a password suffices.
    for setting in [
        &format!("port={port}"),
        "listen_addresses=127.0.0.1",
        "unix_socket_directories=",
    ] {
        arguments.extend(["-c".into(), setting.into()]);
    }
    arguments
}

/// A half-made cluster of an interrupted first start is thrown away; it holds nothing.
async fn initialise(bin: &Path, home: &Home, cluster: &Path, key: &str) -> anyhow::Result<()> {
    if cluster.exists() {
        fs::remove_dir_all(cluster)?;
    }
    let key_file = home.path.join("initial-password");
    write_private(&key_file, key)?;
    account::give(&key_file, home.account)?;
    let mut command = as_server(&bin.join("initdb"), home);
    command.args([
        "-U",
        USER,
        "-A",
        "scram-sha-256",
        "--no-instructions",
        "-E",
        "UTF8",
    ]);
    command
        .args(["--locale=C.UTF-8", "--pwfile"])
        .arg(&key_file)
        .arg("-D")
        .arg(cluster);
    let made = command.output().await.context("cannot run initdb")?;
    fs::remove_file(&key_file)?;
    if !made.status.success() {
        bail!(
            "initdb failed: {}",
            String::from_utf8_lossy(&made.stderr).trim()
        );
    }
    let compression = if supports_lz4(bin, home, cluster).await {
        "lz4"
    } else {
        "on"
    };
    let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let buffers = shared_buffers_mb(&memory);
    let settings =
        format!("{SETTINGS}wal_compression = {compression}\nshared_buffers = {buffers}MB\n");
    // Written in place, as its owner stays the server's user.
    fs::write(cluster.join("postgresql.auto.conf"), settings)?;
    fs::write(cluster.join("wahacast-ready"), "")?;
    Ok(())
}

/// A quarter of the machine's memory, as PostgreSQL's manual advises, within 256 MB and 4 GB: what
/// a ledger writes to all the time should be in it.
fn shared_buffers_mb(meminfo: &str) -> u64 {
    let total = meminfo.lines().find_map(|line| {
        let kib = line.strip_prefix("MemTotal:")?.trim();
        kib.strip_suffix(" kB")?.trim().parse::<u64>().ok()
    });
    (total.unwrap_or_default() / 1024 / 4).clamp(256, 4_096)
}

async fn supports_lz4(bin: &Path, home: &Home, cluster: &Path) -> bool {
    let mut command = as_server(&bin.join("postgres"), home);
    command
        .args(["-C", "wal_compression", "-c", "wal_compression=lz4", "-D"])
        .arg(cluster);
    command
        .output()
        .await
        .is_ok_and(|answer| answer.status.success())
}

fn as_server(program: &PathBuf, home: &Home) -> Command {
    let mut command = Command::new(program);
    command
        .current_dir(&home.path)
        .stdin(Stdio::null())
        .env("LC_ALL", "C.UTF-8")
        .kill_on_drop(true);
    if let Some(account) = home.account {
        command.uid(account.uid).gid(account.gid);
    }
    command
}

/// We hold the directory's lock, so a server that runs on this cluster is a leftover, and a pid
/// file without such a server is stale; PostgreSQL itself would refuse to start if another
/// program happened to have that process id now.
async fn drop_stale_pid_file(cluster: &Path) -> anyhow::Result<()> {
    let file = cluster.join("postmaster.pid");
    let Ok(text) = fs::read_to_string(&file) else {
        return Ok(());
    };
    let pid: i32 = text
        .lines()
        .next()
        .unwrap_or_default()
        .trim()
        .parse()
        .unwrap_or(0);
    let is_ours = || fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|cwd| cwd == cluster);
    let rounds = [(Signal::SIGINT, 200), (Signal::SIGKILL, 100)];
    for (signal, looks) in rounds.into_iter().filter(|_| pid > 1) {
        if is_ours() {
            kill(Pid::from_raw(pid), signal)?;
        }
        for _ in 0..looks {
            if !is_ours() {
                break;
            }
            sleep(Duration::from_millis(50)).await;
        }
    }
    if is_ours() {
        bail!(
            "process {pid} holds {} and cannot be stopped",
            cluster.display()
        );
    }
    if file.exists() {
        fs::remove_file(&file)?;
    }
    Ok(())
}

/// Empties the database of `url`: it is dropped and made anew.
///
/// # Errors
/// The server does not answer, or refuses.
pub(crate) async fn empty(url: &str) -> anyhow::Result<()> {
    let (_, name) = server_and_name(url)?;
    let made = format!("CREATE DATABASE {name}");
    rule(url, &[&dropped(name), &made]).await
}

/// Drops the database of `url` if there is one, whoever is connected to it.
///
/// # Errors
/// The server does not answer, or refuses.
pub(crate) async fn remove(url: &str) -> anyhow::Result<()> {
    let (_, name) = server_and_name(url)?;
    rule(url, &[&dropped(name)]).await
}

/// The URL of another database of the same server.
///
/// # Errors
/// The URL names no database.
pub(crate) fn beside(url: &str, name: &str) -> anyhow::Result<String> {
    let (server, _) = server_and_name(url)?;
    Ok(format!("{server}/{name}"))
}

fn dropped(name: &str) -> String {
    format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)")
}

fn server_and_name(url: &str) -> anyhow::Result<(&str, &str)> {
    url.rsplit_once('/').context("a database has no name")
}

/// Runs statements about whole databases, which must not be one's own.
async fn rule(url: &str, statements: &[&str]) -> anyhow::Result<()> {
    let server = beside(url, "postgres")?;
    let (client, connection) = tokio_postgres::connect(&server, tokio_postgres::NoTls).await?;
    let connection = tokio::spawn(connection);
    for statement in statements {
        client.batch_execute(statement).await?;
    }
    drop(client);
    connection.await??;
    Ok(())
}

async fn ensure_database(url: &str) -> anyhow::Result<()> {
    let (client, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls).await?;
    let connection = tokio::spawn(connection);
    let found = client
        .query_opt("SELECT 1 FROM pg_database WHERE datname = $1", &[&DATABASE])
        .await?;
    if found.is_none() {
        client
            .batch_execute(&format!("CREATE DATABASE {DATABASE}"))
            .await?;
    }
    drop(client);
    connection.await??;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quarter_of_the_memory_is_the_servers() {
        for (told, mb) in [
            ("MemTotal:       24689428 kB\nMemFree: 1 kB", 4_096),
            ("MemTotal:        8192000 kB", 2_000),
            ("MemTotal:         500000 kB", 256),
            ("", 256),
        ] {
            assert_eq!(shared_buffers_mb(told), mb, "{told}");
        }
    }
}
