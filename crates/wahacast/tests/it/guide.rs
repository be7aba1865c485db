//! The API guide, line by line, over real HTTP: its fourteen steps with one session and one live
//! session per worker (two sessions on two workers, a fourth number waits QUEUED and is placed when
//! room appears), and every endpoint of its chapters answering as the guide says.
//!
//! Reproduce: `cargo test -p wahacast --test it guide -- --nocapture` (servers as in `main.rs`).

use std::time::{Duration, Instant, SystemTime};

use reqwest::Method;
use serde_json::{Value, json};
use testkit::eventually;

use crate::checks::{self, Ordered};
use crate::fleet::Heard;
use crate::system::{Plan, SESSION_WITHIN, System};

/// The guide's own numbers, and more of the kind. The first two get campaigns.
const FIRST: &str = "42108077";
const SECOND: &str = "21642108101";
const THIRD: &str = "21642108102";
const FOURTH: &str = "21642108103";
const FIFTH: &str = "21642108104";
const BOUND: Duration = Duration::from_secs(60);
/// What every PNG begins with, in base64.
const PNG: &str = "iVBORw0KGgo";

#[tokio::test(flavor = "multi_thread")]
async fn the_guide_works_as_written() {
    let mut plan = Plan::new(4);
    plan.dot_env = "MAX_SESSIONS_PER_WORKER=1\nMAX_LIVE_SESSIONS=1\n";
    plan.register = false;
    let system = System::start(plan).await;
    admin_calls_need_the_key(&system).await;
    step(
        "1-4",
        "three workers are registered, each with room for one session",
    );
    let ids = register_workers(&system).await;
    delays_are_set_and_shown(&system).await;
    step(
        "5-7",
        "a session is created, its QR scanned, its status checked",
    );
    create_and_scan(&system, FIRST).await;
    step("8-10", "the same for a second number");
    create_and_scan(&system, SECOND).await;
    step("11", "the dashboards show two sessions on two workers");
    dashboards_show_two_workers(&system).await;
    step(
        "+",
        "three are too many: who waits is told its place, and gets the room that appears",
    );
    a_fourth_number_waits_and_is_placed(&system).await;
    step("12-13", "campaigns, and their status to the end");
    let campaigns = campaigns_complete(&system).await;
    every_campaign_call(&system, &campaigns).await;
    own_metrics_and_unknown_senders(&system, &campaigns).await;
    user_delays_in_both_forms(&system).await;
    monitoring(&system).await;
    session_lists(&system).await;
    changed_delays_take_hold_of_running_campaigns(&system).await;
    who_waits_says_why(&system).await;
    session_calls(&system).await;
    step("14", "one more worker takes who still waits");
    another_worker_takes_who_waits(&system).await;
    worker_calls(&system, &ids).await;
    around_it(&system).await;
    cleanup(&system).await;
}

fn step(number: &str, what: &str) {
    println!("{number:>5}  {what}");
}

/// Every admin endpoint of the guide: 401 without a key and with a wrong one.
async fn admin_calls_need_the_key(system: &System) {
    let api = &system.api;
    let worker = "/api/admin/workers/00000000-0000-7000-8000-000000000000";
    for (method, path) in [
        (Method::DELETE, "/api/sessions/42108077"),
        (Method::GET, "/api/admin/delays"),
        (Method::POST, "/api/admin/delays"),
        (Method::GET, "/api/admin/user-delays?sender_number=42108077"),
        (
            Method::POST,
            "/api/admin/user-delays?sender_number=42108077&message_delay=3",
        ),
        (Method::POST, "/api/admin/workers"),
        (Method::GET, "/api/admin/workers"),
        (Method::PATCH, worker),
        (Method::DELETE, worker),
        (Method::DELETE, "/api/admin/workers/cleanup"),
        (Method::GET, "/api/admin/metrics"),
        (Method::GET, "/api/admin/users"),
        (Method::GET, "/api/admin/campaigns"),
        (Method::GET, "/api/admin/sessions"),
        (Method::GET, "/api/admin/session-numbers"),
    ] {
        api.ask(api.request(method.clone(), path))
            .await
            .expect_problem(401);
        let wrong = api
            .request(method, path)
            .header("X-Admin-API-Key", "not the admin's key");
        api.ask(wrong).await.expect_problem(401);
    }
    let wrong = api.request(Method::GET, "/api/campaigns?sender_number=42108077");
    let wrong = wrong.header("X-Admin-API-Key", "not the admin's key");
    api.ask(wrong).await.expect_problem(401);
}

