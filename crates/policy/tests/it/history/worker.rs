//! A worker that does what WAHA servers do, the ugly included; and the people behind it.

use std::collections::BTreeMap;

use models::outcome::{Blame, Refusal, SendOutcome};

use super::ledger::{Key, Ms};
use super::world::Chance;

/// One request that somebody heard.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Heard {
    pub(crate) worker: usize,
    pub(crate) sender: usize,
    pub(crate) key: Key,
    /// When the request reached the worker.
    pub(crate) arrived: Ms,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Worker {
    /// Whether it lets us choose ids.
    pub(crate) own_ids: bool,
    /// Whether it keeps its chats.
    pub(crate) store: bool,
    /// What it has said, by key: the id and when. Only what it keeps can be looked up.
    pub(crate) said: BTreeMap<Key, (u64, Ms)>,
    /// When it was started last, and its sessions with it.
    pub(crate) started: Ms,
    /// Grows with each start; what was going on before is cut off.
    pub(crate) boot: u32,
}

impl Worker {
    /// It is killed and comes back; what it had not saved yet is forgotten.
    pub(crate) fn restart(&mut self, now: Ms, unsaved: Ms) {
        self.started = now;
        self.boot += 1;
        self.said.retain(|_, (_, at)| *at + unsaved <= now);
    }
}

/// What a worker does with a request.
#[derive(Debug, Clone)]
pub(crate) struct Deed {
    /// After how long the recipient hears it, if ever.
    pub(crate) heard_in: Option<Ms>,
    /// After how long it answers what; never, when the connection just stays silent.
    pub(crate) answer: Option<(Ms, Answer)>,
    /// Reports of WhatsApp, after how long.
    pub(crate) acks: Vec<(Ms, i16)>,
}

/// The kinds of answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    Accepted,
    /// The connection broke.
    Cut,
    /// 500 after the engine was called.
    Failed,
    /// 422: the number cannot send.
    NumberRefused,
    /// 463.
    TimeLocked,
    /// No connection came about.
    Unreachable,
}

impl Answer {
    /// As the adapter classifies it.
    pub(crate) fn outcome(self) -> SendOutcome {
        let refused = |blame, code| {
            SendOutcome::Refused(Refusal {
                blame,
                code,
                detail: String::new(),
            })
        };
        let lost = |code| SendOutcome::Lost {
            code,
            detail: String::new(),
        };
        match self {
            Self::Accepted => SendOutcome::Accepted { message_id: None },
            Self::Cut => lost("answer_lost"),
            Self::Failed => lost("server_error"),
            Self::NumberRefused => refused(Blame::Number, "session_not_working"),
            Self::TimeLocked => refused(Blame::Number, "time_locked"),
            Self::Unreachable => refused(Blame::Worker, "worker_unreachable"),
        }
    }
}

/// What happens to a request that arrives, by chance; lies end with the faults of the world.
pub(crate) fn deed(chance: &mut Chance, lies: bool) -> Deed {
    let quick = chance.between(5, 60);
    let die = if lies { chance.between(0, 99) } else { 99 };
    let (heard_in, answer) = match die {
        0..=4 => (Some(0), Some((chance.between(400, 900), Answer::Accepted))),
        5..=9 => (Some(0), Some((quick, Answer::Cut))),
        10..=12 => (Some(0), None),
        13..=15 => (None, Some((quick, Answer::Cut))),
        16..=19 => (Some(0), Some((quick, Answer::Failed))),
        20..=24 => (None, Some((quick, Answer::Failed))),
        25..=28 => {
            // The engine is at it for long, and the connection breaks meanwhile.
            let late = chance.between(100, 590);
            (Some(late), Some((quick, Answer::Cut)))
        }
        29..=31 => (None, Some((quick, Answer::NumberRefused))),
        32..=33 => (None, Some((quick, Answer::TimeLocked))),
        34..=36 => (None, Some((quick, Answer::Unreachable))),
        37..=38 => (None, Some((quick, Answer::Accepted))),
        _ => (Some(0), Some((quick, Answer::Accepted))),
    };
    let mut acks = Vec::new();
    let accepted = matches!(answer, Some((_, Answer::Accepted)));
    match heard_in {
        None if accepted => acks.push((chance.between(1, 200), -1)),
        None => {}
        Some(late) => {
            for ack in [0, 1, 2, 3] {
                // Some never come, some twice, in any order, and before the answer.
                let times = [0, 1, 1, 1, 2][chance.index(5)];
                for _ in 0..times {
                    acks.push((late + chance.between(1, 400), ack));
                }
            }
        }
    }
    Deed {
        heard_in,
        answer,
        acks,
    }
}
