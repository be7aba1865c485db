//! The list of a replica's lanes, each open, parked, or on its way to be opened.
//!
//! An open lane has a task and a way to tell it something. A parked one has nothing but its entry:
//! what a parked lane is to be told makes it be opened, and it then reads everything anew.
//! Absent on purpose: anything that waits. Every change here is made under one lock of the table.

use std::collections::{BTreeSet, HashMap, VecDeque};

use models::ids::WorkerId;
use models::phone::PhoneNumber;
use policy::lane::Moment;
use store::lanes::Tenure;
use tokio::sync::mpsc;

use crate::lane::Command;

/// Room for so many lanes to be opened is kept; a start or a take-over needs more for a moment.
const QUEUE_KEPT: usize = 1_024;

/// A lane to be opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Opening {
    pub(super) tenure: Tenure,
    /// Nobody whom it knew of may speak before: it was parked until then, and comes back for it.
    pub(super) parked_until: Option<Moment>,
}

/// All lanes.
#[derive(Default)]
pub(super) struct Entries {
    by_worker: HashMap<WorkerId, Entry>,
    /// Parked lanes by the moment at which somebody may speak.
    parked: BTreeSet<(Moment, WorkerId)>,
    /// Lanes to be opened, first come, first served. Bounded by the lanes that are ours.
    queue: VecDeque<Opening>,
}

struct Entry {
    tenure: Tenure,
    /// The wake number that the lane was told of, or has read.
    wake: Option<i64>,
    /// When it was ours for sure.
    ours_at: Moment,
    state: State,
}

enum State {
    /// Waits in the queue.
    Queued,
    /// Is being read; `again` when it was woken since.
    Reading { again: bool },
    /// Has a task.
    Open {
        commands: mpsc::Sender<Command>,
        leaving: bool,
    },
    /// Until somebody may speak.
    Parked { until: Moment },
}

/// How a lane is made to leave.
pub(super) enum Leaves {
    /// It was not open, and is gone from the list.
    AtOnce(Tenure),
    /// Its task was told so, now or before.
    ByAndBy,
    /// Its task could not be told yet.
    NotYet,
}

impl Entries {
    pub(super) fn len(&self) -> usize {
        self.by_worker.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.by_worker.is_empty()
    }

    pub(super) fn parked(&self) -> usize {
        self.parked.len()
    }

    pub(super) fn queued(&self) -> usize {
        self.queue.len()
    }

    pub(super) fn tenures(&self) -> Vec<Tenure> {
        self.by_worker.values().map(|entry| entry.tenure).collect()
    }

    /// Lanes that were asked to leave and still have something under way.
    pub(super) fn leaving(&self) -> usize {
        let leaving = |entry: &&Entry| matches!(entry.state, State::Open { leaving: true, .. });
        self.by_worker.values().filter(leaving).count()
    }

    /// A lane was ours at that moment; returns whether that is new. Whoever read it may come late,
    /// when it is ours again by a later tenure: that one stays.
    pub(super) fn serve(&mut self, tenure: Tenure, now: Moment) -> bool {
        if let Some(entry) = self.by_worker.get_mut(&tenure.worker)
            && entry.tenure.epoch >= tenure.epoch
        {
            if entry.tenure == tenure {
                entry.ours_at = entry.ours_at.max(now);
            }
            return false;
        }
        if let Some(former) = self.remove(tenure.worker) {
            former.tell(Command::Lost);
        }
        let entry = Entry {
            tenure,
            wake: None,
            ours_at: now,
            state: State::Queued,
        };
        self.by_worker.insert(tenure.worker, entry);
        self.queue.push_back(Opening {
            tenure,
            parked_until: None,
        });
        true
    }

    /// Whether a lane is here in this tenure.
    pub(super) fn is_ours(&self, tenure: Tenure) -> bool {
        self.of(tenure).is_some()
    }

    /// A sender may have new work.
    pub(super) fn look_at(&mut self, worker: WorkerId, sender: PhoneNumber) {
        let Some(entry) = self.by_worker.get_mut(&worker) else {
            return;
        };
        match &mut entry.state {
            State::Queued => {}
            State::Reading { again } => *again = true,
            // No room means that the lane is behind; the next look wakes it.
            State::Open { commands, .. } => {
                let _full = commands.try_send(Command::LookAt(sender));
            }
            State::Parked { .. } => self.open_again(worker, None),
        }
    }

    /// A lane has this wake number; false when it could not be told yet.
    pub(super) fn woken(&mut self, tenure: Tenure, wake: i64) -> bool {
        let Some(entry) = self.by_worker.get_mut(&tenure.worker) else {
            return true;
        };
        if entry.tenure != tenure || entry.wake == Some(wake) {
            return true;
        }
        match &mut entry.state {
            State::Queued => {}
            State::Reading { again } => *again = true,
            State::Open { commands, .. } => {
                if commands.try_send(Command::Look).is_err() {
                    return false;
                }
                entry.wake = Some(wake);
            }
            State::Parked { .. } => self.open_again(tenure.worker, None),
        }
        true
    }

    /// Parked lanes in which somebody may speak by `until` are to be opened.
    pub(super) fn open_due(&mut self, until: Moment) {
        while let Some((moment, worker)) = self.parked.first().copied()
            && moment <= until
        {
            self.open_again(worker, Some(moment));
        }
    }

    /// All parked lanes are to be opened: what they were parked by has changed.
    pub(super) fn open_all(&mut self) {
        while let Some((_, worker)) = self.parked.first().copied() {
            self.open_again(worker, None);
        }
    }

