//! A private RabbitMQ node with its own port mapper, management interface and metrics.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, bail};
use nix::sys::signal::Signal;
use tokio::process::Command;
use tokio::time::timeout;

use super::account::{self, Home};
use super::{install, ports};
use crate::process::{Program, Ready};
use crate::supervise::Crew;
use crate::workdir::WorkDir;

const PURPOSES: [&str; 5] = [
    "rabbitmq",
    "rabbitmq-management",
    "rabbitmq-metrics",
    "rabbitmq-nodes",
    "epmd",
];

/// Its virtual machine takes a second or two to start.
const CONTROL_WITHIN: Duration = Duration::from_secs(30);

/// Starts the node and returns its AMQP URL and the base URL of its management interface.
pub(super) async fn start(work: &WorkDir, crew: &Crew) -> anyhow::Result<(String, Option<String>)> {
    let (server, epmd) = install::rabbitmq_programs().context("RabbitMQ is not installed")?;
    let home = account::home(work.path(), "rabbitmq", &["rabbitmq"])?;
    let ports = ports::choose(work, &PURPOSES)?;
    write_configuration(&home, &ports)?;
    let mapper = Program {
        role: "epmd",
        replica: None,
        executable: epmd,
        arguments: vec!["-port".into(), ports["epmd"].to_string().into()],
        inherits: false,
        environment: environment(&home.path, &ports),
        account: home.account,
        directory: home.path.clone(),
        log: work.log("epmd"),
        ready: Ready::Ports(vec![ports["epmd"]]),
        ready_within: Duration::from_secs(20),
        stop: Signal::SIGTERM,
        grace: Duration::from_secs(5),
    };
    let node = Program {
        role: "rabbitmq",
        executable: server,
        arguments: Vec::new(),
        log: work.log("rabbitmq"),
        ready: Ready::Ports(vec![ports["rabbitmq"], ports["rabbitmq-management"]]),
        // A first boot takes 5 to 17 s; one after a kill with thousands of queues took 62 s.
        ready_within: Duration::from_secs(180),
        // 6 to 8 s with plugins; with thousands of quorum queues it may never end by itself.
        grace: Duration::from_secs(12),
        ..mapper.clone()
    };
    let mapper = crew.add(mapper);
    let node = crew.add(node);
    mapper.start().await?;
    node.start().await?;
    let at = |purpose: &str| format!("guest:guest@127.0.0.1:{}", ports[purpose]);
    let management = format!("http://{}", at("rabbitmq-management"));
    Ok((format!("amqp://{}/%2f", at("rabbitmq")), Some(management)))
}

/// Runs `rabbitmqctl` with `arguments` on the node of `work`.
///
/// # Errors
/// It cannot be run, or fails.
pub(crate) async fn control(work: &WorkDir, arguments: &[String]) -> anyhow::Result<()> {
    let home = account::home(work.path(), "rabbitmq", &["rabbitmq"])?;
    let mut command = Command::new("/usr/lib/rabbitmq/bin/rabbitmqctl");
    command
        .args(arguments)
        .env_clear()
        .envs(std::env::var_os("PATH").map(|path| ("PATH", path)))
        .envs(environment(&home.path, &work.ports()))
        .current_dir(&home.path)
        .stdin(Stdio::null())
        .kill_on_drop(true);
    if let Some(account) = home.account {
        command.uid(account.uid).gid(account.gid);
    }
    let done = timeout(CONTROL_WITHIN, command.output())
        .await
        .context("rabbitmqctl did not answer")?
        .context("rabbitmqctl cannot be run")?;
    if !done.status.success() {
        let said = String::from_utf8_lossy(&done.stderr);
        bail!("rabbitmqctl {}: {}", arguments.join(" "), said.trim());
    }
    Ok(())
}

/// Without these the node would read the system's files, share the system's port mapper, or
/// look up a host name that may not resolve.
fn environment(home: &Path, ports: &BTreeMap<String, u16>) -> Vec<(String, String)> {
    let file = |name: &str| home.join(name).display().to_string();
    [
        ("HOME", file("")),
        ("LC_ALL", "C.UTF-8".to_owned()),
        ("RABBITMQ_NODENAME", "wahacast@localhost".to_owned()),
        ("RABBITMQ_NODE_IP_ADDRESS", "127.0.0.1".to_owned()),
        ("RABBITMQ_NODE_PORT", ports["rabbitmq"].to_string()),
        ("RABBITMQ_DIST_PORT", ports["rabbitmq-nodes"].to_string()),
        ("ERL_EPMD_PORT", ports["epmd"].to_string()),
        ("ERL_EPMD_ADDRESS", "127.0.0.1".to_owned()),
        ("RABBITMQ_MNESIA_BASE", file("data")),
        ("RABBITMQ_LOG_BASE", file("log")),
        ("RABBITMQ_LOGS", "-".to_owned()),
        ("RABBITMQ_CONFIG_FILE", file("rabbitmq.conf")),
        ("RABBITMQ_CONF_ENV_FILE", file("rabbitmq-env.conf")),
        ("RABBITMQ_ENABLED_PLUGINS_FILE", file("enabled_plugins")),
        ("RABBITMQ_PID_FILE", file("pid")),
        // The script then becomes the node instead of waiting for it, so its process id is the
        // node's own and the node is told to stop by SIGTERM.
        ("RUNNING_UNDER_SYSTEMD", "true".to_owned()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .to_vec()
}

fn write_configuration(home: &Home, ports: &BTreeMap<String, u16>) -> anyhow::Result<()> {
    let files = [
        ("rabbitmq.conf", configuration(ports)),
        ("rabbitmq-env.conf", String::new()),
        (
            "enabled_plugins",
            "[rabbitmq_management,rabbitmq_prometheus].\n".to_owned(),
        ),
    ];
    for (name, text) in files {
        let path = home.path.join(name);
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        account::give(&path, home.account)?;
    }
    Ok(())
}

fn configuration(ports: &BTreeMap<String, u16>) -> String {
    format!(
        "listeners.tcp.1 = 127.0.0.1:{}\n\
         management.tcp.ip = 127.0.0.1\n\
         management.tcp.port = {}\n\
         prometheus.tcp.ip = 127.0.0.1\n\
         prometheus.tcp.port = {}\n\
         vm_memory_high_watermark.absolute = 1GB\n\
         disk_free_limit.absolute = 200MB\n",
        ports["rabbitmq"], ports["rabbitmq-management"], ports["rabbitmq-metrics"]
    )
}
