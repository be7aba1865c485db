//! Who waits on a lane, ordered by all that a lane asks: when each is ready, how long it has
//! waited, how long the switches to it take.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::Moment;

/// A sender with something to say.
#[derive(Debug, Clone, Copy)]
pub(super) struct Waiting {
    pub(super) ready_at: Moment,
    pub(super) switch_delay: Duration,
    /// The step at which it last spoke, or began to wait.
    pub(super) served: u64,
}

/// All of them. No look costs more for those who are of no concern to it, however many they are.
#[derive(Debug, Clone)]
pub(super) struct Line<K> {
    all: BTreeMap<K, Waiting>,
    /// Those with a switch delay, by the moment they are ready.
    switching: BTreeSet<(Moment, K)>,
    /// Those without.
    free: BTreeSet<(Moment, K)>,
    /// How many have each switch delay.
    delays: BTreeMap<Duration, usize>,
    /// Those who have waited longest first.
    by_service: BTreeSet<(u64, K)>,
}

impl<K: Copy + Ord> Line<K> {
    pub(super) const fn new() -> Self {
        Self {
            all: BTreeMap::new(),
            switching: BTreeSet::new(),
            free: BTreeSet::new(),
            delays: BTreeMap::new(),
            by_service: BTreeSet::new(),
        }
    }

    pub(super) fn add(&mut self, sender: K, waiting: Waiting) {
        self.remove(sender);
        self.all.insert(sender, waiting);
        self.by_service.insert((waiting.served, sender));
        if waiting.switch_delay.is_zero() {
            self.free.insert((waiting.ready_at, sender));
        } else {
            self.switching.insert((waiting.ready_at, sender));
            *self.delays.entry(waiting.switch_delay).or_default() += 1;
        }
    }

    pub(super) fn remove(&mut self, sender: K) {
        let Some(waiting) = self.all.remove(&sender) else {
            return;
        };
        self.by_service.remove(&(waiting.served, sender));
        if waiting.switch_delay.is_zero() {
            self.free.remove(&(waiting.ready_at, sender));
            return;
        }
        self.switching.remove(&(waiting.ready_at, sender));
        if let Some(senders) = self.delays.get_mut(&waiting.switch_delay) {
            *senders -= 1;
            if *senders == 0 {
                self.delays.remove(&waiting.switch_delay);
            }
        }
    }

    pub(super) fn get(&self, sender: K) -> Option<&Waiting> {
        self.all.get(&sender)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Those without a switch delay, the first ready first.
    pub(super) fn free(&self) -> impl Iterator<Item = (Moment, K)> + '_ {
        self.free.iter().copied()
    }

    /// Those with one.
    pub(super) fn switching(&self) -> impl Iterator<Item = (Moment, K)> + '_ {
        self.switching.iter().copied()
    }

    /// The shortest switch delay; `None` where nobody has one.
    pub(super) fn least_delay(&self) -> Option<Duration> {
        self.delays.keys().next().copied()
    }

    /// Of those who are ready by `until`, but for `except`, the one that has waited longest.
    pub(super) fn longest(&self, until: Moment, except: Option<K>) -> Option<K> {
        let is_ready = |(ready_at, _): &(Moment, K)| *ready_at <= until;
        let free = self.free().take_while(is_ready);
        let mut ready = free.chain(self.switching().take_while(is_ready));
        let mut by_service = self.by_service.iter();
        let mut best = None;
        // From both ends at once: few may be ready of many, and few of them may have waited long.
        loop {
            let Some((_, sender)) = ready.next() else {
                return best.map(|(_, sender)| sender);
            };
            if Some(sender) != except {
                let served = self.all[&sender].served;
                best = Some(best.map_or((served, sender), |best| (served, sender).min(best)));
            }
            match by_service.next() {
                None => return best.map(|(_, sender)| sender),
                Some((_, sender)) if Some(*sender) == except => {}
                Some((_, sender)) if self.all[sender].ready_at <= until => return Some(*sender),
                Some(_) => {}
            }
        }
    }
}
