//! Everything that can go wrong with a request, as `application/problem+json` (RFC 9457).
//!
//! Always true: the kinds are a closed list, published in the OpenAPI document, and this is the
//! only place where the status of a refusal is chosen.

use std::borrow::Cow;
use std::fmt;

use actix_web::http::StatusCode;
use actix_web::http::header::RETRY_AFTER;
use actix_web::{HttpResponse, ResponseError};
use models::ids::CampaignId;
use models::phone::PhoneNumber;
use serde::Serialize;
use store::StoreError;
use time::OffsetDateTime;
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};
use waha::CallError;

use crate::views::schema::one_of;

/// The media type of every refusal.
pub const PROBLEM_JSON: &str = "application/problem+json";
/// Seconds after which a database that is away is worth another try.
const RETRY_DATABASE_SECS: u32 = 5;
/// Seconds after which a full disk is: other uploads will have ended.
const RETRY_SPOOL_SECS: u32 = 30;

macro_rules! kinds {
    ($($(#[doc = $doc:literal])+ $kind:ident = $id:literal, $status:ident;)+) => {
        /// What kind of problem it is. Clients may rely on these; the words beside them may change.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        pub enum Kind { $($(#[doc = $doc])+ #[serde(rename = $id)] $kind,)+ }

        impl Kind {
            /// Every kind.
            pub const ALL: &'static [Self] = &[$(Self::$kind),+];

            /// The `type` of the answer.
            pub const fn id(self) -> &'static str {
                match self { $(Self::$kind => $id),+ }
            }

            /// The status of the answer.
            pub const fn status(self) -> StatusCode {
                match self { $(Self::$kind => StatusCode::$status),+ }
            }

            /// What it means, whatever the circumstances.
            pub fn title(self) -> &'static str {
                match self { $(Self::$kind => concat!($($doc),+).trim()),+ }
            }
        }
    };
}

kinds! {
    /// The body is not JSON
    MalformedJson = "malformed-json", BAD_REQUEST;
    /// The body ended too soon
    BodyIncomplete = "body-incomplete", BAD_REQUEST;
    /// The admin key is missing
    KeyMissing = "admin-key-missing", UNAUTHORIZED;
    /// The admin key is wrong
    KeyWrong = "admin-key-wrong", UNAUTHORIZED;
    /// The webhook's signature is wrong
    SignatureWrong = "signature-wrong", UNAUTHORIZED;
    /// There is no such path
    RouteUnknown = "route-unknown", NOT_FOUND;
    /// There is no such campaign
    CampaignUnknown = "campaign-unknown", NOT_FOUND;
    /// The campaign has no such message
    MessageUnknown = "message-unknown", NOT_FOUND;
    /// The campaign's messages were deleted: they were past retention
    MessagesPurged = "messages-purged", GONE;
    /// There is no such session
    SessionUnknown = "session-unknown", NOT_FOUND;
    /// There is no such worker
    WorkerUnknown = "worker-unknown", NOT_FOUND;
    /// The path knows other methods
    MethodNotAllowed = "method-not-allowed", METHOD_NOT_ALLOWED;
    /// The sender has no session
    SenderUnknown = "sender-unknown", CONFLICT;
    /// The campaign has ended
    CampaignFinished = "campaign-finished", CONFLICT;
    /// Another worker has this URL
    WorkerUrlTaken = "worker-url-taken", CONFLICT;
    /// The worker holds sessions
    WorkerHoldsSessions = "worker-holds-sessions", CONFLICT;
    /// The session is not in a state that allows this
    SessionState = "session-state", CONFLICT;
    /// The body is too large
    BodyTooLarge = "body-too-large", PAYLOAD_TOO_LARGE;
    /// The body's media type is not taken here
    MediaType = "unsupported-media-type", UNSUPPORTED_MEDIA_TYPE;
    /// Fields are missing or wrong
    Invalid = "invalid", UNPROCESSABLE_ENTITY;
    /// The worker cannot be used
    WorkerRefused = "worker-check-failed", UNPROCESSABLE_ENTITY;
    /// The campaign may be stored, and may not be
    PerhapsStored = "perhaps-stored", SERVICE_UNAVAILABLE;
    /// Cannot be served right now
    Unavailable = "unavailable", SERVICE_UNAVAILABLE;
    /// Our fault
    Internal = "internal", INTERNAL_SERVER_ERROR;
}

