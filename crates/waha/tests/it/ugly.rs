//! A TCP server that answers each connection as it is told, and remembers what it heard.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use url::Url;
use waha::{Timeouts, Waha, http_client};

/// What to do with a request once it has been read in full.
#[derive(Debug, Clone)]
pub(crate) enum Manner {
    /// Answer with these very bytes and close.
    Say(String),
    /// Close without a word.
    Close,
    /// Reset the connection.
    Reset,
    /// Never answer.
    Hang,
}

/// A response with a length and a body.
pub(crate) fn response(status: &str, body: &str) -> Manner {
    let length = body.len();
    Manner::Say(format!(
        "HTTP/1.1 {status}\r\ncontent-length: {length}\r\n\r\n{body}"
    ))
}

/// The server; stops with the runtime of its test.
pub(crate) struct Ugly {
    address: SocketAddr,
    heard: Arc<Mutex<Vec<String>>>,
}

impl Ugly {
    #[expect(
        clippy::disallowed_methods,
        reason = "ends with the runtime of its test"
    )]
    pub(crate) async fn start(manner: Manner) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let heard = Arc::new(Mutex::new(Vec::new()));
        let ears = Arc::clone(&heard);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, manner.clone(), Arc::clone(&ears)));
            }
        });
        Self { address, heard }
    }

    pub(crate) fn url(&self) -> Url {
        format!("http://{}/w/17", self.address).parse().unwrap()
    }

    pub(crate) fn heard(&self) -> Vec<String> {
        self.heard.lock().unwrap().clone()
    }

    /// Waits, for at most ten seconds, for a request with these words in it.
    #[expect(
        clippy::disallowed_methods,
        reason = "a pause between looks, not a wait for luck"
    )]
    pub(crate) async fn until_heard(&self, words: &str) {
        let listen = async {
            while !self.heard().iter().any(|request| request.contains(words)) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let limit = tokio::time::timeout(Duration::from_secs(10), listen);
        limit.await.unwrap();
    }

    pub(crate) fn client(&self) -> Waha {
        client(&self.url())
    }
}

/// A client that waits half a second for everything.
pub(crate) fn client(url: &Url) -> Waha {
    let short = Duration::from_millis(500);
    Waha::new(url, "key-of-tests".into(), http_client().unwrap()).with_timeouts(Timeouts {
        probe: short,
        read: short,
        lifecycle: short,
        text: short,
        media: short,
    })
}

async fn serve(mut stream: TcpStream, manner: Manner, ears: Arc<Mutex<Vec<String>>>) {
    let request = read_request(&mut stream).await;
    ears.lock().unwrap().push(request);
    match manner {
        Manner::Say(bytes) => stream.write_all(bytes.as_bytes()).await.unwrap(),
        Manner::Close => {}
        // Dropping a socket with a linger of nothing sends a reset.
        Manner::Reset => stream.set_zero_linger().unwrap(),
        Manner::Hang => std::future::pending().await,
    }
}

async fn read_request(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let n = stream.read(&mut buffer).await.unwrap_or(0);
        bytes.extend_from_slice(&buffer[..n]);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if n == 0 || complete(&text) {
            return text;
        }
    }
}

fn complete(request: &str) -> bool {
    let Some((head, body)) = request.split_once("\r\n\r\n") else {
        return false;
    };
    let length = head
        .lines()
        .filter_map(|line| line.split_once(": "))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .map_or(0, |(_, length)| length.parse().unwrap());
    body.len() >= length
}
