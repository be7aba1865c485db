//! Abuse of a whole running system, below and beside what the gateway's own tests can send: broken
//! HTTP, requests cut off in the middle, a hundred thousand recipients and one too bad, bodies that
//! PostgreSQL cannot store, forged webhooks. Nothing a client sends makes a 5xx, nothing half
//! accepted exists, memory stays bounded, and the system sends campaigns afterwards as before.
//!
//! Reproduce: `cargo test -p wahacast --test it bad_input -- --nocapture` (servers as in
//! `main.rs`).

use std::fmt::Write;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::api::Api;
use crate::checks;
use crate::system::{Plan, System};

const SENDER: &str = "42108077";
const BOUND: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread")]
async fn no_input_breaks_the_system() {
    let system = System::start(Plan::new(1)).await;
    system.link(SENDER).await;
    let pid = system.process("gateway", 1).pid;
    malformed_requests(&system.api).await;
    broken_http(&system.api).await;
    a_stream_cut_in_the_middle_leaves_nothing(&system).await;
    forged_webhooks(&system).await;
    many_at_once(&system.api).await;
    a_hundred_thousand_recipients(&system, pid).await;
    let campaign = system.submit(SENDER, checks::recipients(3, 5)).await;
    let status = system.ended(&campaign, BOUND).await;
    assert_eq!(status["status"], "COMPLETED", "{status}");
    let mut heard = system.fleet.heard().await;
    heard.retain(|one| campaign.recipients.contains(&one.recipient().to_owned()));
    checks::all_heard_once(&heard, &[campaign]);
    assert_eq!(
        system.process("gateway", 1).pid,
        pid,
        "the gateway was started again"
    );
    let log = system.log("gateway");
    assert!(!log.contains("panicked"), "the gateway panicked");
}

/// A request and the statuses that are fine for it.
struct Case {
    method: Method,
    path: String,
    kind: &'static str,
    body: Vec<u8>,
    fine: &'static [u16],
}

fn send(body: impl Into<Vec<u8>>, fine: &'static [u16]) -> Case {
    let (method, path) = (Method::POST, "/api/send".to_owned());
    Case {
        method,
        path,
        kind: "application/json",
        body: body.into(),
        fine,
    }
}

fn get(path: &str, fine: &'static [u16]) -> Case {
    let (method, path) = (Method::GET, path.to_owned());
    Case {
        method,
        path,
        kind: "application/json",
        body: Vec::new(),
        fine,
    }
}

fn post(path: &str, body: &Value, fine: &'static [u16]) -> Case {
    Case {
        path: path.to_owned(),
        ..send(body.to_string(), fine)
    }
}

/// A submission that is right but for `field`.
fn with(field: &str, value: Value) -> String {
    let mut body = json!({
        "sender_number": SENDER, "recipients": ["4912345678"], "template": "Hello",
    });
    body[field] = value;
    body.to_string()
}

