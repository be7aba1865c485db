//! What WAHA says when it does not do as asked: six shapes of errors.

use serde_json::Value;

use super::{text, value};
use crate::redact::redact;
use crate::sessions::SeenStatus;

/// An error, whatever its shape. Its texts are fit for logs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Problem {
    /// The session is not in the status that the call needs.
    WrongStatus(SeenStatus),
    /// The session is not there, or not running (old versions do not tell these apart).
    NoSession(String),
    /// There is no message of that id.
    NoMessage(String),
    /// A session of that name exists.
    Exists(String),
    /// The session runs already.
    Started(String),
    /// No such call: an old version, or another program.
    NoRoute(String),
    /// This version, tier or engine does not offer the call.
    NotOffered(String),
    /// Anything else that it says.
    Said(String),
    /// Something was thrown inside WAHA.
    Thrown(Thrown),
    /// Nothing, or nothing that WAHA would say.
    Silent,
}

/// An exception. The rest of that answer (our request, the stack) is dropped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Thrown {
    /// The class of the exception.
    pub(crate) name: String,
    /// What it says.
    pub(crate) message: String,
    /// Node's code for it, such as `ECONNREFUSED`; a number is left out.
    pub(crate) code: Option<String>,
}

impl Problem {
    /// Reads the body of an answer that was no success.
    pub(crate) fn read(body: &[u8]) -> Self {
        let Some(Value::Object(fields)) = value(body) else {
            return Self::Silent;
        };
        let body = Value::Object(fields);
        if let Some(thrown) = body.get("exception").filter(|thrown| thrown.is_object()) {
            return Self::Thrown(Thrown::read(thrown));
        }
        let status = text(&body, "status");
        if let (Some(status), Some(_)) = (status, body.get("expected")) {
            return Self::WrongStatus(SeenStatus::parse(&status));
        }
        let said = match body.get("message") {
            Some(Value::Array(lines)) => {
                let lines: Vec<_> = lines.iter().filter_map(Value::as_str).collect();
                Some(lines.join("; "))
            }
            _ => text(&body, "message"),
        };
        let said = said.or_else(|| text(&body, "detail"));
        match (said.or_else(|| text(&body, "error")), body.get("session")) {
            (Some(said), Some(_)) if said.contains("does not exist") => {
                Self::NoSession(redact(&said))
            }
            (Some(said), _) => Self::meaning(&said),
            (None, _) => Self::Silent,
        }
    }

    /// The sentences that the documentation and recordings show.
    fn meaning(said: &str) -> Self {
        if let Some((_, status)) = said.split_once("The current status is ") {
            return Self::WrongStatus(SeenStatus::parse(status.trim_end_matches('.')));
        }
        let kept = redact(said);
        let has = |words: &[&str]| words.iter().any(|words| said.contains(words));
        if has(&[
            "support only 'default' session",
            "find a session with name",
            "Session not found",
        ]) {
            Self::NoSession(kept)
        } else if said.starts_with("Message ") && said.ends_with("not found") {
            Self::NoMessage(kept)
        } else if has(&["already exists"]) {
            Self::Exists(kept)
        } else if has(&["is already started"]) {
            Self::Started(kept)
        } else if said.starts_with("Cannot ") && said.contains(" /") {
            Self::NoRoute(kept)
        } else if has(&["available only in Plus", "is not implemented by"]) {
            Self::NotOffered(kept)
        } else {
            Self::Said(kept)
        }
    }

    /// What was said, for people.
    pub(crate) fn detail(&self) -> String {
        match self {
            Self::WrongStatus(status) => format!("the session is {status}"),
            Self::NoSession(said)
            | Self::NoMessage(said)
            | Self::Exists(said)
            | Self::Started(said)
            | Self::NoRoute(said)
            | Self::NotOffered(said)
            | Self::Said(said) => said.clone(),
            Self::Thrown(thrown) if thrown.message.is_empty() => thrown.name.clone(),
            Self::Thrown(thrown) => format!("{}: {}", thrown.name, thrown.message),
            Self::Silent => "no words of WAHA".to_owned(),
        }
    }
}

impl Thrown {
    fn read(thrown: &Value) -> Self {
        let field = |name| text(thrown, name).map(|text| redact(&text));
        // GOWS repeats its text in `details` when `message` is missing.
        let message = field("message").or_else(|| field("details"));
        Self {
            name: field("name").unwrap_or_else(|| "Error".to_owned()),
            message: message.unwrap_or_default(),
            code: field("code"),
        }
    }

