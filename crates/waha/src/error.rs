//! Why a call (other than a send) did not succeed; classified once.

use reqwest::{RequestBuilder, StatusCode};

use crate::dto::problem::Problem;
use crate::sessions::SeenStatus;
use crate::wire::{Answer, Broken, exchange};

/// A call that did not succeed. Texts are fit for logs and answers: no keys, no numbers.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// No connection came about; the request did not leave.
    #[error("the worker cannot be reached: {detail}")]
    Unreachable {
        /// Why.
        detail: String,
    },
    /// No answer in time; the call may have taken effect.
    #[error("the worker did not answer in time")]
    TimedOut,
    /// The connection broke; the call may have taken effect.
    #[error("the connection broke before the answer was there: {detail}")]
    Cut {
        /// Why.
        detail: String,
    },
    /// The key is wrong, or not good for this call (401, 403).
    #[error("the worker refuses the key")]
    Unauthorized,
    /// The address cannot be asked, or what answers there is not WAHA.
    #[error("no WAHA answers at this address: {detail}")]
    NotWaha {
        /// What answered instead.
        detail: String,
    },
    /// The worker does not know the session. Before 2026 also: it is not running.
    #[error("the worker does not know the session: {detail}")]
    NotFound {
        /// What it said.
        detail: String,
    },
    /// The session is there and has no message of that id.
    #[error("the worker does not know the message")]
    NoMessage,
    /// A session of that name exists already.
    #[error("the session exists already")]
    AlreadyExists,
    /// The session runs already (before 2026.6.1; later versions call it a success).
    #[error("the session runs already")]
    AlreadyStarted,
    /// The session is not in a status that allows the call.
    #[error("the session is {status}, which does not allow this")]
    WrongStatus {
        /// The status that WAHA gave.
        status: SeenStatus,
    },
    /// This version, tier or engine does not offer the call.
    #[error("this worker does not offer this: {detail}")]
    NotOffered {
        /// What it said.
        detail: String,
    },
    /// Any other refusal (4xx).
    #[error("the worker refused ({status}): {detail}")]
    Refused {
        /// The HTTP status.
        status: u16,
        /// What it said.
        detail: String,
    },
    /// WAHA, or something in front of it, failed (5xx); the call may have taken effect.
    #[error("the worker failed ({status}): {detail}")]
    Failed {
        /// The HTTP status.
        status: u16,
        /// What it said.
        detail: String,
    },
    /// A success whose body cannot be read.
    #[error("the worker's answer ({status}) cannot be understood")]
    Unexpected {
        /// The HTTP status.
        status: u16,
    },
}

/// What a failed call says about the worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CallClass {
    /// It is not there or does not answer: try later.
    Down,
    /// It is there and will not serve us until an operator acts: address, key or edition.
    Misconfigured,
    /// It knows no such session, or has or runs it already.
    Session,
    /// The session must change first: wait, start it, or have it linked.
    Status,
    /// It does not do what was asked, and asking again will not help.
    Refused,
    /// It failed inside: try later, and look before doing anything twice.
    Faulty,
}

impl CallError {
    /// What it says about the worker.
    pub fn class(&self) -> CallClass {
        match self {
            Self::Unreachable { .. } | Self::TimedOut | Self::Cut { .. } => CallClass::Down,
            Self::Unauthorized | Self::NotWaha { .. } => CallClass::Misconfigured,
            Self::NotFound { .. } | Self::AlreadyExists | Self::AlreadyStarted => {
                CallClass::Session
            }
            Self::WrongStatus { .. } => CallClass::Status,
            Self::NotOffered { .. } | Self::Refused { .. } | Self::NoMessage => CallClass::Refused,
            Self::Failed { .. } | Self::Unexpected { .. } => CallClass::Faulty,
        }
    }

    /// A stable word for tables and metrics.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Unreachable { .. } => "worker_unreachable",
            Self::TimedOut => "answer_timed_out",
            Self::Cut { .. } => "answer_lost",
            Self::Unauthorized => "bad_worker_key",
            Self::NotWaha { .. } => "not_waha",
            Self::NotFound { .. } => "session_missing",
            Self::NoMessage => "message_missing",
            Self::AlreadyExists => "session_exists",
            Self::AlreadyStarted => "session_started",
            Self::WrongStatus { .. } => "session_not_ready",
            Self::NotOffered { .. } => "not_offered",
            Self::Refused { .. } => "worker_refused",
            Self::Failed { .. } => "server_error",
            Self::Unexpected { .. } => "answer_not_understood",
        }
    }

    fn of(status: StatusCode, problem: Problem) -> Self {
        let detail = problem.detail();
        let code = status.as_u16();
        match (code, problem) {
            (401 | 403, _) => Self::Unauthorized,
            (300..=399, _) => Self::NotWaha {
                detail: format!("redirects ({status})"),
            },
            (404, Problem::NoRoute(detail)) => Self::NotWaha { detail },
            (404 | 405, Problem::Silent) => Self::NotWaha {
                detail: format!("answers {status}"),
            },
            (404, Problem::NoMessage(_)) => Self::NoMessage,
            (404, _) | (422, Problem::NoSession(_)) => Self::NotFound { detail },
            (422, Problem::WrongStatus(status)) => Self::WrongStatus { status },
            (422, Problem::Exists(_)) => Self::AlreadyExists,
            (422, Problem::Started(_)) => Self::AlreadyStarted,
            (501, _) | (422, Problem::NotOffered(_)) => Self::NotOffered { detail },
            (400..=499, _) => Self::Refused {
                status: code,
                detail,
            },
            (500.., _) => Self::Failed {
                status: code,
                detail,
            },
            _ => Self::Unexpected { status: code },
        }
    }
}

impl From<Broken> for CallError {
    fn from(broken: Broken) -> Self {
        match broken {
            Broken::NotSent(detail) => Self::Unreachable { detail },
            Broken::Unusable(detail) => Self::NotWaha { detail },
            Broken::TimedOut => Self::TimedOut,
            Broken::Cut(detail) => Self::Cut { detail },
            Broken::TooLarge => Self::Cut {
                detail: "the answer is too large".to_owned(),
            },
        }
    }
}

/// Makes a call and reads its success with `read`, which says `None` to what it does not know.
pub(crate) async fn call<T>(
    request: RequestBuilder,
    read: impl FnOnce(&[u8]) -> Option<T>,
) -> Result<T, CallError> {
    let Answer { status, body } = exchange(request).await?;
    let body = body?;
    if !status.is_success() {
        return Err(CallError::of(status, Problem::read(&body)));
    }
    read(&body).ok_or(CallError::Unexpected {
        status: status.as_u16(),
    })
}

/// The same for calls whose success says nothing.
pub(crate) async fn order(request: RequestBuilder) -> Result<(), CallError> {
    call(request, |_| Some(())).await
}