#[expect(clippy::too_many_lines, reason = "a table")]
fn cases() -> Vec<Case> {
    let deep = format!("{}1{}", "[".repeat(50_000), "]".repeat(50_000));
    let id = "01940000-0000-7000-8000-000000000000";
    let mut cases = vec![
        send("{", &[400]),
        send("", &[400]),
        send("null", &[422]),
        send("[]", &[422]),
        send("\"x\"", &[422]),
        send(&b"\xff\xfe{}"[..], &[400]),
        send(&b"{\"sender_number\": \"\xc3\x28\"}"[..], &[400]),
        send(deep.clone(), &[400, 422]),
        send(format!("{{\"sender_number\": {deep}}}"), &[400, 422]),
        send(
            r#"{"sender_number": "\ud800", "recipients": [], "template": ""}"#,
            &[400, 422],
        ),
        send(with("template", json!("nul \u{0} inside")), &[202, 422]),
        send(with("variables", json!({"name": "nul \u{0}"})), &[202, 422]),
        send(with("sender_number", json!("42108\u{0}77")), &[422]),
        send(with("sender_number", json!("٤٢١٠٨٠٧٧")), &[422]),
        send(with("sender_number", json!(1e300)), &[422]),
        send(with("recipients", json!([])), &[422]),
        send(
            with(
                "recipients",
                json!([null, 7, {}, [], "abc", {"number": "x"}]),
            ),
            &[422],
        ),
        send(with("recipients", json!({"0": "4912345678"})), &[422]),
        send(with("template", json!("{{")), &[202, 422]),
        send(with("template", json!("{{missing}}")), &[422]),
        send(with("media_url", json!("file:///etc/passwd")), &[422]),
        send(with("media_url", json!("http://\u{0}/")), &[422]),
        send(with("on_invalid", json!("shrug")), &[422]),
        Case {
            kind: "text/plain",
            ..send("{}", &[415])
        },
        Case {
            kind: "application/x-ndjson",
            ..send("{}\n{\n", &[400, 422])
        },
        Case {
            kind: "application/x-ndjson",
            ..send("", &[400, 422])
        },
        Case {
            kind: "multipart/form-data; boundary=x",
            ..send("--x--", &[415])
        },
        Case {
            method: Method::PUT,
            ..send("{}", &[404, 405])
        },
        Case {
            method: Method::TRACE,
            ..send("", &[404, 405])
        },
        get("/api/send", &[404, 405]),
        get("/api/status/not-an-id", &[404, 422]),
        get("/api/status/%00", &[404, 422]),
        get("/api/status/..%2f..%2fetc%2fpasswd", &[404, 422]),
        get(&format!("/api/status/{id}?details=perhaps"), &[422]),
        get(&format!("/api/status/{id}?limit=0"), &[422]),
        get(&format!("/api/campaigns/{id}/failed"), &[404]),
        get("/api/sessions/%00", &[404, 422]),
        get("/api/sessions/%ff%fe/qr", &[400, 404, 422]),
        get(
            &format!("/api/sessions/{SENDER}/qr?format=holo"),
            &[200, 422],
        ),
        post(
            "/api/sessions",
            &json!({"phone_number": "1".repeat(100_000)}),
            &[413, 422],
        ),
        post("/api/sessions", &json!({"phone_number": null}), &[422]),
        post(
            "/api/sessions",
            &json!({"phone_number": {"$gt": ""}}),
            &[422],
        ),
    ];
    for query in [
        "sender_number=%00",
        "sender_number=1",
        "limit=0",
        "limit=1001",
        "limit=-1",
        "limit=1e9",
        "limit=99999999999999999999",
        "cursor=%00",
        "cursor=!!!!",
        "cursor=AAAA",
        "status=WHAT",
        "start_date=yesterday",
        "end_date=2026-13-45",
        "start_date=-271821-04-20T00:00:00Z",
    ] {
        cases.push(get(
            &format!("/api/campaigns?sender_number={SENDER}&{query}"),
            &[400, 422],
        ));
    }
    for delay in [
        json!(1e308),
        json!(-1),
        json!("soon"),
        json!([]),
        json!(86_400.001),
    ] {
        cases.push(post(
            "/api/admin/delays",
            &json!({"MESSAGE_DELAY": delay}),
            &[422],
        ));
    }
    for url in [
        "",
        "x",
        "ftp://h",
        "http://",
        "http://h:99999",
        "http://a b",
        "file:///etc/passwd",
    ] {
        let body = json!({"url": url, "api_key": "k"});
        cases.push(post("/api/admin/workers?check=false", &body, &[422]));
    }
    let body = json!({"url": "http://127.0.0.1:9", "api_key": "nul\u{0}", "capacity": -1});
    cases.push(post("/api/admin/workers?check=false", &body, &[422]));
    cases
}

/// Each gets its own problem; none a 5xx. Faults are collected, so that all are seen at once.
async fn malformed_requests(api: &Api) {
    let mut faults = String::new();
    let cases = cases();
    for case in &cases {
        let request = api
            .request(case.method.clone(), &case.path)
            .header("X-Admin-API-Key", &api.key)
            .header("Content-Type", case.kind)
            .body(case.body.clone());
        let answer = api.ask(request).await;
        let problem = answer
            .header("content-type")
            .starts_with("application/problem+json");
        let shown: String = String::from_utf8_lossy(&case.body)
            .chars()
            .take(90)
            .collect();
        let question = format!("{} {} {} {shown}", case.method, case.path, case.kind);
        if !case.fine.contains(&answer.status) {
            let said: String = answer.text().chars().take(200).collect();
            writeln!(faults, "{question}\n    gave {} {said}", answer.status).unwrap();
        } else if answer.status >= 400 && !problem {
            let kind = answer.header("content-type");
            writeln!(faults, "{question}\n    gave {} as {kind:?}", answer.status).unwrap();
        }
    }
    assert!(
        faults.is_empty(),
        "{} requests, and these went wrong:\n{faults}",
        cases.len()
    );
    all_faults_at_once(api).await;
    println!("{} malformed requests, each with its own 4xx", cases.len());
}

