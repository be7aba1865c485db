//! R1 to R4, no idling and bounded waiting, over simulated lanes in virtual time.
//!
//! The checkers below know nothing of how [`Lane`] decides; they look at what left and when.

use std::time::Duration;

use models::delays::Delays;
use policy::lane::{Lane, Moment, Next, Pace, ready_at};
use proptest::prelude::*;

const CASES: u32 = 3_000;
const TURN: u32 = 4;

/// One sender of a simulated lane, in milliseconds.
#[derive(Debug, Clone)]
struct Plan {
    message_delay: u64,
    switch_delay: u64,
    campaign_delay: u64,
    jitter: u64,
    starts_at: u64,
    /// Messages of each of its campaigns.
    campaigns: Vec<u8>,
    /// How long the worker takes to answer.
    answer_takes: u64,
}

/// One message that was sent.
#[derive(Debug, Clone, Copy)]
struct Heard {
    sender: usize,
    /// When R1 and R3 were satisfied and the sender had it to say.
    ready: Moment,
    left: Moment,
    answered: Moment,
    first_of_campaign: bool,
}

fn ms(ms: u64) -> Moment {
    Duration::from_millis(ms)
}

fn plan(switch_delay: impl Strategy<Value = u64>) -> impl Strategy<Value = Plan> {
    let delays = (0..400u64, switch_delay, 0..800u64, 0..50u64);
    (
        delays,
        0..2_000u64,
        prop::collection::vec(1..8u8, 1..4),
        0..300u64,
    )
        .prop_map(
            |(
                (message_delay, switch_delay, campaign_delay, jitter),
                starts_at,
                campaigns,
                takes,
            )| Plan {
                message_delay,
                switch_delay,
                campaign_delay,
                jitter,
                starts_at,
                campaigns,
                answer_takes: takes,
            },
        )
}

fn plans_with_equal_switch_delay() -> impl Strategy<Value = Vec<Plan>> {
    (1..500u64).prop_flat_map(|switch| prop::collection::vec(plan(Just(switch)), 1..7))
}

/// Plays the plans on a lane until nothing is left to say; returns what left, in order.
struct Simulation<'a> {
    plans: &'a [Plan],
    lane: Lane<usize>,
    now: Moment,
    /// For each sender: its campaign, messages left in it, and its pace.
    state: Vec<(usize, u8, Pace)>,
    /// Answers still to come.
    flights: Vec<(Moment, Heard)>,
    heard: Vec<Heard>,
}

impl<'a> Simulation<'a> {
    fn new(plans: &'a [Plan]) -> Self {
        let mut simulation = Self {
            plans,
            lane: Lane::new(TURN, None),
            now: Moment::ZERO,
            state: Vec::new(),
            flights: Vec::new(),
            heard: Vec::new(),
        };
        for (sender, plan) in plans.iter().enumerate() {
            let pace = Pace {
                jitter: ms(plan.jitter),
                first_of_campaign: true,
                not_before: Some(ms(plan.starts_at)),
                ..Pace::default()
            };
            simulation.state.push((0, plan.campaigns[0], pace));
            simulation.say_next(sender);
        }
        simulation
    }

    fn delays(&self, sender: usize) -> Delays {
        let plan = &self.plans[sender];
        Delays {
            message: ms(plan.message_delay),
            sender_switch: ms(plan.switch_delay),
            campaign: ms(plan.campaign_delay),
        }
    }

    fn ready(&self, sender: usize) -> Moment {
        ready_at(&self.state[sender].2, &self.delays(sender))
    }

    fn say_next(&mut self, sender: usize) {
        self.lane.wait(
            sender,
            self.ready(sender),
            ms(self.plans[sender].switch_delay),
        );
    }

    fn leave(&mut self, sender: usize) {
        let pace = self.state[sender].2;
        let answered = self.now + ms(self.plans[sender].answer_takes);
        let heard = Heard {
            sender,
            ready: self.ready(sender),
            left: self.now,
            answered,
            first_of_campaign: pace.first_of_campaign,
        };
        self.lane.begin(sender);
        self.heard.push(heard);
        self.flights.push((answered, heard));
    }

    fn answer(&mut self, sender: usize) {
        self.lane.end(sender, Some(self.now));
        let (campaign, left, pace) = &mut self.state[sender];
        pace.last_answer = Some(self.now);
        pace.first_of_campaign = false;
        *left -= 1;
        if *left == 0 {
            *campaign += 1;
            pace.campaign_ended = Some(self.now);
            pace.first_of_campaign = true;
            match self.plans[sender].campaigns.get(*campaign) {
                Some(messages) => *left = *messages,
                None => return,
            }
        }
        self.say_next(sender);
    }

    fn run(mut self) -> Vec<Heard> {
        loop {
            let wake = match self.lane.next(self.now) {
                Next::Speak(sender) => {
                    self.leave(sender);
                    continue;
                }
                Next::At(moment) => {
                    assert!(
                        moment > self.now,
                        "a lane must not ask to be asked again at once"
                    );
                    Some(moment)
                }
                Next::Quiet => None,
            };
            self.flights.sort_by_key(|(at, _)| std::cmp::Reverse(*at));
            let answer = self.flights.last().map(|(at, _)| *at);
            match (answer, wake) {
                (Some(answer), wake) if wake.is_none_or(|wake| answer <= wake) => {
                    let (at, heard) = self.flights.pop().unwrap();
                    self.now = at;
                    self.answer(heard.sender);
                }
                (_, Some(wake)) => self.now = wake,
                (_, None) => break,
            }
        }
        assert!(self.lane.is_idle(), "nobody may be left waiting for ever");
        self.heard
    }
}