    /// WhatsApp's own error number, as GOWS reports it.
    pub(crate) fn server_error(&self) -> Option<u16> {
        let (_, rest) = self.message.split_once("server returned error ")?;
        let end = rest.find(|c: char| !c.is_ascii_digit());
        rest[..end.unwrap_or(rest.len())].parse().ok()
    }

    /// WhatsApp does not know the recipient.
    pub(crate) fn unknown_recipient(&self) -> bool {
        self.message.contains("no LID found")
    }

    /// The request had a field missing or of a wrong type, or was too large.
    pub(crate) fn blames_request(&self) -> bool {
        matches!(self.name.as_str(), "TypeError" | "PayloadTooLargeError")
    }

    /// The file to be sent could not be downloaded. A number as code is the engine's, not this.
    pub(crate) fn download_failed(&self) -> bool {
        let network = |code: &str| code.starts_with('E');
        self.name == "AxiosError"
            || self.code.as_deref().is_some_and(network)
            || self.message.starts_with("Request failed with status code")
    }

    /// WAHA itself waited in vain for WhatsApp.
    pub(crate) fn timed_out(&self) -> bool {
        self.message.contains("Timed Out")
    }

    /// WAHA gave up on its GOWS engine, a process of its own that may go on with the request: gRPC
    /// says so by a code in front of the words.
    pub(crate) fn engine_unheard(&self) -> bool {
        ["1 CANCELLED", "4 DEADLINE_EXCEEDED", "14 UNAVAILABLE"]
            .iter()
            .any(|code| self.message.starts_with(code))
    }

    /// WAHA's link to WhatsApp was down, or went down meanwhile.
    pub(crate) fn link_lost(&self) -> bool {
        self.message.contains("Connection Closed")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_six_shapes_are_read() {
        let said = |text: &str| Problem::Said(text.to_owned());
        let no_session = |text: &str| Problem::NoSession(text.to_owned());
        for (body, problem) in [
            (
                r#"{"message":"Unauthorized","statusCode":401}"#,
                said("Unauthorized"),
            ),
            (
                r#"{"message":["a","b"],"error":"Bad Request","statusCode":400}"#,
                said("a; b"),
            ),
            (
                r#"{"error":"Session status is not as expected","session":"default","status":"FAILED","expected":["WORKING"]}"#,
                Problem::WrongStatus(SeenStatus::Failed),
            ),
            (
                r#"{"error":"Session \"12025550100\" does not exist","session":"12025550100"}"#,
                no_session("Session \"****\" does not exist"),
            ),
            (
                r#"{"detail":"chatId is required"}"#,
                said("chatId is required"),
            ),
            (
                r#"{"statusCode":500,"timestamp":"x","exception":{"message":"Timed Out","name":"Error","stack":"..."},"request":{"path":"/api/sendText","body":{"text":"secret","chatId":"12132132130@c.us"}},"version":{}}"#,
                Problem::Thrown(Thrown {
                    name: "Error".into(),
                    message: "Timed Out".into(),
                    code: None,
                }),
            ),
            ("", Problem::Silent),
            ("<html>502</html>", Problem::Silent),
            ("[1]", Problem::Silent),
            (r#"{"message":7,"statusCode":"x"}"#, Problem::Silent),
        ] {
            assert_eq!(Problem::read(body.as_bytes()), problem, "{body}");
        }
    }

    #[test]
    fn the_recorded_sentences_are_understood() {
        let read = |said: &str| {
            let body = serde_json::json!({"message": said, "error": "x", "statusCode": 422});
            Problem::read(body.to_string().as_bytes())
        };
        for said in [
            "We didn't find a session with name 's'.\nPlease start it first by using POST /api/sessions/s/start request",
            "Session not found",
            "WAHA Core support only 'default' session. If you want to run more then one WhatsApp account - please get WAHA PLUS version.",
            "WAHA Core support only 'default' session. You tried to access 'other' session (base64: b3RoZXI=).",
        ] {
            assert!(matches!(read(said), Problem::NoSession(_)), "{said}");
        }
        let exists = read("Session 's' already exists. Use PUT to update it.");
        assert!(matches!(exists, Problem::Exists(_)));
        let started = read("Session 'default' is already started.");
        assert!(matches!(started, Problem::Started(_)));
        assert!(matches!(read("Cannot GET /api/nope"), Problem::NoRoute(_)));
        for said in [
            "The feature is available only in Plus version of WAHA",
            "The method is not implemented by 'NOWEB' engine. Use another",
        ] {
            assert!(matches!(read(said), Problem::NotOffered(_)), "{said}");
        }
        assert_eq!(
            read("Can request code only in SCAN_QR_CODE status. The current status is WORKING"),
            Problem::WrongStatus(SeenStatus::Working)
        );
    }
}
