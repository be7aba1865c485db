//! A sender process: its lease, its lanes, and who speaks on them when, by [`policy::lane`].

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use models::delays::Delays;
use policy::lane::{Lane, Moment, Next, Pace, ready_at};

use super::flight::{Asked, Flight};
use super::ledger::{Key, Ms, Outcome, Tenure};
use super::mutation::Mutation;
use super::statements::{ClaimAnswer, Query, Row, Wrote};
use super::worker::Answer;
use super::world::{BEAT_EVERY, DEAD_AFTER, Event, MARGIN, WATCH_EVERY, World};

/// Messages in a row while others wait.
const TURN: u32 = 3;
/// The pause before something that did not work is tried again.
pub(crate) const RETRY_AFTER: Ms = 20;

/// A lane in one process: worker and epoch.
pub(crate) type LaneKey = (usize, u64);

/// What a process does or learns.
#[derive(Debug)]
pub(crate) enum Step {
    Beat,
    Beaten(Ms),
    Watch,
    /// Lanes that are ours, each with the moment whose gap must be kept.
    Watched(Vec<(LaneKey, Option<Ms>)>),
    Tick(LaneKey),
    Load(LaneKey, usize),
    Loaded(LaneKey, usize, Row),
    Claimed(Flight, ClaimAnswer),
    Answered(Flight, Option<Answer>, Option<u64>),
    AskNow(Asked),
    Told(Asked),
    Conclude(Flight, Outcome),
    Concluded(Flight, Outcome, Wrote),
    End,
}

/// What a lane knows of one sender.
#[derive(Debug, Default)]
pub(crate) struct Speaker {
    /// A message of it is under way, or being settled.
    pub(crate) busy: bool,
    pub(crate) settling: bool,
    /// Of the ledger's, the latest.
    pub(crate) next: Option<(Key, Ms, bool)>,
    pub(crate) last_answer: Option<Ms>,
    pub(crate) campaign_ended: Option<Ms>,
    pub(crate) not_before: Ms,
    pub(crate) rests: u32,
    /// The last message that left.
    pub(crate) said: Option<Key>,
}

/// A lane that a process owns, or has lost and still finishes.
#[derive(Debug)]
pub(crate) struct OwnLane {
    pub(crate) lane: Lane<usize>,
    pub(crate) speakers: BTreeMap<usize, Speaker>,
    pub(crate) taken_at: Ms,
    pub(crate) resting_until: Ms,
    pub(crate) rests: u32,
    /// Senders whose look-up waits for the worker.
    pub(crate) away: BTreeSet<usize>,
    /// Nothing more is said: it has another owner, or will have.
    pub(crate) over: bool,
    /// Messages that are not concluded yet.
    pub(crate) under_way: usize,
}

impl OwnLane {
    /// Broken code may conclude what it never claimed.
    pub(crate) const fn ended_one(&mut self) {
        self.under_way = self.under_way.saturating_sub(1);
    }
}

/// One process; a restart makes another.
#[derive(Debug, Default)]
pub(crate) struct Replica {
    pub(crate) dead: bool,
    pub(crate) leaving: bool,
    pub(crate) stopped_until: Ms,
    pub(crate) lease_until: Ms,
    pub(crate) lanes: BTreeMap<LaneKey, OwnLane>,
}

pub(crate) const fn moment(at: Ms) -> Moment {
    Duration::from_millis(at)
}