    fn open_again(&mut self, worker: WorkerId, parked_until: Option<Moment>) {
        let Some(entry) = self.by_worker.get_mut(&worker) else {
            return;
        };
        if let State::Parked { until } = std::mem::replace(&mut entry.state, State::Queued) {
            self.parked.remove(&(until, worker));
        }
        self.queue.push_back(Opening {
            tenure: entry.tenure,
            parked_until,
        });
    }

    /// Takes the next lanes to be opened from the queue.
    pub(super) fn take_queued(&mut self, most: usize) -> Vec<Opening> {
        let mut taken = Vec::new();
        while taken.len() < most
            && let Some(opening) = self.queue.pop_front()
        {
            // It may have been lost, or left, while it waited.
            if let Some(entry) = self.of_mut(opening.tenure)
                && matches!(entry.state, State::Queued)
            {
                entry.state = State::Reading { again: false };
                taken.push(opening);
            }
        }
        if self.queue.is_empty() && self.queue.capacity() > QUEUE_KEPT {
            self.queue = VecDeque::new();
        }
        taken
    }

    /// Lanes that could not be read wait again.
    pub(super) fn put_back(&mut self, openings: &[Opening]) {
        for opening in openings {
            if let Some(entry) = self.of_mut(opening.tenure)
                && matches!(entry.state, State::Reading { .. })
            {
                entry.state = State::Queued;
                self.queue.push_back(*opening);
            }
        }
    }

    /// A lane was read and has a task from now on, which learns of everything since; false when it
    /// is not to be opened any more.
    pub(super) fn open(
        &mut self,
        tenure: Tenure,
        wake: i64,
        commands: mpsc::Sender<Command>,
    ) -> bool {
        let Some(entry) = self.of_mut(tenure) else {
            return false;
        };
        let State::Reading { again } = entry.state else {
            return false;
        };
        entry.wake = Some(wake);
        if again {
            let _first = commands.try_send(Command::Look);
        }
        entry.state = State::Open {
            commands,
            leaving: false,
        };
        true
    }

    /// A lane that was read, or whose task is at its end, has nothing to say until then; false when
    /// it was told something meanwhile. `unheard` says so of an open one.
    pub(super) fn park(&mut self, tenure: Tenure, parked: (Moment, i64), unheard: bool) -> bool {
        let Some(entry) = self.of_mut(tenure) else {
            return false;
        };
        match entry.state {
            State::Reading { again: false } => {}
            State::Open { leaving: false, .. } if !unheard => {}
            _ => return false,
        }
        let (until, wake) = parked;
        entry.wake = Some(wake);
        entry.state = State::Parked { until };
        self.parked.insert((until, tenure.worker));
        true
    }

    /// Has a lane leave, whatever it does.
    pub(super) fn leave(&mut self, worker: WorkerId) -> Leaves {
        match self
            .by_worker
            .get_mut(&worker)
            .map(|entry| &mut entry.state)
        {
            None => Leaves::ByAndBy,
            Some(State::Open { commands, leaving }) => {
                *leaving = *leaving || commands.try_send(Command::Leave).is_ok();
                if *leaving {
                    Leaves::ByAndBy
                } else {
                    Leaves::NotYet
                }
            }
            Some(State::Queued | State::Reading { .. } | State::Parked { .. }) => {
                let entry = self.remove(worker);
                entry.map_or(Leaves::ByAndBy, |entry| Leaves::AtOnce(entry.tenure))
            }
        }
    }

    /// Some lanes that were not asked to leave yet.
    pub(super) fn staying(&self, most: usize) -> Vec<WorkerId> {
        let stays = |entry: &&Entry| !matches!(entry.state, State::Open { leaving: true, .. });
        let staying = self.by_worker.values().filter(stays).take(most);
        staying.map(|entry| entry.tenure.worker).collect()
    }

    /// Ends the lanes that were here before `asked_at` and of which nobody has said since that they
    /// are ours.
    pub(super) fn end_others(&mut self, asked_at: Moment) {
        let lost = |entry: &&Entry| entry.ours_at < asked_at;
        let lost = self.by_worker.values().filter(lost);
        let lost: Vec<_> = lost.map(|entry| entry.tenure.worker).collect();
        for worker in lost {
            match self.by_worker.get(&worker).map(|entry| &entry.state) {
                // Its task takes it off the list.
                Some(State::Open { commands, .. }) => {
                    let _ended = commands.try_send(Command::Lost);
                }
                _ => drop(self.remove(worker)),
            }
        }
    }

    /// A lane has ended.
    pub(super) fn end(&mut self, tenure: Tenure) {
        if self.is_ours(tenure) {
            self.remove(tenure.worker);
        }
    }

    fn of(&self, tenure: Tenure) -> Option<&Entry> {
        let entry = self.by_worker.get(&tenure.worker);
        entry.filter(|entry| entry.tenure == tenure)
    }

    fn of_mut(&mut self, tenure: Tenure) -> Option<&mut Entry> {
        let entry = self.by_worker.get_mut(&tenure.worker);
        entry.filter(|entry| entry.tenure == tenure)
    }

    fn remove(&mut self, worker: WorkerId) -> Option<Entry> {
        let entry = self.by_worker.remove(&worker)?;
        if let State::Parked { until } = entry.state {
            self.parked.remove(&(until, worker));
        }
        Some(entry)
    }
}

impl Entry {
    fn tell(&self, command: Command) {
        if let State::Open { commands, .. } = &self.state {
            let _ended = commands.try_send(command);
        }
    }
}

#[cfg(test)]
mod tests;