async fn all_faults_at_once(api: &Api) {
    let body = json!({
        "sender_number": "no", "recipients": ["4912345678", "2164210810A"], "template": "",
    });
    let problem = api.post("/api/send", &body).await.expect_problem(422);
    let faults = problem["errors"].as_array().unwrap();
    let pointers: Vec<&str> = faults
        .iter()
        .filter_map(|one| one["pointer"].as_str())
        .collect();
    for pointer in ["/sender_number", "/recipients/1", "/template"] {
        assert!(
            pointers.contains(&pointer),
            "{pointer} is not among {problem}"
        );
    }
    let detail = problem.to_string();
    assert!(
        detail.contains("letter"),
        "the fault of recipient 1 is not told: {detail}"
    );
}

/// What is not HTTP is refused or cut off, and never a 5xx.
async fn broken_http(api: &Api) {
    let address = api.base.strip_prefix("http://").unwrap();
    let long = "x".repeat(300_000);
    for raw in [
        "\u{0}\u{1}\u{2}garbage\r\n\r\n".to_owned(),
        "GET /livez HTTP/9.9\r\n\r\n".to_owned(),
        "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: -5\r\n\r\n".to_owned(),
        "POST /api/send HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".to_owned(),
        "POST /api/send HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n".to_owned(),
        format!("GET /{long} HTTP/1.1\r\nHost: a\r\n\r\n"),
        format!("GET /livez HTTP/1.1\r\nHost: a\r\nX-Long: {long}\r\n\r\n"),
        format!("GET /livez HTTP/1.1\r\nHost: a\r\n{}\r\n", "A: b\r\n".repeat(1_000)),
    ] {
        let mut stream = TcpStream::connect(address).await.unwrap();
        // The other side may close before all of it is written.
        let _cut = stream.write_all(raw.as_bytes()).await;
        let mut answer = vec![0; 64];
        let read = timeout(Duration::from_secs(15), stream.read(&mut answer)).await;
        let read = read.unwrap_or_else(|_| panic!("no answer and no end: {:.60}", raw));
        let answer = String::from_utf8_lossy(&answer[..read.unwrap_or(0)]).into_owned();
        let refused = answer.is_empty() || answer.starts_with("HTTP/1.1 4");
        assert!(refused, "{:.60} was answered with {answer}", raw);
    }
    api.get("/livez").await.expect_status(200);
}

/// A client that goes away in the middle of a streamed campaign has submitted nothing.
async fn a_stream_cut_in_the_middle_leaves_nothing(system: &System) {
    let api = &system.api;
    let listed = format!("/api/campaigns?sender_number={SENDER}");
    let before = api.get(&listed).await.expect(200);
    let address = api.base.strip_prefix("http://").unwrap();
    let mut stream = TcpStream::connect(address).await.unwrap();
    let mut text = format!("{{\"sender_number\": \"{SENDER}\", \"template\": \"cut\"}}\n");
    for n in 0..20_000 {
        writeln!(text, "\"48{n:09}\"").unwrap();
    }
    let head = "POST /api/send HTTP/1.1\r\nHost: a\r\nContent-Type: application/x-ndjson\r\n\
        Content-Length: 9000000\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(text.as_bytes()).await.unwrap();
    drop(stream);
    let good: String = text
        .lines()
        .take(4)
        .fold(String::new(), |all, line| all + line + "\n");
    let bad = format!("{good}\"not a number\"\n");
    let streamed = async |body: String| {
        let request = api.request(Method::POST, "/api/send");
        let request = request.header("Content-Type", "application/x-ndjson");
        api.ask(request.body(body)).await
    };
    streamed(bad).await.expect_problem(422);
    assert_eq!(
        api.get(&listed).await.expect(200),
        before,
        "half a campaign exists"
    );
    let accepted = streamed(good).await.expect(202);
    assert_eq!(accepted["total_messages"], 3, "{accepted}");
    let cancel = format!("/api/cancel/{}", accepted["id"].as_str().unwrap());
    let status = api.ask(api.request(Method::POST, &cancel)).await.status;
    assert!([200, 409].contains(&status), "{status}");
    let left: i64 = {
        let sql = "SELECT count(*) FROM messages WHERE NOT EXISTS
            (SELECT 1 FROM campaigns WHERE campaigns.id = messages.campaign_id)";
        system
            .ledger()
            .await
            .query_one(sql, &[])
            .await
            .unwrap()
            .get(0)
    };
    assert_eq!(left, 0, "messages without a campaign");
}

