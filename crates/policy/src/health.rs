//! The health of a number: what keeps it from sending, why, and until when.
//!
//! A session that is WORKING proves nothing about WhatsApp (WAHA contract, section 5.1): numbers
//! are restricted (errors 463 and 475) or fall silent while their sessions look well.

use std::time::Duration;

use models::outcome::RESTRICTED;
use models::session::SessionStatus;
use time::OffsetDateTime;

/// How a number is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It can send, as far as anybody can tell.
    Healthy,
    /// Its acks stopped coming; it rests between probes.
    Silent,
    /// WhatsApp keeps it from starting chats.
    TimeLocked,
    /// A person must link it again.
    LoggedOut,
    /// It could not send, and is tried again later.
    Resting,
}

impl State {
    /// The word in answers and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Silent => "silent",
            Self::TimeLocked => "time_locked",
            Self::LoggedOut => "logged_out",
            Self::Resting => "resting",
        }
    }
}

/// What a number's health is judged by.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    /// What its session was last seen to do; `None` when it has none.
    pub session: Option<SessionStatus>,
    /// Until when it rests.
    pub resting_until: Option<OffsetDateTime>,
    /// Why, as a stable word.
    pub rest_code: Option<&'a str>,
    /// Why, for people.
    pub rest_reason: Option<&'a str>,
}

/// A number's health, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Health {
    /// How it is.
    pub state: State,
    /// Why it is not healthy.
    pub reason: Option<String>,
    /// When it is tried again; `None` when that depends on a person, or it is healthy.
    pub next_attempt_at: Option<OffsetDateTime>,
}

/// The code of a silent number's rest.
const SILENT: &str = "silent";

/// Judges a number's health at `now`. What only a person can mend comes first.
pub fn health(facts: &Facts<'_>, now: OffsetDateTime) -> Health {
    if let Some(status) = facts.session
        && status.requires_auth()
    {
        return Health {
            state: State::LoggedOut,
            reason: Some(format!("its session is {status}: link the number again")),
            next_attempt_at: None,
        };
    }
    let code = facts.rest_code.unwrap_or_default();
    let Some(until) = facts.resting_until.filter(|until| *until > now) else {
        // A silent number stays silent until an ack comes: what it says now is a probe.
        let probing = code == SILENT;
        return Health {
            state: if probing {
                State::Silent
            } else {
                State::Healthy
            },
            reason: facts.rest_reason.filter(|_| probing).map(str::to_owned),
            next_attempt_at: None,
        };
    };
    let state = match code {
        SILENT => State::Silent,
        code if RESTRICTED.contains(&code) => State::TimeLocked,
        _ => State::Resting,
    };
    Health {
        state,
        reason: facts.rest_reason.map(str::to_owned),
        next_attempt_at: Some(until),
    }
}

/// When a number counts as silent, and how long it rests between probes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Silence {
    /// Accepted messages without any ack, at least.
    pub messages: u32,
    /// Since the first of those was accepted, at least.
    pub after: Duration,
    /// The first rest.
    pub rest: Duration,
    /// The longest rest.
    pub rest_max: Duration,
}

/// Whether the acks of a number stopped coming. One whose acks never came is not silent: its
/// worker may be one whose webhooks do not reach us.
pub fn silent(unacked: u32, unacked_for: Duration, ever_acked: bool, silence: &Silence) -> bool {
    ever_acked && unacked >= silence.messages && unacked_for >= silence.after
}

/// How long a silent number rests before the next probe, after `rests` in a row.
pub fn rest_after(rests: u32, silence: &Silence) -> Duration {
    silence
        .rest
        .saturating_mul(1 << rests.min(20))
        .min(silence.rest_max)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: OffsetDateTime = OffsetDateTime::UNIX_EPOCH;

    fn judged(session: SessionStatus, secs: i64, code: Option<&str>) -> Health {
        let facts = Facts {
            session: Some(session),
            resting_until: Some(NOW + time::Duration::seconds(secs)),
            rest_code: code,
            rest_reason: Some("because"),
        };
        health(&facts, NOW)
    }

    #[test]
    fn the_state_follows_from_the_session_and_the_rest() {
        use SessionStatus as S;
        for (session, secs, code, state) in [
            (S::Working, 0, None, State::Healthy),
            (S::Working, -5, Some("time_locked"), State::Healthy),
            (S::Working, 5, Some("time_locked"), State::TimeLocked),
            (S::Working, 5, Some("quota_used_up"), State::TimeLocked),
            (S::Working, 5, Some("silent"), State::Silent),
            (S::Working, -5, Some("silent"), State::Silent),
            (S::Working, 5, Some("session_not_working"), State::Resting),
            (S::Failed, 5, Some("silent"), State::LoggedOut),
            (S::ScanQrCode, 0, None, State::LoggedOut),
            (S::Starting, 5, None, State::Resting),
        ] {
            let health = judged(session, secs, code);
            assert_eq!(health.state, state, "{session} {secs} {code:?}");
            let waits = secs > 0 && state != State::LoggedOut;
            assert_eq!(health.next_attempt_at.is_some(), waits);
            assert_eq!(health.reason.is_some(), state != State::Healthy);
        }
    }

    #[test]
    fn only_a_number_whose_acks_once_came_can_fall_silent() {
        let silence = Silence {
            messages: 20,
            after: Duration::from_secs(600),
            rest: Duration::from_secs(60),
            rest_max: Duration::from_secs(3_600),
        };
        for (unacked, secs, ever, wanted) in [
            (20, 600, true, true),
            (19, 600, true, false),
            (20, 599, true, false),
            (500, 9_000, false, false),
        ] {
            let unacked_for = Duration::from_secs(secs);
            assert_eq!(silent(unacked, unacked_for, ever, &silence), wanted);
        }
        let rests: Vec<_> = [0, 1, 2, 6, 90]
            .map(|rests| rest_after(rests, &silence).as_secs())
            .into();
        assert_eq!(rests, [60, 120, 240, 3_600, 3_600]);
    }
}
