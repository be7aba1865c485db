//! The client against the simulated WAHA: the life of a session, sends, faults and look-ups.

use std::time::Duration;

use models::media::Media;
use models::outcome::{Blame, SendOutcome};
use models::phone::PhoneNumber;
use models::worker::Engine as SeenEngine;
use time::OffsetDateTime;
use waha::messages::{Letter, Lookup};
use waha::sessions::{SeenStatus, SessionConfig, WebhookConfig};
use waha::webhook::{Event, SIGNATURE_HEADER, parse, verify};
use waha::{CallClass, CallError, Waha, http_client};
use waha_sim::{Engine, Options, Running, Version};

use crate::ugly::{Ugly, response};

const NAME: &str = "12025550100";

async fn start(engine: Engine, version: Version) -> Running {
    let options = Options {
        engines: vec![engine],
        versions: vec![version],
        time_scale: 0.01,
        ..Options::default()
    };
    waha_sim::start(options).await.unwrap()
}

async fn modern() -> Running {
    start(Engine::Noweb, Version::new(2026, 8, 2)).await
}

fn client(sim: &Running) -> Waha {
    let url = sim.worker_url(1).parse().unwrap();
    Waha::new(&url, sim.api_key(1).into(), http_client().unwrap())
}

async fn control(sim: &Running, call: &str, body: serde_json::Value) {
    let url = format!("{}/{call}", sim.control_url(1));
    let answer = http_client().unwrap().post(url).json(&body).send().await;
    let answer = answer.unwrap();
    assert!(
        answer.status().is_success(),
        "{call}: {:?}",
        answer.text().await
    );
}

