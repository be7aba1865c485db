//! What a worker answers: success bodies and the six error shapes (contract section 3).

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::http::header::{CONTENT_TYPE, HeaderValue};
use actix_web::web::Bytes;
use futures_util::stream;
use serde_json::{Value, json};

use crate::profile::Profile;
use crate::status::Status;

/// An answer, ready to be sent.
pub(crate) enum Answer {
    Json(u16, Value),
    /// No body and no content type, as Nest answers `undefined` and `null`.
    Empty(u16),
    Raw(u16, &'static str, Bytes),
    /// The connection is closed without an answer.
    Drop,
}

impl Answer {
    /// The value, or the empty body when it is null.
    pub(crate) fn or_empty(status: u16, value: Value) -> Self {
        if value.is_null() {
            Self::Empty(status)
        } else {
            Self::Json(status, value)
        }
    }

    pub(crate) fn into_response(self) -> HttpResponse {
        let code = |status| StatusCode::from_u16(status).unwrap_or(StatusCode::OK);
        let json_type = HeaderValue::from_static("application/json; charset=utf-8");
        match self {
            Self::Json(status, value) => HttpResponse::build(code(status))
                .insert_header((CONTENT_TYPE, json_type))
                .body(value.to_string()),
            Self::Empty(status) => HttpResponse::build(code(status)).finish(),
            Self::Raw(status, kind, bytes) => HttpResponse::build(code(status))
                .content_type(kind)
                .body(bytes),
            // A body that fails before its first byte makes the server close the connection
            // before it has flushed the head: the client sees no answer at all.
            Self::Drop => {
                let broken = std::io::Error::other("connection dropped on purpose");
                HttpResponse::Ok().streaming(stream::iter([Err::<Bytes, _>(broken)]))
            }
        }
    }
}

/// An answer that is an error, named by its shape.
#[derive(Debug, PartialEq)]
pub(crate) enum Failure {
    /// Shape 1.
    Nest(u16, String),
    /// Shape 1 without `error`: the 401.
    Unauthorized,
    /// Shape 2.
    Validation(Vec<String>),
    /// Shape 3.
    NotInStatus {
        session: String,
        status: Status,
        expected: Status,
    },
    /// Shape 4.
    NoSuchSession(String),
    /// Shape 5.
    Detail(String),
    /// Shape 6; the value is `exception`.
    Uncaught(Value),
    /// An unknown route.
    NoRoute,
    /// An unknown path outside `/api`: the Swagger UI's HTTP Basic answers.
    Basic,
    /// No answer at all.
    Drop,
}

impl Failure {
    pub(crate) fn nest(status: u16, message: impl Into<String>) -> Self {
        Self::Nest(status, message.into())
    }

    /// Shape 6 around an exception of the given class and message.
    pub(crate) fn uncaught(name: &str, message: &str) -> Self {
        Self::Uncaught(exception(name, message))
    }

    pub(crate) fn type_error(message: &str) -> Self {
        Self::uncaught("TypeError", message)
    }

    /// The answer; `request` and `profile` are what shape 6 echoes.
    pub(crate) fn into_answer(self, request: &Echo<'_>, profile: &Profile) -> Answer {
        match self {
            Self::Nest(status, message) => Answer::Json(status, nest_body(status, json!(message))),
            Self::Unauthorized => {
                Answer::Json(401, json!({"message": "Unauthorized", "statusCode": 401}))
            }
            Self::Validation(messages) => Answer::Json(400, nest_body(400, json!(messages))),
            Self::NotInStatus {
                session,
                status,
                expected,
            } => Answer::Json(
                422,
                json!({
                    "error": "Session status is not as expected. \
                        Try again later or restart the session",
                    "session": session,
                    "status": status.name(),
                    "expected": [expected.name()],
                }),
            ),
            Self::NoSuchSession(name) => {
                let error = format!("Session \"{name}\" does not exist");
                Answer::Json(422, json!({"error": error, "session": name}))
            }
            Self::Detail(detail) => Answer::Json(400, json!({"detail": detail})),
            Self::Uncaught(exception) => Answer::Json(500, uncaught(exception, request, profile)),
            Self::NoRoute => {
                let message = format!("Cannot {} {}", request.method, request.path);
                Answer::Json(404, nest_body(404, json!(message)))
            }
            Self::Basic => Answer::Raw(401, "text/html", Bytes::new()),
            Self::Drop => Answer::Drop,
        }
    }
}

/// The parts of a request that shape 6 gives back.
pub(crate) struct Echo<'a> {
    pub(crate) method: &'a str,
    pub(crate) path: &'a str,
    pub(crate) body: &'a Value,
    pub(crate) query: Value,
    pub(crate) timestamp: String,
}