async fn register_workers(system: &System) -> Vec<String> {
    let api = &system.api;
    let mut ids = Vec::new();
    for worker in &system.fleet.workers[..3] {
        let body = json!({"url": worker.url, "api_key": worker.api_key});
        let answer = api.admin_post("/api/admin/workers", &body).await;
        let registered = answer.expect(201);
        assert!(
            !answer.text().contains(&worker.api_key),
            "the key is shown again"
        );
        ids.push(registered["id"].as_str().unwrap().to_owned());
        api.admin_post("/api/admin/workers", &body)
            .await
            .expect_problem(409);
    }
    let spare = &system.fleet.workers[3];
    let wrong_key = json!({"url": spare.url, "api_key": "wrong"});
    api.admin_post("/api/admin/workers", &wrong_key)
        .await
        .expect_problem(422);
    let unreachable = json!({"url": "http://127.0.0.1:9", "api_key": "wrong"});
    api.admin_post("/api/admin/workers", &unreachable)
        .await
        .expect_problem(422);
    let listed = api.admin_get("/api/admin/workers").await;
    for worker in &system.fleet.workers {
        assert!(
            !listed.text().contains(&worker.api_key),
            "a key is shown again"
        );
    }
    let listed = listed.expect(200);
    assert_eq!(listed.as_array().unwrap().len(), 3, "{listed}");
    for worker in listed.as_array().unwrap() {
        assert_eq!(
            (&worker["capacity"], &worker["max_live"]),
            (&json!(1), &json!(1))
        );
        assert_eq!(worker["health"], "up", "{worker}");
        assert_eq!(worker["state"], "active", "{worker}");
    }
    ids
}

/// The guide's own example values, then quick ones for the rest of the walk.
async fn delays_are_set_and_shown(system: &System) {
    let api = &system.api;
    let path = "/api/admin/delays";
    let guide = json!({"MESSAGE_DELAY": 2, "SENDER_SWITCH_DELAY": 5});
    api.admin_post(path, &guide).await.expect(200);
    let shown = api.admin_get(path).await.expect(200);
    assert_eq!(
        seconds(&shown, ["MESSAGE_DELAY", "SENDER_SWITCH_DELAY"]),
        [2.0, 5.0]
    );
    let quick = json!({"MESSAGE_DELAY": 0.1, "SENDER_SWITCH_DELAY": 0.1, "CAMPAIGN_DELAY": 0});
    api.admin_post(path, &quick).await.expect(200);
    api.admin_post(path, &json!({"CAMPAIGN_DELAY": 0.5}))
        .await
        .expect(200);
    let shown = api.admin_get(path).await.expect(200);
    assert_eq!(
        seconds(&shown, ["MESSAGE_DELAY", "CAMPAIGN_DELAY"]),
        [0.1, 0.5]
    );
    api.admin_post(path, &json!({"CAMPAIGN_DELAY": 0}))
        .await
        .expect(200);
    api.admin_post(path, &json!({"MESSAGE_DELAY": -1}))
        .await
        .expect_problem(422);
    api.admin_post(path, &json!({"MESSAGE_DELAY": 86_401}))
        .await
        .expect_problem(422);
}

fn seconds<const N: usize>(shown: &Value, fields: [&str; N]) -> [f64; N] {
    fields.map(|field| {
        shown[field]
            .as_f64()
            .unwrap_or_else(|| panic!("{field}: {shown}"))
    })
}

/// As base64 and as the picture itself.
async fn shows_its_qr(system: &System, phone: &str) {
    let api = &system.api;
    let path = format!("/api/sessions/{phone}/qr");
    let qr = eventually("a QR", SESSION_WITHIN, async || {
        let answer = api.get(&path).await;
        if answer.status == 503 {
            assert!(
                !answer.header("retry-after").is_empty(),
                "503 without Retry-After"
            );
            return None;
        }
        Some(answer.expect(200))
    })
    .await;
    assert!(
        qr["qr_code"].as_str().unwrap().starts_with(PNG),
        "the QR is no PNG: {qr}"
    );
    assert!(
        qr["status"] == "SCAN_QR_CODE" && qr["expires_at"].is_string(),
        "{qr}"
    );
    let by_accept = api
        .request(Method::GET, &path)
        .header("Accept", "image/png");
    for answer in [
        api.ask(by_accept).await,
        api.get(&format!("{path}?format=image")).await,
    ] {
        answer.expect_status(200);
        assert_eq!(answer.header("content-type"), "image/png");
        assert!(
            answer.body.starts_with(b"\x89PNG\r\n\x1a\n"),
            "the picture is no PNG"
        );
    }
}