fn total(plans: &[Plan]) -> usize {
    plans
        .iter()
        .flat_map(|plan| &plan.campaigns)
        .map(|messages| usize::from(*messages))
        .sum()
}

/// R1 and R3, by each sender's own messages.
fn check_own_gaps(plans: &[Plan], heard: &[Heard]) -> Result<(), TestCaseError> {
    for (sender, plan) in plans.iter().enumerate() {
        let own: Vec<_> = heard
            .iter()
            .filter(|heard| heard.sender == sender)
            .collect();
        for pair in own.windows(2) {
            let gap = pair[1].left - pair[0].answered;
            prop_assert!(
                gap >= ms(plan.message_delay + plan.jitter),
                "R1 of {sender}: {gap:?}"
            );
            if pair[1].first_of_campaign {
                prop_assert!(gap >= ms(plan.campaign_delay), "R3 of {sender}: {gap:?}");
            }
        }
    }
    Ok(())
}

/// R2, against every earlier message of another sender, not only the one just before.
fn check_switches(plans: &[Plan], heard: &[Heard]) -> Result<(), TestCaseError> {
    for (place, later) in heard.iter().enumerate() {
        let switch = ms(plans[later.sender].switch_delay);
        if switch.is_zero() {
            continue;
        }
        for earlier in heard[..place]
            .iter()
            .filter(|earlier| earlier.sender != later.sender)
        {
            let early = earlier.answered + switch;
            prop_assert!(later.left >= early, "R2: {later:?} after {earlier:?}");
        }
    }
    Ok(())
}

/// R4: in any run of one sender, at most TURN messages leave while another one was ready.
fn check_turns(plans: &[Plan], heard: &[Heard]) -> Result<(), TestCaseError> {
    let has_switch = |sender: usize| plans[sender].switch_delay > 0;
    let mut start = 0;
    for end in 0..heard.len() {
        if heard[end].sender != heard[start].sender {
            start = end;
        }
        let before = end - start; // messages of this run before this one
        let kept_waiting = heard[end + 1..].iter().any(|other| {
            other.sender != heard[end].sender
                && other.ready <= heard[end].left
                && (has_switch(other.sender) || has_switch(heard[end].sender))
        });
        prop_assert!(
            !(kept_waiting && before >= TURN as usize),
            "R4 at {:?}",
            heard[end]
        );
    }
    Ok(())
}

/// Nobody who is ready waits for more than one turn of each other sender, and the one under way.
fn check_bounded_waiting(plans: &[Plan], heard: &[Heard]) -> Result<(), TestCaseError> {
    let bound = plans.len() * TURN as usize;
    for (place, late) in heard.iter().enumerate() {
        let overtaking = heard[..place]
            .iter()
            .filter(|other| other.sender != late.sender && other.left >= late.ready);
        prop_assert!(overtaking.count() <= bound, "{late:?} waited too long");
    }
    Ok(())
}

/// With one switch delay for all: each message leaves at the first moment the rules allow one.
fn check_no_idling(plans: &[Plan], heard: &[Heard]) -> Result<(), TestCaseError> {
    for (place, spoken) in heard.iter().enumerate() {
        let before = &heard[..place];
        let answered = before.iter().map(|h| h.answered).max().unwrap_or_default();
        // Any message that left no earlier than this one could have left at this moment instead:
        let soonest = heard[place..].iter().filter_map(|candidate| {
            let first = heard[place..]
                .iter()
                .find(|h| h.sender == candidate.sender)?;
            let others = before.iter().filter(|h| h.sender != candidate.sender);
            let switch = others.map(|h| h.answered).max();
            let switch = switch.map(|at| at + ms(plans[candidate.sender].switch_delay));
            Some(first.ready.max(switch.unwrap_or_default()).max(answered))
        });
        let soonest = soonest.min().unwrap_or_default();
        let held = before
            .iter()
            .rev()
            .take_while(|h| h.sender == before[place - 1].sender)
            .count();
        if held < TURN as usize {
            prop_assert!(
                spoken.left <= soonest,
                "idle from {soonest:?} before {spoken:?}"
            );
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(CASES))]

    #[test]
    fn all_rules_hold_and_everything_is_said_once(
        plans in prop::collection::vec(plan(prop_oneof![Just(0u64), 1..500u64]), 1..7),
    ) {
        let heard = Simulation::new(&plans).run();
        prop_assert_eq!(heard.len(), total(&plans));
        check_own_gaps(&plans, &heard)?;
        check_switches(&plans, &heard)?;
        check_turns(&plans, &heard)?;
        check_bounded_waiting(&plans, &heard)?;
    }

    #[test]
    fn a_lane_never_idles_while_a_rule_allows_a_message(plans in plans_with_equal_switch_delay()) {
        let heard = Simulation::new(&plans).run();
        check_no_idling(&plans, &heard)?;
        check_bounded_waiting(&plans, &heard)?;
    }

    #[test]
    fn senders_without_switch_delay_speak_the_moment_they_are_ready(
        plans in prop::collection::vec(plan(Just(0u64)), 1..7),
    ) {
        for heard in Simulation::new(&plans).run() {
            prop_assert_eq!(heard.left, heard.ready);
        }
    }
}
