//! Resets, silence, half answers: what is lost and what provably never left.

use models::media::Media;
use models::outcome::{Blame, SendOutcome};
use models::phone::PhoneNumber;
use tokio::net::TcpListener;
use waha::messages::{Letter, Lookup};
use waha::{CallClass, CallError};

use crate::ugly::{Manner, Ugly, client, response};

fn number() -> PhoneNumber {
    "12132132130".parse().unwrap()
}

async fn send_to(ugly: &Ugly) -> SendOutcome {
    let to = number();
    let letter = Letter {
        session: "12025550100",
        to: &to,
        id: None,
    };
    ugly.client().send_text(letter, "hi").await
}

#[tokio::test]
async fn a_text_leaves_as_the_contract_has_it() {
    let ugly = Ugly::start(response("201 Created", r#"{"key":{"id":"3EB0"}}"#)).await;
    let message_id = Some("3EB0".to_owned());
    assert_eq!(send_to(&ugly).await, SendOutcome::Accepted { message_id });

    let to = number();
    let letter = Letter {
        session: "s",
        to: &to,
        id: Some("3EB0AA"),
    };
    let voice = Media::parse("http://127.0.0.1:9/a.mp3").unwrap();
    ugly.client().send_media(letter, &voice, "").await;
    let film = Media::parse("http://127.0.0.1:9/a.mp4").unwrap();
    ugly.client().send_media(letter, &film, "").await;
    ugly.client().send_media(letter, &voice, "hi").await;

    let heard = ugly.heard();
    assert_eq!(heard.len(), 4);
    assert!(heard[0].starts_with("POST /w/17/api/sendText HTTP/1.1\r\n"));
    assert!(heard[0].contains("x-api-key: key-of-tests\r\n"));
    let bodies: Vec<serde_json::Value> = heard
        .iter()
        .map(|request| serde_json::from_str(request.split_once("\r\n\r\n").unwrap().1).unwrap())
        .collect();
    assert_eq!(
        bodies,
        [
            serde_json::json!({"session": "12025550100", "chatId": "12132132130@c.us",
                "text": "hi", "linkPreview": false}),
            serde_json::json!({"session": "s", "chatId": "12132132130@c.us", "id": "3EB0AA",
                "convert": true, "file": {"mimetype": "audio/mpeg", "filename": "a.mp3",
                "url": "http://127.0.0.1:9/a.mp3"}}),
            serde_json::json!({"session": "s", "chatId": "12132132130@c.us", "id": "3EB0AA",
                "convert": false, "caption": "", "file": {"mimetype": "video/mp4",
                "filename": "a.mp4", "url": "http://127.0.0.1:9/a.mp4"}}),
            serde_json::json!({"session": "s", "chatId": "12132132130@c.us", "id": "3EB0AA",
                "caption": "hi", "file": {"mimetype": "audio/mpeg", "filename": "a.mp3",
                "url": "http://127.0.0.1:9/a.mp3"}}),
        ]
    );
    assert!(heard[1].starts_with("POST /w/17/api/sendVoice ") && heard[2].contains("/sendVideo "));
    assert!(heard[3].starts_with("POST /w/17/api/sendFile "));
}

#[tokio::test]
async fn once_the_request_may_have_left_the_outcome_is_lost() {
    for (manner, expected) in [
        (Manner::Hang, "answer_timed_out"),
        (Manner::Close, "answer_lost"),
        (Manner::Reset, "answer_lost"),
        (Manner::Say("HTTP/1.1 20".into()), "answer_lost"),
        (Manner::Say("what?\r\n\r\n".into()), "answer_lost"),
        (response("500 Internal Server Error", ""), "answer_lost"),
        (response("502 Bad Gateway", "<html>"), "answer_lost"),
    ] {
        let shown = format!("{manner:?}");
        let ugly = Ugly::start(manner).await;
        let SendOutcome::Lost { code, detail } = send_to(&ugly).await else {
            panic!("{shown} is not lost");
        };
        assert_eq!(code, expected, "{shown}: {detail}");
        assert!(!detail.contains("12132132130") && !detail.contains("key-of-tests"));
        assert_eq!(ugly.heard().len(), 1, "{shown}: nothing is ever sent twice");
    }
}

#[tokio::test]
async fn an_accepted_message_survives_the_loss_of_the_rest_of_its_answer() {
    let half = "HTTP/1.1 201 Created\r\ncontent-length: 900\r\n\r\n{\"key\"";
    let ugly = Ugly::start(Manner::Say(half.into())).await;
    let outcome = send_to(&ugly).await;
    assert_eq!(outcome, SendOutcome::Accepted { message_id: None });
}

#[tokio::test]
async fn what_never_left_costs_nobody() {
    // A port that was free a moment ago.
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", gone.local_addr().unwrap());
    drop(gone);
    let to = number();
    let letter = Letter {
        session: "s",
        to: &to,
        id: None,
    };
    for (url, code) in [
        (url.as_str(), "worker_unreachable"),
        ("https://127.0.0.1:9", "worker_unreachable"),
        ("mailto:somebody", "not_waha"),
    ] {
        let waha = client(&url.parse().unwrap());
        let SendOutcome::Refused(refusal) = waha.send_text(letter, "hi").await else {
            panic!("{url} was asked");
        };
        assert_eq!(
            (refusal.blame, refusal.code),
            (Blame::Worker, code),
            "{url}"
        );
        let class = waha.version().await.unwrap_err().class();
        let expected = match code {
            "not_waha" => CallClass::Misconfigured,
            _ => CallClass::Down,
        };
        assert_eq!(class, expected, "{url}");
    }
}

#[tokio::test]
async fn redirects_are_not_followed() {
    let elsewhere = "HTTP/1.1 302 Found\r\nlocation: /ping\r\ncontent-length: 0\r\n\r\n";
    let ugly = Ugly::start(Manner::Say(elsewhere.into())).await;
    let error = ugly.client().ping().await.unwrap_err();
    assert!(matches!(error, CallError::NotWaha { .. }), "{error}");
    assert_eq!(ugly.heard().len(), 1);
}

#[tokio::test]
async fn errors_of_calls_have_their_types() {
    let said = |message: &str| format!(r#"{{"message":"{message}","error":"x","statusCode":422}}"#);
    let status = r#"{"error":"no","session":"s","status":"STOPPED","expected":["SCAN_QR_CODE"]}"#;
    let exists = said("Session 's' already exists. Use PUT to update it.");
    let lock = r#"{"statusCode":500,"exception":{"message":"async-lock timed out in queue s"}}"#;
    for (http, body, code) in [
        ("200 OK", "not JSON", "answer_not_understood"),
        ("401 Unauthorized", "", "bad_worker_key"),
        (
            "403 Forbidden",
            r#"{"message":"Forbidden resource"}"#,
            "bad_worker_key",
        ),
        (
            "404 Not Found",
            &said("Session not found"),
            "session_missing",
        ),
        (
            "404 Not Found",
            &said("Cannot GET /api/sessions/s"),
            "not_waha",
        ),
        ("404 Not Found", "<html>", "not_waha"),
        ("422 Unprocessable Entity", status, "session_not_ready"),
        ("422 Unprocessable Entity", &exists, "session_exists"),
        (
            "400 Bad Request",
            &said("name is too long"),
            "worker_refused",
        ),
        ("500 Internal Server Error", lock, "server_error"),
        ("501 Not Implemented", &said("no"), "not_offered"),
    ] {
        let ugly = Ugly::start(response(http, body)).await;
        let error = ugly.client().session("s").await.unwrap_err();
        assert_eq!(error.code(), code, "{http} {body}: {error}");
    }
    let ugly = Ugly::start(Manner::Hang).await;
    let error = ugly.client().sessions().await.unwrap_err();
    assert_eq!(
        (error.code(), error.class()),
        ("answer_timed_out", CallClass::Down)
    );
}

#[tokio::test]
async fn old_answers_that_mean_success_are_success() {
    let started = r#"{"message":"Session 'default' is already started.","error":"Unprocessable Entity","statusCode":422}"#;
    let ugly = Ugly::start(response("422 Unprocessable Entity", started)).await;
    assert_eq!(ugly.client().start("default").await, Ok(None));
    let missing = r#"{"error":"Session \"s\" does not exist","session":"s"}"#;
    let ugly = Ugly::start(response("422 Unprocessable Entity", missing)).await;
    assert_eq!(ugly.client().delete_session("s").await, Ok(()));
    let ugly = Ugly::start(response("201 Created", "")).await;
    assert_eq!(ugly.client().stop("s").await, Ok(None));
    assert_eq!(ugly.client().me("s").await, Ok(None));
}

#[tokio::test]
async fn a_worker_that_keeps_no_chats_says_so() {
    let store = r#"{"message":"Enable NOWEB store","error":"Bad Request","statusCode":400}"#;
    let ugly = Ugly::start(response("400 Bad Request", store)).await;
    let since = time::OffsetDateTime::UNIX_EPOCH;
    let to = number();
    let lookup = ugly.client().find_sent("s", &to, "hi", since).await;
    assert_eq!(lookup, Ok(Lookup::Unsupported));
    let request = ugly.heard().remove(0);
    assert!(request.starts_with(
        "GET /w/17/api/s/chats/12132132130@c.us/messages?limit=100&downloadMedia=false&"
    ));
    let ugly = Ugly::start(response("200 OK", "")).await;
    let lookup = ugly.client().get_message("s", &to, "3EB0").await;
    assert_eq!(
        lookup,
        Ok(Lookup::Unsupported),
        "an empty answer says nothing"
    );
    assert!(ugly.heard()[0].contains("/messages/true_12132132130@c.us_3EB0?"));
}