async fn create_and_scan(system: &System, phone: &str) {
    let api = &system.api;
    let body = json!({"phone_number": phone});
    let created = api.post("/api/sessions", &body).await.expect(201);
    assert_eq!(created["phone_number"], phone, "{created}");
    for field in ["status", "message", "created_at"] {
        assert!(created[field].is_string(), "no {field} in {created}");
    }
    api.post("/api/sessions", &body).await.expect(200);
    shows_its_qr(system, phone).await;
    let waiting = api.get(&format!("/api/sessions/{phone}")).await.expect(200);
    assert_eq!(waiting["requires_auth"], true, "{waiting}");
    let worker = system.scan(phone).await;
    let session = api.get(&format!("/api/sessions/{phone}")).await.expect(200);
    assert_eq!(session["requires_auth"], false, "{session}");
    for field in [
        "phone_number",
        "status",
        "message",
        "last_active",
        "expires_at",
        "worker",
        "data",
    ] {
        assert!(session.get(field).is_some(), "no {field} in {session}");
    }
    let linked = api
        .get(&format!("/api/sessions/{phone}/qr"))
        .await
        .expect(200);
    assert_eq!(linked["status"], "WORKING", "{linked}");
    println!("       {phone} is WORKING on worker {worker}");
}

async fn dashboards_show_two_workers(system: &System) {
    let mut holders = Vec::new();
    for phone in [FIRST, SECOND] {
        let (worker, status) = system.fleet.holder(phone).await.unwrap();
        assert_eq!(status, "WORKING", "{phone} on worker {worker}");
        assert_eq!(
            system.fleet.dashboard(worker).await.len(),
            1,
            "worker {worker}"
        );
        holders.push(worker);
    }
    assert_ne!(holders[0], holders[1], "both sessions are on one worker");
}

async fn a_fourth_number_waits_and_is_placed(system: &System) {
    let api = &system.api;
    system.link(THIRD).await;
    for (place, phone) in [(1, FOURTH), (2, FIFTH)] {
        let body = json!({"phone_number": phone});
        let queued = api.post("/api/sessions", &body).await.expect(201);
        is_queued(&queued, place);
        let shown = api.get(&format!("/api/sessions/{phone}")).await.expect(200);
        is_queued(&shown, place);
        assert!(
            system.fleet.holder(phone).await.is_none(),
            "{phone} is on a worker"
        );
    }
    let removed = format!("/api/sessions/{THIRD}");
    let began = Instant::now();
    let last = api.admin_delete(&removed).await.expect(200);
    assert_eq!(last["phone_number"], THIRD, "{last}");
    api.get(&removed).await.expect_problem(404);
    system.session_is(FOURTH, "SCAN_QR_CODE").await;
    println!(
        "       {FOURTH} had its QR {:.2} s after room appeared",
        began.elapsed().as_secs_f64()
    );
    is_queued(
        &api.get(&format!("/api/sessions/{FIFTH}")).await.expect(200),
        1,
    );
    let code = format!("/api/sessions/{FOURTH}/pairing-code");
    let code = api.ask(api.request(Method::POST, &code)).await.expect(200);
    assert!(!code["code"].as_str().unwrap().is_empty(), "{code}");
    assert!(
        system.fleet.holder(THIRD).await.is_none(),
        "{THIRD} is still on a worker"
    );
}

#[track_caller]
fn is_queued(session: &Value, place: u64) {
    assert_eq!(session["status"], "QUEUED", "{session}");
    let message = session["message"].as_str().unwrap();
    assert!(
        message.contains(&format!("place {place}")),
        "its place, {place}, is not in {session}"
    );
}

