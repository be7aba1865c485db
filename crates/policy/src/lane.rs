//! Who speaks next on a lane, and when.
//!
//! A lane is the order in which one WAHA worker speaks. A gap runs from the answer to one request
//! (or from giving up on it) to the leaving of the next, so it also holds at the worker's clock.
//!
//! - R1: two messages of one sender are at least its message delay (and jitter) apart.
//! - R2: a message leaves at least its sender's switch delay after the last answer to another
//!   sender on the lane, and not while another's request is under way. A switch delay of zero
//!   takes a sender out of this rule.
//! - R3: the first message of a campaign leaves at least the campaign delay after the sender's
//!   previous campaign ended.
//! - R4: while a sender with a switch delay waits, turns are taken. A turn ends after
//!   `turn_messages` messages, or as soon as another sender may speak before its holder; it goes to
//!   the one that has waited longest of those whose R1 and R3 are satisfied by then.
//!
//! R1 and R3 are about one sender and come in as its [`ready_at`]; [`Lane`] decides R2 and R4.
//! With equal switch delays a lane never idles while these rules allow a message; with unequal
//! ones it may, for their difference, because the one whose turn it is has the longer one.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use models::delays::Delays;

/// A point on a monotonic clock: the time since some origin of the caller's.
pub type Moment = Duration;

/// What one sender's own rules depend on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pace {
    /// The answer to (or the giving up on) its last request.
    pub last_answer: Option<Moment>,
    /// What chance adds to the message delay this time; jitter only ever adds.
    pub jitter: Duration,
    /// When its previous campaign ended.
    pub campaign_ended: Option<Moment>,
    /// Whether the next message is the first of its campaign.
    pub first_of_campaign: bool,
    /// Not before, whatever the delays say: a number at rest, an attempt that waits.
    pub not_before: Option<Moment>,
}

/// The earliest moment at which R1, R3 and a rest allow a sender's next message.
pub fn ready_at(pace: &Pace, delays: &Delays) -> Moment {
    let r1 = pace.last_answer.map(|at| at + delays.message + pace.jitter);
    let r3 = pace
        .campaign_ended
        .filter(|_| pace.first_of_campaign)
        .map(|at| at + delays.campaign);
    [r1, r3, pace.not_before]
        .into_iter()
        .flatten()
        .max()
        .unwrap_or_default()
}

/// What a lane should do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next<K> {
    /// Let this sender speak now.
    Speak(K),
    /// Nothing before this moment; ask again then, or when something changes.
    At(Moment),
    /// Nothing until something changes: an answer comes, or a sender has something to say.
    Quiet,
}

/// Whose turn it is, and how many messages it has had.
#[derive(Debug, Clone, Copy)]
struct Turn<K> {
    holder: K,
    messages: u32,
}

#[derive(Debug, Clone, Copy)]
struct Waiting {
    ready_at: Moment,
    switch_delay: Duration,
}

/// One lane's state. `K` names a sender.
#[derive(Debug, Clone)]
pub struct Lane<K> {
    turn_messages: u32,
    /// Senders with something to say and no request under way.
    waiting: BTreeMap<K, Waiting>,
    /// The same, by the moment they are ready.
    by_ready: BTreeSet<(Moment, K)>,
    /// How many of them have a switch delay.
    switchers: usize,
    /// Senders whose request is under way.
    speaking: BTreeSet<K>,
    /// When each sender last spoke or began to wait, in steps of `step`.
    served: BTreeMap<K, u64>,
    step: u64,
    turn: Option<Turn<K>>,
    /// The lane's last answer, and the last one to a sender other than that one's.
    last_answer: Option<(K, Moment)>,
    other_answer: Option<Moment>,
    /// An answer whose sender is not known: what a successor finds in the ledger.
    floor: Option<Moment>,
}

impl<K: Copy + Ord> Lane<K> {
    /// A lane whose last answer, to whomever, was at `floor`.
    pub fn new(turn_messages: u32, floor: Option<Moment>) -> Self {
        Self {
            turn_messages: turn_messages.max(1),
            waiting: BTreeMap::new(),
            by_ready: BTreeSet::new(),
            switchers: 0,
            speaking: BTreeSet::new(),
            served: BTreeMap::new(),
            step: 0,
            turn: None,
            last_answer: None,
            other_answer: None,
            floor,
        }
    }

