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

mod line;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use models::delays::Delays;

use line::{Line, Waiting};

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

/// The longest that a message is claimed ahead of its moment. A claim takes milliseconds, and tens
/// of them while many are written at once.
const CLAIM_AHEAD_MAX: Duration = Duration::from_millis(100);
/// The part of a message delay that is: of the senders of a replica that dies, this part at most
/// has a message that was claimed and had not left, of which its successor cannot know that.
const CLAIM_AHEAD_PART: u32 = 20;

/// How long before its moment a message may be claimed, so that it leaves on time.
pub fn claim_ahead(delays: &Delays) -> Duration {
    CLAIM_AHEAD_MAX.min(delays.message / CLAIM_AHEAD_PART)
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

/// One lane's state. `K` names a sender.
#[derive(Debug, Clone)]
pub struct Lane<K> {
    turn_messages: u32,
    /// Senders with something to say and no request under way.
    waiting: Line<K>,
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
            waiting: Line::new(),
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
        let served = *self.served.entry(sender).or_insert(self.step);
        let waiting = Waiting {
            ready_at,
            switch_delay,
            served,
        };
        self.waiting.add(sender, waiting);
    }

    /// A sender has nothing to say for now.
    pub fn silence(&mut self, sender: K) {
        self.waiting.remove(sender);
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

    /// Who will speak next and when, if senders do not see each other: nothing changes that but
    /// the sender itself, so it may be made ready. `None` while anybody waits by turns.
    pub fn next_free(&self) -> Option<(K, Moment)> {
        let free = self.waiting.least_delay().is_none();
        let next = free.then(|| self.waiting.free().next()).flatten();
        next.map(|(ready_at, sender)| (sender, ready_at))
    }

    /// Who speaks next, and when.
    pub fn next(&self, now: Moment) -> Next<K> {
        if self.waiting.least_delay().is_none() {
            // Nobody who waits sees the others: each speaks as soon as it is ready.
            return match self.next_free() {
                Some((sender, ready_at)) => at(sender, Some(ready_at), now),
                None => Next::Quiet,
            };
        }
        let holder = self
            .turn
            .and_then(|turn| Some((turn, self.waiting.get(turn.holder)?)));
        if let Some((turn, waiting)) = holder {
            let (own, others) = (
                self.opens_at(turn.holder, waiting),
                self.soonest(Some(turn.holder)),
            );
            if turn.messages >= self.turn_messages {
                let until = own.unwrap_or(waiting.ready_at).max(now);
                if let Some((sender, waiting)) = self.longest_waiting(Some(turn.holder), until) {
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
        let Some(soonest) = self.soonest(None) else {
            return Next::Quiet;
        };
        match self.longest_waiting(None, soonest.max(now)) {
            Some((sender, waiting)) => at(sender, self.opens_at(sender, waiting), now),
            None => Next::Quiet,
        }
    }

    /// Of those other than `except` that are ready by `until`, the one that waits longest.
    fn longest_waiting(&self, except: Option<K>, until: Moment) -> Option<(K, &Waiting)> {
        let sender = self.waiting.longest(until, except)?;
        Some((sender, self.waiting.get(sender)?))
    }

    /// The soonest moment at which anybody but `except` may speak.
    fn soonest(&self, except: Option<K>) -> Option<Moment> {
        let mut free = self
            .waiting
            .free()
            .filter(|(_, sender)| Some(*sender) != except);
        let free = free.next().map(|(ready_at, _)| ready_at);
        let switching = self.soonest_switch(except);
        [free, switching].into_iter().flatten().min()
    }

    /// The same of those with a switch delay. Looks at those who are ready first until the rest can
    /// only be later: nobody opens before it is ready, nor sooner after the lane's last answer than
    /// by the least of all switch delays.
    fn soonest_switch(&self, except: Option<K>) -> Option<Moment> {
        let opens_at = |sender: K| {
            let waiting = self
                .waiting
                .get(sender)
                .filter(|w| !w.switch_delay.is_zero());
            self.opens_at(sender, waiting.filter(|_| Some(sender) != except)?)
        };
        // Whoever spoke last keeps its distance from an earlier answer, and whoever speaks is not
        // in its own way.
        let last = self.last_answer.map(|(last, _)| last);
        if let Some(speaking) = self.speaking.first() {
            return opens_at(*speaking);
        }
        let answered = self.last_answer.map(|(_, moment)| moment).max(self.floor);
        let least = answered.zip(self.waiting.least_delay());
        let least = least.map(|(answered, delay)| answered + delay);
        let mut soonest = last.and_then(opens_at);
        for (ready_at, sender) in self.waiting.switching() {
            let bound = ready_at.max(least.unwrap_or_default());
            if soonest.is_some_and(|soonest| soonest <= bound) {
                break;
            }
            if Some(sender) != last {
                soonest = [soonest, opens_at(sender)].into_iter().flatten().min();
            }
        }
        soonest
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
    use proptest::prelude::*;

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
    fn only_who_takes_no_turns_is_made_ready() {
        let mut lane = Lane::new(30, None);
        assert_eq!(lane.next_free(), None);
        lane.wait('a', ms(900), ms(0));
        lane.wait('b', ms(700), ms(0));
        assert_eq!(lane.next_free(), Some(('b', ms(700))));
        lane.begin('b');
        assert_eq!(lane.next_free(), Some(('a', ms(900))));
        lane.wait('c', ms(2_000), ms(10));
        assert_eq!(lane.next_free(), None, "c's turn may come first");
    }

    #[test]
    fn a_claim_is_ahead_by_a_small_part_of_the_delay() {
        for (delay, ahead) in [(0, 0), (400, 20), (2_000, 100), (30_000, 100)] {
            let delays = Delays {
                message: ms(delay),
                sender_switch: ms(0),
                campaign: ms(0),
            };
            assert_eq!(claim_ahead(&delays), ms(ahead), "{delay} ms");
        }
    }

    #[test]
    fn a_successor_keeps_the_gap_it_found() {
        let mut lane = Lane::new(30, Some(ms(100)));
        lane.wait('a', ms(0), ms(500));
        assert_eq!(lane.next(ms(0)), Next::At(ms(600)));
    }

    /// The rules as they stand in the head of this file, looking at everybody each time.
    struct Plain<'a>(&'a Lane<u8>, Vec<(u8, Waiting)>);

    impl Plain<'_> {
        fn soonest(&self, except: Option<u8>) -> Option<Moment> {
            let others = self.1.iter().filter(|(sender, _)| Some(*sender) != except);
            others
                .filter_map(|(sender, waiting)| self.0.opens_at(*sender, waiting))
                .min()
        }

        fn longest(&self, except: Option<u8>, until: Moment) -> Option<&(u8, Waiting)> {
            let ready = self
                .1
                .iter()
                .filter(|(_, waiting)| waiting.ready_at <= until);
            let others = ready.filter(|(sender, _)| Some(*sender) != except);
            others.min_by_key(|(sender, waiting)| (waiting.served, *sender))
        }

        fn next(&self, now: Moment) -> Next<u8> {
            let Self(lane, line) = self;
            if line
                .iter()
                .all(|(_, waiting)| waiting.switch_delay.is_zero())
            {
                let first = line
                    .iter()
                    .min_by_key(|(sender, waiting)| (waiting.ready_at, *sender));
                let speak = first.map(|(sender, w)| at(*sender, Some(w.ready_at), now));
                return speak.unwrap_or(Next::Quiet);
            }
            let holder = lane.turn.and_then(|turn| {
                let holder = line.iter().find(|(sender, _)| *sender == turn.holder);
                Some((turn, holder?.1))
            });
            if let Some((turn, waiting)) = holder {
                let own = lane.opens_at(turn.holder, &waiting);
                let others = self.soonest(Some(turn.holder));
                if turn.messages >= lane.turn_messages {
                    let until = own.unwrap_or(waiting.ready_at).max(now);
                    if let Some((sender, waiting)) = self.longest(Some(turn.holder), until) {
                        return at(*sender, lane.opens_at(*sender, waiting), now);
                    }
                }
                if own.is_some_and(|own| others.is_none_or(|others| own <= others.max(now))) {
                    return at(turn.holder, own, now);
                }
            }
            let Some(soonest) = self.soonest(None) else {
                return Next::Quiet;
            };
            let chosen = self.longest(None, soonest.max(now));
            let next = chosen.map(|(sender, w)| at(*sender, lane.opens_at(*sender, w), now));
            next.unwrap_or(Next::Quiet)
        }
    }

    #[derive(Debug, Clone)]
    enum Happens {
        Wait(u8, u64, u64),
        Silence(u8),
        Forget(u8),
        Begin(u8),
        End(u8, bool),
        Pass(u64),
    }

    fn happens() -> impl Strategy<Value = Happens> {
        let sender = || 0..12_u8;
        prop_oneof![
            6 => (sender(), 0..400_u64, prop::sample::select(vec![0, 20, 50, 50, 50, 90]))
                .prop_map(|(sender, ready, delay)| Happens::Wait(sender, ready, delay)),
            1 => sender().prop_map(Happens::Silence),
            1 => sender().prop_map(Happens::Forget),
            2 => sender().prop_map(Happens::Begin),
            4 => (sender(), any::<bool>()).prop_map(|(sender, left)| Happens::End(sender, left)),
            3 => (0..60_u64).prop_map(Happens::Pass),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn looking_at_few_comes_to_the_same_as_looking_at_everybody(
            turn in 1..4_u32, floor in prop::option::of(0..100_u64),
            events in prop::collection::vec(happens(), 1..60),
        ) {
            let mut lane = Lane::new(turn, floor.map(ms));
            let mut now = ms(0);
            for event in events {
                match event {
                    Happens::Wait(sender, ready, delay) => {
                        lane.wait(sender, ms(ready), ms(delay));
                    }
                    Happens::Silence(sender) => lane.silence(sender),
                    Happens::Forget(sender) => lane.forget(sender),
                    // As a lane's task does it, but now and then somebody else's turn.
                    Happens::Begin(sender) => match lane.next(now) {
                        Next::Speak(next) => lane.begin(next),
                        _ if lane.waiting.get(sender).is_some() => lane.begin(sender),
                        _ => {}
                    },
                    Happens::End(sender, left) => lane.end(sender, left.then_some(now)),
                    Happens::Pass(time) => now += ms(time),
                }
                let line = (0..12).filter_map(|sender| Some((sender, *lane.waiting.get(sender)?)));
                let line = line.collect();
                prop_assert_eq!(lane.next(now), Plain(&lane, line).next(now));
            }
        }
    }
}
