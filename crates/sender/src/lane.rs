//! One owned lane: a task that says what is to be said, when it may be said.
//!
//! It reacts to events alone: an answer, a written conclusion, a loaded roster, a command from
//! the table of lanes, a changed delay, or the moment at which the next message may leave. All
//! that waits for something else runs beside it, in `events`.

mod load;
mod notes;
mod park;
mod speakers;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize};

use chassis::Shutdown;
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use models::delays::Delays;
use models::phone::PhoneNumber;
use policy::lane::{Lane, Moment, Next, claim_ahead};
use policy::outcome::{Verdict, judge};
use store::StoreError;
use store::lanes::{self, LaneFacts, Tenure};
use store::ledger::Outcome;
use tokio::sync::{mpsc, watch};

use self::load::{Asked, Roster};
pub use self::park::Read;
use self::speakers::Speakers;
use crate::context::Context;
use crate::flight::{Answered, Flight, Line, Spoken, Written};

/// What the table of lanes may tell a lane.
#[derive(Debug, Clone)]
pub enum Command {
    /// There may be new work; the roster must be read again.
    Look,
    /// One sender may have new work.
    LookAt(PhoneNumber),
    /// Finish what is under way and end, so that the lane can be handed over.
    Leave,
    /// The lane has another owner; nothing more may be said.
    Lost,
}

/// How a lane's task ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// Given back: it had nothing to say.
    Released,
    /// Asked to leave; still ours, and quiet.
    Left,
    /// Still ours; nobody may speak for long.
    Parked {
        /// When somebody may.
        until: Moment,
        /// The wake number that this was read at.
        wake: i64,
    },
    /// Another owner has it.
    Lost,
}

enum Event {
    Spoken {
        speaker: u32,
        flight: Box<Flight>,
        spoken: Spoken,
    },
    Concluded {
        speaker: u32,
        written: Option<Written>,
        outcome: Outcome,
    },
    Loaded {
        only: Option<PhoneNumber>,
        asked: Asked,
        roster: Result<Roster, StoreError>,
    },
    /// Something that changes nothing here was written.
    Noted,
}

impl Event {
    /// `None`: not concluded, because we are leaving; the lane's next owner settles it.
    fn concluded(speaker: u32, written: Option<(Option<Written>, Outcome)>) -> Self {
        match written {
            Some((written, outcome)) => Self::Concluded {
                speaker,
                written,
                outcome,
            },
            None => Self::Noted,
        }
    }
}

/// Wait after a load that failed, or a claim that was refused twice in a row.
const RETRY_AFTER: std::time::Duration = std::time::Duration::from_millis(500);

/// A lane's task.
pub struct LaneTask {
    line: Arc<Line>,
    lane: Lane<u32>,
    speakers: Speakers,
    events: FuturesUnordered<BoxFuture<'static, Event>>,
    commands: mpsc::Receiver<Command>,
    delays: watch::Receiver<Delays>,
    /// The wake number that the last full roster was read at.
    wake_seen: Option<i64>,
    /// Whether a full roster is being read, or must be read after the one that is.
    loading: bool,
    load_again: bool,
    /// The lane backs off until then; rests in a row so far.
    resting_until: Option<Moment>,
    rests: u32,
    /// What the ledger says of the worker's letting us choose ids.
    own_ids_told: bool,
    taken_at: Moment,
    ending: Option<Ending>,
}

impl LaneTask {
    /// A lane that was just taken; `facts` are what the ledger knows of it.
    pub fn new(
        context: Arc<Context>,
        tenure: Tenure,
        facts: &LaneFacts,
        (waha, commands): (waha::Waha, mpsc::Receiver<Command>),
    ) -> Self {
        let now = context.moments.now();
        // A gap that cannot be proved is waited in full.
        let unproved = facts.in_flight.then_some(now);
        let floor = facts
            .last_sent_ago
            .map(|ago| context.moments.ago(ago))
            .max(unproved);
        Self {
            lane: Lane::new(context.settings.turn_messages, floor),
            speakers: Speakers::new(context.moments.clone()),
            events: FuturesUnordered::new(),
            commands,
            delays: context.delays.clone(),
            wake_seen: None,
            loading: false,
            load_again: false,
            resting_until: facts.resting_for.map(|rest| now + rest),
            rests: u32::from(facts.resting_for.is_some()),
            own_ids_told: facts.own_message_ids,
            taken_at: now,
            ending: None,
            line: Arc::new(Line {
                context,
                tenure,
                waha,
                own_ids: AtomicBool::new(facts.own_message_ids),
                leaving: Shutdown::new(),
                away: AtomicUsize::new(0),
            }),
        }
    }

