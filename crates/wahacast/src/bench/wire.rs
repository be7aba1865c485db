//! An HTTP client that costs next to nothing, because what it uses is taken from what it measures:
//! one connection, one request after the other. It knows only what our gateway answers.

use anyhow::{Context, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Room for most answers at once.
const ROOM: usize = 64 * 1_024;

/// A connection that is kept.
pub(crate) struct Wire {
    host: String,
    stream: TcpStream,
    buffer: Vec<u8>,
    request: Vec<u8>,
}

impl Wire {
    /// A connection to the server of an `http` base URL.
    pub(crate) async fn open(url: &str) -> anyhow::Result<Self> {
        let host = url.strip_prefix("http://").context("not an http URL")?;
        let stream = TcpStream::connect(host).await?;
        stream.set_nodelay(true)?;
        Ok(Self {
            host: host.to_owned(),
            stream,
            buffer: Vec::with_capacity(ROOM),
            request: Vec::new(),
        })
    }

    /// The body of a good answer, whole.
    ///
    /// # Errors
    /// The answer is not a 200, or is not whole.
    pub(crate) async fn get(&mut self, path: &str) -> anyhow::Result<&[u8]> {
        self.request.clear();
        for part in ["GET ", path, " HTTP/1.1\r\nhost: ", &self.host, "\r\n\r\n"] {
            self.request.extend_from_slice(part.as_bytes());
        }
        self.stream.write_all(&self.request).await?;
        self.buffer.clear();
        loop {
            if let Some((from, length)) = head(&self.buffer)? {
                while self.buffer.len() < from + length {
                    self.more().await?;
                }
                ensure!(self.buffer.len() == from + length, "more than an answer");
                return Ok(&self.buffer[from..]);
            }
            self.more().await?;
        }
    }

    async fn more(&mut self) -> anyhow::Result<()> {
        let read = self.stream.read_buf(&mut self.buffer).await?;
        ensure!(read > 0, "the connection ended within an answer");
        Ok(())
    }
}

/// Where the body begins and how long it is, once the head is there.
fn head(bytes: &[u8]) -> anyhow::Result<Option<(usize, usize)>> {
    let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else {
        return Ok(None);
    };
    let head = std::str::from_utf8(&bytes[..end])?;
    let mut lines = head.split("\r\n");
    let first = lines.next().unwrap_or_default();
    ensure!(first.starts_with("HTTP/1.1 200 "), "answered {first}");
    let mut fields = lines.filter_map(|line| line.split_once(':'));
    let length = fields.find(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    let (_, length) = length.context("an answer without a length")?;
    Ok(Some((end + 4, length.trim().parse()?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_are_read_once_they_are_whole() {
        let whole = b"HTTP/1.1 200 OK\r\ndate: now\r\nContent-Length: 3\r\n\r\nabc";
        assert_eq!(head(whole).unwrap(), Some((whole.len() - 3, 3)));
        assert_eq!(head(&whole[..whole.len() - 5]).unwrap(), None);
        assert!(head(b"HTTP/1.1 503 No\r\ncontent-length: 0\r\n\r\n").is_err());
        assert!(head(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").is_err());
    }

    #[tokio::test]
    async fn answers_come_one_after_the_other_on_one_connection() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let server = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            for body in ["one", "two"] {
                let mut asked = [0; 256];
                let read = stream.read(&mut asked).await.unwrap();
                assert!(asked[..read].starts_with(b"GET /x HTTP/1.1\r\nhost: 127.0.0.1:"));
                let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n{body}");
                // In two pieces, as a network may.
                stream.write_all(&answer.as_bytes()[..20]).await.unwrap();
                stream.flush().await.unwrap();
                stream.write_all(&answer.as_bytes()[20..]).await.unwrap();
            }
        };
        let client = async {
            let mut wire = Wire::open(&url).await.unwrap();
            assert_eq!(wire.get("/x").await.unwrap(), b"one");
            assert_eq!(wire.get("/x").await.unwrap(), b"two");
        };
        tokio::join!(server, client);
    }
}
