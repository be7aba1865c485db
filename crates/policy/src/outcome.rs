//! What an answer from WAHA costs, and whom.
//!
//! A person must never hear a message twice because we crashed or a server stammered: what may
//! have been heard is looked up, and is UNKNOWN when that settles nothing. What was provably not
//! sent costs the recipient nothing.

use std::time::Duration;

use models::outcome::{Blame, RESTRICTED, SendOutcome};

/// What to do about a message that was on its way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// SENT.
    Sent {
        /// WhatsApp's id, where the engine told it.
        message_id: Option<String>,
    },
    /// FAILED for good.
    Failed {
        /// A stable word.
        code: &'static str,
        /// For people.
        detail: String,
    },
    /// Look it up at the worker; found is SENT, anything else UNKNOWN.
    LookUp {
        /// A stable word.
        code: &'static str,
        /// For people.
        detail: String,
    },
    /// PENDING again, and the number rests.
    NumberRests {
        /// For how long.
        rest: Duration,
        /// A stable word.
        code: &'static str,
        /// For people.
        detail: String,
    },
    /// PENDING again, and the whole lane backs off.
    LaneRests {
        /// For how long.
        rest: Duration,
        /// A stable word.
        code: &'static str,
        /// For people.
        detail: String,
    },
}

/// How long a number or a lane rests, growing with each rest in a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rests {
    /// A number whose session is not WORKING: the scheduler brings it back, or a person must.
    pub number_min: Duration,
    /// The longest of those.
    pub number_max: Duration,
    /// A number that WhatsApp keeps from starting chats (errors 463 and 475): trying again soon
    /// makes it worse, so this begins long (WAHA contract, section 9).
    pub restricted_min: Duration,
    /// The longest of those.
    pub restricted_max: Duration,
    /// A worker that refuses connections or our key.
    pub lane_min: Duration,
    /// The longest of those; bounds how late a worker's return is noticed.
    pub lane_max: Duration,
}

impl Default for Rests {
    fn default() -> Self {
        Self {
            number_min: Duration::from_secs(5),
            number_max: Duration::from_secs(60),
            restricted_min: Duration::from_secs(3_600),
            restricted_max: Duration::from_secs(86_400),
            lane_min: Duration::from_secs(1),
            lane_max: Duration::from_secs(30),
        }
    }
}

/// Decides what an answer costs. `number_rests` and `lane_rests` count the rests in a row so far;
/// `chance` lies in `[0, 1)` and spreads those that were refused together.
pub fn judge(
    outcome: SendOutcome,
    rests: &Rests,
    number_rests: u32,
    lane_rests: u32,
    chance: f64,
) -> Verdict {
    match outcome {
        SendOutcome::Accepted { message_id } => Verdict::Sent { message_id },
        SendOutcome::Lost { code, detail } => Verdict::LookUp { code, detail },
        SendOutcome::Refused(refusal) => {
            let (code, detail) = (refusal.code, refusal.detail);
            match refusal.blame {
                Blame::Recipient | Blame::Ours => Verdict::Failed { code, detail },
                Blame::Number => {
                    let (min, max) = if RESTRICTED.contains(&code) {
                        (rests.restricted_min, rests.restricted_max)
                    } else {
                        (rests.number_min, rests.number_max)
                    };
                    Verdict::NumberRests {
                        rest: grow(min, max, number_rests, chance),
                        code,
                        detail,
                    }
                }
                Blame::Worker => {
                    let rest = grow(rests.lane_min, rests.lane_max, lane_rests, chance);
                    Verdict::LaneRests { rest, code, detail }
                }
            }
        }
    }
}

/// `min` doubled for each rest in a row, at most `max`, plus up to a tenth by chance.
fn grow(min: Duration, max: Duration, rests: u32, chance: f64) -> Duration {
    let doubled = min.saturating_mul(1 << rests.min(20)).min(max);
    doubled + doubled.mul_f64(chance.clamp(0.0, 1.0) / 10.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use models::outcome::Refusal;

    fn refused(blame: Blame, code: &'static str) -> SendOutcome {
        SendOutcome::Refused(Refusal {
            blame,
            code,
            detail: String::new(),
        })
    }

    fn rest_of(verdict: &Verdict) -> Option<u64> {
        match verdict {
            Verdict::NumberRests { rest, .. } | Verdict::LaneRests { rest, .. } => {
                Some(rest.as_secs())
            }
            Verdict::Sent { .. } | Verdict::Failed { .. } | Verdict::LookUp { .. } => None,
        }
    }

    #[test]
    fn the_blame_decides_who_pays() {
        let judge = |outcome| judge(outcome, &Rests::default(), 0, 0, 0.0);
        let failed = |verdict| matches!(verdict, Verdict::Failed { .. });
        assert!(failed(judge(refused(Blame::Recipient, "not_on_whatsapp"))));
        assert!(failed(judge(refused(Blame::Ours, "bad_request"))));
        let number = judge(refused(Blame::Number, "session_not_working"));
        assert!(matches!(number, Verdict::NumberRests { .. }));
        assert_eq!(rest_of(&number), Some(5));
        let worker = judge(refused(Blame::Worker, "worker_unreachable"));
        assert!(matches!(worker, Verdict::LaneRests { .. }));
        let lost = SendOutcome::Lost {
            code: "answer_timed_out",
            detail: String::new(),
        };
        assert!(
            matches!(judge(lost), Verdict::LookUp { .. }),
            "never a blind retry"
        );
    }

    #[test]
    fn a_restricted_number_rests_long() {
        let verdict = judge(
            refused(Blame::Number, "time_locked"),
            &Rests::default(),
            0,
            0,
            0.0,
        );
        assert_eq!(rest_of(&verdict), Some(3_600));
    }

    #[test]
    fn rests_grow_and_are_bounded() {
        let rest = |n| {
            rest_of(&judge(
                refused(Blame::Worker, "x"),
                &Rests::default(),
                9,
                n,
                0.0,
            ))
        };
        let grown: Vec<_> = [0, 1, 2, 5, 40].into_iter().map(rest).collect();
        assert_eq!(grown, [Some(1), Some(2), Some(4), Some(30), Some(30)]);
    }
}