    /// Runs until the lane is given back, parked, left or lost; a parked one may be run again.
    /// `given_up` cuts short what is under way.
    pub async fn run(&mut self, given_up: Shutdown) -> Ending {
        if self.wake_seen.is_none() {
            self.load();
        }
        loop {
            if let Some(ending) = self.ending
                && self.events.is_empty()
            {
                return ending;
            }
            let next = self.start_who_may_speak();
            if self.is_quiet() && self.release().await {
                return Ending::Released;
            }
            if let Some(parked) = self.parked(next) {
                return parked;
            }
            let moments = self.line.context.moments.clone();
            tokio::select! {
                biased;
                () = given_up.requested() => return self.ending.unwrap_or(Ending::Left),
                Some(event) = self.events.next(), if !self.events.is_empty() => self.on(event),
                command = self.commands.recv() => self.obey(command.unwrap_or(Command::Leave)),
                Ok(()) = self.delays.changed() => self.retime_all(),
                () = moments.sleep_until(next) => {}
            }
        }
    }

    fn obey(&mut self, command: Command) {
        if matches!(command, Command::Leave | Command::Lost) {
            self.line.leaving.request();
        }
        match command {
            Command::Look => self.load(),
            Command::LookAt(phone) => self.load_one(phone),
            Command::Leave => self.ending = self.ending.or(Some(Ending::Left)),
            Command::Lost => self.ending = Some(Ending::Lost),
        }
    }

    /// Lets everybody begin who may; returns when to ask again, if nothing happens before.
    fn start_who_may_speak(&mut self) -> Option<Moment> {
        let context = &self.line.context;
        let now = context.moments.now();
        if self.ending.is_some() {
            return None;
        }
        if !context.lease.holds(now) || self.line.is_away() {
            return Some(now + RETRY_AFTER);
        }
        if let Some(until) = self.resting_until.filter(|until| *until > now) {
            return Some(until);
        }
        loop {
            // A worker that refused is tried with one message before all others follow.
            if self.rests > 0 && self.lane.speaking() > 0 {
                return None;
            }
            match self.lane.next(now) {
                Next::Speak(speaker) => self.begin(speaker, now),
                Next::At(moment) => match self.to_be_claimed() {
                    Some((speaker, from)) if from <= now => self.begin(speaker, moment),
                    Some((_, from)) => return Some(from),
                    None => return Some(moment),
                },
                Next::Quiet => return None,
            }
        }
    }

    /// Who will speak next, and from when on it may be claimed for ahead of its moment; `None`
    /// where that may change, or where nobody could prove afterwards that it had not left.
    fn to_be_claimed(&self) -> Option<(u32, Moment)> {
        let (speaker, ready_at) = self.lane.next_free().filter(|_| self.line.own_ids())?;
        let (_, delays) = self.speakers.ready(speaker, &self.delays.borrow())?;
        Some((speaker, ready_at.saturating_sub(claim_ahead(&delays))))
    }

    /// Claims a sender's next message and says it, not before a moment that it may say it at.
    fn begin(&mut self, speaker: u32, not_before: Moment) {
        let Some(flight) = self.speakers.begin(speaker) else {
            return self.lane.silence(speaker);
        };
        self.lane.begin(speaker);
        let line = Arc::clone(&self.line);
        self.events.push(Box::pin(async move {
            let spoken = line.speak(&flight, not_before).await;
            Event::Spoken {
                speaker,
                flight: Box::new(flight),
                spoken,
            }
        }));
    }