pub(crate) fn exception(name: &str, message: &str) -> Value {
    let stack = format!(
        "{name}: {message}\n    at WhatsappSession.call (/app/dist/core/session.js:1:1)\n    \
         at process.processTicksAndRejections (node:internal/process/task_queues:95:5)"
    );
    json!({"message": message, "name": name, "stack": stack})
}

fn nest_body(status: u16, message: Value) -> Value {
    let reason = StatusCode::from_u16(status)
        .ok()
        .and_then(|code| code.canonical_reason());
    json!({"message": message, "error": reason.unwrap_or("Error"), "statusCode": status})
}

fn uncaught(exception: Value, request: &Echo<'_>, profile: &Profile) -> Value {
    json!({
        "statusCode": 500,
        "timestamp": request.timestamp,
        "exception": exception,
        "request": {
            "path": request.path,
            "method": request.method,
            "body": request.body,
            "query": request.query,
        },
        "version": {
            "version": profile.version.to_string(),
            "engine": profile.engine.name(),
            "tier": profile.tier.name(),
            "browser": null,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::{Engine, Tier, Version};

    fn answer(failure: Failure) -> (u16, Value) {
        let body = json!({"chatId": "1@c.us", "text": "secret"});
        let echo = Echo {
            method: "POST",
            path: "/api/sendText",
            body: &body,
            query: json!({}),
            timestamp: "2026-11-22T00:00:00.000Z".to_owned(),
        };
        let version = Version::new(2026, 8, 2);
        let profile = Profile {
            version,
            engine: Engine::Noweb,
            tier: Tier::Core,
        };
        match failure.into_answer(&echo, &profile) {
            Answer::Json(status, value) => (status, value),
            _ => panic!("not JSON"),
        }
    }

    #[test]
    fn the_six_shapes() {
        let (status, one) = answer(Failure::nest(404, "Session not found"));
        assert_eq!(status, 404);
        assert_eq!(
            one,
            json!({"message": "Session not found", "error": "Not Found", "statusCode": 404})
        );
        let (_, two) = answer(Failure::Validation(vec!["a".into(), "b".into()]));
        assert_eq!(
            two,
            json!({"message": ["a", "b"], "error": "Bad Request", "statusCode": 400})
        );
        let (status, three) = answer(Failure::NotInStatus {
            session: "s".into(),
            status: Status::Failed,
            expected: Status::Working,
        });
        assert_eq!((status, &three["status"]), (422, &json!("FAILED")));
        assert_eq!(three["expected"], json!(["WORKING"]));
        assert!(three.get("statusCode").is_none() && three.get("message").is_none());
        let (status, four) = answer(Failure::NoSuchSession("x".into()));
        assert_eq!(status, 422);
        assert_eq!(
            four,
            json!({"error": "Session \"x\" does not exist", "session": "x"})
        );
        let (status, five) = answer(Failure::Detail("no chatId".into()));
        assert_eq!((status, five), (400, json!({"detail": "no chatId"})));
        let (status, six) = answer(Failure::uncaught("Error", "Timed Out"));
        assert_eq!(
            (status, &six["request"]["body"]["text"]),
            (500, &json!("secret"))
        );
        assert_eq!(six["exception"]["message"], "Timed Out");
        assert_eq!(six["version"]["engine"], "NOWEB");
    }

    #[test]
    fn unauthorized_has_no_error_field() {
        let (status, body) = answer(Failure::Unauthorized);
        assert_eq!(
            (status, body),
            (401, json!({"message": "Unauthorized", "statusCode": 401}))
        );
    }
}
