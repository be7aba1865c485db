//! Workers on the wire. Their keys are never there.

use serde::{Deserialize, Serialize};
use store::workers::{Removed, Worker};
use time::OffsetDateTime;
use time::serde::rfc3339;
use utoipa::ToSchema;
use uuid::Uuid;

/// Whether a worker takes sessions.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum StateView {
    /// Takes sessions.
    Active,
    /// Keeps its sessions and takes no new ones.
    Cordoned,
    /// The same as cordoned in this version: nothing is moved away.
    Draining,
}

/// What the last check of a worker found.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum WorkerHealthView {
    /// Not checked yet.
    Unknown,
    /// Answers, with our key.
    Up,
    /// Does not answer, or refuses our key.
    Down,
}

/// A WAHA server.
#[derive(Debug, Serialize, ToSchema)]
pub struct WorkerView {
    /// Its id.
    pub id: Uuid,
    /// For people.
    pub name: String,
    /// Where it is.
    pub url: String,
    /// How many sessions may live on it.
    pub capacity: i32,
    /// Whether that follows MAX_SESSIONS_PER_WORKER.
    pub capacity_inherited: bool,
    /// How many of them may run at once.
    pub max_live: i32,
    /// Whether that follows MAX_LIVE_SESSIONS.
    pub max_live_inherited: bool,
    /// Sessions that have a place on it.
    pub sessions: i32,
    /// Sessions that hold one of its live slots.
    pub live_sessions: i32,
    /// Whether it takes sessions.
    pub state: StateView,
    /// What its last check found.
    pub health: WorkerHealthView,
    /// Why it is down.
    #[schema(required, nullable)]
    pub health_reason: Option<String>,
    /// Its version, once known.
    #[schema(required, nullable, example = "2026.8.2")]
    pub version: Option<String>,
    /// Its engine, once known.
    #[schema(required, nullable, example = "NOWEB")]
    pub engine: Option<String>,
    /// Its edition, once known.
    #[schema(required, nullable, example = "CORE")]
    pub tier: Option<String>,
    /// Whether it takes several sessions; otherwise one, whatever its capacity says.
    pub multi_session: bool,
    /// Whether it sends images, videos, voice and files.
    pub media: bool,
    /// When it was last checked.
    #[serde(with = "rfc3339::option")]
    #[schema(required, nullable)]
    pub checked_at: Option<OffsetDateTime>,
    /// When it was registered.
    #[serde(with = "rfc3339")]
    pub created_at: OffsetDateTime,
    /// Something its operator should know.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

impl From<Worker> for WorkerView {
    fn from(worker: Worker) -> Self {
        use models::worker::{WorkerHealth, WorkerState};
        Self {
            id: worker.id.uuid(),
            name: worker.name,
            url: worker.url,
            capacity: worker.capacity.value,
            capacity_inherited: worker.capacity.inherited,
            max_live: worker.max_live.value,
            max_live_inherited: worker.max_live.inherited,
            sessions: worker.placed,
            live_sessions: worker.live,
            state: match worker.state {
                WorkerState::Active => StateView::Active,
                WorkerState::Cordoned => StateView::Cordoned,
                WorkerState::Draining => StateView::Draining,
            },
            health: match worker.health {
                WorkerHealth::Unknown => WorkerHealthView::Unknown,
                WorkerHealth::Up => WorkerHealthView::Up,
                WorkerHealth::Down => WorkerHealthView::Down,
            },
            health_reason: worker.health_reason,
            version: worker.version,
            engine: worker.engine,
            tier: worker.tier,
            multi_session: worker.capabilities.multi_session,
            media: worker.capabilities.media,
            checked_at: worker.checked_at,
            created_at: worker.created_at,
            note: None,
        }
    }
}

/// What a clean-up removed.
#[derive(Debug, Serialize, ToSchema)]
pub struct CleanupView {
    /// Workers.
    pub workers_removed: u64,
    /// Sessions, queued ones too.
    pub sessions_removed: u64,
    /// Campaigns that were cancelled because their session went.
    pub campaigns_cancelled: u64,
}

impl From<Removed> for CleanupView {
    fn from(removed: Removed) -> Self {
        Self {
            workers_removed: removed.workers,
            sessions_removed: removed.sessions,
            campaigns_cancelled: removed.campaigns_cancelled,
        }
    }
}