impl World {
    pub(crate) fn take_step(&mut self, me: usize, step: Step) {
        match step {
            Step::Beat => {
                self.travel(Event::Query(me, Query::Beat(self.now)));
                self.at(self.now + BEAT_EVERY, Event::To(me, Step::Beat));
            }
            Step::Beaten(sent_at) => {
                let until = (sent_at + DEAD_AFTER).saturating_sub(MARGIN);
                let lease = &mut self.replicas[me].lease_until;
                *lease = (*lease).max(until);
            }
            Step::Watch if self.replicas[me].leaving => {}
            Step::Watch => {
                self.travel(Event::Query(me, Query::Watch));
                self.at(self.now + WATCH_EVERY, Event::To(me, Step::Watch));
            }
            Step::Watched(lanes) => self.watched(me, &lanes),
            Step::Tick(lane) => self.pump(me, lane),
            Step::Load(lane, sender) => self.load(me, lane, sender),
            Step::Loaded(lane, sender, row) => self.loaded(me, lane, sender, &row),
            Step::Claimed(flight, answer) => self.claimed(me, flight, answer),
            Step::Answered(flight, answer, told) => self.answered(me, flight, answer, told),
            Step::AskNow(asked) => self.ask_now(me, asked),
            Step::Told(asked) => self.told(me, asked),
            Step::Conclude(flight, outcome) => self.conclude(me, flight, outcome),
            Step::Concluded(flight, outcome, wrote) => self.concluded(me, flight, outcome, wrote),
            Step::End => self.replicas[me].dead = true,
        }
    }

    pub(crate) fn lane(&mut self, me: usize, lane: LaneKey) -> Option<&mut OwnLane> {
        self.replicas[me].lanes.get_mut(&lane)
    }

    pub(crate) fn holds_lease(&self, me: usize) -> bool {
        self.now < self.replicas[me].lease_until || self.is(Mutation::NoLease)
    }

    /// Lanes that are new are opened, those that are gone are finished, and whoever has nothing
    /// to say may have something now.
    fn watched(&mut self, me: usize, lanes: &[(LaneKey, Option<Ms>)]) {
        for (key, lane) in &mut self.replicas[me].lanes {
            lane.over |= !lanes.iter().any(|(ours, _)| ours == key);
        }
        self.replicas[me]
            .lanes
            .retain(|_, lane| !lane.over || lane.under_way > 0);
        let leaving = self.replicas[me].leaving;
        for (key, floor) in lanes {
            match self.lane(me, *key) {
                None if leaving => self.hand_over(me, *key),
                None => self.open(me, *key, *floor),
                Some(lane) => {
                    let idle = lane.speakers.iter();
                    let idle = idle.filter(|(_, s)| !s.busy && s.next.is_none());
                    let idle: Vec<_> = idle.map(|(sender, _)| *sender).collect();
                    for sender in idle {
                        self.load(me, *key, sender);
                    }
                }
            }
        }
    }

    fn open(&mut self, me: usize, key: LaneKey, floor: Option<Ms>) {
        let floor = floor.filter(|_| !self.is(Mutation::ForgetGaps));
        let senders = self.ledger.senders.iter().enumerate();
        let senders: Vec<_> = senders
            .filter(|(_, s)| s.worker == key.0)
            .map(|(n, _)| n)
            .collect();
        let speakers = senders.iter().map(|sender| (*sender, Speaker::default()));
        let lane = OwnLane {
            lane: Lane::new(TURN, floor.map(moment)),
            speakers: speakers.collect(),
            taken_at: self.now,
            resting_until: 0,
            rests: 0,
            away: BTreeSet::new(),
            over: false,
            under_way: 0,
        };
        self.replicas[me].lanes.insert(key, lane);
        for sender in senders {
            self.load(me, key, sender);
        }
    }

    pub(crate) fn load(&mut self, me: usize, key: LaneKey, sender: usize) {
        self.travel(Event::Query(me, Query::Load(key, sender)));
    }

    fn loaded(&mut self, me: usize, key: LaneKey, sender: usize, row: &Row) {
        let (now, forgets) = (self.now, self.is(Mutation::ForgetGaps));
        let Some(lane) = self.lane(me, key) else {
            return;
        };
        lane.over |= row.lost;
        let Some(speaker) = lane.speakers.get_mut(&sender).filter(|s| !s.busy) else {
            return;
        };
        if lane.over {
            return;
        }
        if !forgets {
            speaker.last_answer = speaker.last_answer.max(row.last_sent);
            speaker.campaign_ended = speaker.campaign_ended.max(row.campaign_ended);
        }
        speaker.next = row.next;
        speaker.not_before = speaker.not_before.max(row.resting_until);
        speaker.rests = row.rests;
        if let Some(found) = row.in_flight {
            let ours = found.at > lane.taken_at && speaker.said != Some(found.key);
            (speaker.busy, speaker.settling) = (true, true);
            lane.under_way += 1;
            let flight = Flight {
                worker: key.0,
                epoch: key.1,
                sender,
                key: found.key,
                id: found.id,
                attempts: found.attempts,
                boot: 0,
                claimed: found.at,
                // Its owner was silent before the lane was ours, so it left no later than now.
                left: now,
            };
            return self.settle_claimed(me, flight, ours);
        }
        self.retime(me, key, sender);
        self.pump(me, key);
    }

