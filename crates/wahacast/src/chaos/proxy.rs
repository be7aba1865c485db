//! A TCP proxy that can be told to misbehave: to cut, to stall, to slow down.
//!
//! It stands between any two parts of a chaos run. Buffers are bounded: what is not forwarded yet
//! is at most one chunk a direction, so a stalled peer feels it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::Context;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::sleep;

/// Bytes on their way, at most, per direction.
const CHUNK: usize = 16 * 1_024;

/// How the link behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Forwards.
    Open,
    /// Connections are reset, new ones too.
    Cut,
    /// Bytes stop, connections stay.
    Stalled,
    /// Each chunk is late by this much.
    Slow(Duration),
}

/// A proxy in front of one or several addresses of the same kind. Ends with its value.
#[derive(Debug)]
pub(crate) struct Proxy {
    address: SocketAddr,
    mode: watch::Sender<Mode>,
    targets: watch::Sender<Vec<SocketAddr>>,
    task: tokio::task::JoinHandle<()>,
}

impl Proxy {
    /// Listens on a free port of 127.0.0.1; new connections go to the targets in turn.
    pub(crate) async fn start(targets: Vec<SocketAddr>) -> anyhow::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0))
            .await
            .context("a proxy has no port")?;
        let address = listener.local_addr()?;
        let (mode, modes) = watch::channel(Mode::Open);
        let (targets, targets_seen) = watch::channel(targets);
        let task = tokio::spawn(serve(listener, modes, targets_seen));
        Ok(Self {
            address,
            mode,
            targets,
            task,
        })
    }

    /// Where to connect to instead of the target.
    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where new connections go from now on.
    pub(crate) fn retarget(&self, targets: Vec<SocketAddr>) {
        self.targets.send_replace(targets);
    }

    /// How it behaves from now on, also towards connections that there are.
    pub(crate) fn set(&self, mode: Mode) {
        self.mode.send_replace(mode);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(
    listener: TcpListener,
    modes: watch::Receiver<Mode>,
    targets: watch::Receiver<Vec<SocketAddr>>,
) {
    let turn = Arc::new(AtomicUsize::new(0));
    let mut links = tokio::task::JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((client, _)) = accepted else { continue };
                let (modes, targets) = (modes.clone(), targets.borrow().clone());
                let turn = Arc::clone(&turn);
                links.spawn(link(client, modes, targets, turn));
            }
            Some(_) = links.join_next(), if !links.is_empty() => {}
        }
    }
}

async fn link(
    client: TcpStream,
    modes: watch::Receiver<Mode>,
    targets: Vec<SocketAddr>,
    turn: Arc<AtomicUsize>,
) {
    if *modes.borrow() == Mode::Cut {
        return reset(&client);
    }
    let first = turn.fetch_add(1, Ordering::Relaxed);
    let mut server = None;
    for place in 0..targets.len() {
        let target = targets[(first + place) % targets.len()];
        if let Ok(connected) = TcpStream::connect(target).await {
            server = Some(connected);
            break;
        }
    }
    let Some(server) = server else {
        return reset(&client);
    };
    let _small = (client.set_nodelay(true), server.set_nodelay(true));
    let mut cut = modes.clone();
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let both = async {
        tokio::join!(
            pump(&mut from_client, &mut to_server, modes.clone()),
            pump(&mut from_server, &mut to_client, modes.clone()),
        )
    };
    let broken = tokio::select! {
        _ = both => false,
        _ = cut.wait_for(|mode| *mode == Mode::Cut) => true,
    };
    if broken {
        reset(to_client.as_ref());
        reset(to_server.as_ref());
    }
}

/// Forwards one direction until it ends, then says so to the other side.
async fn pump(
    from: &mut tokio::net::tcp::OwnedReadHalf,
    to: &mut tokio::net::tcp::OwnedWriteHalf,
    mut modes: watch::Receiver<Mode>,
) {
    let mut chunk = vec![0; CHUNK];
    while let Ok(count @ 1..) = from.read(&mut chunk).await {
        let flows = modes.wait_for(|mode| *mode != Mode::Stalled).await;
        let mode = flows.map_or(Mode::Open, |mode| *mode);
        if let Mode::Slow(late) = mode {
            sleep(late).await;
        }
        if to.write_all(&chunk[..count]).await.is_err() {
            break;
        }
    }
    let _ended = to.shutdown().await;
}

/// Makes the close that follows a reset instead of a farewell.
fn reset(stream: &TcpStream) {
    let _closing_anyway = stream.set_zero_linger();
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::{Instant, timeout};

    /// Answers every byte with itself.
    async fn echo() -> SocketAddr {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut from, mut to) = stream.split();
                    tokio::io::copy(&mut from, &mut to).await
                });
            }
        });
        address
    }

    async fn say(stream: &mut TcpStream, byte: u8) -> std::io::Result<u8> {
        stream.write_all(&[byte]).await?;
        stream.read_u8().await
    }

    #[tokio::test]
    async fn it_forwards_stalls_slows_and_cuts() {
        let proxy = Proxy::start(vec![echo().await]).await.unwrap();
        let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
        assert_eq!(say(&mut stream, 1).await.unwrap(), 1);
        proxy.set(Mode::Stalled);
        let nothing = timeout(Duration::from_millis(150), say(&mut stream, 2)).await;
        assert!(nothing.is_err(), "a stalled link carries nothing");
        proxy.set(Mode::Open);
        assert_eq!(stream.read_u8().await.unwrap(), 2, "and loses nothing");
        proxy.set(Mode::Slow(Duration::from_millis(60)));
        let began = Instant::now();
        assert_eq!(say(&mut stream, 3).await.unwrap(), 3);
        assert!(
            began.elapsed() >= Duration::from_millis(120),
            "late both ways"
        );
        proxy.set(Mode::Cut);
        assert!(say(&mut stream, 4).await.is_err());
        let mut fresh = TcpStream::connect(proxy.address()).await.unwrap();
        assert!(say(&mut fresh, 5).await.is_err());
        proxy.set(Mode::Open);
        let mut fresh = TcpStream::connect(proxy.address()).await.unwrap();
        assert_eq!(say(&mut fresh, 6).await.unwrap(), 6);
    }

    #[tokio::test]
    async fn a_target_that_is_away_is_passed_over() {
        let nobody: SocketAddr = "127.0.0.1:9".parse().unwrap();
        let proxy = Proxy::start(vec![nobody, echo().await]).await.unwrap();
        for byte in 0..4 {
            let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
            assert_eq!(say(&mut stream, byte).await.unwrap(), byte);
        }
    }
}
