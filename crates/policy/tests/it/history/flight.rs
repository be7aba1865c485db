//! One message in a process: claimed, said, and what became of it written down or found out, by
//! [`policy::outcome`] and [`policy::settle`].

use std::time::Duration;

use models::message::MessageStatus as S;
use models::outcome::{Blame, Refusal, SendOutcome, UNANSWERED};
use policy::outcome::{Rests, Verdict, judge};
use policy::settle::{Facts, LookUp, Step as Settled, settle};

use super::ledger::{Key, Ms, Outcome, Tenure};
use super::mutation::Mutation;
use super::replica::{LaneKey, RETRY_AFTER, Step, moment};
use super::statements::{ClaimAnswer, Query, Wrote};
use super::worker::Answer;
use super::world::{Event, SEND_TIMEOUT, SETTLE_QUIET, World};

/// A worker that does not answer is asked for this long.
const SETTLE_MAX: Ms = 1_500;

const RESTS: Rests = Rests {
    number_min: Duration::from_millis(20),
    number_max: Duration::from_millis(100),
    restricted_min: Duration::from_millis(60),
    restricted_max: Duration::from_millis(200),
    lane_min: Duration::from_millis(20),
    lane_max: Duration::from_millis(100),
};

/// A message on its way.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Flight {
    pub(crate) worker: usize,
    pub(crate) epoch: u64,
    pub(crate) sender: usize,
    pub(crate) key: Key,
    /// Of our own choice.
    pub(crate) id: Option<u64>,
    pub(crate) attempts: i16,
    /// Of the worker, when the request reached it.
    pub(crate) boot: u32,
    /// When it was claimed.
    pub(crate) claimed: Ms,
    /// When it left at the latest.
    pub(crate) left: Ms,
}

impl Flight {
    pub(crate) const fn lane(&self) -> LaneKey {
        (self.worker, self.epoch)
    }

    pub(crate) const fn tenure(&self, replica: usize) -> Tenure {
        Tenure {
            replica,
            worker: self.worker,
            epoch: self.epoch,
        }
    }
}

/// An answer, the id that it tells, and when it came; never, of what did not leave.
struct Reply {
    answer: SendOutcome,
    told: Option<u64>,
    at: Option<Ms>,
}

/// A question about a message of which nobody knows what became.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asked {
    pub(crate) flight: Flight,
    pub(crate) horizon: Ms,
    pub(crate) since: Ms,
    /// When the question that `look_up` answers left.
    pub(crate) asked: Ms,
    pub(crate) look_up: LookUp,
    /// What the worker knows of it.
    pub(crate) found: Option<u64>,
    pub(crate) supported: bool,
    pub(crate) answered: bool,
}

const fn outcome(status: S, id: Option<u64>) -> Outcome {
    Outcome {
        status,
        id,
        retry_in: 0,
        number_rests: false,
        tried: true,
    }
}

/// PENDING again; it costs no attempt where it was provably not sent.
const fn again(retry_in: Ms, number_rests: bool, tried: bool) -> Outcome {
    Outcome {
        status: S::Pending,
        id: None,
        retry_in,
        number_rests,
        tried,
    }
}

impl World {
    pub(crate) fn begin(&mut self, me: usize, key: LaneKey, sender: usize) {
        let now = self.now;
        let own = self.workers[key.0].own_ids;
        let id = own.then(|| self.chance.between(1, u64::from(u32::MAX)));
        let Some(lane) = self.lane(me, key) else {
            return;
        };
        lane.lane.begin(sender);
        lane.under_way += 1;
        let Some(speaker) = lane.speakers.get_mut(&sender) else {
            return;
        };
        speaker.busy = true;
        let Some((message, ..)) = speaker.next else {
            return;
        };
        let flight = Flight {
            worker: key.0,
            epoch: key.1,
            sender,
            key: message,
            id,
            attempts: 0,
            boot: 0,
            claimed: now,
            left: now,
        };
        self.travel(Event::Query(me, Query::Claim(flight)));
        if self.is(Mutation::SpeakBeforeClaim) {
            self.travel(Event::Arrive(me, flight));
        }
    }