    /// A sender has something to say, not before `ready_at`. Saying it again changes both values.
    pub fn wait(&mut self, sender: K, ready_at: Moment, switch_delay: Duration) {
        self.silence(sender);
        self.waiting.insert(
            sender,
            Waiting {
                ready_at,
                switch_delay,
            },
        );
        self.by_ready.insert((ready_at, sender));
        self.switchers += usize::from(!switch_delay.is_zero());
        self.served.entry(sender).or_insert(self.step);
    }

    /// A sender has nothing to say for now.
    pub fn silence(&mut self, sender: K) {
        if let Some(old) = self.waiting.remove(&sender) {
            self.by_ready.remove(&(old.ready_at, sender));
            self.switchers -= usize::from(!old.switch_delay.is_zero());
        }
    }

    /// Forgets a sender that has left the lane; one that comes back queues up as a new one.
    pub fn forget(&mut self, sender: K) {
        self.silence(sender);
        self.served.remove(&sender);
    }

    /// A sender that waited begins to speak: its request counts as under way from here.
    pub fn begin(&mut self, sender: K) {
        self.silence(sender);
        self.speaking.insert(sender);
        self.step += 1;
        self.served.insert(sender, self.step);
        self.turn = Some(match self.turn {
            Some(Turn { holder, messages }) if holder == sender => Turn {
                holder,
                messages: messages.saturating_add(1),
            },
            _ => Turn {
                holder: sender,
                messages: 1,
            },
        });
    }

    /// A sender's request was answered, or given up on, at `at`; `None` when it never left.
    pub fn end(&mut self, sender: K, at: Option<Moment>) {
        self.speaking.remove(&sender);
        let Some(at) = at else { return };
        match self.last_answer {
            Some((last, moment)) if last == sender => {
                self.last_answer = Some((sender, at.max(moment)));
            }
            Some((_, moment)) if at >= moment => {
                self.other_answer = Some(moment);
                self.last_answer = Some((sender, at));
            }
            Some(_) => self.other_answer = self.other_answer.max(Some(at)),
            None => self.last_answer = Some((sender, at)),
        }
    }

    /// How many requests are under way.
    pub fn speaking(&self) -> usize {
        self.speaking.len()
    }

    /// Whether no sender waits or speaks.
    pub fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.speaking.is_empty()
    }

    /// Who speaks next, and when.
    pub fn next(&self, now: Moment) -> Next<K> {
        let Some(&(first_ready, first)) = self.by_ready.first() else {
            return Next::Quiet;
        };
        if self.switchers == 0 {
            // Nobody who waits sees the others: each speaks as soon as it is ready.
            return at(first, Some(first_ready), now);
        }
        let holder = self
            .turn
            .and_then(|turn| Some((turn, self.waiting.get(&turn.holder)?)));
        if let Some((turn, waiting)) = holder {
            let (own, others) = (
                self.opens_at(turn.holder, waiting),
                self.others(turn.holder),
            );
            if turn.messages >= self.turn_messages {
                let until = own.unwrap_or(waiting.ready_at).max(now);
                if let Some((sender, waiting)) = self.longest_waiting(turn.holder, until) {
                    return at(sender, self.opens_at(sender, waiting), now);
                }
            }
            if own.is_some_and(|own| others.is_none_or(|others| own <= others.max(now))) {
                return at(turn.holder, own, now);
            }
        }
        self.pass_turn(now)
    }

    /// The turn goes to the longest-waiting of those who could speak by the time anyone may.
    fn pass_turn(&self, now: Moment) -> Next<K> {
        let soonest = self
            .waiting
            .iter()
            .filter_map(|(sender, w)| self.opens_at(*sender, w))
            .min();
        let Some(soonest) = soonest else {
            return Next::Quiet;
        };
        let candidates = self
            .by_ready
            .iter()
            .take_while(|(ready, _)| *ready <= soonest.max(now));
        let chosen = candidates
            .map(|(_, sender)| *sender)
            .min_by_key(|s| (self.served(*s), *s));
        let Some(sender) = chosen else {
            return Next::Quiet;
        };
        at(sender, self.opens_at(sender, &self.waiting[&sender]), now)
    }

    /// Of those other than the holder that are ready by `until`, the one that waits longest.
    fn longest_waiting(&self, holder: K, until: Moment) -> Option<(K, &Waiting)> {
        let ready = self
            .by_ready
            .iter()
            .take_while(|(ready, _)| *ready <= until);
        let others = ready
            .map(|(_, sender)| *sender)
            .filter(|sender| *sender != holder);
        let sender = others.min_by_key(|sender| (self.served(*sender), *sender))?;
        Some((sender, self.waiting.get(&sender)?))
    }

    /// The soonest moment at which anybody but the holder may speak.
    fn others(&self, holder: K) -> Option<Moment> {
        let others = self.waiting.iter().filter(|(sender, _)| **sender != holder);
        others
            .filter_map(|(sender, waiting)| self.opens_at(*sender, waiting))
            .min()
    }

    /// When R1, R2 and R3 allow a sender; `None` while another's request is in its way.
    fn opens_at(&self, sender: K, waiting: &Waiting) -> Option<Moment> {
        if waiting.switch_delay.is_zero() {
            return Some(waiting.ready_at);
        }
        if self.speaking.iter().any(|other| *other != sender) {
            return None;
        }
        let answered = match self.last_answer {
            Some((last, _)) if last == sender => self.other_answer,
            Some((_, moment)) => Some(moment),
            None => None,
        };
        let open = answered
            .max(self.floor)
            .map(|answered| answered + waiting.switch_delay);
        Some(open.unwrap_or_default().max(waiting.ready_at))
    }

    fn served(&self, sender: K) -> u64 {
        self.served.get(&sender).copied().unwrap_or_default()
    }
}