async fn campaigns_complete(system: &System) -> Vec<Ordered> {
    // The guide's body to the letter.
    let guide = json!({
        "sender_number": "42108077",
        "recipients": ["21642108101"],
        "template": "Hello, this is a test message!",
        "media_url": null
    });
    let accepted = system.api.post("/api/send", &guide).await.expect(202);
    for field in ["id", "status_url", "created_at", "estimated_finish_at"] {
        assert!(accepted[field].is_string(), "no {field} in {accepted}");
    }
    assert_eq!(accepted["sender_number"], FIRST);
    assert_eq!(
        (&accepted["total_messages"], &accepted["duplicates_removed"]),
        (&json!(1), &json!(0))
    );
    let mut campaigns = vec![Ordered {
        id: accepted["id"].as_str().unwrap().to_owned(),
        sender: FIRST.to_owned(),
        recipients: vec![SECOND.to_owned()],
    }];
    campaigns.push(personal_campaign(system).await);
    for campaign in &campaigns {
        let status = system.ended(campaign, BOUND).await;
        status_is_complete(&status, campaign);
    }
    let heard = system.fleet.heard().await;
    checks::all_heard_once(&heard, &campaigns);
    let personal = heard.iter().filter(|one| one.session == SECOND);
    for one in personal {
        let wanted = format!("Dear {}, welcome to the club!", &one.recipient()[5..]);
        assert_eq!(one.text, wanted, "the template was not filled in");
    }
    println!(
        "       {} messages were heard, each by its recipient alone",
        heard.len()
    );
    campaigns
}

/// Variables of the campaign and of each recipient; a number twice; a missing variable is refused.
async fn personal_campaign(system: &System) -> Ordered {
    let recipients = checks::recipients(1, 12);
    let personal = |to: &String| json!({"number": to, "variables": {"name": to[5..]}});
    let mut listed: Vec<Value> = recipients.iter().map(personal).collect();
    let mut body = json!({
        "sender_number": "+216 42 108 101",
        "recipients": listed,
        "template": "Dear {{name}}, welcome to the {{what}}!",
    });
    let refused = system
        .api
        .post("/api/send", &body)
        .await
        .expect_problem(422);
    assert!(
        refused.to_string().contains("what"),
        "the missing variable is not named: {refused}"
    );
    listed.push(personal(&format!("+{}", recipients[0])));
    body["recipients"] = json!(listed);
    body["variables"] = json!({"what": "club"});
    let accepted = system.api.post("/api/send", &body).await.expect(202);
    assert_eq!(accepted["duplicates_removed"], 1, "{accepted}");
    assert_eq!(accepted["total_messages"], recipients.len(), "{accepted}");
    Ordered {
        id: accepted["id"].as_str().unwrap().to_owned(),
        sender: SECOND.to_owned(),
        recipients,
    }
}

fn status_is_complete(status: &Value, campaign: &Ordered) {
    assert_eq!(status["status"], "COMPLETED", "{status}");
    assert_eq!(status["id"], campaign.id.as_str());
    assert_eq!(status["sender_number"], campaign.sender.as_str());
    let count = |field: &str| {
        let field = format!("{field}_messages");
        status[&field]
            .as_u64()
            .unwrap_or_else(|| panic!("no {field} in {status}"))
    };
    let parts = [
        "pending",
        "sent",
        "delivered",
        "read",
        "failed",
        "cancelled",
        "unknown",
    ];
    parts.iter().for_each(|part| {
        count(part);
    });
    assert_eq!(count("total"), campaign.recipients.len() as u64);
    assert_eq!(
        count("sent"),
        count("total"),
        "a completed campaign has sent all: {status}"
    );
    assert_eq!(
        count("pending") + count("failed") + count("cancelled") + count("unknown"),
        0
    );
    for field in ["created_at", "started_at", "completed_at"] {
        assert!(status[field].is_string(), "no {field} in {status}");
    }
    for field in [
        "reason",
        "next_attempt_at",
        "estimated_finish_at",
        "progress",
    ] {
        assert!(status.get(field).is_some(), "no {field} in {status}");
    }
}

async fn every_message_is_listed(system: &System, campaign: &Ordered) {
    let api = &system.api;
    let details = format!("/api/status/{}?details=true", campaign.id);
    let details = api.get(&details).await.expect(200);
    let messages = details["messages"].as_array().unwrap();
    assert_eq!(messages.len(), campaign.recipients.len());
    for message in messages {
        for field in [
            "recipient",
            "status",
            "text",
            "error",
            "error_code",
            "attempts",
            "waha_message_id",
            "sent_at",
            "delivered_at",
            "read_at",
        ] {
            assert!(message.get(field).is_some(), "no {field} in {message}");
        }
    }
}