/// A session's state is not changed by who cannot sign.
async fn forged_webhooks(system: &System) {
    let api = &system.api;
    let event = json!({"event": "session.status", "session": SENDER,
        "payload": {"name": SENDER, "status": "FAILED"}});
    for generation in ["1", "0", "-1", "x", "99999999999999999999"] {
        for signature in [None, Some("00"), Some("not hex"), Some("")] {
            let path = format!("/api/webhook/waha/{SENDER}/{generation}");
            let mut request = api.request(Method::POST, &path).json(&event);
            if let Some(signature) = signature {
                request = request
                    .header("X-Webhook-Hmac", signature)
                    .header("X-Webhook-Hmac-Algorithm", "sha512");
            }
            let answer = api.ask(request).await;
            assert!(
                answer.status < 500,
                "{path}: {} {}",
                answer.status,
                answer.text()
            );
        }
    }
    let garbage = api.request(Method::POST, &format!("/api/webhook/waha/{SENDER}/1"));
    let answer = api.ask(garbage.body("\u{0}")).await;
    assert!(answer.status < 500, "{} {}", answer.status, answer.text());
    let session = api
        .get(&format!("/api/sessions/{SENDER}"))
        .await
        .expect(200);
    assert_eq!(
        session["status"], "WORKING",
        "a forged webhook was believed: {session}"
    );
}

/// A crowd of readers and bad writers at once: every one gets an answer.
async fn many_at_once(api: &Api) {
    let began = Instant::now();
    let calls = (0..400).map(|n| async move {
        match n % 4 {
            0 => api
                .get("/api/status/01940000-0000-7000-8000-000000000000")
                .await
                .expect_status(404),
            1 => api
                .post("/api/send", &json!({"sender_number": n}))
                .await
                .expect_status(422),
            2 => api.admin_get("/api/admin/metrics").await.expect_status(200),
            _ => api
                .get(&format!("/api/campaigns?sender_number={SENDER}"))
                .await
                .expect_status(200),
        }
    });
    join_all(calls).await;
    println!(
        "400 requests at once took {:.1} s",
        began.elapsed().as_secs_f64()
    );
}

/// One bad number among 100,000 refuses all of them and names it; without it, one request takes
/// all, quickly, and the gateway's memory stays a small multiple of the body.
async fn a_hundred_thousand_recipients(system: &System, pid: i32) {
    let before = peak_kilobytes(pid);
    let mut recipients: Vec<String> = (0..100_000).map(|n| format!("47{n:09}")).collect();
    let good = recipients[77_777].clone();
    recipients[77_777] = "47x".to_owned();
    let body = |recipients: &[String]| json!({"sender_number": SENDER, "recipients": recipients, "template": "many"});
    let refused = system
        .api
        .post("/api/send", &body(&recipients))
        .await
        .expect_problem(422);
    assert_eq!(
        refused["errors"][0]["pointer"], "/recipients/77777",
        "{refused}"
    );
    recipients[77_777] = good;
    let body = body(&recipients);
    let began = Instant::now();
    let accepted = system.api.post("/api/send", &body).await.expect(202);
    let (took, grown) = (began.elapsed(), peak_kilobytes(pid).saturating_sub(before));
    println!(
        "100,000 recipients in one request of {} kB: {:.2} s, peak memory grew by {grown} kB",
        body.to_string().len() / 1_000,
        took.as_secs_f64()
    );
    assert_eq!(accepted["total_messages"], 100_000, "{accepted}");
    assert!(took < Duration::from_secs(20), "accepting took {took:?}");
    assert!(grown < 100_000, "memory grew by {grown} kB");
    let cancel = format!("/api/cancel/{}", accepted["id"].as_str().unwrap());
    let cancelled = system
        .api
        .ask(system.api.request(Method::POST, &cancel))
        .await
        .expect(200);
    assert_eq!(cancelled["status"], "CANCELLED", "{cancelled}");
}

/// The most memory that a process has held so far.
fn peak_kilobytes(pid: i32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}