    pub(crate) fn claimed(&mut self, me: usize, mut flight: Flight, answer: ClaimAnswer) {
        let (now, key) = (self.now, flight.lane());
        let ClaimAnswer::Granted(claimed) = answer else {
            let Some(lane) = self.lane(me, key) else {
                return;
            };
            lane.lane.end(flight.sender, None);
            lane.ended_one();
            if let Some(speaker) = lane.speakers.get_mut(&flight.sender) {
                (speaker.busy, speaker.next) = (false, None);
                speaker.not_before = now + RETRY_AFTER;
            }
            self.load(me, key, flight.sender);
            return self.finish(me, key);
        };
        flight.id = claimed.id.filter(|_| self.workers[flight.worker].own_ids);
        flight.attempts = claimed.attempts;
        (flight.claimed, flight.left) = (now, now);
        if self.is(Mutation::SpeakBeforeClaim) {
            return;
        }
        if self.holds_lease(me) {
            return self.travel(Event::Arrive(me, flight));
        }
        self.counted.stale += 1;
        let refusal = SendOutcome::Refused(Refusal {
            blame: Blame::Worker,
            code: "heartbeat_late",
            detail: String::new(),
        });
        let reply = Reply {
            answer: refusal,
            told: None,
            at: None,
        };
        self.verdict(me, flight, reply);
    }

    pub(crate) fn answered(
        &mut self,
        me: usize,
        flight: Flight,
        answer: Option<Answer>,
        told: Option<u64>,
    ) {
        let (now, forgets) = (self.now, self.is(Mutation::ForgetWhatLeft));
        let speakers = self.lane(me, flight.lane()).map(|lane| &mut lane.speakers);
        if let Some(speaker) = speakers.and_then(|all| all.get_mut(&flight.sender)) {
            speaker.last_answer = speaker.last_answer.max(Some(now));
            speaker.said = Some(flight.key).filter(|_| !forgets);
        }
        let lost = || SendOutcome::Lost {
            code: "answer_timed_out",
            detail: String::new(),
        };
        let cut = flight.boot != self.workers[flight.worker].boot;
        let answer = if cut { Some(Answer::Cut) } else { answer };
        let reply = Reply {
            answer: answer.map_or_else(lost, Answer::outcome),
            told,
            at: Some(now),
        };
        self.verdict(me, flight, reply);
    }

    /// What an answer costs, and whom.
    fn verdict(&mut self, me: usize, flight: Flight, reply: Reply) {
        let (now, chance) = (self.now, self.chance.fraction());
        let resends = self.is(Mutation::ResendOnTimeout);
        let Some(lane) = self.lane(me, flight.lane()) else {
            return;
        };
        lane.lane.end(flight.sender, reply.at.map(moment));
        let number_rests = lane.speakers.get(&flight.sender).map_or(0, |s| s.rests);
        let verdict = judge(reply.answer, &RESTS, number_rests, lane.rests, chance);
        let millis = |rest: Duration| rest.as_millis() as Ms;
        match verdict {
            Verdict::Sent { .. } => {
                lane.rests = 0;
                let other = reply.told.filter(|told| Some(*told) != flight.id);
                self.conclude(me, flight, outcome(S::Sent, other));
            }
            Verdict::Failed { .. } => self.conclude(me, flight, outcome(S::Failed, None)),
            Verdict::NumberRests { rest, .. } => {
                lane.rests = 0;
                self.conclude(me, flight, again(millis(rest), true, false));
            }
            Verdict::LaneRests { rest, .. } => {
                lane.resting_until = now + millis(rest);
                lane.rests += 1;
                self.conclude(me, flight, again(millis(rest), false, false));
            }
            Verdict::LookUp { .. } if resends => self.conclude(me, flight, again(0, false, true)),
            Verdict::LookUp { code, .. } => {
                let horizon = match UNANSWERED.contains(&code) {
                    true => SEND_TIMEOUT,
                    false => SETTLE_QUIET,
                };
                self.settle(me, self.asked(flight, horizon));
            }
        }
        self.pump(me, flight.lane());
    }

    const fn asked(&self, flight: Flight, horizon: Ms) -> Asked {
        Asked {
            flight,
            horizon,
            since: self.now,
            asked: self.now,
            look_up: LookUp::NotAsked,
            found: None,
            supported: false,
            answered: false,
        }
    }

    /// What somebody claimed and never concluded; `ours` was never sent.
    pub(crate) fn settle_claimed(&mut self, me: usize, flight: Flight, ours: bool) {
        if ours || self.is(Mutation::ResendAfterDeath) {
            return self.conclude(me, flight, again(0, false, false));
        }
        self.counted.settled += 1;
        self.settle(me, self.asked(flight, SEND_TIMEOUT));
    }