async fn every_campaign_call(system: &System, campaigns: &[Ordered]) {
    let api = &system.api;
    every_message_is_listed(system, &campaigns[1]).await;
    let listed = api
        .get(&format!("/api/campaigns?sender_number={SECOND}"))
        .await
        .expect(200);
    assert_eq!(listed.as_array().unwrap().len(), 1, "{listed}");
    assert_eq!(listed[0]["id"], campaigns[1].id.as_str());
    let all = api.admin_get("/api/campaigns").await.expect(200);
    assert_eq!(all.as_array().unwrap().len(), 2, "{all}");
    assert_eq!(
        all[0]["id"],
        campaigns[1].id.as_str(),
        "newest first: {all}"
    );
    let unscoped = api.get("/api/campaigns").await;
    assert!(
        (400..500).contains(&unscoped.status),
        "a user sees the campaigns of others"
    );
    pages_link_to_the_next(system).await;
    api.post(&format!("/api/cancel/{}", campaigns[0].id), &json!({}))
        .await
        .expect_problem(409);
    let failed = api
        .get(&format!("/api/campaigns/{}/failed", campaigns[0].id))
        .await
        .expect(200);
    assert_eq!(
        (&failed["count"], &failed["recipients"]),
        (&json!(0), &json!([])),
        "{failed}"
    );
    assert_eq!(failed["campaign_id"], campaigns[0].id.as_str(), "{failed}");
    let missing = "/api/status/01940000-0000-7000-8000-000000000000";
    api.get(missing).await.expect_problem(404);
    cancelling(system).await;
}

async fn own_metrics_and_unknown_senders(system: &System, campaigns: &[Ordered]) {
    let api = &system.api;
    let own = api
        .get(&format!("/api/metrics?sender_number={SECOND}"))
        .await
        .expect(200);
    assert_eq!(
        own["messages_sent_today"],
        campaigns[1].recipients.len(),
        "{own}"
    );
    let unknown = json!({"sender_number": "21600000000", "recipients": ["4912345678"],
        "template": "x"});
    let unknown = api.post("/api/send", &unknown).await.expect_problem(409);
    assert!(
        unknown["type"].as_str().unwrap().contains("sender-unknown"),
        "{unknown}"
    );
    assert!(
        unknown["detail"]
            .as_str()
            .unwrap()
            .contains("/api/sessions"),
        "{unknown}"
    );
}

async fn pages_link_to_the_next(system: &System) {
    let first = system.api.admin_get("/api/campaigns?limit=1").await;
    assert_eq!(first.expect(200).as_array().unwrap().len(), 1);
    let link = first.header("link");
    assert!(
        link.contains("rel=\"next\""),
        "no next page in Link: {link:?}"
    );
    let next = link.split(['<', '>']).nth(1).unwrap();
    let next = next.strip_prefix(&system.api.base).unwrap_or(next);
    let second = system.api.admin_get(next).await.expect(200);
    assert_eq!(second.as_array().unwrap().len(), 1);
    assert_ne!(second[0]["id"], first.expect(200)[0]["id"]);
}

/// A long campaign is cancelled on its way; what was not yet sent becomes CANCELLED.
async fn cancelling(system: &System) {
    let api = &system.api;
    let campaign = system.submit(FIRST, checks::recipients(2, 500)).await;
    let path = format!("/api/status/{}", campaign.id);
    eventually("the campaign to begin", BOUND, async || {
        let status = api.get(&path).await.expect(200);
        (status["sent_messages"].as_u64().unwrap() > 0).then_some(())
    })
    .await;
    let cancel = format!("/api/cancel/{}", campaign.id);
    let cancelled = api
        .ask(api.request(Method::POST, &cancel))
        .await
        .expect(200);
    assert_eq!(cancelled["status"], "CANCELLED", "{cancelled}");
    let again = api
        .ask(api.request(Method::POST, &cancel))
        .await
        .expect(200);
    assert_eq!(again["status"], "CANCELLED", "{again}");
    let count = |status: &Value, field: &str| status[field].as_u64().unwrap();
    let last = eventually("what was in flight to conclude", BOUND, async || {
        let status = api.get(&path).await.expect(200);
        let done = count(&status, "sent_messages") + count(&status, "cancelled_messages");
        (done == 500).then_some(status)
    })
    .await;
    assert!(count(&last, "cancelled_messages") > 400, "{last}");
    let heard = system.fleet.heard().await;
    let of_it = heard
        .iter()
        .filter(|one| campaign.recipients.contains(&one.recipient().to_owned()));
    assert_eq!(
        of_it.count() as u64,
        count(&last, "sent_messages"),
        "{last}"
    );
}

