//! Compares what was ordered with what the simulated phones heard, at the simulator's own clock.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::time::Duration;

use crate::fleet::Heard;

/// A campaign that was accepted.
#[derive(Debug, Clone)]
pub(crate) struct Ordered {
    pub(crate) id: String,
    pub(crate) sender: String,
    pub(crate) recipients: Vec<String>,
}

/// Numbers that belong to nobody, other ones for each `campaign` (below 1,000).
pub(crate) fn recipients(campaign: usize, count: usize) -> Vec<String> {
    (0..count)
        .map(|n| format!("49{campaign:03}{n:06}"))
        .collect()
}

/// Who heard something more than once.
pub(crate) fn heard_twice(heard: &[Heard]) -> Vec<(&str, usize)> {
    let mut times: BTreeMap<&str, usize> = BTreeMap::new();
    for one in heard {
        *times.entry(one.recipient()).or_default() += 1;
    }
    times.into_iter().filter(|(_, times)| *times > 1).collect()
}

/// Every recipient of every campaign heard exactly one message, from its sender; nobody else did.
#[track_caller]
pub(crate) fn all_heard_once(heard: &[Heard], ordered: &[Ordered]) {
    assert_eq!(heard_twice(heard), [], "heard more than once");
    let said = |one: &Heard| (one.session.clone(), one.recipient().to_owned());
    let said: BTreeSet<_> = heard.iter().map(said).collect();
    let wanted: BTreeSet<_> = ordered
        .iter()
        .flat_map(|one| {
            one.recipients
                .iter()
                .map(|to| (one.sender.clone(), to.clone()))
        })
        .collect();
    let missed: Vec<_> = wanted.difference(&said).take(5).collect();
    let strange: Vec<_> = said.difference(&wanted).take(5).collect();
    assert!(
        missed.is_empty() && strange.is_empty(),
        "{} of {} heard; missed, for example: {missed:?}; not ordered: {strange:?}",
        said.len(),
        wanted.len()
    );
}

/// One gap, measured in both ways.
#[derive(Debug, Clone, Copy)]
struct Gap {
    /// From the answer to the earlier message to the arrival of the later one: what the rule says.
    from_answer: Duration,
    /// From arrival to arrival.
    from_arrival: Duration,
}

/// All gaps of one rule.
#[derive(Debug)]
pub(crate) struct Gaps {
    rule: &'static str,
    configured: Duration,
    gaps: Vec<Gap>,
}

impl Gaps {
    fn new(rule: &'static str, configured: Duration) -> Self {
        Self {
            rule,
            configured,
            gaps: Vec::new(),
        }
    }

    fn add(&mut self, earlier: &Heard, later: &Heard) {
        let since = |at: u64| Duration::from_nanos(later.arrived_mono_ns.saturating_sub(at));
        let answered = earlier.answered_mono_ns.unwrap_or(earlier.arrived_mono_ns);
        self.gaps.push(Gap {
            from_answer: since(answered),
            from_arrival: since(earlier.arrived_mono_ns),
        });
    }

    /// How many are too short, by however little.
    pub(crate) fn violations(&self) -> usize {
        let short =
            |gap: &&Gap| gap.from_answer < self.configured || gap.from_arrival < self.configured;
        self.gaps.iter().filter(short).count()
    }

    pub(crate) fn count(&self) -> usize {
        self.gaps.len()
    }

    fn row(&self) -> String {
        let column = |pick: fn(&Gap) -> Duration| {
            let mut sorted: Vec<Duration> = self.gaps.iter().map(pick).collect();
            sorted.sort();
            let at = |place: usize| {
                let gap = sorted.get(place);
                gap.map_or_else(|| "-".to_owned(), |gap| format!("{:.4}", gap.as_secs_f64()))
            };
            (at(0), at(sorted.len() / 2))
        };
        let (answer_min, answer_median) = column(|gap| gap.from_answer);
        let (arrival_min, arrival_median) = column(|gap| gap.from_arrival);
        format!(
            "| {:<38} | {:>7.3} | {:>5} | {answer_min:>10} | {answer_median:>8} | \
             {arrival_min:>11} | {arrival_median:>8} | {:>6} |",
            self.rule,
            self.configured.as_secs_f64(),
            self.count(),
            self.violations()
        )
    }
}

/// The delays in force while `heard` was said.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Delays {
    pub(crate) message: Duration,
    pub(crate) switch: Duration,
    pub(crate) campaign: Duration,
}

/// The gaps of R1, R2 and R3. `heard` is in order of arrival.
pub(crate) fn gaps(heard: &[Heard], ordered: &[Ordered], delays: Delays) -> [Gaps; 3] {
    let mut own = Gaps::new("R1 one sender, message to message", delays.message);
    let mut switch = Gaps::new("R2 one worker, sender to sender", delays.switch);
    let mut campaign = Gaps::new("R3 one sender, campaign to campaign", delays.campaign);
    let campaign_of: BTreeMap<(&str, &str), &str> = ordered
        .iter()
        .flat_map(|one| {
            let key = |to| (one.sender.as_str(), to);
            one.recipients
                .iter()
                .map(move |to| (key(to.as_str()), one.id.as_str()))
        })
        .collect();
    let (mut of_sender, mut on_worker) = (BTreeMap::new(), BTreeMap::new());
    for one in heard {
        let id = |of: &Heard| {
            campaign_of
                .get(&(of.session.as_str(), of.recipient()))
                .copied()
        };
        if let Some(earlier) = of_sender.insert(&one.session, one) {
            own.add(earlier, one);
            if id(earlier) != id(one) {
                campaign.add(earlier, one);
            }
        }
        match on_worker.insert(one.worker, one) {
            Some(earlier) if earlier.session != one.session => switch.add(earlier, one),
            _ => {}
        }
    }
    [own, switch, campaign]
}

/// The longest row of messages that one sender said on a worker without a switch.
pub(crate) fn longest_turn(heard: &[Heard]) -> usize {
    let mut turns: BTreeMap<usize, (&str, usize)> = BTreeMap::new();
    let mut longest = 0;
    for one in heard {
        let turn = turns.entry(one.worker).or_insert((&one.session, 0));
        if turn.0 != one.session {
            *turn = (&one.session, 0);
        }
        turn.1 += 1;
        longest = longest.max(turn.1);
    }
    longest
}

/// The table that the tests print.
pub(crate) fn table(gaps: &[Gaps]) -> String {
    let mut text = String::from(
        "| gaps in seconds at the worker's clock  | allowed | count | answer min |   median | \
         arrival min |   median | broken |\n\
         | -------------------------------------- | ------: | ----: | ---------: | -------: | \
         ----------: | -------: | -----: |\n",
    );
    for gaps in gaps {
        writeln!(text, "{}", gaps.row()).unwrap();
    }
    text
}