/// Asks until the session is in that status, for at most ten seconds.
#[expect(
    clippy::disallowed_methods,
    reason = "a pause between looks, not a wait for luck"
)]
async fn until(waha: &Waha, session: &str, wanted: &SeenStatus) {
    let look = async {
        while waha.session(session).await.unwrap().status != *wanted {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let limit = tokio::time::timeout(Duration::from_secs(10), look);
    limit.await.unwrap();
}

fn config() -> SessionConfig {
    config_to("http://127.0.0.1:9/hook")
}

fn config_to(url: &str) -> SessionConfig {
    SessionConfig {
        metadata: [("generation".to_owned(), "1".to_owned())].into(),
        webhooks: vec![WebhookConfig {
            url: url.parse().unwrap(),
            events: vec!["session.status".to_owned()],
            hmac_key: Some("k".into()),
            retries: None,
            headers: Vec::new(),
        }],
    }
}

/// Makes a session and links it.
async fn working(sim: &Running, session: &str) -> Waha {
    let waha = client(sim);
    match waha.create_session(session, &config()).await {
        Err(CallError::AlreadyExists) => {
            waha.update_session(session, &config()).await.unwrap();
            waha.start(session).await.unwrap();
        }
        other => drop(other.unwrap()),
    }
    until(&waha, session, &SeenStatus::ScanQrCode).await;
    control(
        sim,
        "link",
        serde_json::json!({"session": session, "phone": NAME}),
    )
    .await;
    until(&waha, session, &SeenStatus::Working).await;
    waha
}

fn number() -> PhoneNumber {
    "12132132130".parse().unwrap()
}

fn letter<'a>(session: &'a str, to: &'a PhoneNumber) -> Letter<'a> {
    Letter {
        session,
        to,
        id: None,
    }
}

fn refusal(outcome: SendOutcome) -> (Blame, &'static str) {
    match outcome {
        SendOutcome::Refused(refusal) => (refusal.blame, refusal.code),
        other => panic!("{other:?} is no refusal"),
    }
}

#[tokio::test]
async fn a_server_says_who_it_is_to_those_with_a_key() {
    let sim = modern().await;
    let waha = client(&sim);
    waha.ping().await.unwrap();
    let info = waha.version().await.unwrap();
    assert_eq!(
        (info.engine, info.version.to_string()),
        (SeenEngine::Noweb, "2026.8.2".into())
    );
    let able = info.capabilities();
    assert!(able.multi_session && able.media && able.own_message_ids && able.webhook_hmac);
    waha.status().await.unwrap();

    let url = sim.worker_url(1).parse().unwrap();
    let stranger = Waha::new(&url, "wrong".into(), http_client().unwrap());
    stranger.ping().await.unwrap();
    assert_eq!(stranger.version().await, Err(CallError::Unauthorized));
    let to = number();
    let outcome = stranger.send_text(letter(NAME, &to), "hi").await;
    assert_eq!(refusal(outcome), (Blame::Worker, "bad_worker_key"));
}

#[tokio::test]
async fn a_session_lives() {
    let sim = modern().await;
    let waha = client(&sim);
    let missing = waha.session(NAME).await.unwrap_err();
    assert!(matches!(missing, CallError::NotFound { .. }), "{missing}");
    assert_eq!(waha.sessions().await, Ok(Vec::new()));

    let made = waha.create_session(NAME, &config()).await.unwrap();
    assert_eq!(
        (made.name.as_str(), &made.metadata["generation"][..]),
        (NAME, "1")
    );
    let again = waha.create_session(NAME, &config()).await;
    assert_eq!(again, Err(CallError::AlreadyExists));
    until(&waha, NAME, &SeenStatus::ScanQrCode).await;
    assert_eq!(waha.me(NAME).await, Ok(None));
    assert!(!waha.qr(NAME).await.unwrap().base64().is_empty());
    let phone: PhoneNumber = NAME.parse().unwrap();
    assert!(!waha.pairing_code(NAME, &phone).await.unwrap().is_empty());

    control(&sim, "link", serde_json::json!({"session": NAME})).await;
    until(&waha, NAME, &SeenStatus::Working).await;
    assert_eq!(
        waha.me(NAME).await.unwrap().unwrap().phone,
        Some(phone.clone())
    );
    let no_qr = waha.qr(NAME).await.unwrap_err();
    let status = SeenStatus::Working;
    assert_eq!(no_qr, CallError::WrongStatus { status });
    assert_eq!(no_qr.class(), CallClass::Status);

    waha.start(NAME).await.unwrap();
    waha.stop(NAME).await.unwrap();
    until(&waha, NAME, &SeenStatus::Stopped).await;
    let all = waha.sessions().await.unwrap();
    assert_eq!(all[0].webhook_urls, ["http://127.0.0.1:9/hook"]);
    waha.start(NAME).await.unwrap();
    until(&waha, NAME, &SeenStatus::Working).await;
    waha.restart(NAME).await.unwrap();
    until(&waha, NAME, &SeenStatus::Working).await;
    waha.logout(NAME).await.unwrap();
    until(&waha, NAME, &SeenStatus::ScanQrCode).await;
    waha.delete_session(NAME).await.unwrap();
    waha.delete_session(NAME).await.unwrap();
    assert_eq!(waha.sessions().await, Ok(Vec::new()));
}

#[tokio::test]
async fn an_old_core_has_one_session() {
    let sim = start(Engine::Noweb, Version::new(2026, 2, 1)).await;
    let waha = working(&sim, "default").await;
    assert!(!waha.version().await.unwrap().capabilities().multi_session);
    assert_eq!(waha.start("default").await, Ok(None));
    let other = waha.create_session(NAME, &config()).await.unwrap_err();
    assert_eq!(other.class(), CallClass::Session, "{other}");
    waha.delete_session(NAME).await.unwrap();

    let to = number();
    let outcome = waha.send_text(letter("default", &to), "hi").await;
    assert!(matches!(
        outcome,
        SendOutcome::Accepted {
            message_id: Some(_)
        }
    ));
    let outcome = waha.send_text(letter(NAME, &to), "hi").await;
    assert_eq!(refusal(outcome), (Blame::Number, "session_missing"));
    for link in ["http://127.0.0.1:9/a.png", "http://127.0.0.1:9/a.mp4"] {
        let media = Media::parse(link).unwrap();
        let outcome = waha.send_media(letter("default", &to), &media, "").await;
        assert_eq!(
            refusal(outcome),
            (Blame::Ours, "media_unavailable"),
            "{link}"
        );
    }
}

#[tokio::test]
async fn every_engine_accepts_a_text_and_is_asked_about_it() {
    for engine in [Engine::Noweb, Engine::Gows, Engine::Webjs] {
        let sim = start(engine, Version::new(2026, 8, 2)).await;
        let waha = working(&sim, NAME).await;
        let to = number();
        let outcome = waha.send_text(letter(NAME, &to), "hello").await;
        let SendOutcome::Accepted {
            message_id: Some(id),
        } = outcome
        else {
            panic!("{engine:?}: {outcome:?}");
        };
        let since = OffsetDateTime::UNIX_EPOCH;
        for found in [
            waha.find_sent(NAME, &to, "hello", since).await,
            waha.get_message(NAME, &to, &id).await,
        ] {
            let Ok(Lookup::Found { message_id, ack }) = found else {
                panic!("{engine:?}: {found:?}");
            };
            assert_eq!(message_id, id);
            assert!(ack.is_some(), "{engine:?} tells how far it has come");
        }
        let other = waha.find_sent(NAME, &to, "goodbye", since).await;
        assert_eq!(other, Ok(Lookup::NotFound));
        let later = since + Duration::from_secs(10_000_000_000);
        let late = waha.find_sent(NAME, &to, "hello", later).await;
        assert_eq!(late, Ok(Lookup::NotFound));
        let none = waha.get_message(NAME, &to, "3EB0NOSUCH").await;
        assert_eq!(none, Ok(Lookup::NotFound));
    }
}

#[tokio::test]
async fn an_id_of_our_own_is_used() {
    let sim = modern().await;
    let waha = working(&sim, NAME).await;
    let to = number();
    let id = "3EB0F00DF00DF00DF00DF0";
    let letter = Letter {
        id: Some(id),
        ..letter(NAME, &to)
    };
    let message_id = Some(id.to_owned());
    assert_eq!(
        waha.send_text(letter, "hi").await,
        SendOutcome::Accepted { message_id }
    );
}

#[tokio::test]
async fn refusals_name_who_pays() {
    let sim = modern().await;
    let waha = client(&sim);
    let to = number();
    let outcome = waha.send_text(letter(NAME, &to), "hi").await;
    assert_eq!(refusal(outcome), (Blame::Number, "session_missing"));
    waha.create_session(NAME, &config()).await.unwrap();
    until(&waha, NAME, &SeenStatus::ScanQrCode).await;
    let outcome = waha.send_text(letter(NAME, &to), "hi").await;
    assert_eq!(refusal(outcome), (Blame::Number, "session_not_working"));

    let waha = working(&start(Engine::Noweb, Version::new(2026, 8, 2)).await, NAME).await;
    let nowhere = Media::parse("http://127.0.0.1:9/a.png").unwrap();
    let outcome = waha.send_media(letter(NAME, &to), &nowhere, "").await;
    assert_eq!(refusal(outcome), (Blame::Ours, "media_unreachable"));
}

#[tokio::test]
async fn whatsapps_refusals_are_told_apart() {
    let sim = start(Engine::Gows, Version::new(2026, 8, 2)).await;
    let waha = working(&sim, NAME).await;
    let to = number();
    for (kind, expected) in [
        ("error_463", (Blame::Number, "time_locked")),
        ("error_475", (Blame::Number, "quota_used_up")),
        ("error_400", (Blame::Number, "session_stuck")),
        ("not_on_whatsapp", (Blame::Recipient, "not_on_whatsapp")),
    ] {
        control(&sim, "fault", serde_json::json!({"kind": kind})).await;
        let outcome = waha.send_text(letter(NAME, &to), "hi").await;
        assert_eq!(refusal(outcome), expected, "{kind}");
        let url = format!("{}/fault", sim.control_url(1));
        http_client().unwrap().delete(url).send().await.unwrap();
    }
}

#[tokio::test]
async fn lost_answers_are_lost() {
    let sim = modern().await;
    let waha = working(&sim, NAME).await;
    let waha = waha.with_timeouts(waha::Timeouts {
        text: Duration::from_secs(2),
        ..waha::Timeouts::default()
    });
    let to = number();
    for (kind, expected) in [
        ("error_500_timed_out", "answer_timed_out"),
        ("connection_closed", "link_lost"),
        ("lost_answer", "answer_lost"),
        ("bad_gateway", "answer_lost"),
    ] {
        control(&sim, "fault", serde_json::json!({"kind": kind, "count": 1})).await;
        let outcome = waha.send_text(letter(NAME, &to), "hi").await;
        let SendOutcome::Lost { code, .. } = &outcome else {
            panic!("{kind}: {outcome:?}");
        };
        assert_eq!(*code, expected, "{kind}");
    }
    control(
        &sim,
        "fault",
        serde_json::json!({"kind": "empty_answer", "count": 1}),
    )
    .await;
    let outcome = waha.send_text(letter(NAME, &to), "hi").await;
    assert_eq!(outcome, SendOutcome::Accepted { message_id: None });
}

#[tokio::test]
async fn webhooks_are_signed_and_read() {
    let ears = Ugly::start(response("200 OK", "")).await;
    let sim = modern().await;
    let waha = client(&sim);
    let config = config_to(ears.url().as_str());
    waha.create_session(NAME, &config).await.unwrap();
    until(&waha, NAME, &SeenStatus::ScanQrCode).await;
    ears.until_heard("SCAN_QR_CODE").await;

    for request in ears.heard() {
        let (head, body) = request.split_once("\r\n\r\n").unwrap();
        let mut headers = head.lines().filter_map(|line| line.split_once(": "));
        let signature = headers.find(|(name, _)| name.eq_ignore_ascii_case(SIGNATURE_HEADER));
        let (_, signature) = signature.unwrap();
        assert!(verify(&"k".into(), body.as_bytes(), signature));
        assert!(!verify(&"other".into(), body.as_bytes(), signature));
        let envelope = parse(body.as_bytes()).unwrap();
        assert_eq!(envelope.session, NAME);
        assert_eq!(envelope.metadata["generation"], "1");
        assert!(envelope.id.is_some() && envelope.at.is_some());
        assert!(matches!(envelope.event, Event::SessionStatus { .. }));
    }
}