impl PartialSchema for Kind {
    fn schema() -> RefOr<Schema> {
        let ids: Vec<_> = Self::ALL.iter().map(|kind| kind.id()).collect();
        one_of(
            "Which kind of problem it is. Clients may rely on these.",
            &ids,
        )
    }
}

impl ToSchema for Kind {
    fn name() -> Cow<'static, str> {
        Cow::Borrowed("ProblemType")
    }
}

/// One thing that is wrong with a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Fault {
    /// Where: a JSON pointer into the body, `?name` for a query parameter, `{name}` for a part of
    /// the path.
    #[schema(example = "/recipients/17")]
    pub pointer: String,
    /// What is wrong there, for people.
    #[schema(example = "\"12a\" has a letter in it")]
    pub detail: String,
}

impl Fault {
    /// A fault at `pointer`.
    pub fn new(pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        Self {
            pointer: pointer.into(),
            detail: detail.into(),
        }
    }
}

/// A refusal, and what the log may know beside what the client may.
#[derive(Debug)]
pub struct Problem {
    /// Its kind.
    pub kind: Kind,
    /// What is wrong this time, for people.
    pub detail: String,
    /// Everything that is wrong with the fields.
    pub errors: Vec<Fault>,
    retry_after: Option<u32>,
    cause: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// A refusal on the wire (RFC 9457).
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Problem)]
pub struct ProblemView<'a> {
    /// Which kind of problem it is, from a closed list.
    #[serde(rename = "type")]
    kind: Kind,
    /// What the kind means.
    #[schema(value_type = String, example = "Fields are missing or wrong")]
    title: &'static str,
    /// The HTTP status, again.
    #[schema(minimum = 400, maximum = 599, example = 422)]
    status: u16,
    /// What is wrong this time.
    #[schema(value_type = String)]
    detail: &'a str,
    /// One entry for each fault, all of them at once.
    #[schema(value_type = Vec<Fault>)]
    errors: &'a [Fault],
}

impl Problem {
    /// A problem of this kind, explained.
    pub fn new(kind: Kind, detail: impl Into<String>) -> Self {
        Self {
            kind,
            detail: detail.into(),
            errors: Vec::new(),
            retry_after: None,
            cause: None,
        }
    }

    /// Fields are missing or wrong.
    pub fn invalid(errors: Vec<Fault>) -> Self {
        let detail = match &errors[..] {
            [] => "the request is not valid".to_owned(),
            [Fault { pointer, detail }] => format!("{pointer}: {detail}"),
            many => format!("{} fields are missing or wrong", many.len()),
        };
        Self {
            errors,
            ..Self::new(Kind::Invalid, detail)
        }
    }

    /// One field is missing or wrong.
    pub fn fault(pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::invalid(vec![Fault::new(pointer, detail)])
    }

    /// A worker cannot be used; `pointer` is the field that it is about.
    pub fn worker_refused(pointer: &str, detail: String) -> Self {
        Self {
            errors: vec![Fault::new(pointer, detail.clone())],
            ..Self::new(Kind::WorkerRefused, detail)
        }
    }

    /// Cannot be served now; in that many seconds perhaps.
    pub fn not_yet(detail: impl Into<String>, retry_after_secs: u32) -> Self {
        Self {
            retry_after: Some(retry_after_secs),
            ..Self::new(Kind::Unavailable, detail)
        }
    }

    /// The number has no session.
    pub fn session_unknown(phone: &PhoneNumber) -> Self {
        let detail = format!(
            "there is no session for {phone}; create it with \
             POST /api/sessions {{\"phone_number\": \"{phone}\"}}"
        );
        Self::new(Kind::SessionUnknown, detail)
    }

    /// There is no such campaign.
    pub fn campaign_unknown(id: CampaignId) -> Self {
        Self::new(Kind::CampaignUnknown, format!("there is no campaign {id}"))
    }

    /// The campaign's messages are gone, as they were to be.
    pub fn messages_purged(campaign: CampaignId, at: OffsetDateTime) -> Self {
        let detail = format!(
            "the messages of campaign {campaign} were past retention and were deleted on {}; its \
             totals are at /api/status/{campaign}",
            at.date()
        );
        Self::new(Kind::MessagesPurged, detail)
    }