async fn user_delays_in_both_forms(system: &System) {
    let api = &system.api;
    let path = format!("/api/admin/user-delays?sender_number={FIRST}");
    let fields = ["message_delay", "sender_switch_delay", "campaign_delay"];
    let inherited = api.admin_get(&path).await.expect(200);
    assert_eq!(seconds(&inherited, fields), [0.1, 0.1, 0.0], "{inherited}");
    // The guide's form: everything in the query.
    let set = format!("{path}&message_delay=3&sender_switch_delay=7");
    api.admin(Method::POST, &set, None).await.expect(200);
    let shown = api.admin_get(&path).await.expect(200);
    assert_eq!(seconds(&shown, fields), [3.0, 7.0, 0.0], "{shown}");
    assert_eq!(shown["inherited"]["message_delay"], false, "{shown}");
    assert_eq!(shown["inherited"]["campaign_delay"], true, "{shown}");
    // The other: a JSON body.
    let body = json!({"sender_number": FIRST, "message_delay": 0.25, "campaign_delay": 1.5});
    api.admin_post("/api/admin/user-delays", &body)
        .await
        .expect(200);
    let shown = api.admin_get(&path).await.expect(200);
    assert_eq!(seconds(&shown, fields), [0.25, 7.0, 1.5], "{shown}");
    api.admin(Method::POST, &format!("{path}&message_delay=-3"), None)
        .await
        .expect_problem(422);
    let back = api.admin_delete(&path).await;
    assert!([200, 204].contains(&back.status), "{}", back.text());
    let shown = api.admin_get(&path).await.expect(200);
    assert_eq!(seconds(&shown, fields), [0.1, 0.1, 0.0], "{shown}");
}

async fn monitoring(system: &System) {
    let api = &system.api;
    let metrics = api.admin_get("/api/admin/metrics").await.expect(200);
    for field in [
        "active_sessions",
        "messages_sent_today",
        "current_queue_size",
        "server_uptime",
        "total_campaigns",
        "total_users",
        "total_sessions",
    ] {
        assert!(!metrics[field].is_null(), "no {field} in {metrics}");
    }
    assert_eq!(
        metrics["active_sessions"], 2,
        "two numbers are linked: {metrics}"
    );
    assert_eq!(metrics["total_campaigns"], 3, "{metrics}");
    let users = api.admin_get("/api/admin/users").await.expect(200);
    let user = users
        .as_array()
        .unwrap()
        .iter()
        .find(|one| one["phone_number"] == SECOND);
    let user = user.unwrap_or_else(|| panic!("{SECOND} is not among {users}"));
    assert_eq!(
        (&user["total_campaigns"], &user["sent_messages"]),
        (&json!(1), &json!(12))
    );
    for field in [
        "total_messages",
        "failed_messages",
        "active_session",
        "last_active",
        "last_campaign",
    ] {
        assert!(user.get(field).is_some(), "no {field} in {user}");
    }
    let campaigns = api.admin_get("/api/admin/campaigns").await.expect(200);
    assert_eq!(campaigns["campaign_status"]["COMPLETED"], 2, "{campaigns}");
    assert_eq!(campaigns["campaign_status"]["CANCELLED"], 1, "{campaigns}");
    assert!(campaigns["message_status"].is_object(), "{campaigns}");
    assert_eq!(
        campaigns["recent_campaigns"].as_array().unwrap().len(),
        3,
        "{campaigns}"
    );
    assert!(campaigns["last_refresh"].is_string(), "{campaigns}");
}