    fn settle(&mut self, me: usize, asked: Asked) {
        let flight = asked.flight;
        let ledger_is_there = self.ledger.away_until <= self.now;
        let record = flight.id.filter(|_| ledger_is_there);
        let asked_at = match self.is(Mutation::BelieveLateAnswers) {
            true => self.now,
            false => asked.asked,
        };
        let started = self.workers[flight.worker].started;
        let trusts = self.is(Mutation::TrustTheForgetful);
        let facts = Facts {
            undisturbed: Some(started < flight.claimed || trusts),
            record: record.and_then(|id| self.ledger.ack(flight.sender, id)),
            look_up: asked.look_up,
            own_id: flight.id.is_some(),
            since_left: Duration::from_millis(asked_at - flight.left),
            horizon: match self.is(Mutation::NoHorizon) {
                true => Duration::ZERO,
                false => Duration::from_millis(asked.horizon),
            },
            attempts: flight.attempts,
            on_unknown: self.on_unknown,
        };
        let found = asked.found.filter(|id| Some(*id) != flight.id);
        let concluded = match settle(&facts) {
            Settled::Ask => return self.ask_now(me, asked),
            Settled::AskAgain => return self.ask_later(me, asked),
            Settled::Sent => outcome(S::Sent, found),
            Settled::Refused | Settled::NeverArrived => outcome(S::Failed, None),
            Settled::Unknown => outcome(S::Unknown, None),
            Settled::SendAgain => {
                self.counted.sent_again += 1;
                again(0, false, true)
            }
        };
        self.conclude(me, flight, concluded);
    }

    pub(crate) fn ask_now(&mut self, me: usize, mut asked: Asked) {
        asked.asked = self.now;
        self.travel(Event::Ask(me, asked));
    }

    pub(crate) fn told(&mut self, me: usize, mut asked: Asked) {
        let (now, sender) = (self.now, asked.flight.sender);
        let Some(lane) = self.lane(me, asked.flight.lane()) else {
            return;
        };
        if !asked.answered && now - asked.since <= SETTLE_MAX {
            lane.away.insert(sender);
            asked.look_up = LookUp::NotAsked;
            return self.ask_later(me, asked);
        }
        lane.away.remove(&sender);
        asked.look_up = match (asked.answered, asked.supported, asked.found) {
            (false, ..) => LookUp::GaveUp,
            (true, false, _) => LookUp::Unsupported,
            (true, true, None) => LookUp::NotFound,
            (true, true, Some(_)) => LookUp::Found,
        };
        self.settle(me, asked);
    }

    /// Asks after a pause; leaves it to the lane's next owner when the lane is over.
    fn ask_later(&mut self, me: usize, asked: Asked) {
        let key = asked.flight.lane();
        let Some(lane) = self.lane(me, key) else {
            return;
        };
        if lane.over {
            lane.ended_one();
            lane.away.remove(&asked.flight.sender);
            return self.finish(me, key);
        }
        let later = self.now + RETRY_AFTER;
        self.at(later, Event::To(me, Step::AskNow(asked)));
    }

    pub(crate) fn conclude(&mut self, me: usize, flight: Flight, outcome: Outcome) {
        self.travel(Event::Query(me, Query::Conclude(flight, outcome)));
    }

    pub(crate) fn concluded(&mut self, me: usize, flight: Flight, outcome: Outcome, wrote: Wrote) {
        let (now, key) = (self.now, flight.lane());
        if wrote == Wrote::NotKnown && !self.is(Mutation::ForgetWhatLeft) {
            let later = now + RETRY_AFTER;
            return self.at(later, Event::To(me, Step::Conclude(flight, outcome)));
        }
        let Some(lane) = self.lane(me, key) else {
            return;
        };
        lane.ended_one();
        if let Some(speaker) = lane.speakers.get_mut(&flight.sender) {
            if std::mem::take(&mut speaker.settling) {
                speaker.last_answer = Some(now);
            }
            if wrote == Wrote::Refused {
                speaker.campaign_ended = Some(now);
            }
            (speaker.busy, speaker.next) = (false, None);
        }
        self.load(me, key, flight.sender);
        self.finish(me, key);
    }
}
