//! What became of a send: the one place where it is decided, and who pays.
//!
//! The rule behind the table: a refusal is only what WAHA or the network says *before* the engine
//! is called, or what WhatsApp's own answer says. Everything else is lost, and never sent again
//! without a look-up.

use models::outcome::{Blame, Refusal, SendOutcome};
use reqwest::StatusCode;

use crate::dto::answers::sent_message_id;
use crate::dto::problem::{Problem, Thrown};
use crate::wire::{Answer, Broken};

/// One way in which a send ends without success.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Code {
    /// The stable word in tables, answers and metrics.
    pub name: &'static str,
    /// Who pays; `None`: nobody knows what became of the message.
    pub blame: Option<Blame>,
    /// What it means, for the documentation.
    pub meaning: &'static str,
}

impl Code {
    fn outcome(self, detail: impl Into<String>) -> SendOutcome {
        let (code, detail) = (self.name, detail.into());
        match self.blame {
            Some(blame) => SendOutcome::Refused(Refusal {
                blame,
                code,
                detail,
            }),
            None => SendOutcome::Lost { code, detail },
        }
    }
}

macro_rules! codes {
    ($($id:ident = $name:literal, $blame:expr, $meaning:literal;)+) => {
        $(const $id: Code = Code { name: $name, blame: $blame, meaning: $meaning };)+

        /// Every way in which a send ends without success.
        pub const CODES: &[Code] = &[$($id),+];
    };
}

codes! {
    NOT_ON_WHATSAPP = "not_on_whatsapp", Some(Blame::Recipient),
        "WhatsApp does not know the recipient's number.";
    SESSION_NOT_WORKING = "session_not_working", Some(Blame::Number),
        "The session is not connected: stopped, starting, failed or waiting to be linked.";
    SESSION_MISSING = "session_missing", Some(Blame::Number),
        "The worker does not know the session, or (before 2026) does not run it.";
    TIME_LOCKED = "time_locked", Some(Blame::Number),
        "WhatsApp does not let the number start new chats for a while (error 463).";
    QUOTA_USED_UP = "quota_used_up", Some(Blame::Number),
        "The number has used up WhatsApp's quota of new chats (error 475).";
    SESSION_STUCK = "session_stuck", Some(Blame::Number),
        "WhatsApp rejects all that the session sends until it is restarted \
         (error 400, GOWS before 2026.5.1).";
    WORKER_UNREACHABLE = "worker_unreachable", Some(Blame::Worker),
        "No connection to the worker came about.";
    BAD_WORKER_KEY = "bad_worker_key", Some(Blame::Worker),
        "The worker refuses our API key, or the key is not good for sending.";
    NOT_WAHA = "not_waha", Some(Blame::Worker),
        "The worker's address cannot be asked, or something else than WAHA answers there.";
    WORKER_BUSY = "worker_busy", Some(Blame::Worker),
        "Something in front of the worker turned the request away (429).";
    BAD_REQUEST = "bad_request", Some(Blame::Ours),
        "The worker could not make sense of our request.";
    MEDIA_UNAVAILABLE = "media_unavailable", Some(Blame::Ours),
        "This worker's version, edition or engine cannot send this kind of message.";
    MEDIA_UNREACHABLE = "media_unreachable", Some(Blame::Ours),
        "The worker could not download the file to be sent.";
    ANSWER_TIMED_OUT = "answer_timed_out", None,
        "No answer in time, from the worker or from WhatsApp; the message may have been sent.";
    ANSWER_LOST = "answer_lost", None,
        "The connection to the worker, or of what stands before it, broke after the request; the \
         message may have been sent.";
    LINK_LOST = "link_lost", None,
        "The worker's link to WhatsApp broke meanwhile; the message may have been sent.";
    SERVER_ERROR = "server_error", None,
        "The worker failed inside; the message may have been sent.";
}

/// What was to be sent: a file is downloaded first, so its errors may mean something else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Text,
    Media,
}