async fn session_lists(system: &System) {
    let api = &system.api;
    let sessions = api.admin_get("/api/admin/sessions").await.expect(200);
    let active = sessions.as_array().unwrap();
    for phone in [FIRST, SECOND] {
        let session = active.iter().find(|one| one["phone_number"] == phone);
        let session = session.unwrap_or_else(|| panic!("{phone} is not among {sessions}"));
        for field in ["status", "worker", "last_active", "requires_auth"] {
            assert!(session.get(field).is_some(), "no {field} in {session}");
        }
    }
    let numbers = api
        .admin_get("/api/admin/session-numbers")
        .await
        .expect(200);
    let mut listed: Vec<&str> = numbers["numbers"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(Value::as_str)
        .collect();
    listed.sort_unstable();
    let mut wanted = [FIRST, SECOND, FOURTH, FIFTH];
    wanted.sort_unstable();
    assert_eq!(listed, wanted, "{numbers}");
    assert_eq!(numbers["count"], 4, "{numbers}");
    let list = api.admin_get("/api/sessions").await.expect(200);
    assert_eq!(list.as_array().unwrap().len(), 4, "{list}");
    api.get("/api/sessions").await.expect_problem(401);
}

/// Within two seconds, for a sender's own delays as for the global ones, slower and quicker.
async fn changed_delays_take_hold_of_running_campaigns(system: &System) {
    let api = &system.api;
    let own = format!("/api/admin/user-delays?sender_number={FIRST}");
    let own = async |seconds: f64| {
        let path = format!("{own}&message_delay={seconds}");
        api.admin(Method::POST, &path, None).await.expect(200);
    };
    let global = async |seconds: f64| {
        let body = json!({"MESSAGE_DELAY": seconds});
        api.admin_post("/api/admin/delays", &body).await.expect(200);
    };
    take_hold(system, 4, global).await;
    take_hold(system, 5, own).await;
}

async fn take_hold(system: &System, round: usize, set: impl AsyncFn(f64)) {
    let campaign = system.submit(FIRST, checks::recipients(round, 500)).await;
    let arrivals = async || {
        let mut heard = system.fleet.heard().await;
        heard.retain(|one| one.session == FIRST);
        heard.iter().map(Heard::arrived).collect::<Vec<_>>()
    };
    let before = arrivals().await.len();
    eventually("the campaign to begin", BOUND, async || {
        (arrivals().await.len() > before + 2).then_some(())
    })
    .await;
    let slowed = SystemTime::now();
    set(600.0).await;
    let last = eventually("the campaign to slow down", BOUND, async || {
        let last = *arrivals().await.last()?;
        (last.elapsed().ok()? > Duration::from_millis(1_500)).then_some(last)
    })
    .await;
    let quickened = SystemTime::now();
    set(0.1).await;
    let next = eventually("the campaign to go on", BOUND, async || {
        arrivals().await.into_iter().find(|at| *at > quickened)
    })
    .await;
    let slower = last.duration_since(slowed).unwrap_or_default();
    let quicker = next.duration_since(quickened).unwrap();
    println!(
        "       changed delays took hold after {:.2} s (slower) and {:.2} s (quicker)",
        slower.as_secs_f64(),
        quicker.as_secs_f64()
    );
    assert!(
        slower.max(quicker) < Duration::from_secs(2),
        "not within two seconds"
    );
    let cancel = format!("/api/cancel/{}", campaign.id);
    let cancel = system.api.request(Method::POST, &cancel);
    system.api.ask(cancel).await.expect_status(200);
}

/// A number that is not linked yet: accepted, with a reason, and sent once it is.
async fn who_waits_says_why(system: &System) {
    let campaign = system.submit(FOURTH, checks::recipients(6, 2)).await;
    let path = format!("/api/status/{}", campaign.id);
    let status = system.api.get(&path).await.expect(200);
    assert_eq!(status["status"], "PENDING", "{status}");
    assert!(
        status["reason"].is_string(),
        "it waits and does not say why: {status}"
    );
    println!("       who waits says: {}", status["reason"]);
    system.scan(FOURTH).await;
    let began = Instant::now();
    assert_eq!(system.ended(&campaign, BOUND).await["status"], "COMPLETED");
    println!(
        "       it ended {:.2} s after the number was linked",
        began.elapsed().as_secs_f64()
    );
}

/// me, stop, start, logout.
async fn session_calls(system: &System) {
    let api = &system.api;
    let me = api
        .get(&format!("/api/sessions/{FIRST}/me"))
        .await
        .expect(200);
    assert!(me.to_string().contains(FIRST), "{me}");
    let call = async |what: &str| {
        let path = format!("/api/sessions/{FIRST}/{what}");
        let answer = api.ask(api.request(Method::POST, &path)).await;
        assert!(
            (200..300).contains(&answer.status),
            "{what}: {}",
            answer.text()
        );
    };
    call("stop").await;
    system.session_is(FIRST, "STOPPED").await;
    call("start").await;
    // It keeps its login over a stop, and loses it with a log-out.
    system.session_is(FIRST, "WORKING").await;
    call("logout").await;
    system.session_is(FIRST, "SCAN_QR_CODE").await;
    system.scan(FIRST).await;
    api.get("/api/sessions/21600000000")
        .await
        .expect_problem(404);
}

async fn another_worker_takes_who_waits(system: &System) {
    let worker = &system.fleet.workers[3];
    let body = json!({"url": worker.url, "api_key": worker.api_key, "name": "the fourth",
        "capacity": 2, "max_live": 2});
    let added = system
        .api
        .admin_post("/api/admin/workers", &body)
        .await
        .expect(201);
    assert_eq!(
        (&added["capacity"], &added["name"]),
        (&json!(2), &json!("the fourth"))
    );
    assert_eq!(system.scan(FIFTH).await, 4, "the new worker had room");
}

/// PATCH, and DELETE of a worker that holds sessions.
async fn worker_calls(system: &System, ids: &[String]) {
    let api = &system.api;
    let path = format!("/api/admin/workers/{}", ids[0]);
    for state in ["cordoned", "draining", "active"] {
        let body = json!({"state": state, "name": format!("is {state}")});
        let patched = api
            .admin(Method::PATCH, &path, Some(&body))
            .await
            .expect(200);
        assert_eq!(
            (&patched["state"], &patched["name"]),
            (&body["state"], &body["name"])
        );
    }
    let strange = json!({"state": "asleep"});
    api.admin(Method::PATCH, &path, Some(&strange))
        .await
        .expect_problem(422);
    api.admin_delete(&path).await.expect_problem(409);
    api.admin_delete(&format!("{path}?force=true"))
        .await
        .expect_status(204);
    api.admin_delete(&path).await.expect_problem(404);
    let listed = api.admin_get("/api/admin/workers").await.expect(200);
    assert_eq!(listed.as_array().unwrap().len(), 3, "{listed}");
}

/// `/docs` works offline, `/openapi.json` knows every path of the guide, probes answer.
async fn around_it(system: &System) {
    let docs = system.api.get("/docs").await;
    docs.expect_status(200);
    assert!(docs.text().contains("swagger"), "{}", docs.text());
    let openapi = system.api.get("/openapi.json").await.expect(200);
    for (method, path) in [
        ("post", "/api/send"),
        ("get", "/api/status/{campaign_id}"),
        ("get", "/api/campaigns"),
        ("post", "/api/cancel/{campaign_id}"),
        ("post", "/api/sessions"),
        ("get", "/api/admin/delays"),
        ("post", "/api/admin/delays"),
        ("get", "/api/admin/user-delays"),
        ("post", "/api/admin/user-delays"),
        ("post", "/api/admin/workers"),
        ("get", "/api/admin/workers"),
        ("patch", "/api/admin/workers/{worker_id}"),
        ("delete", "/api/admin/workers/{worker_id}"),
        ("delete", "/api/admin/workers/cleanup"),
        ("get", "/api/admin/metrics"),
        ("get", "/api/admin/users"),
        ("get", "/api/admin/campaigns"),
        ("get", "/api/admin/sessions"),
        ("get", "/api/admin/session-numbers"),
    ] {
        assert!(
            openapi["paths"][path][method].is_object(),
            "{method} {path} is not described"
        );
    }
    for path in ["/livez", "/readyz", "/metrics"] {
        system.api.get(path).await.expect_status(200);
    }
}

/// All workers and sessions go, on their workers too; campaigns stay in the books.
async fn cleanup(system: &System) {
    let api = &system.api;
    let counts = api
        .admin_delete("/api/admin/workers/cleanup")
        .await
        .expect(200);
    println!("       cleanup: {counts}");
    for path in ["/api/admin/workers", "/api/admin/sessions", "/api/sessions"] {
        let left = api.admin_get(path).await.expect(200);
        assert_eq!(left, json!([]), "{path} after cleanup");
    }
    let numbers = api
        .admin_get("/api/admin/session-numbers")
        .await
        .expect(200);
    assert_eq!(
        (&numbers["count"], &numbers["numbers"]),
        (&json!(0), &json!([]))
    );
    for number in 1..=system.fleet.workers.len() {
        eventually(
            &format!("worker {number} to be empty"),
            SESSION_WITHIN,
            async || {
                system
                    .fleet
                    .dashboard(number)
                    .await
                    .is_empty()
                    .then_some(())
            },
        )
        .await;
    }
    let all = api.admin_get("/api/campaigns").await.expect(200);
    assert_eq!(all.as_array().unwrap().len(), 6, "{all}");
}
