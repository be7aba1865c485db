//! A client that costs as little as possible, so that a figure is of the server: requests are
//! written before the clock starts, and every answer is read to its end and its status judged.
//!
//! One thread drives all connections, each of which has one request on its way at a time and is
//! kept for the next one, as the connections of a WAHA server are.

use std::time::Duration;

use anyhow::{Context, bail, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::Instant;

/// Bytes of an answer's head and body, at most.
const ANSWER_MAX: usize = 256 * 1024;
/// Room for most answers at once.
const ROOM: usize = 16 * 1024;

/// A question as it goes over the wire.
pub(crate) fn get(base: &str, path: &str) -> Vec<u8> {
    let host = authority(base);
    format!("GET {path} HTTP/1.1\r\nhost: {host}\r\n\r\n").into_bytes()
}

/// A request with a body as it goes over the wire.
pub(crate) fn post(base: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Vec<u8> {
    let host = authority(base);
    let mut request = format!("POST {path} HTTP/1.1\r\nhost: {host}\r\n");
    for (name, value) in headers {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    request.push_str(&format!("content-length: {}\r\n\r\n{body}", body.len()));
    request.into_bytes()
}

/// Sends all of these over `at_once` connections; the time until the last is answered.
///
/// # Errors
/// One was not answered, or not with 200.
pub(crate) async fn all(
    base: &str,
    requests: Vec<Vec<u8>>,
    at_once: usize,
) -> anyhow::Result<Duration> {
    let base = base.to_owned();
    let alone = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()?;
    spawn_blocking(move || alone.block_on(send(base, requests, at_once))).await?
}

async fn send(base: String, requests: Vec<Vec<u8>>, at_once: usize) -> anyhow::Result<Duration> {
    let mut shares: Vec<Vec<Vec<u8>>> = vec![Vec::new(); at_once.min(requests.len())];
    let places = shares.len();
    for (n, request) in requests.into_iter().enumerate() {
        shares[n % places].push(request);
    }
    let (mut connections, mut speaking) = (Vec::with_capacity(places), JoinSet::new());
    for share in shares {
        connections.push((Connection::open(&base).await?, share));
    }
    let began = Instant::now();
    for (mut connection, share) in connections {
        speaking.spawn(async move {
            for request in &share {
                let _read = connection.call(request).await?;
            }
            anyhow::Ok(())
        });
    }
    while let Some(ended) = speaking.join_next().await {
        ended??;
    }
    Ok(began.elapsed())
}

/// A connection and what was read from it.
pub(crate) struct Connection {
    stream: TcpStream,
    read: Vec<u8>,
}

impl Connection {
    /// A connection to the server of a base URL.
    pub(crate) async fn open(base: &str) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(authority(base)).await?;
        stream.set_nodelay(true)?;
        let read = Vec::with_capacity(ROOM);
        Ok(Self { stream, read })
    }

    /// Sends a request; the whole body of its answer.
    ///
    /// # Errors
    /// It was not answered, or not with 200, or not with one whole answer.
    pub(crate) async fn call(&mut self, request: &[u8]) -> anyhow::Result<&[u8]> {
        self.stream.write_all(request).await?;
        self.read.clear();
        let head = loop {
            self.more().await?;
            if let Some(head) = head(&self.read)? {
                break head;
            }
        };
        let whole = head.bytes + head.body;
        while self.read.len() < whole {
            self.more().await?;
        }
        ensure!(self.read.len() == whole, "an answer that nobody asked for");
        ensure!(head.status == 200, "answered with {}", self.text());
        Ok(&self.read[head.bytes..])
    }

    async fn more(&mut self) -> anyhow::Result<()> {
        let more = self.stream.read_buf(&mut self.read).await?;
        ensure!(more > 0, "a connection was closed within an answer");
        ensure!(self.read.len() < ANSWER_MAX, "an answer is too long");
        Ok(())
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.read).into_owned()
    }
}

/// What the head of an answer says.
#[derive(Debug, PartialEq, Eq)]
struct Head {
    status: u16,
    /// Bytes of the head itself.
    bytes: usize,
    /// Bytes that follow it.
    body: usize,
}

/// Reads the head of an answer; `None` while it is not whole.
fn head(read: &[u8]) -> anyhow::Result<Option<Head>> {
    let Some(end) = read.windows(4).position(|four| four == b"\r\n\r\n") else {
        return Ok(None);
    };
    let text = std::str::from_utf8(&read[..end]).context("a head is not text")?;
    let mut lines = text.split("\r\n");
    let status = lines.next().and_then(|line| line.split(' ').nth(1));
    let status = status.context("a head without a status")?.parse()?;
    for line in lines {
        let (name, value) = line.split_once(':').context("a header without a name")?;
        if name.eq_ignore_ascii_case("content-length") {
            let (bytes, body) = (end + 4, value.trim().parse()?);
            return Ok(Some(Head {
                status,
                bytes,
                body,
            }));
        }
    }
    bail!("an answer does not say how long it is")
}

/// Host and port of a base URL.
fn authority(base: &str) -> &str {
    base.trim_start_matches("http://").trim_end_matches('/')
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    #[test]
    fn a_head_is_read_once_it_is_whole() {
        let answer = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 2\r\na: b\r\n\r\n{}";
        assert_eq!(head(&answer[..60]).unwrap(), None);
        let whole = Head {
            status: 503,
            bytes: answer.len() - 2,
            body: 2,
        };
        assert_eq!(head(answer).unwrap(), Some(whole));
        assert!(head(b"HTTP/1.1 200 OK\r\na: b\r\n\r\n").is_err());
        assert!(head(b"what\r\n\r\n").is_err());
    }

    /// Answers every request of one connection with the next of these, byte by byte.
    async fn server(listener: TcpListener, answers: &[&str]) {
        let (mut stream, _) = listener.accept().await.unwrap();
        for answer in answers {
            let mut request = [0; 1024];
            assert!(stream.read(&mut request).await.unwrap() > 0);
            for byte in answer.as_bytes() {
                stream.write_all(&[*byte]).await.unwrap();
            }
        }
    }

    #[tokio::test]
    async fn answers_come_one_after_the_other_on_one_connection() {
        let answers = ["one", "two"]
            .map(|body| format!("HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n{body}"));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let client = async {
            let mut connection = Connection::open(&base).await.unwrap();
            let asked = get(&base, "/x");
            assert!(asked.starts_with(b"GET /x HTTP/1.1\r\nhost: 127.0.0.1:"));
            assert_eq!(connection.call(&asked).await.unwrap(), b"one");
            assert_eq!(connection.call(&asked).await.unwrap(), b"two");
        };
        let answers = answers.each_ref().map(String::as_str);
        tokio::join!(client, server(listener, &answers));
    }

    #[tokio::test]
    async fn every_answer_is_read_and_judged() {
        let ok = "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nyes";
        let no = "HTTP/1.1 500 Oh\r\ncontent-length: 2\r\n\r\nno";
        for (answers, good) in [([ok, ok], true), ([ok, no], false)] {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let base = format!("http://{}", listener.local_addr().unwrap());
            let requests = vec![post(&base, "/a", &[("b", "c")], "{}"); 2];
            let (told, ()) = tokio::join!(all(&base, requests, 1), server(listener, &answers));
            assert_eq!(told.is_ok(), good, "{told:?}");
        }
    }
}
