//! Why something waits, in words for people.
//!
//! Always true: whoever waits has a reason. The causes are looked at from the outside in: what
//! would still hold if everything nearer were well comes first.

use models::campaign::CampaignStatus;
use models::ids::CampaignId;
use models::session::{SessionStatus, SessionWanted};
use models::worker::WorkerHealth;
use time::OffsetDateTime;

/// Everything that can hold a campaign up.
#[derive(Debug, Clone)]
pub struct Facts<'a> {
    /// The campaign's own state.
    pub status: CampaignStatus,
    /// Why it was cancelled, if its user did not do it.
    pub cancel_reason: Option<&'a str>,
    /// The sender's session; `None` when there is none.
    pub session: Option<SessionFacts<'a>>,
    /// Until when the number rests, and why.
    pub sender_rest: Option<(OffsetDateTime, &'a str)>,
    /// An older campaign of the same sender that is not done.
    pub earlier: Option<CampaignId>,
    /// When its first retry is due, if nothing else is left of it.
    pub retry_at: Option<OffsetDateTime>,
    /// The earliest moment that the sender's delays allow its next message.
    pub paced_until: Option<OffsetDateTime>,
    /// What chance may add to that.
    pub jitter_max: std::time::Duration,
    /// Other numbers that have something to say on its worker, and take turns with it.
    pub others: i64,
    /// When the sender's message that is on its way was claimed; `None` when there is none.
    pub in_flight_at: Option<OffsetDateTime>,
    /// Whether any sender replica is alive.
    pub replicas_alive: bool,
    /// Whether the broker can be used.
    pub broker_up: bool,
}

/// The session as far as it can hold a campaign up.
#[derive(Debug, Clone)]
pub struct SessionFacts<'a> {
    /// What it was last seen to do.
    pub status: SessionStatus,
    /// What its users want.
    pub wanted: SessionWanted,
    /// What it waits for itself.
    pub reason: Option<&'a str>,
    /// When the next step for it is due.
    pub due_at: Option<OffsetDateTime>,
    /// Its place in the queue, from 1.
    pub queue_place: i64,
    /// Its worker, when it is placed.
    pub worker: Option<WorkerFacts<'a>>,
}

/// The worker as far as it can hold a campaign up.
#[derive(Debug, Clone)]
pub struct WorkerFacts<'a> {
    /// For people.
    pub name: &'a str,
    /// What its last check found.
    pub health: WorkerHealth,
    /// Why it is down.
    pub health_reason: Option<&'a str>,
    /// When it is checked next.
    pub check_at: OffsetDateTime,
    /// Until when its lane backs off, and why.
    pub rest: Option<(OffsetDateTime, &'a str)>,
}

/// What is waited for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// In words for people.
    pub reason: String,
    /// When it is tried again; `None` when that depends on somebody, not on time.
    pub next_attempt_at: Option<OffsetDateTime>,
}

fn wait(reason: impl Into<String>, next_attempt_at: Option<OffsetDateTime>) -> Option<Waiting> {
    Some(Waiting {
        reason: reason.into(),
        next_attempt_at,
    })
}

/// Why a campaign that is over was not sent; `None` when its user knows.
pub fn ended(status: CampaignStatus, cancel_reason: Option<&str>) -> Option<Waiting> {
    let cancelled = status == CampaignStatus::Cancelled;
    cancel_reason
        .filter(|_| cancelled)
        .and_then(|why| wait(why, None))
}

/// What a campaign waits for at `now`; `None` when it waits for nothing.
pub fn waiting(facts: &Facts<'_>, now: OffsetDateTime) -> Option<Waiting> {
    match facts.status {
        CampaignStatus::Cancelled
        | CampaignStatus::Completed
        | CampaignStatus::CompletedWithErrors => return ended(facts.status, facts.cancel_reason),
        CampaignStatus::Paused => return wait("it was paused", None),
        CampaignStatus::Scheduled => return wait("its time has not come yet", None),
        CampaignStatus::Pending | CampaignStatus::InProgress => {}
    }
    let waiting = session(facts.session.as_ref())
        .or_else(|| sending(facts))
        .or_else(|| pace(facts, now))?;
    Some(Waiting {
        // What is due already is tried any moment now.
        next_attempt_at: waiting.next_attempt_at.map(|at| at.max(now)),
        ..waiting
    })
}

