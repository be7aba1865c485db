//! Large uploads, and what they may cost: memory, transactions, the disk.

use std::process::{Child, Command, Stdio};

use bytes::Bytes;
use futures_util::stream;
use reqwest::{Body, Client};
use serde_json::{Value, json};
use testkit::{TestDatabase, database, eventually, free_port, vhost};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::app::{KEY, SOON, app, app_with};

/// Recipients of the upload whose memory is measured.
const RECIPIENTS: usize = 100_000;
/// Characters of each one's own variable: kept in memory, they alone would be forty megabytes.
const OWN: usize = 400;
/// What the gateway may grow by meanwhile, in kilobytes.
const GROWTH_KB_MAX: u64 = 24 * 1_024;

/// A gateway in a process of its own; killed with this value.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        self.0.kill().unwrap_or_default();
        self.0.wait().ok();
    }
}

impl Process {
    /// The most memory that it ever had in use, in kilobytes.
    fn peak_kb(&self) -> u64 {
        let path = format!("/proc/{}/status", self.0.id());
        let status = std::fs::read_to_string(path).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        line.unwrap()
            .trim()
            .trim_end_matches(" kB")
            .parse()
            .unwrap()
    }
}

fn command(database_url: &str, amqp_url: &str, listen: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_wahacast-gateway"));
    command
        .env("DATABASE_URL", database_url)
        .env("AMQP_URL", amqp_url)
        .env("ADMIN_API_KEY", KEY)
        .env("GATEWAY_LISTEN", listen)
        .env("SPOOL_MEMORY_BYTES", "1048576")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command
}

async fn sender(db: &TestDatabase, number: &str) {
    let sql = format!(
        "WITH sender AS (INSERT INTO senders (phone) VALUES ('{number}') RETURNING phone)
         INSERT INTO sessions (phone) SELECT phone FROM sender"
    );
    db.client().await.execute(&sql, &[]).await.unwrap();
}

fn head(template: &str) -> String {
    json!({"sender_number": "42108077", "template": template}).to_string() + "\n"
}

/// The lines of some recipients with much to tell each.
fn lines(from: usize, count: usize) -> Bytes {
    let line = |n| {
        let own = "x".repeat(OWN);
        format!("{{\"number\":\"216{n:08}\",\"variables\":{{\"own\":\"{own}\"}}}}\n")
    };
    (from..from + count).map(line).collect::<String>().into()
}

/// A body that is made while it is sent.
fn body() -> Body {
    let head = std::iter::once(Bytes::from(head("{{own}}")));
    let pieces = (0..RECIPIENTS)
        .step_by(1_000)
        .map(|from| lines(from, 1_000));
    Body::wrap_stream(stream::iter(
        head.chain(pieces).map(Ok::<_, std::io::Error>),
    ))
}

async fn send(http: &Client, url: &str, body: impl Into<Body>) -> (u16, Value) {
    let request = http
        .post(format!("{url}/api/send"))
        .header("content-type", "application/x-ndjson");
    let answer = request.body(body).send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_stays_flat_however_many_recipients_a_stream_has() {
    let (db, vhost) = (database().await, vhost().await);
    sender(&db, "42108077").await;
    let listen = format!("127.0.0.1:{}", free_port());
    let mut command = command(&db.url, &vhost.amqp_url, &listen);
    let gateway = Process(command.spawn().unwrap());
    let (http, url) = (Client::new(), format!("http://{listen}"));
    eventually("the gateway to answer", SOON, async || {
        let answer = http.get(format!("{url}/livez")).send().await.ok()?;
        answer.status().is_success().then_some(())
    })
    .await;
    let few = Body::from([head("{{own}}").into(), lines(0, 1_000)].concat());
    let (status, view) = send(&http, &url, few).await;
    assert_eq!(
        (status, &view["total_messages"]),
        (202, &json!(1_000)),
        "{view}"
    );

    let before = gateway.peak_kb();
    let (status, view) = send(&http, &url, body()).await;
    let grown = gateway.peak_kb() - before;
    assert_eq!(
        (status, &view["total_messages"]),
        (202, &json!(RECIPIENTS)),
        "{view}"
    );
    assert!(grown < GROWTH_KB_MAX, "the gateway grew by {grown} kB");
    let sql = "SELECT count(DISTINCT recipient) FROM messages";
    let stored: i64 = db.client().await.query_one(sql, &[]).await.unwrap().get(0);
    assert_eq!(stored, i64::try_from(RECIPIENTS).unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_upload_holds_no_transaction() {
    let app = app().await;
    app.session("42108077").await;
    let address = app.url.trim_start_matches("http://").to_owned();
    let mut wire = tokio::net::TcpStream::connect(&address).await.unwrap();
    // More than the sockets hold: when it is out, the gateway is in the midst of it.
    let (head, all) = (head("{{own}}"), lines(0, 40_000));
    let length = head.len() + all.len();
    let request = format!(
        "POST /api/send HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/x-ndjson\r\n\
         content-length: {length}\r\n\r\n{head}"
    );
    wire.write_all(request.as_bytes()).await.unwrap();
    let (most, last) = all.split_at(all.len() - 100);
    wire.write_all(most).await.unwrap();
    let open = app
        .number(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()
                AND state LIKE 'idle in transaction%'",
        )
        .await;
    assert_eq!(open, 0);
    assert_eq!(app.number("SELECT count(*) FROM campaigns").await, 0);
    wire.write_all(last).await.unwrap();
    let mut answer = vec![0; 12];
    wire.read_exact(&mut answer).await.unwrap();
    assert_eq!(answer, b"HTTP/1.1 202");
    assert_eq!(app.number("SELECT count(*) FROM messages").await, 40_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_room_for_the_spool_a_large_campaign_waits_and_small_ones_do_not() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().to_str().unwrap().to_owned();
    let spool = [
        ("SPOOL_DIRECTORY", path.as_str()),
        ("SPOOL_MEMORY_BYTES", "1048576"),
    ];
    let app = app_with(&spool).await;
    app.session("42108077").await;
    let http = Client::new();
    let large = || [head("{{own}}").into(), lines(0, 10_000)].concat();
    directory.close().unwrap();
    let as_json = json!({"sender_number": "42108077", "template": "{{own}}",
        "recipients": large().split(|byte| *byte == b'\n').skip(1)
            .filter(|line| !line.is_empty())
            .map(|line| serde_json::from_slice::<Value>(line).unwrap()).collect::<Vec<_>>()});
    let answered = app.post("/api/send", as_json).await;
    answered.is_problem(503, "unavailable");
    assert_eq!(answered.header("retry-after"), "30");
    let (status, view) = send(&http, &app.url, large()).await;
    assert_eq!(
        (status, &view["type"]),
        (503, &json!("unavailable")),
        "{view}"
    );
    assert!(
        view["detail"]
            .as_str()
            .unwrap()
            .contains("nothing was stored")
    );
    assert_eq!(app.number("SELECT count(*) FROM campaigns").await, 0);
    app.campaign("42108077", &["1234567"]).await;
}

#[test]
fn a_spool_that_cannot_be_used_is_refused_at_start() {
    let mut command = command(
        "postgres://nobody@127.0.0.1:1/x",
        "amqp://127.0.0.1:1",
        "127.0.0.1:0",
    );
    command
        .env("SPOOL_DIRECTORY", "/nowhere/at/all")
        .stderr(Stdio::piped());
    let ended = command.output().unwrap();
    let told = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.status.code(), Some(1), "{told}");
    assert!(told.contains("SPOOL_DIRECTORY"), "{told}");
}
