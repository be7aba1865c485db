//! Sessions on the wire.

use models::session::{SessionStatus, SessionWanted};
use models::worker::WorkerHealth;
use policy::health::{Facts, health};
use serde::Serialize;
use store::sessions::Session;
use time::OffsetDateTime;
use time::serde::rfc3339;
use utoipa::ToSchema;
use uuid::Uuid;

use super::campaigns::status;

status! {
    /// What a session is seen to be doing.
    SessionState of models::session::SessionStatus {
        Queued = "QUEUED", Starting = "STARTING", ScanQrCode = "SCAN_QR_CODE",
        PasskeyRequired = "PASSKEY_REQUIRED", Working = "WORKING", Failed = "FAILED",
        Stopped = "STOPPED",
    }
}

/// One number's login.
#[derive(Debug, Serialize, ToSchema)]
pub struct SessionView {
    /// The number.
    pub phone_number: String,
    /// What it is doing.
    pub status: SessionState,
    /// The same for people, with what is to be done about it.
    pub message: String,
    /// When it last did anything.
    #[serde(with = "rfc3339::option")]
    #[schema(required, nullable)]
    pub last_active: Option<OffsetDateTime>,
    /// When it ends by itself: never.
    #[serde(with = "rfc3339::option")]
    #[schema(required, nullable)]
    pub expires_at: Option<OffsetDateTime>,
    /// Whether a person has to link the number.
    pub requires_auth: bool,
    /// Where it is; null while it is queued.
    #[schema(required, nullable)]
    pub worker: Option<WorkerRef>,
    /// When it was asked for.
    #[serde(with = "rfc3339")]
    pub created_at: OffsetDateTime,
    /// How the number is, whatever its session looks like.
    pub health: NumberHealthView,
    /// More about it.
    pub data: SessionData,
}

/// The health of a number.
#[derive(Debug, Serialize, ToSchema)]
pub struct NumberHealthView {
    /// healthy; silent: its acks stopped coming; time_locked: WhatsApp keeps it from starting
    /// chats; logged_out: it must be linked again; resting: it is tried again later.
    pub state: HealthState,
    /// Why it is not healthy.
    #[schema(required, nullable)]
    pub reason: Option<String>,
    /// When it is tried again; null when that depends on a person.
    #[serde(with = "rfc3339::option")]
    #[schema(required, nullable)]
    pub next_attempt_at: Option<OffsetDateTime>,
    /// Messages that workers accepted since the last ack.
    pub unacked_messages: i32,
    /// When WhatsApp last reported on one of its messages.
    #[serde(with = "rfc3339::option")]
    #[schema(required, nullable)]
    pub last_ack_at: Option<OffsetDateTime>,
}

status! {
    /// How a number is.
    HealthState of policy::health::State {
        Healthy = "healthy", Silent = "silent", TimeLocked = "time_locked",
        LoggedOut = "logged_out", Resting = "resting",
    }
}

impl NumberHealthView {
    fn new(session: &Session) -> Self {
        let facts = &session.health;
        let judged = Facts {
            session: Some(session.status),
            resting_until: facts.resting_until,
            rest_code: facts.rest_code.as_deref(),
            rest_reason: facts.rest_reason.as_deref(),
        };
        let health = health(&judged, facts.now);
        Self {
            state: health.state.into(),
            reason: health.reason,
            next_attempt_at: health.next_attempt_at,
            unacked_messages: facts.unacked,
            last_ack_at: facts.last_ack_at,
        }
    }
}

/// Where a session is.
#[derive(Debug, Serialize, ToSchema)]
pub struct WorkerRef {
    /// The worker's id.
    pub id: Uuid,
    /// The worker's name.
    pub name: String,
}

/// More about a session.
#[derive(Debug, Serialize, ToSchema)]
pub struct SessionData {
    /// What its users want of it: RUNNING or STOPPED.
    #[schema(example = "RUNNING")]
    pub wanted: String,
    /// What it waits for, or what went wrong.
    #[schema(required, nullable)]
    pub reason: Option<String>,
    /// Its place in the queue, from 1, while it is queued; not told in lists.
    #[schema(required, nullable)]
    pub queue_place: Option<i64>,
    /// When its status last changed.
    #[serde(with = "rfc3339")]
    pub status_since: OffsetDateTime,
    /// When the next step for it is due.
    #[serde(with = "rfc3339::option")]
    #[schema(required, nullable)]
    pub next_attempt_at: Option<OffsetDateTime>,
}

