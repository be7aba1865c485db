//! How long the gateway keeps connections on which nothing is asked.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::app::{App, app, app_with};

/// The library's own five seconds would be longer.
const WITHIN: Duration = Duration::from_secs(4);

/// Two connections as a client's pool holds them: one opened in advance, one that was answered.
async fn idle(app: &App) -> [TcpStream; 2] {
    let address = app.url.strip_prefix("http://").unwrap();
    let fresh = TcpStream::connect(address).await.unwrap();
    let mut used = TcpStream::connect(address).await.unwrap();
    let ask = format!("GET /livez HTTP/1.1\r\nHost: {address}\r\n\r\n");
    used.write_all(ask.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"alive\n") {
        assert_ne!(used.read_buf(&mut answer).await.unwrap(), 0, "no answer");
    }
    [fresh, used]
}

/// Waits until the gateway closes it, whatever it says before.
async fn closes(mut connection: TcpStream) {
    let mut last_words = Vec::new();
    let closed = timeout(WITHIN, connection.read_to_end(&mut last_words)).await;
    let closed = closed.unwrap_or_else(|_| panic!("still open after {WITHIN:?}"));
    closed.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_connections_are_closed_when_their_seconds_are_over() {
    let app = app_with(&[("GATEWAY_KEEP_ALIVE_SECONDS", "1")]).await;
    for connection in idle(&app).await {
        closes(connection).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_connections_do_not_hold_up_the_end() {
    let app = app().await;
    let idle = idle(&app).await;
    app.shut_down();
    for connection in idle {
        closes(connection).await;
    }
}