/// What became of a text that was answered so; `None` where `status` is none of HTTP's.
pub fn of_text(status: u16, body: Vec<u8>) -> Option<SendOutcome> {
    let status = StatusCode::from_u16(status).ok()?;
    let body = Ok(body);
    Some(classify(Kind::Text, Ok(Answer { status, body })))
}

/// What became of a send.
pub(crate) fn classify(kind: Kind, answer: Result<Answer, Broken>) -> SendOutcome {
    match answer {
        // WAHA says 2xx after the engine took the message; without the body only the id is lost.
        Ok(Answer { status, body }) if status.is_success() => SendOutcome::Accepted {
            message_id: body.ok().and_then(|body| sent_message_id(&body)),
        },
        Ok(Answer { status, body }) => {
            let problem = body.map_or(Problem::Silent, |body| Problem::read(&body));
            if status.is_server_error() {
                failed(kind, status, &problem)
            } else {
                refused(kind, status, &problem)
            }
        }
        Err(Broken::NotSent(detail)) => WORKER_UNREACHABLE.outcome(detail),
        Err(Broken::Unusable(detail)) => NOT_WAHA.outcome(detail),
        Err(Broken::TimedOut) => ANSWER_TIMED_OUT.outcome("the worker did not answer in time"),
        Err(Broken::Cut(detail)) => ANSWER_LOST.outcome(detail),
        Err(Broken::TooLarge) => ANSWER_LOST.outcome("the answer is too large"),
    }
}

/// Everything below 500: WAHA checks first and calls its engine then, so nothing was sent.
fn refused(kind: Kind, status: StatusCode, problem: &Problem) -> SendOutcome {
    let code = match (status.as_u16(), problem) {
        (401 | 403, _) => BAD_WORKER_KEY,
        // The request may have been read, and then somebody in between lost patience.
        (408, _) => ANSWER_TIMED_OUT,
        (429, _) => WORKER_BUSY,
        (400 | 413, _) => BAD_REQUEST,
        (404, Problem::NoRoute(_) | Problem::Silent) => NOT_WAHA,
        (404, _) => SESSION_MISSING,
        (422, Problem::WrongStatus(_)) => SESSION_NOT_WORKING,
        (422, Problem::NoSession(_)) => SESSION_MISSING,
        (422, Problem::NotOffered(_)) => unavailable(kind),
        (422, _) => BAD_REQUEST,
        _ => NOT_WAHA,
    };
    match problem {
        Problem::Silent => code.outcome(format!("answers {status}")),
        problem => code.outcome(problem.detail()),
    }
}

fn unavailable(kind: Kind) -> Code {
    match kind {
        Kind::Text => BAD_REQUEST,
        Kind::Media => MEDIA_UNAVAILABLE,
    }
}

fn failed(kind: Kind, status: StatusCode, problem: &Problem) -> SendOutcome {
    match problem {
        Problem::Thrown(thrown) => self::thrown(kind, thrown).outcome(problem.detail()),
        // WAHA's own failures have words. Something in front of it lost patience, or the connection
        // to it, and it may still be at the request.
        Problem::Silent => ANSWER_LOST.outcome(format!("something before it answers {status}")),
        problem if status == StatusCode::NOT_IMPLEMENTED => {
            unavailable(kind).outcome(problem.detail())
        }
        problem => SERVER_ERROR.outcome(problem.detail()),
    }
}