impl SessionView {
    /// The view of a row; `queue_place` while it is queued.
    pub fn new(session: Session, queue_place: Option<i64>) -> Self {
        Self {
            message: words(&session, queue_place),
            health: NumberHealthView::new(&session),
            phone_number: session.phone.to_string(),
            status: session.status.into(),
            last_active: session.last_active,
            expires_at: None,
            requires_auth: session.status.requires_auth(),
            worker: session.place.map(|place| WorkerRef {
                id: place.worker.uuid(),
                name: place.name,
            }),
            created_at: session.created_at,
            data: SessionData {
                wanted: session.wanted.name().to_owned(),
                reason: session.reason,
                queue_place,
                status_since: session.status_at,
                next_attempt_at: session.due_at,
            },
        }
    }
}

/// A status in words for people.
pub fn words(session: &Session, queue_place: Option<i64>) -> String {
    let phone = &session.phone;
    let place = session.place.as_ref();
    let down = place.is_some_and(|place| place.health == WorkerHealth::Down);
    match session.status {
        SessionStatus::Queued if session.wanted == SessionWanted::Stopped => {
            format!(
                "Was stopped before a worker had room; \
                 start it with POST /api/sessions/{phone}/start"
            )
        }
        SessionStatus::Queued => match queue_place {
            Some(place) => format!("Waits for a worker with room, at place {place} of the queue"),
            None => "Waits for a worker with room".to_owned(),
        },
        SessionStatus::Starting => "Is being started".to_owned(),
        SessionStatus::ScanQrCode => format!(
            "Scan the QR code of /api/sessions/{phone}/qr with WhatsApp on the phone, \
             under Linked devices"
        ),
        SessionStatus::PasskeyRequired => {
            "Confirm the passkey on the phone, or in the worker's dashboard".to_owned()
        }
        SessionStatus::Working if session.wanted == SessionWanted::Stopped => {
            "Is being stopped".to_owned()
        }
        SessionStatus::Working if down => "Is linked, but its worker is down".to_owned(),
        SessionStatus::Working => "Is linked and can send".to_owned(),
        SessionStatus::Failed => format!(
            "The login was lost: start it again with POST /api/sessions/{phone}/start \
             and link the number"
        ),
        SessionStatus::Stopped => match session.reason.as_deref() {
            Some(reason) => format!("Is stopped: {reason}"),
            None => format!("Is stopped; start it with POST /api/sessions/{phone}/start"),
        },
    }
}

/// A QR code to be scanned.
#[derive(Debug, Serialize, ToSchema)]
pub struct QrView {
    /// What the session is doing.
    pub status: SessionState,
    /// The same for people.
    pub message: String,
    /// The picture: a PNG in base64; null when the number is linked already.
    #[schema(required, nullable)]
    pub qr_code: Option<String>,
    /// Ask for a new one then.
    #[serde(with = "rfc3339::option")]
    #[schema(required, nullable)]
    pub expires_at: Option<OffsetDateTime>,
}

/// A code to be typed on the phone.
#[derive(Debug, Serialize, ToSchema)]
pub struct PairingCodeView {
    /// The code.
    #[schema(example = "ABCD-1234")]
    pub code: String,
}

/// Who is linked.
#[derive(Debug, Serialize, ToSchema)]
pub struct MeView {
    /// The session's number.
    pub phone_number: String,
    /// WhatsApp's id of the account; null when nobody is linked.
    #[schema(required, nullable, example = "21642108101@c.us")]
    pub id: Option<String>,
    /// The account's name.
    #[schema(required, nullable)]
    pub push_name: Option<String>,
    /// WhatsApp's hidden id of the account.
    #[schema(required, nullable)]
    pub lid: Option<String>,
}

/// The numbers that have a session.
#[derive(Debug, Serialize, ToSchema)]
pub struct NumbersView {
    /// How many there are, on this page or not.
    pub count: i64,
    /// Those of this page, in the order of their digits.
    pub numbers: Vec<String>,
}