/// What the session, its worker and the number are waiting for.
fn session(session: Option<&SessionFacts<'_>>) -> Option<Waiting> {
    let Some(session) = session else {
        return wait(
            "the sender has no session: create it and link the number",
            None,
        );
    };
    if session.wanted == SessionWanted::Stopped {
        return wait("the sender's session was stopped: start it", None);
    }
    let Some(worker) = &session.worker else {
        let place = session.queue_place;
        let reason =
            format!("the sender's session is QUEUED at place {place}: no worker has room for it");
        return wait(reason, None);
    };
    if worker.health == WorkerHealth::Down {
        let why = worker.health_reason.unwrap_or("it does not answer");
        let reason = format!("worker {} is down: {why}", worker.name);
        return wait(reason, Some(worker.check_at));
    }
    let more = session.reason.map(|reason| format!(": {reason}"));
    let more = more.as_deref().unwrap_or_default();
    match session.status {
        SessionStatus::Working => {}
        status if status.requires_auth() => {
            let reason = format!(
                "the sender's session is {status}{more}: \
                 link the number with its QR or pairing code"
            );
            return wait(reason, None);
        }
        status => {
            let reason = format!("the sender's session is {status}{more}");
            return wait(reason, session.due_at);
        }
    }
    let (until, why) = worker.rest?;
    wait(
        format!("worker {} refuses: {why}", worker.name),
        Some(until),
    )
}

/// What the sender's number and the processes are waiting for.
fn sending(facts: &Facts<'_>) -> Option<Waiting> {
    if let Some((until, why)) = facts.sender_rest {
        return wait(format!("the number rests: {why}"), Some(until));
    }
    if !facts.replicas_alive {
        return wait("no sender replica is running", None);
    }
    if facts.status == CampaignStatus::Pending && !facts.broker_up {
        return wait(
            "RabbitMQ cannot be reached; the campaign's job follows when it can",
            None,
        );
    }
    let earlier = facts.earlier?;
    wait(
        format!("campaign {earlier} of the same sender is first"),
        facts.paced_until,
    )
}

/// What takes longer than this is waited for, and people should know.
const UNNOTICED: time::Duration = time::Duration::seconds(5);

