//! Parking: a lane in which nobody may speak for long ends its task and is opened again in time.
//!
//! Everything that its pace depends on is in the ledger, but for what stands here. A parked lane
//! has nothing under way and nobody to settle, and nobody's last word is in doubt. Whose turn it is
//! (R4) is of no account: nobody waits who is ready, and no switch delay is longer than the wait,
//! so that whoever reads the lane anew allows nobody anything sooner or later than we would. A
//! worker that ignored an id of ours, or that refuses, is not forgotten: its lane stays open.
//! Jitter is kept by [`Speakers::opened`](super::speakers::Speakers).

use store::roster;

use super::load::{Asked, Roster};
use super::{Ending, LaneTask, Moment, Next};

/// What was read of a lane before it was opened.
pub struct Read {
    /// When its roster was asked for.
    pub at: Moment,
    /// Its wake number, read before the roster.
    pub wake: i64,
    /// Everybody with something to say or to settle.
    pub speakers: Vec<roster::Speaker>,
}

impl LaneTask {
    /// Takes over what was read instead of reading it. Nobody in it speaks before `held_until`,
    /// which is the moment that the lane was parked until.
    pub fn begin_with(&mut self, read: Read, held_until: Option<Moment>) {
        let asked = Asked {
            step: self.speakers.step(),
            at: read.at,
        };
        let roster = Roster {
            wake: Some(read.wake),
            speakers: read.speakers,
        };
        self.merge(None, asked, roster);
        let global = *self.delays.borrow_and_update();
        let context = &self.line.context;
        let soon = context.moments.now() + context.settings.open_ahead();
        let (most, chance) = (context.settings.jitter_max, &context.chance);
        self.speakers.opened((held_until, soon), &global, || {
            most.mul_f64(chance.fraction())
        });
        self.retime_all();
    }

    /// [`Ending::Parked`] if nobody may speak for long, as far as was read before the first step.
    pub fn parked_at_once(&mut self) -> Option<Ending> {
        match self.lane.next(self.line.context.moments.now()) {
            Next::At(moment) => self.parked(Some(moment)),
            Next::Speak(_) | Next::Quiet => None,
        }
    }

    /// Whether there is something that the lane was told and has not looked at.
    pub fn has_unheard(&self) -> bool {
        let told = !self.commands.is_empty() || self.commands.is_closed();
        told || self.delays.has_changed().unwrap_or(true)
    }

    /// [`Ending::Parked`] if the lane has nothing under way, and nothing to do before `next`, which
    /// is far off.
    pub(super) fn parked(&mut self, next: Option<Moment>) -> Option<Ending> {
        let now = self.line.context.moments.now();
        let soon = now + self.line.context.settings.park_after;
        let until = next.filter(|until| *until > soon)?;
        let wake = self.wake_seen?;
        let known = self.rests == 0 && self.line.own_ids() == self.own_ids_told;
        let quiet = self.ending.is_none() && self.events.is_empty() && self.lane.speaking() == 0;
        if !known || !quiet || self.speakers.any_to_settle() || self.has_unheard() {
            return None;
        }
        if self.speakers.any_stale() {
            self.load();
            return None;
        }
        let global = *self.delays.borrow();
        let far = self.speakers.all().into_iter().all(|speaker| {
            let ready = self.speakers.ready(speaker, &global);
            ready.is_none_or(|(at, delays)| at > soon && now + delays.sender_switch <= until)
        });
        far.then_some(Ending::Parked { until, wake })
    }
}
