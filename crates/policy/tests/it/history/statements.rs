//! The statements that processes send to the ledger, and their answers. A statement that has left
//! is carried out whatever becomes of its sender, and its answer may get lost after the commit.

use super::flight::Flight;
use super::ledger::{Claimed, Key, Ms, Outcome, Tenure};
use super::replica::{LaneKey, RETRY_AFTER, Step};
use super::world::{DEAD_AFTER, Event, World};

#[derive(Debug)]
pub(crate) enum Query {
    Beat(Ms),
    Watch,
    Load(LaneKey, usize),
    Claim(Flight),
    Conclude(Flight, Outcome),
    HandOver(Tenure),
}

/// What a sender has to say, as the ledger has it.
#[derive(Debug)]
pub(crate) struct Row {
    /// The lane has another owner.
    pub(crate) lost: bool,
    pub(crate) next: Option<(Key, Ms, bool)>,
    pub(crate) in_flight: Option<Found>,
    pub(crate) last_sent: Option<Ms>,
    pub(crate) campaign_ended: Option<Ms>,
    pub(crate) resting_until: Ms,
    pub(crate) rests: u32,
}

/// A message that was claimed and not concluded.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Found {
    pub(crate) key: Key,
    pub(crate) at: Ms,
    pub(crate) id: Option<u64>,
    pub(crate) attempts: i16,
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum ClaimAnswer {
    Granted(Claimed),
    Refused,
    NotWritten,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wrote {
    Written,
    Refused,
    NotKnown,
}

impl World {
    pub(crate) fn query(&mut self, me: usize, query: Query) {
        let away = self.ledger.away_until > self.now;
        let lost = away || self.is_troubled() && self.chance.once_in(40);
        let answer = match query {
            Query::Beat(_) | Query::Watch | Query::HandOver(_) if away => return,
            Query::Beat(sent_at) => {
                self.ledger.seen[me] = self.now;
                Step::Beaten(sent_at)
            }
            Query::Watch => Step::Watched(self.watch(me)),
            Query::HandOver(tenure) => return self.hand_lane_over(tenure),
            Query::Load(lane, sender) if lost => {
                let again = self.now + RETRY_AFTER;
                return self.at(again, Event::To(me, Step::Load(lane, sender)));
            }
            Query::Load(lane, sender) => Step::Loaded(lane, sender, self.row(me, lane, sender)),
            Query::Claim(flight) => {
                let claimed = if away { None } else { self.claim(me, &flight) };
                let answer = match claimed {
                    _ if lost => ClaimAnswer::NotWritten,
                    Some(claimed) => ClaimAnswer::Granted(claimed),
                    None => ClaimAnswer::Refused,
                };
                Step::Claimed(flight, answer)
            }
            Query::Conclude(flight, outcome) => {
                let written = !away && self.write(me, &flight, outcome);
                let wrote = match written {
                    _ if lost => Wrote::NotKnown,
                    true => Wrote::Written,
                    false => Wrote::Refused,
                };
                Step::Concluded(flight, outcome, wrote)
            }
        };
        self.travel(Event::To(me, answer));
    }

    fn claim(&mut self, me: usize, flight: &Flight) -> Option<Claimed> {
        let tenure = flight.tenure(me);
        self.counted.fenced += u64::from(!self.ledger.owns(tenure));
        self.ledger.claim(self.now, tenure, flight.key, flight.id)
    }

    fn write(&mut self, me: usize, flight: &Flight, outcome: Outcome) -> bool {
        let tenure = flight.tenure(me);
        self.counted.fenced += u64::from(!self.ledger.owns(tenure));
        self.ledger.conclude(self.now, tenure, flight.key, outcome)
    }

    /// Takes at most one lane that nobody owns who lives; tells of all that are ours.
    fn watch(&mut self, me: usize) -> Vec<(LaneKey, Option<Ms>)> {
        for worker in 0..self.ledger.lanes.len() {
            let had_owner = self.ledger.lanes[worker].owner.is_some();
            if self.ledger.take(self.now, me, worker, DEAD_AFTER).is_some() {
                self.counted.takeovers += u64::from(had_owner);
                break;
            }
        }
        let lanes = self.ledger.lanes.iter().enumerate();
        let ours = lanes.filter(|(_, lane)| lane.owner == Some(me));
        ours.map(|(worker, lane)| {
            let mut senders = self.ledger.senders.iter();
            let unproved = senders.any(|s| s.worker == worker && s.in_flight.is_some());
            let floor = lane.last_sent.max(unproved.then_some(self.now));
            ((worker, lane.epoch), floor)
        })
        .collect()
    }

    fn row(&self, me: usize, (worker, epoch): LaneKey, sender: usize) -> Row {
        let tenure = Tenure {
            replica: me,
            worker,
            epoch,
        };
        let of = &self.ledger.senders[sender];
        let in_flight = of.in_flight.map(|flying| {
            let message = &self.ledger.campaigns[flying.key.0].messages[flying.key.1];
            Found {
                key: flying.key,
                at: flying.at,
                id: message.id.filter(|_| self.workers[worker].own_ids),
                attempts: message.attempts,
            }
        });
        Row {
            lost: !self.ledger.owns(tenure),
            next: self.ledger.next(sender),
            in_flight,
            last_sent: of.last_sent,
            campaign_ended: of.campaign_ended,
            resting_until: of.resting_until,
            rests: of.rests,
        }
    }

    fn hand_lane_over(&mut self, tenure: Tenure) {
        if !self.ledger.owns(tenure) {
            return;
        }
        let living = self.replicas.iter().enumerate();
        let mut living = living.filter(|(name, replica)| {
            *name != tenure.replica
                && !replica.leaving
                && self.ledger.seen[*name] + DEAD_AFTER > self.now
        });
        let next = living.next().map(|(name, _)| name);
        let lane = &mut self.ledger.lanes[tenure.worker];
        lane.owner = next;
        lane.epoch += 1;
        self.say(format!("lane {} is handed to {next:?}", tenure.worker));
    }
}