    fn on(&mut self, event: Event) {
        match event {
            Event::Spoken {
                speaker,
                spoken: Spoken::NotClaimed { refused },
                ..
            } => {
                self.lane.end(speaker, None);
                let not_before = self.line.context.moments.now() + RETRY_AFTER;
                if let Some(phone) = self.speakers.not_claimed(speaker, refused, not_before) {
                    self.load_one(phone);
                }
                self.retime(speaker);
            }
            Event::Spoken {
                speaker,
                flight,
                spoken: Spoken::Answered(answered),
            } => {
                self.answered(speaker, flight, answered);
            }
            Event::Concluded {
                speaker,
                written,
                outcome,
            } => {
                self.concluded(speaker, written, &outcome);
            }
            Event::Loaded {
                only,
                asked,
                roster,
            } => self.loaded(only, asked, roster),
            Event::Noted => {}
        }
    }

    fn answered(&mut self, speaker: u32, flight: Box<Flight>, answered: Answered) {
        let context = &self.line.context;
        self.lane.end(speaker, answered.at);
        let jitter = self.jitter();
        self.speakers
            .answered(speaker, flight.key, answered.at, jitter);
        let number_rests = self.speakers.rests(speaker);
        let chance = context.chance.fraction();
        let outcome = answered.outcome.clone();
        let verdict = judge(outcome, &context.rests, number_rests, self.rests, chance);
        match &verdict {
            Verdict::LaneRests { rest, code, detail } => self.back_off(*rest, code, detail),
            Verdict::NumberRests { code, detail, .. } => {
                tracing::warn!(sender = %flight.phone.masked(), code, "a number rests: {detail}");
                self.doubt(&flight);
                self.rests = 0;
            }
            Verdict::Sent { .. } | Verdict::Failed { .. } => self.rests = 0,
            Verdict::LookUp { code, detail } => {
                tracing::warn!(
                    campaign.id = %flight.key.campaign, ordinal = flight.key.ordinal,
                    to = %answered.said.recipient.masked(), code, "an answer was lost: {detail}"
                );
            }
        }
        let line = Arc::clone(&self.line);
        self.events.push(Box::pin(async move {
            Event::concluded(speaker, line.conclude(&flight, &answered, verdict).await)
        }));
    }

    fn concluded(&mut self, speaker: u32, written: Option<Written>, outcome: &Outcome) {
        if let Some(phone) = self.speakers.concluded(speaker, written, outcome) {
            self.load_one(phone);
        }
        self.retime(speaker);
    }

    /// Whether nobody speaks, waits or is to be settled, and the roster is known to be empty.
    fn is_quiet(&self) -> bool {
        self.ending.is_none()
            && self.events.is_empty()
            && self.lane.is_idle()
            && self.wake_seen.is_some()
            && !self.speakers.any_to_settle()
    }

    /// Gives the lane back unless it was woken since the roster was read.
    async fn release(&mut self) -> bool {
        let (context, tenure) = (&self.line.context, self.line.tenure);
        let Some(wake) = self.wake_seen.take() else {
            return false;
        };
        let released = async {
            let client = context.store.client().await?;
            lanes::release(&client, context.replica, tenure, wake).await
        };
        match released.await {
            Ok(true) => true,
            Ok(false) => {
                self.load();
                false
            }
            Err(error) => {
                tracing::debug!("a lane could not be given back yet: {error}");
                self.load_later();
                false
            }
        }
    }

    /// Puts a sender in line, or takes it out, by what it has to say now.
    fn retime(&mut self, speaker: u32) {
        let global = *self.delays.borrow();
        match self.speakers.ready(speaker, &global) {
            Some((ready_at, delays)) => self.lane.wait(speaker, ready_at, delays.sender_switch),
            None => self.lane.silence(speaker),
        }
    }

    fn retime_all(&mut self) {
        for speaker in self.speakers.all() {
            self.retime(speaker);
        }
    }

    fn jitter(&self) -> std::time::Duration {
        let context = &self.line.context;
        context
            .settings
            .jitter_max
            .mul_f64(context.chance.fraction())
    }
}