    /// The database is not there.
    pub fn database_away(error: impl std::error::Error + Send + Sync + 'static) -> Self {
        let detail = "the database cannot be reached; nothing was changed";
        Self::not_yet(detail, RETRY_DATABASE_SECS).because(error)
    }

    /// The database was lost while it stored a campaign, and for long after. Nothing is said of
    /// trying again: whoever does so without looking first may say everything twice.
    pub fn perhaps_stored(campaign: CampaignId) -> Self {
        let detail = format!(
            "the database was lost while the campaign was being stored, and nobody knows whether \
             it was: look at /api/status/{campaign} before you submit it again"
        );
        Self::new(Kind::PerhapsStored, detail)
    }

    /// A worker that was asked something could not say.
    pub fn worker_away(error: &CallError) -> Self {
        Self::not_yet(format!("the session's worker cannot say: {error}"), 5)
    }

    /// The same, with what the log should know.
    #[must_use]
    pub fn because(mut self, cause: impl std::error::Error + Send + Sync + 'static) -> Self {
        self.cause = Some(Box::new(cause));
        self
    }

    /// Whether something failed on our side; "not yet" alone is no failure.
    pub fn is_failure(&self) -> bool {
        matches!(self.kind, Kind::Internal | Kind::PerhapsStored) || self.cause.is_some()
    }

    /// The cause with all that lies behind it, for the log.
    pub fn chain(&self) -> String {
        match &self.cause {
            Some(cause) => format!("{}: {}", self.detail, chassis::chain(&**cause)),
            None => self.detail.clone(),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.kind.title(), self.detail)
    }
}

impl ResponseError for Problem {
    fn status_code(&self) -> StatusCode {
        self.kind.status()
    }

    fn error_response(&self) -> HttpResponse {
        let mut answer = HttpResponse::build(self.kind.status());
        if let Some(secs) = self.retry_after {
            answer.insert_header((RETRY_AFTER, secs));
        }
        answer.content_type(PROBLEM_JSON).json(ProblemView {
            kind: self.kind,
            title: self.kind.title(),
            status: self.kind.status().as_u16(),
            detail: &self.detail,
            errors: &self.errors,
        })
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        if error.is_unavailable() {
            return Self::database_away(error);
        }
        if matches!(error, StoreError::Spool(_)) {
            let detail = "the recipients could not be kept while they came in, most likely for \
                want of room on the disk; nothing was stored";
            return Self::not_yet(detail, RETRY_SPOOL_SECS).because(error);
        }
        Self::new(
            Kind::Internal,
            "something went wrong on our side; it was logged",
        )
        .because(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_unique_and_every_kind_has_words() {
        let mut ids: Vec<_> = Kind::ALL.iter().map(|kind| kind.id()).collect();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), Kind::ALL.len());
        for kind in Kind::ALL {
            assert!(!kind.title().is_empty() && kind.status().as_u16() >= 400);
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.id());
        }
    }

    #[test]
    fn the_log_knows_more_than_the_client() {
        let problem = Problem::from(StoreError::Unavailable("secret host".into()));
        assert_eq!(problem.status_code(), StatusCode::SERVICE_UNAVAILABLE);
        assert!(
            problem.chain().ends_with("is not available: secret host"),
            "{}",
            problem.chain()
        );
        let answer = problem.error_response();
        assert_eq!(answer.headers().get(RETRY_AFTER).unwrap(), "5");
        assert!(!problem.detail.contains("secret"));
    }

    #[test]
    fn what_nobody_knows_is_a_failure_and_not_to_be_tried_again() {
        let problem = Problem::perhaps_stored(CampaignId::new(uuid::Uuid::from_u128(7)));
        assert!(problem.is_failure());
        assert!(!problem.error_response().headers().contains_key(RETRY_AFTER));
        assert!(!Problem::not_yet("the gateway is stopping", 5).is_failure());
    }

    #[test]
    fn one_fault_is_said_in_the_detail_too() {
        assert_eq!(Problem::fault("/a", "is missing").detail, "/a: is missing");
        let two = Problem::invalid(vec![Fault::new("/a", "x"), Fault::new("/b", "y")]);
        assert_eq!(two.detail, "2 fields are missing or wrong");
    }
}