fn at<K>(sender: K, opens_at: Option<Moment>, now: Moment) -> Next<K> {
    match opens_at {
        Some(moment) if moment <= now => Next::Speak(sender),
        Some(moment) => Next::At(moment),
        None => Next::Quiet,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(ms: u64) -> Moment {
        Moment::from_millis(ms)
    }

    #[test]
    fn r1_r3_and_rests_take_the_latest() {
        let delays = Delays {
            message: ms(200),
            sender_switch: ms(0),
            campaign: ms(1_000),
        };
        let pace = Pace {
            last_answer: Some(ms(100)),
            jitter: ms(5),
            campaign_ended: Some(ms(50)),
            first_of_campaign: true,
            not_before: None,
        };
        assert_eq!(ready_at(&pace, &delays), ms(1_050));
        assert_eq!(
            ready_at(
                &Pace {
                    first_of_campaign: false,
                    ..pace
                },
                &delays
            ),
            ms(305)
        );
        assert_eq!(
            ready_at(
                &Pace {
                    not_before: Some(ms(9_000)),
                    ..pace
                },
                &delays
            ),
            ms(9_000)
        );
        assert_eq!(ready_at(&Pace::default(), &delays), ms(0));
    }

    #[test]
    fn a_switch_waits_and_a_holder_does_not() {
        let mut lane = Lane::new(30, None);
        lane.wait('a', ms(0), ms(500));
        lane.wait('b', ms(0), ms(500));
        assert_eq!(lane.next(ms(0)), Next::Speak('a'));
        lane.begin('a');
        assert_eq!(
            lane.next(ms(0)),
            Next::Quiet,
            "b must not speak while a does"
        );
        lane.end('a', Some(ms(30)));
        lane.wait('a', ms(230), ms(500));
        assert_eq!(lane.next(ms(30)), Next::At(ms(230)), "a keeps its turn");
        lane.silence('a');
        assert_eq!(lane.next(ms(30)), Next::At(ms(530)));
        assert_eq!(lane.next(ms(530)), Next::Speak('b'));
    }

    #[test]
    fn a_turn_ends_after_its_messages_when_another_waits() {
        let mut lane = Lane::new(2, None);
        lane.wait('a', ms(0), ms(10));
        for step in 0..3 {
            assert_eq!(lane.next(ms(step)), Next::Speak('a'), "alone it may go on");
            lane.begin('a');
            lane.end('a', Some(ms(step)));
            lane.wait('a', ms(step), ms(10));
        }
        lane.wait('b', ms(3), ms(10));
        assert_eq!(lane.next(ms(3)), Next::At(ms(12)));
        assert_eq!(lane.next(ms(12)), Next::Speak('b'));
    }

    #[test]
    fn without_switch_delays_senders_do_not_see_each_other() {
        let mut lane = Lane::new(30, Some(ms(0)));
        lane.wait('a', ms(0), ms(0));
        lane.wait('b', ms(0), ms(0));
        lane.begin('a');
        assert_eq!(lane.next(ms(0)), Next::Speak('b'));
    }

    #[test]
    fn a_successor_keeps_the_gap_it_found() {
        let mut lane = Lane::new(30, Some(ms(100)));
        lane.wait('a', ms(0), ms(500));
        assert_eq!(lane.next(ms(0)), Next::At(ms(600)));
    }
}
