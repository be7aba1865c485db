//! What to do next about one session: from what is wanted and what is seen to one step.
//!
//! Always true: each step leads closer to what is wanted (the tests walk every situation to its
//! end); nothing that costs the login is done to a session that works and is wanted running,
//! unless its log-out was asked for; a session that fails is restarted once and then left for a
//! person.

use std::time::Duration;

use models::session::{SessionStatus, SessionWanted};

/// Restarts of a session that `FAILED`, until it works again or a person asks for it: one helps
/// where a connection had gone wrong; more would only make more QR codes that nobody scans.
pub const RESTARTS_MAX: u32 = 1;
/// Log-outs that may fail before a session that is to go is deleted all the same (deleting logs
/// out too).
const LOGOUTS_MAX: u32 = 3;

/// What a worker says about a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    /// It does not know it.
    Absent,
    /// It knows it.
    Present(SessionStatus),
    /// It knows it, in a status that we do not know.
    Puzzling,
}

/// All that the next step depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Situation {
    /// What its users want.
    pub wanted: SessionWanted,
    /// What its worker says.
    pub seen: Seen,
    /// It has our webhook, of this placement.
    pub ours: bool,
    /// It is to be logged out: somebody asked for it, or it is somebody else's login that was
    /// left on the worker.
    pub logout: bool,
    /// It holds one of its worker's live slots.
    pub live: bool,
    /// Steps in a row that did not lead anywhere.
    pub attempts: u32,
    /// Restarts after `FAILED`, since it last worked or a person last asked for it.
    pub restarts: u32,
}

/// What to do next. At most one call to the worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Step {
    /// Take a live slot; without one it must stay as it is.
    TakeLiveSlot,
    /// Make it on the worker, started.
    Create,
    /// Give it our webhook; a running one is restarted by this.
    Configure,
    /// Start it.
    Start,
    /// Stop it and start it, keeping its login.
    Restart,
    /// Stop it, keeping its login.
    Stop,
    /// Wipe its login.
    Logout,
    /// Remove it from the worker.
    Delete,
    /// It is gone from the worker: drop it here too.
    Forget,
    /// Nothing but looking again.
    Wait(Wait),
    /// It is as wanted.
    Done,
}

impl Step {
    /// The name in metrics and logs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::TakeLiveSlot => "take_live_slot",
            Self::Create => "create",
            Self::Configure => "configure",
            Self::Start => "start",
            Self::Restart => "restart",
            Self::Stop => "stop",
            Self::Logout => "logout",
            Self::Delete => "delete",
            Self::Forget => "forget",
            Self::Wait(_) => "wait",
            Self::Done => "done",
        }
    }
}

/// What a session waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Wait {
    /// Its connection to WhatsApp.
    Connecting,
    /// A person who links it now.
    Linking,
    /// A person who asks for a new QR code; it has failed too often.
    Relinking,
    /// A newer version of this program, or the worker's change of mind.
    Puzzled,
}

impl Wait {
    /// In how long to look again, given how long it has been so; `None` when somebody's asking, or
    /// the worker's regular check, will tell. Webhooks tell sooner.
    pub fn look_again_in(self, so_for: Duration) -> Option<Duration> {
        let (min, max) = match self {
            Self::Connecting => (Duration::from_millis(500), Duration::from_secs(30)),
            Self::Linking => (Duration::from_secs(2), Duration::from_secs(20)),
            Self::Puzzled => (Duration::from_secs(30), Duration::from_secs(30)),
            Self::Relinking => return None,
        };
        Some((so_for / 2).clamp(min, max))
    }
}

/// The next step of a session.
pub fn next_step(now: &Situation) -> Step {
    match now.wanted {
        SessionWanted::Gone => toward_gone(now),
        SessionWanted::Stopped => toward_stopped(now),
        SessionWanted::Running => toward_running(now),
    }
}

fn toward_gone(now: &Situation) -> Step {
    match now.seen {
        Seen::Absent => Step::Forget,
        Seen::Present(SessionStatus::Working) if now.attempts < LOGOUTS_MAX => Step::Logout,
        Seen::Present(_) | Seen::Puzzling => Step::Delete,
    }
}

fn toward_stopped(now: &Situation) -> Step {
    match now.seen {
        Seen::Absent => Step::Done,
        Seen::Present(_) | Seen::Puzzling if now.logout => Step::Logout,
        Seen::Present(SessionStatus::Stopped) => Step::Done,
        Seen::Present(_) | Seen::Puzzling => Step::Stop,
    }
}

fn toward_running(now: &Situation) -> Step {
    let status = match now.seen {
        _ if !now.live => return Step::TakeLiveSlot,
        Seen::Absent => return Step::Create,
        Seen::Present(_) | Seen::Puzzling if now.logout => return Step::Logout,
        Seen::Present(_) | Seen::Puzzling if !now.ours => return Step::Configure,
        Seen::Puzzling => return Step::Wait(Wait::Puzzled),
        Seen::Present(status) => status,
    };
    match status {
        SessionStatus::Working => Step::Done,
        SessionStatus::Stopped => Step::Start,
        SessionStatus::Failed if now.restarts < RESTARTS_MAX => Step::Restart,
        SessionStatus::Failed => Step::Wait(Wait::Relinking),
        SessionStatus::ScanQrCode | SessionStatus::PasskeyRequired => Step::Wait(Wait::Linking),
        // No worker says QUEUED; if one did, it would mean that it is about to connect.
        SessionStatus::Starting | SessionStatus::Queued => Step::Wait(Wait::Connecting),
    }
}

#[cfg(test)]
mod tests;