fn thrown(kind: Kind, thrown: &Thrown) -> Code {
    match thrown.server_error() {
        Some(463) => return TIME_LOCKED,
        Some(475) => return QUOTA_USED_UP,
        Some(400) => return SESSION_STUCK,
        _ => {}
    }
    if thrown.unknown_recipient() {
        NOT_ON_WHATSAPP
    } else if thrown.timed_out() || thrown.engine_unheard() {
        ANSWER_TIMED_OUT
    } else if thrown.link_lost() {
        LINK_LOST
    } else if kind == Kind::Media && thrown.download_failed() {
        MEDIA_UNREACHABLE
    } else if thrown.blames_request() {
        BAD_REQUEST
    } else {
        SERVER_ERROR
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, body: &str) -> Result<Answer, Broken> {
        Ok(Answer {
            status: StatusCode::from_u16(status).unwrap(),
            body: Ok(body.as_bytes().to_vec()),
        })
    }

    fn code(outcome: &SendOutcome) -> &'static str {
        match outcome {
            SendOutcome::Accepted { .. } => "accepted",
            SendOutcome::Refused(refusal) => refusal.code,
            SendOutcome::Lost { code, .. } => code,
        }
    }

    fn said(message: &str, status: u16) -> String {
        serde_json::json!({"message": message, "error": "x", "statusCode": status}).to_string()
    }

    fn exception(fields: serde_json::Value) -> String {
        serde_json::json!({
            "statusCode": 500, "timestamp": "2026-11-22T00:00:00.000Z", "exception": fields,
            "request": {"path": "/api/sendText", "method": "POST", "query": {},
                "body": {"session": "12025550100", "chatId": "12132132130@c.us", "text": "geheim"}},
            "version": {"version": "2026.2.1"},
        })
        .to_string()
    }

    #[test]
    #[expect(clippy::too_many_lines, reason = "a table of recordings")]
    fn refusals_below_500_follow_the_recordings() {
        let status = r#"{"error":"Session status is not as expected. Try again later or restart the session","session":"default","status":"FAILED","expected":["WORKING"]}"#;
        let missing =
            r#"{"error":"Session \"12025550100\" does not exist","session":"12025550100"}"#;
        let only_default = said("WAHA Core support only 'default' session. You tried", 422);
        let not_found = said(
            "We didn't find a session with name 's'.\nPlease start it first",
            404,
        );
        let plus = said("The feature is available only in Plus version of WAHA", 422);
        let arrays =
            r#"{"message":["chatId must be a string"],"error":"Bad Request","statusCode":400}"#;
        for (kind, http, body, expected) in [
            (Kind::Text, 422, status, "session_not_working"),
            (Kind::Text, 422, missing, "session_missing"),
            (Kind::Text, 422, &only_default, "session_missing"),
            (Kind::Text, 404, &not_found, "session_missing"),
            (
                Kind::Text,
                404,
                &said("Cannot POST /api/sendText", 404),
                "not_waha",
            ),
            (Kind::Text, 404, "<html>nginx</html>", "not_waha"),
            (Kind::Text, 405, "", "not_waha"),
            (Kind::Text, 302, "", "not_waha"),
            (Kind::Media, 422, &plus, "media_unavailable"),
            (
                Kind::Media,
                422,
                &said(
                    "Either \"file.url\" or \"file.data\" must be specified.",
                    422,
                ),
                "bad_request",
            ),
            (
                Kind::Text,
                400,
                &said("Session name is required", 400),
                "bad_request",
            ),
            (Kind::Text, 400, arrays, "bad_request"),
            (Kind::Text, 400, r#"{"detail":"no"}"#, "bad_request"),
            (
                Kind::Text,
                401,
                r#"{"message":"Unauthorized","statusCode":401}"#,
                "bad_worker_key",
            ),
            (
                Kind::Text,
                403,
                &said("Forbidden resource", 403),
                "bad_worker_key",
            ),
            (Kind::Text, 429, "", "worker_busy"),
            (Kind::Text, 408, "", "answer_timed_out"),
        ] {
            let outcome = classify(kind, answer(http, body));
            assert_eq!(code(&outcome), expected, "{http} {body}");
            assert!(!format!("{outcome:?}").contains("12025550100"));
        }
    }

    #[test]
    #[expect(clippy::too_many_lines, reason = "a table of recordings")]
    fn failures_inside_follow_the_recordings() {
        let named =
            |name: &str, message: &str| serde_json::json!({"name": name, "message": message});
        let gows = |message: &str| serde_json::json!({"name": "Error", "code": 2, "message": message, "details": message});
        let no_file = serde_json::json!({"name": "AxiosError", "status": 404, "message": "Request failed with status code 404"});
        let refused = serde_json::json!({"name": "Error", "code": "ECONNREFUSED", "message": "connect ECONNREFUSED 127.0.0.1:9"});
        let engine = serde_json::json!({"name": "Error", "code": 14, "message": "14 UNAVAILABLE: connect ECONNREFUSED"});
        let type_error = named(
            "TypeError",
            "Cannot read properties of undefined (reading 'match')",
        );
        for (kind, fields, expected) in [
            (Kind::Text, named("Error", "Timed Out"), "answer_timed_out"),
            (Kind::Text, named("Error", "Connection Closed"), "link_lost"),
            (
                Kind::Text,
                gows("2 UNKNOWN: server returned error 463"),
                "time_locked",
            ),
            (
                Kind::Text,
                serde_json::json!({"details": "server returned error 463"}),
                "time_locked",
            ),
            (
                Kind::Text,
                gows("2 UNKNOWN: server returned error 475"),
                "quota_used_up",
            ),
            (
                Kind::Text,
                gows("2 UNKNOWN: server returned error 400"),
                "session_stuck",
            ),
            (
                Kind::Text,
                gows("2 UNKNOWN: server returned error 4630"),
                "server_error",
            ),
            (
                Kind::Text,
                gows("2 UNKNOWN: no LID found for 12132132130@s.whatsapp.net from server"),
                "not_on_whatsapp",
            ),
            (Kind::Text, type_error, "bad_request"),
            (
                Kind::Text,
                named("PayloadTooLargeError", "request entity too large"),
                "bad_request",
            ),
            (Kind::Media, no_file.clone(), "media_unreachable"),
            (Kind::Media, refused.clone(), "media_unreachable"),
            (Kind::Media, engine, "answer_timed_out"),
            (
                Kind::Text,
                gows("4 DEADLINE_EXCEEDED: Deadline exceeded"),
                "answer_timed_out",
            ),
            (Kind::Text, refused, "server_error"),
            (Kind::Text, named("Error", "something new"), "server_error"),
        ] {
            let body = exception(fields);
            let outcome = classify(kind, answer(500, &body));
            assert_eq!(code(&outcome), expected, "{body}");
            let shown = format!("{outcome:?}");
            assert!(
                !shown.contains("geheim") && !shown.contains("12132132130"),
                "{shown}"
            );
        }
        let engine = said("The method is not implemented by 'NOWEB' engine.", 501);
        assert_eq!(
            code(&classify(Kind::Media, answer(501, &engine))),
            "media_unavailable"
        );
        for (status, body) in [(500, ""), (502, "<html>"), (503, "{}"), (504, "")] {
            let outcome = classify(Kind::Text, answer(status, body));
            assert_eq!(
                code(&outcome),
                "answer_lost",
                "the worker may still be at it"
            );
        }
    }

    #[test]
    fn an_accepted_message_stays_accepted_when_its_id_is_lost() {
        let cut = Ok(Answer {
            status: StatusCode::CREATED,
            body: Err(Broken::TimedOut),
        });
        for (answer, id) in [
            (answer(201, r#"{"key":{"id":"3EB0"}}"#), Some("3EB0")),
            (answer(201, ""), None),
            (answer(200, "{}"), None),
            (cut, None),
        ] {
            let message_id = id.map(str::to_owned);
            assert_eq!(
                classify(Kind::Text, answer),
                SendOutcome::Accepted { message_id }
            );
        }
    }

    #[test]
    fn what_never_left_is_the_workers_and_the_rest_is_lost() {
        for (broken, expected) in [
            (Broken::NotSent("refused".into()), "worker_unreachable"),
            (Broken::Unusable("no host".into()), "not_waha"),
            (Broken::TimedOut, "answer_timed_out"),
            (Broken::Cut("reset".into()), "answer_lost"),
            (Broken::TooLarge, "answer_lost"),
        ] {
            let outcome = classify(Kind::Text, Err(broken));
            assert_eq!(code(&outcome), expected);
            let lost = matches!(outcome, SendOutcome::Lost { .. });
            assert_eq!(lost, expected.starts_with("answer_"));
        }
    }

    #[test]
    fn code_names_are_unique() {
        let mut names: Vec<_> = CODES.iter().map(|code| code.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), CODES.len());
    }
}