/// What the delays are waiting for.
fn pace(facts: &Facts<'_>, now: OffsetDateTime) -> Option<Waiting> {
    if let Some(at) = facts.in_flight_at {
        let reason = "a message has left and its outcome is not known yet; it is being found out";
        return (now - at > UNNOTICED).then(|| wait(reason, Some(now)))?;
    }
    if let Some(at) = facts.retry_at.filter(|at| *at > now) {
        return wait("its last messages are tried again", Some(at));
    }
    if let Some(at) = facts.paced_until.filter(|at| *at + facts.jitter_max > now) {
        return wait("the sender keeps its delays between messages", Some(at));
    }
    let overdue = facts
        .paced_until
        .is_some_and(|at| now - at > facts.jitter_max + UNNOTICED);
    match (facts.status, facts.others) {
        (_, others @ 1..) if overdue => {
            let reason = format!("it takes turns with {others} other numbers on its worker");
            wait(reason, Some(now))
        }
        (CampaignStatus::Pending, _) => wait("it is about to begin", Some(now)),
        _ if overdue => wait(
            "its next message is due and about to be taken up",
            Some(now),
        ),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::Duration;

    const NOW: OffsetDateTime = OffsetDateTime::UNIX_EPOCH;
    const LATER: OffsetDateTime = NOW.saturating_add(Duration::minutes(1));

    fn worker() -> WorkerFacts<'static> {
        WorkerFacts {
            name: "w1",
            health: WorkerHealth::Up,
            health_reason: None,
            check_at: LATER,
            rest: None,
        }
    }

    fn session() -> SessionFacts<'static> {
        SessionFacts {
            status: SessionStatus::Working,
            wanted: SessionWanted::Running,
            reason: None,
            due_at: Some(LATER),
            queue_place: 0,
            worker: Some(worker()),
        }
    }

    /// A campaign that waits for nothing.
    fn facts() -> Facts<'static> {
        Facts {
            status: CampaignStatus::InProgress,
            cancel_reason: None,
            session: Some(session()),
            sender_rest: None,
            earlier: None,
            retry_at: None,
            paced_until: None,
            jitter_max: std::time::Duration::ZERO,
            others: 0,
            in_flight_at: None,
            replicas_alive: true,
            broker_up: true,
        }
    }

    fn check(
        change: impl FnOnce(&mut Facts<'static>),
        wanted: Option<(&str, Option<OffsetDateTime>)>,
    ) {
        let mut facts = facts();
        change(&mut facts);
        let got = waiting(&facts, NOW);
        let got = got.as_ref().map(|w| (w.reason.as_str(), w.next_attempt_at));
        assert_eq!(got, wanted);
    }

    #[test]
    fn nothing_to_wait_for() {
        check(|_| {}, None);
        check(|f| f.status = CampaignStatus::Completed, None);
        check(
            |f| (f.in_flight_at, f.paced_until) = (Some(NOW), Some(LATER)),
            None,
        );
        check(|f| f.status = CampaignStatus::Cancelled, None);
    }

    #[test]
    fn causes_of_the_session_and_its_worker() {
        let link =
            "the sender's session is SCAN_QR_CODE: link the number with its QR or pairing code";
        check(
            |f| f.session = None,
            Some((
                "the sender has no session: create it and link the number",
                None,
            )),
        );
        check(
            |f| {
                let session = f.session.as_mut().unwrap();
                (session.worker, session.queue_place) = (None, 3);
            },
            Some((
                "the sender's session is QUEUED at place 3: no worker has room for it",
                None,
            )),
        );
        check(
            |f| f.session.as_mut().unwrap().wanted = SessionWanted::Stopped,
            Some(("the sender's session was stopped: start it", None)),
        );
        check(
            |f| f.session.as_mut().unwrap().status = SessionStatus::ScanQrCode,
            Some((link, None)),
        );
        check(
            |f| {
                let session = f.session.as_mut().unwrap();
                (session.status, session.reason) = (
                    SessionStatus::Stopped,
                    Some("waits for a live slot on worker w1"),
                );
            },
            Some((
                "the sender's session is STOPPED: waits for a live slot on worker w1",
                Some(LATER),
            )),
        );
        check(
            |f| f.session.as_mut().unwrap().worker.as_mut().unwrap().health = WorkerHealth::Down,
            Some(("worker w1 is down: it does not answer", Some(LATER))),
        );
        check(
            |f| f.session.as_mut().unwrap().worker.as_mut().unwrap().rest = Some((LATER, "401")),
            Some(("worker w1 refuses: 401", Some(LATER))),
        );
    }

    #[test]
    fn causes_of_the_number_and_the_processes() {
        check(
            |f| f.sender_rest = Some((LATER, "463")),
            Some(("the number rests: 463", Some(LATER))),
        );
        check(
            |f| f.replicas_alive = false,
            Some(("no sender replica is running", None)),
        );
        check(
            |f| (f.status, f.broker_up) = (CampaignStatus::Pending, false),
            Some((
                "RabbitMQ cannot be reached; the campaign's job follows when it can",
                None,
            )),
        );
    }

    #[test]
    fn causes_of_the_delays_and_of_what_is_on_its_way() {
        check(
            |f| f.retry_at = Some(LATER),
            Some(("its last messages are tried again", Some(LATER))),
        );
        check(
            |f| f.paced_until = Some(LATER),
            Some(("the sender keeps its delays between messages", Some(LATER))),
        );
        let looked_for =
            "a message has left and its outcome is not known yet; it is being found out";
        check(
            |f| f.in_flight_at = Some(NOW - Duration::seconds(6)),
            Some((looked_for, Some(NOW))),
        );
        check(
            |f| {
                f.paced_until = Some(NOW - Duration::seconds(6));
                f.jitter_max = std::time::Duration::from_secs(15);
            },
            Some(("the sender keeps its delays between messages", Some(NOW))),
        );
        let overdue = Some(NOW - Duration::seconds(6));
        check(
            |f| (f.paced_until, f.others) = (overdue, 3),
            Some((
                "it takes turns with 3 other numbers on its worker",
                Some(NOW),
            )),
        );
        check(
            |f| f.paced_until = overdue,
            Some((
                "its next message is due and about to be taken up",
                Some(NOW),
            )),
        );
        check(
            |f| f.status = CampaignStatus::Pending,
            Some(("it is about to begin", Some(NOW))),
        );
    }

    #[test]
    fn the_outer_cause_goes_first() {
        check(
            |f| {
                (f.status, f.cancel_reason) =
                    (CampaignStatus::Cancelled, Some("the session was removed"))
            },
            Some(("the session was removed", None)),
        );
        let down = Some(("worker w1 is down: it does not answer", Some(LATER)));
        check(
            |f| {
                f.session.as_mut().unwrap().worker.as_mut().unwrap().health = WorkerHealth::Down;
                (f.replicas_alive, f.broker_up, f.paced_until) = (false, false, Some(LATER));
            },
            down,
        );
    }
}
