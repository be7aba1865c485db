//! How another `wahacast` asks a running one to stop or start one of its processes.
//!
//! A Unix socket in the directory, mode 0600; one line in (`stop rabbitmq`), one line out (`ok`
//! or what went wrong). The running one does it, so it never fights with the one who asked.

use std::fs::{self, File, Permissions};
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::time::timeout;

use crate::cli::{Action, ServerArgs};
use crate::supervise::Crew;

const SOCKET: &str = "control.sock";
/// A start of RabbitMQ may take minutes (its own limit is 180 s); nothing takes longer.
const ANSWER_WITHIN: Duration = Duration::from_secs(240);

/// A directory's socket by a path of a few bytes: socket paths end at 107 bytes, ours may not.
fn short_path(dir: &File) -> PathBuf {
    Path::new("/proc/self/fd")
        .join(dir.as_raw_fd().to_string())
        .join(SOCKET)
}

/// Answers requests for the processes of `crew` until the program ends.
pub(crate) fn serve(dir: &Path, crew: &Crew) -> anyhow::Result<()> {
    let folder = File::open(dir)?;
    let path = short_path(&folder);
    if path.exists() {
        fs::remove_file(&path)?;
    }
    let listener = UnixListener::bind(&path).context("cannot open the control socket")?;
    fs::set_permissions(&path, Permissions::from_mode(0o600))?;
    let crew = crew.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let crew = crew.clone();
            tokio::spawn(async move {
                if let Err(fault) = answer(stream, &crew).await {
                    eprintln!("wahacast: a request on the control socket failed: {fault:#}");
                }
            });
        }
    });
    Ok(())
}

async fn answer(stream: UnixStream, crew: &Crew) -> anyhow::Result<()> {
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    (&mut stream).take(256).read_line(&mut line).await?;
    let reply = match obey(line.trim(), crew).await {
        Ok(()) => "ok\n".to_owned(),
        Err(fault) => format!("{fault:#}\n"),
    };
    Ok(stream.write_all(reply.as_bytes()).await?)
}

async fn obey(line: &str, crew: &Crew) -> anyhow::Result<()> {
    let (action, name) = line
        .split_once(' ')
        .context("expected an action and a name")?;
    let handle = crew.find(name)?;
    match action {
        "stop" => handle.stop().await,
        "start" => handle.start().await?,
        "restart" => {
            handle.stop().await;
            handle.start().await?;
        }
        other => bail!("unknown action {other:?}"),
    }
    Ok(())
}

/// Sends one request to the `wahacast` that runs from `args.dir`, and waits until it is done.
pub(crate) async fn ask(args: &ServerArgs) -> anyhow::Result<ExitCode> {
    let nobody = || format!("no wahacast is running from {}", args.dir.display());
    let folder = File::open(&args.dir).with_context(nobody)?;
    let mut stream = UnixStream::connect(short_path(&folder))
        .await
        .with_context(nobody)?;
    let action = match args.action {
        Action::Stop => "stop",
        Action::Start => "start",
        Action::Restart => "restart",
    };
    stream
        .write_all(format!("{action} {}\n", args.name).as_bytes())
        .await?;
    let mut reply = String::new();
    timeout(ANSWER_WITHIN, stream.read_to_string(&mut reply))
        .await
        .with_context(|| format!("{action} {} took too long", args.name))??;
    match reply.trim() {
        "ok" => Ok(ExitCode::SUCCESS),
        "" => bail!("the running wahacast ended before it had answered"),
        fault => bail!("{fault}"),
    }
}