    /// Puts a sender in line, or takes it out, by what it has to say now.
    pub(crate) fn retime(&mut self, me: usize, key: LaneKey, sender: usize) {
        let delays = self.delays();
        let Some(lane) = self.lane(me, key) else {
            return;
        };
        let speaker = &lane.speakers[&sender];
        let Some((_, due, first)) = speaker.next.filter(|_| !speaker.busy) else {
            return lane.lane.silence(sender);
        };
        let pace = Pace {
            last_answer: speaker.last_answer.map(moment),
            jitter: Duration::ZERO,
            campaign_ended: speaker.campaign_ended.map(moment),
            first_of_campaign: first,
            not_before: Some(moment(due.max(speaker.not_before))),
        };
        let ready = ready_at(&pace, &delays);
        lane.lane.wait(sender, ready, delays.sender_switch);
    }

    fn delays(&self) -> Delays {
        let unless = |mutation, delay| match self.is(mutation) {
            true => Duration::ZERO,
            false => moment(delay),
        };
        Delays {
            message: unless(Mutation::NoMessageDelay, self.delays.message),
            sender_switch: unless(Mutation::NoSwitchDelay, self.delays.switch),
            campaign: unless(Mutation::NoCampaignDelay, self.delays.campaign),
        }
    }

    /// Lets everybody begin who may, and comes back when somebody else may.
    pub(crate) fn pump(&mut self, me: usize, key: LaneKey) {
        let (now, leased) = (self.now, self.holds_lease(me));
        loop {
            let Some(lane) = self.lane(me, key).filter(|lane| !lane.over) else {
                return;
            };
            let again = if !leased || !lane.away.is_empty() {
                Some(now + RETRY_AFTER)
            } else if lane.resting_until > now {
                Some(lane.resting_until)
            } else if lane.rests > 0 && lane.lane.speaking() > 0 {
                None
            } else {
                match lane.lane.next(moment(now)) {
                    Next::Speak(sender) => {
                        self.begin(me, key, sender);
                        continue;
                    }
                    Next::At(at) => Some(at.as_millis() as Ms),
                    Next::Quiet => None,
                }
            };
            if let Some(again) = again {
                self.at(again, Event::To(me, Step::Tick(key)));
            }
            return;
        }
    }

    /// Ends in order: finishes what is under way, and hands its lanes over.
    pub(crate) fn leave(&mut self, me: usize) {
        self.replicas[me].leaving = true;
        for lane in self.replicas[me].lanes.values_mut() {
            lane.over = true;
        }
        let lanes: Vec<_> = self.replicas[me].lanes.keys().copied().collect();
        for key in lanes {
            self.finish(me, key);
        }
        self.at(self.now + 2 * DEAD_AFTER, Event::To(me, Step::End));
    }

    /// A lane that is over, and has nothing under way any more, is handed over.
    pub(crate) fn finish(&mut self, me: usize, key: LaneKey) {
        let Some(lane) = self.lane(me, key) else {
            return;
        };
        if lane.over && lane.under_way == 0 {
            self.replicas[me].lanes.remove(&key);
            if self.replicas[me].leaving {
                self.hand_over(me, key);
            }
        }
    }

    fn hand_over(&mut self, me: usize, (worker, epoch): LaneKey) {
        let tenure = Tenure {
            replica: me,
            worker,
            epoch,
        };
        self.travel(Event::Query(me, Query::HandOver(tenure)));
    }
}
