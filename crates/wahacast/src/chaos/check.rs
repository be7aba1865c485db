//! The judges of a chaos run: pure functions over its history, each able to find one kind of
//! crime and nothing else.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::Serialize;
use uuid::Uuid;

use super::history::{Heard, History};

/// What was promised and not kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Violation {
    /// Which judge.
    pub(crate) rule: &'static str,
    /// The message in question, where there is one.
    pub(crate) recipient: Option<String>,
    /// What happened.
    pub(crate) what: String,
}

fn violation(rule: &'static str, recipient: &str, what: impl Into<String>) -> Violation {
    Violation {
        rule,
        recipient: Some(recipient.to_owned()),
        what: what.into(),
    }
}

/// Nobody lost, nobody twice: what the ledger calls SENT was heard once, what it calls UNKNOWN at
/// most once, everything else never; and nothing was heard that nobody submitted.
pub(crate) fn recipients(history: &History) -> Vec<Violation> {
    let mut times: BTreeMap<&str, usize> = BTreeMap::new();
    for one in &history.heard {
        *times.entry(one.recipient()).or_default() += 1;
    }
    let mut found = Vec::new();
    for (recipient, held) in &history.held {
        let heard = times.remove(recipient.as_str()).unwrap_or(0);
        let status = held.status;
        match (status, heard) {
            (_, 2..) => found.push(violation(
                "doubled",
                recipient,
                format!("{status}, and heard {heard} times"),
            )),
            ("SENT" | "DELIVERED" | "READ", 0) => {
                found.push(violation(
                    "lost",
                    recipient,
                    format!("{status}, and never heard"),
                ));
            }
            ("FAILED" | "CANCELLED" | "PENDING" | "SUPPRESSED", 1) => {
                found.push(violation(
                    "denied",
                    recipient,
                    format!("{status}, and heard"),
                ));
            }
            _ => {}
        }
    }
    let strangers = times.keys();
    found.extend(strangers.map(|who| violation("invented", who, "heard, and never submitted")));
    found
}

/// Every campaign that was accepted is there, with all its recipients.
pub(crate) fn accepted(history: &History, accepted: &[(Uuid, Vec<String>)]) -> Vec<Violation> {
    let mut found = Vec::new();
    for (campaign, recipients) in accepted {
        for recipient in recipients {
            let held = history.held.get(recipient);
            if held.is_none_or(|held| held.campaign != *campaign) {
                found.push(violation(
                    "lost",
                    recipient,
                    format!("accepted with campaign {campaign}, and not in the ledger"),
                ));
            }
        }
    }
    found
}

/// The delays in force.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Delays {
    pub(crate) message: Duration,
    pub(crate) switch: Duration,
    pub(crate) campaign: Duration,
}

/// R1, R2 and R3 at the simulator's own clock, with no tolerance. A gap is counted from arrival
/// to arrival, and from the answer where its sender got one: then it knew the answer no sooner.
pub(crate) fn pace(history: &History, delays: Delays) -> Vec<Violation> {
    let mut found = Vec::new();
    let (mut of_sender, mut on_worker) = (BTreeMap::new(), BTreeMap::new());
    let mut begun: BTreeSet<Uuid> = BTreeSet::new();
    for one in &history.heard {
        let campaign = history.held.get(one.recipient()).map(|held| held.campaign);
        let mut judge = |rule, earlier: &Heard, least: Duration| {
            let gap = gap(history, earlier, one);
            if gap < least {
                found.push(violation(
                    rule,
                    one.recipient(),
                    format!("{gap:?} after {}, not {least:?}", earlier.recipient()),
                ));
            }
        };
        if let Some(earlier) = of_sender.insert(&one.session, one) {
            judge("R1", earlier, delays.message);
            let first = campaign.is_some_and(|campaign| !begun.contains(&campaign));
            if first {
                judge("R3", earlier, delays.campaign);
            }
        }
        match on_worker.insert(one.worker, one) {
            Some(earlier) if earlier.session != one.session => {
                judge("R2", earlier, delays.switch);
            }
            _ => {}
        }
        begun.extend(campaign);
    }
    found
}

fn gap(history: &History, earlier: &Heard, later: &Heard) -> Duration {
    let held = history.held.get(earlier.recipient());
    let was_answered = held.is_some_and(|held| {
        let mut steps = held.steps.iter();
        steps.any(|step| step.contains(" accepted"))
    });
    let answered = earlier.answered_mono_ns.filter(|_| was_answered);
    let since = answered.unwrap_or(earlier.arrived_mono_ns);
    Duration::from_nanos(later.arrived_mono_ns.saturating_sub(since))
}

/// No campaign is stuck: when all faults have ended, each ends.
pub(crate) fn stuck(history: &History) -> Vec<Violation> {
    let ends = ["COMPLETED", "COMPLETED_WITH_ERRORS", "CANCELLED"];
    let open = history
        .campaigns
        .iter()
        .filter(|(_, status)| !ends.contains(&status.as_str()));
    open.map(|(campaign, status)| Violation {
        rule: "stuck",
        recipient: None,
        what: format!("campaign {campaign} is still {status}"),
    })
    .collect()
}

/// The conservation law on one status answer: every message is counted, and once.
pub(crate) fn conserved(status: &serde_json::Value) -> Option<Violation> {
    let count = |field: &str| status[field].as_i64();
    let parts = [
        "pending_messages",
        "sending_messages",
        "sent_messages",
        "failed_messages",
        "cancelled_messages",
        "suppressed_messages",
        "unknown_messages",
    ];
    let sum: Option<i64> = parts.iter().map(|part| count(part)).sum();
    let nested = count("read_messages") <= count("delivered_messages")
        && count("delivered_messages") <= count("sent_messages");
    if sum.is_some() && sum == count("total_messages") && nested {
        return None;
    }
    Some(Violation {
        rule: "conservation",
        recipient: None,
        what: status.to_string(),
    })
}

/// A campaign that does not move must say why; this long is no waiting yet: longer than any delay
/// and any answer here, and than what the gateway itself lets pass.
const STILL_MAX: Duration = Duration::from_secs(8);

/// Whoever waits shows a reason. `unexplained_for` is how long this campaign has neither moved nor
/// shown one.
pub(crate) fn explained(
    status: &serde_json::Value,
    unexplained_for: Duration,
) -> Option<Violation> {
    (unexplained_for > STILL_MAX).then(|| Violation {
        rule: "unexplained",
        recipient: None,
        what: format!("nothing moved for {unexplained_for:?}, and no reason is shown: {status}"),
    })
}

#[cfg(test)]
mod tests;
