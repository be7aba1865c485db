//! Bad days of the servers. RabbitMQ stopped while 20 campaigns are submitted: each is accepted,
//! `/readyz` names what is missing, and all 20 complete once it runs again. PostgreSQL stopped and
//! started, and in another run killed, in mid-campaign: the API answers 503 with Retry-After
//! meanwhile, no service ends, everything completes, and nobody hears a message twice. A WAHA
//! worker that goes away in mid-campaign: its campaigns wait with a reason and go on when it is
//! back.
//!
//! Figures: `cargo test -p wahacast --test it outages -- --nocapture` (servers as in `main.rs`).

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use nix::sys::signal::Signal;
use reqwest::Method;
use serde_json::json;
use testkit::eventually;

use crate::checks::{self, Ordered};
use crate::fleet::Heard;
use crate::system::{Plan, Process, System, signal};

const BOUND: Duration = Duration::from_secs(120);
/// A gateway that knows its database to be away must not keep a client waiting for long.
const ANSWER_WITHIN: Duration = Duration::from_secs(12);
/// Long enough for a campaign to be in its middle when the server goes.
const MESSAGES: usize = 60;

fn phones(count: usize) -> Vec<String> {
    (0..count).map(|n| format!("216421080{n:02}")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn campaigns_submitted_without_rabbitmq_complete_after_its_start() {
    let mut plan = Plan::new(2)
        .with("MESSAGE_DELAY", "0.05")
        .with("SENDER_SWITCH_DELAY", "0.05");
    plan.own_rabbitmq = true;
    plan.senders = 2;
    let system = System::start(plan).await;
    let phones = phones(5);
    system.link_all(&phones).await;
    system.server("stop", "rabbitmq").await;
    names_what_is_missing(&system, &["rabbitmq", "broker"]).await;
    let mut ordered = Vec::new();
    for n in 0..20 {
        let began = Instant::now();
        let recipients = checks::recipients(n, 5);
        ordered.push(system.submit(&phones[n % phones.len()], recipients).await);
        assert!(
            began.elapsed() < Duration::from_secs(5),
            "accepting waits for the broker"
        );
    }
    for one in &ordered {
        let status = system
            .api
            .get(&format!("/api/status/{}", one.id))
            .await
            .expect(200);
        assert!(["PENDING", "IN_PROGRESS"].contains(&status["status"].as_str().unwrap()));
        assert!(status["reason"].is_string(), "who waits says why: {status}");
    }
    let before = services(&system);
    system.server("start", "rabbitmq").await;
    let began = Instant::now();
    system.heard_at_least(1, BOUND).await;
    let first = began.elapsed();
    all_complete(&system, &ordered).await;
    println!(
        "20 campaigns accepted without RabbitMQ; first message {:.1} s after it was ready, all \
         completed after {:.1} s",
        first.as_secs_f64(),
        began.elapsed().as_secs_f64()
    );
    checks::all_heard_once(&system.fleet.heard().await, &ordered);
    is_ready_again(&system).await;
    assert_eq!(
        services(&system),
        before,
        "a service ended instead of reconnecting"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_of_postgresql_in_mid_campaign_repeats_and_loses_nothing() {
    let (system, ordered) = in_mid_campaign().await;
    let before = services(&system);
    system.server("stop", "postgres").await;
    answers_503(&system, &ordered[0]).await;
    system.server("start", "postgres").await;
    finishes_after_the_outage(&system, &ordered, &before).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_of_postgresql_in_mid_campaign_repeats_and_loses_nothing() {
    let (system, ordered) = in_mid_campaign().await;
    let before = services(&system);
    let [server] = &system.processes("postgres")[..] else {
        panic!("PostgreSQL does not run")
    };
    signal(server, Signal::SIGKILL);
    // Orphaned backends may answer for a moment.
    eventually("the ledger to be gone", BOUND, async || {
        (system.api.admin_get("/api/admin/metrics").await.status != 200).then_some(())
    })
    .await;
    answers_503(&system, &ordered[0]).await;
    // Its orphans leave within a moment of noticing; until then a new one refuses to start.
    eventually("PostgreSQL to start again", BOUND, async || {
        let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_wahacast"));
        command
            .args(["server", "start", "postgres", "--dir"])
            .arg(system.dir());
        command
            .output()
            .await
            .unwrap()
            .status
            .success()
            .then_some(())
    })
    .await;
    finishes_after_the_outage(&system, &ordered, &before).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn campaigns_of_a_worker_that_went_away_wait_and_go_on() {
    let mut plan = Plan::new(1).with("WORKER_CHECK_SECONDS", "1");
    // A port of its own is truly closed while the worker is away.
    plan.simulator = "--own-ports --send-delay-ms 5..25";
    let system = System::start(plan).await;
    let phones = phones(2);
    system.link_all(&phones).await;
    let submits = phones
        .iter()
        .enumerate()
        .map(|(n, phone)| system.submit(phone, checks::recipients(n, MESSAGES)));
    let ordered = join_all(submits).await;
    system.heard_at_least(MESSAGES / 2, BOUND).await;
    system.fleet.restart(1, Duration::from_secs(4)).await;
    let path = format!("/api/status/{}", ordered[0].id);
    let why = eventually(
        "the campaign to say that its worker is away",
        BOUND,
        async || {
            let status = system.api.get(&path).await.expect(200);
            let why = status["reason"].as_str().unwrap_or_default().to_owned();
            let next = status["next_attempt_at"].is_string();
            (next && why.contains("worker")).then_some(why)
        },
    )
    .await;
    println!("while the worker is away: {why}");
    let began = Instant::now();
    all_end(&system, &ordered).await;
    let heard = system.fleet.heard().await;
    let unknown = nobody_twice_and_all_accounted_for(&system, &ordered, &heard).await;
    assert!(
        unknown <= phones.len(),
        "only what was on the wire may be UNKNOWN"
    );
    println!("all ended {:.1} s later", began.elapsed().as_secs_f64());
}

/// Six campaigns on two workers, about a third of the way; a child that ends stays down.
async fn in_mid_campaign() -> (System, Vec<Ordered>) {
    let mut plan = Plan::new(2)
        .with("MAX_SESSIONS_PER_WORKER", "3")
        .with("MAX_LIVE_SESSIONS", "3")
        .with("SENDER_SWITCH_DELAY", "0");
    plan.own_postgres = true;
    plan.senders = 2;
    plan.restart = false;
    plan.simulator = "--send-delay-ms 30..120";
    let system = System::start(plan).await;
    let phones = phones(6);
    system.link_all(&phones).await;
    let submits = phones
        .iter()
        .enumerate()
        .map(|(n, phone)| system.submit(phone, checks::recipients(n, MESSAGES)));
    let ordered = join_all(submits).await;
    system
        .heard_at_least(phones.len() * MESSAGES / 3, BOUND)
        .await;
    system.lanes_stay().await;
    (system, ordered)
}

/// Gateway, schedulers and senders that run.
fn services(system: &System) -> Vec<Process> {
    let names = ["gateway", "scheduler", "sender"];
    names
        .iter()
        .flat_map(|name| system.processes(name))
        .collect()
}

async fn names_what_is_missing(system: &System, names: &[&str]) {
    eventually(&format!("/readyz to name {names:?}"), BOUND, async || {
        let said = system.api.get("/readyz").await.text().to_lowercase();
        names.iter().any(|name| said.contains(name)).then_some(())
    })
    .await;
    let said = system.api.get("/readyz").await;
    println!("/readyz meanwhile: {} {}", said.status, said.text());
    system.api.get("/livez").await.expect_status(200);
}

async fn is_ready_again(system: &System) {
    eventually("/readyz to be 200 again", BOUND, async || {
        (system.api.get("/readyz").await.status == 200).then_some(())
    })
    .await;
}

/// Reads and writes, users and administrators: 503 with Retry-After for each, and soon.
async fn answers_503(system: &System, campaign: &Ordered) {
    let api = &system.api;
    let body = json!({
        "sender_number": campaign.sender, "recipients": ["4999999999"], "template": "never",
    });
    let status = format!("/api/status/{}", campaign.id);
    let cancel = format!("/api/cancel/{}", campaign.id);
    let delays = json!({"MESSAGE_DELAY": 0.1});
    let calls = [
        (Method::GET, status.as_str(), None),
        (Method::POST, "/api/send", Some(&body)),
        (Method::POST, cancel.as_str(), None),
        (
            Method::POST,
            "/api/sessions",
            Some(&json!({"phone_number": "21642999999"})),
        ),
        (Method::GET, "/api/admin/workers", None),
        (Method::POST, "/api/admin/delays", Some(&delays)),
        (Method::GET, "/api/admin/metrics", None),
    ];
    let mut slowest = Duration::ZERO;
    for (method, path, body) in calls {
        let began = Instant::now();
        let answer = api.admin(method, path, body).await;
        slowest = slowest.max(began.elapsed());
        answer.expect_problem(503);
        let wait: u64 = answer.header("retry-after").parse().unwrap();
        assert!((1..=120).contains(&wait), "Retry-After: {wait}");
    }
    println!(
        "503 with Retry-After on all; the slowest after {:.2} s",
        slowest.as_secs_f64()
    );
    assert!(
        slowest < ANSWER_WITHIN,
        "a client waited {slowest:?} for a 503"
    );
    names_what_is_missing(system, &["postgres", "database"]).await;
}

async fn finishes_after_the_outage(system: &System, ordered: &[Ordered], before: &[Process]) {
    let began = Instant::now();
    let at_start = system.fleet.heard().await.len();
    system.heard_at_least(at_start + 1, BOUND).await;
    let resumed = began.elapsed();
    all_end(system, ordered).await;
    println!(
        "after PostgreSQL was ready: next message {:.2} s, all ended {:.1} s",
        resumed.as_secs_f64(),
        began.elapsed().as_secs_f64()
    );
    let heard = system.fleet.heard().await;
    nobody_twice_and_all_accounted_for(system, ordered, &heard).await;
    assert!(
        !heard.iter().any(|one| one.text == "never"),
        "a refused campaign was sent"
    );
    let listed = format!("/api/campaigns?sender_number={}", ordered[0].sender);
    let listed = system.api.get(&listed).await.expect(200);
    assert_eq!(
        listed.as_array().unwrap().len(),
        1,
        "half a campaign was written: {listed}"
    );
    is_ready_again(system).await;
    assert_eq!(
        services(system),
        before,
        "a service ended instead of reconnecting"
    );
}

/// SENT means heard once, UNKNOWN at most once; there is nothing else.
async fn nobody_twice_and_all_accounted_for(
    system: &System,
    ordered: &[Ordered],
    heard: &[Heard],
) -> usize {
    let mut unknown = 0;
    for one in ordered {
        let path = format!("/api/status/{}?details=true&limit=1000", one.id);
        let status = system.api.get(&path).await.expect(200);
        for message in status["messages"].as_array().unwrap() {
            let to = message["recipient"].as_str().unwrap();
            let times = heard.iter().filter(|one| one.recipient() == to).count();
            match message["status"].as_str().unwrap() {
                "SENT" | "DELIVERED" | "READ" => assert_eq!(times, 1, "{message}"),
                "UNKNOWN" => unknown += 1,
                other => panic!("{other}: {message}"),
            }
        }
    }
    assert_eq!(checks::heard_twice(heard), [], "heard twice");
    println!(
        "{} messages heard, none twice; {unknown} UNKNOWN",
        heard.len()
    );
    unknown
}

async fn all_end(system: &System, ordered: &[Ordered]) {
    for status in join_all(ordered.iter().map(|one| system.ended(one, BOUND))).await {
        let ended = ["COMPLETED", "COMPLETED_WITH_ERRORS"];
        assert!(
            ended.contains(&status["status"].as_str().unwrap()),
            "{status}"
        );
    }
}

async fn all_complete(system: &System, ordered: &[Ordered]) {
    for status in join_all(ordered.iter().map(|one| system.ended(one, BOUND))).await {
        assert_eq!(status["status"], "COMPLETED", "{status}");
        assert_eq!(
            status["sent_messages"], status["total_messages"],
            "{status}"
        );
    }
}
