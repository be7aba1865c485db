//! The world of one history: its clock, its chance, its faults, and what travels between parts.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use models::message::MessageStatus as S;
use policy::settle::OnUnknown;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::figures::Figures;
use super::flight::{Asked, Flight};
use super::ledger::{Campaign, LaneRow, Ledger, Message, Ms, Sender};
use super::mutation::Mutation;
use super::replica::{Replica, Step};
use super::statements::Query;
use super::worker::{self, Answer, Heard, Worker};

/// A heartbeat, a look at the lanes, and the age at which a replica counts as dead.
pub(crate) const BEAT_EVERY: Ms = 100;
pub(crate) const WATCH_EVERY: Ms = 60;
pub(crate) const DEAD_AFTER: Ms = 400;
/// What a lease falls short of that by.
pub(crate) const MARGIN: Ms = 50;
/// A request is given up on after this, and a worker that answered an error is done after that.
pub(crate) const SEND_TIMEOUT: Ms = 600;
pub(crate) const SETTLE_QUIET: Ms = 100;

/// Faults and lies end here; then everything must come to an end.
const FAULTS_END: Ms = 2_500;
/// A world that is not done by then is stuck.
const PATIENCE: Ms = 30_000;
/// Late reports and late hearing have their say after the last campaign has ended.
const AFTERMATH: Ms = 1_500;

/// Chance that a seed decides.
#[derive(Debug)]
pub(crate) struct Chance(StdRng);

impl Chance {
    /// A whole number, both ends included.
    pub(crate) fn between(&mut self, least: u64, most: u64) -> u64 {
        self.0.random_range(least..=most)
    }

    /// A place in a list of `count`.
    pub(crate) fn index(&mut self, count: usize) -> usize {
        self.0.random_range(0..count)
    }

    /// True once in `times`.
    pub(crate) fn once_in(&mut self, times: u32) -> bool {
        self.0.random_ratio(1, times)
    }

    pub(crate) fn fraction(&mut self) -> f64 {
        self.0.random_range(0.0..1.0)
    }
}

/// The delays of a history, in milliseconds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    pub(crate) message: Ms,
    pub(crate) switch: Ms,
    pub(crate) campaign: Ms,
}

/// What WhatsApp reports on a message, by its worker.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Report {
    pub(crate) worker: usize,
    pub(crate) sender: usize,
    pub(crate) id: u64,
    pub(crate) ack: i16,
}

/// What happens at a moment.
#[derive(Debug)]
pub(crate) enum Event {
    /// Something for a process. One that is stopped meets it when it wakes, a dead one never.
    To(usize, Step),
    /// A statement reaches the ledger, whatever became of who sent it.
    Query(usize, Query),
    /// A request reaches its worker.
    Arrive(usize, Flight),
    /// A question about a message reaches its worker.
    Ask(usize, Asked),
    /// Somebody hears a message, unless its worker was killed meanwhile.
    Hear(Heard, u64, u32),
    /// WhatsApp reports on a number's message, unless its worker was.
    Report(Report, u32),
    Kill,
    Stop(Ms),
    Drain,
    LedgerAway(Ms),
    /// A worker is killed; what it said within this time is forgotten.
    RestartWorker(Ms),
    Spawn,
}

/// One history.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) now: Ms,
    pub(crate) chance: Chance,
    pub(crate) ledger: Ledger,
    pub(crate) workers: Vec<Worker>,
    pub(crate) replicas: Vec<Replica>,
    pub(crate) heard: Vec<Heard>,
    pub(crate) delays: Pace,
    pub(crate) on_unknown: OnUnknown,
    pub(crate) mutation: Option<Mutation>,
    pub(crate) counted: Figures,
    queue: BinaryHeap<Reverse<(Ms, u64)>>,
    events: BTreeMap<u64, Event>,
    next_event: u64,
}

impl World {
    /// The world of a seed, broken by `mutation`.
    pub(crate) fn new(seed: u64, mutation: Option<Mutation>) -> Self {
        let mut chance = Chance(StdRng::seed_from_u64(seed));
        let workers: Vec<_> = (0..2)
            .map(|_| Worker {
                own_ids: !chance.once_in(3),
                store: !chance.once_in(4),
                said: BTreeMap::new(),
                started: 0,
                boot: 0,
            })
            .collect();
        let mut world = Self {
            now: 0,
            ledger: ledger(&mut chance, workers.len(), mutation),
            workers,
            replicas: Vec::new(),
            heard: Vec::new(),
            delays: Pace {
                message: chance.between(20, 60),
                switch: [0, 10, 30][chance.index(3)],
                campaign: chance.between(0, 120),
            },
            on_unknown: match chance.once_in(6) {
                true => OnUnknown::Resend,
                false => OnUnknown::Hold,
            },
            mutation,
            counted: Figures::default(),
            queue: BinaryHeap::new(),
            events: BTreeMap::new(),
            next_event: 0,
            chance,
        };
        for _ in 0..world.chance.between(2, 3) {
            world.at(0, Event::Spawn);
        }
        world.plan_faults();
        world
    }

    fn plan_faults(&mut self) {
        let mut faults = Vec::new();
        for _ in 0..self.chance.between(1, 4) {
            faults.push(Event::Kill);
        }
        for _ in 0..self.chance.between(1, 4) {
            faults.push(Event::Stop(self.chance.between(20, 1_000)));
        }
        for _ in 0..self.chance.between(0, 2) {
            faults.push(Event::LedgerAway(self.chance.between(10, 500)));
        }
        for _ in 0..self.chance.between(0, 1) {
            faults.push(Event::Drain);
        }
        for _ in 0..self.chance.between(0, 2) {
            faults.push(Event::RestartWorker(self.chance.between(0, 500)));
        }
        for fault in faults {
            let at = self.chance.between(50, FAULTS_END);
            self.at(at, fault);
        }
    }

    pub(crate) fn is(&self, mutation: Mutation) -> bool {
        self.mutation == Some(mutation)
    }

    /// Whether faults and lies still happen.
    pub(crate) const fn is_troubled(&self) -> bool {
        self.now < FAULTS_END
    }

    /// Something happens at a moment.
    pub(crate) fn at(&mut self, at: Ms, event: Event) {
        self.queue.push(Reverse((at, self.next_event)));
        self.events.insert(self.next_event, event);
        self.next_event += 1;
    }

    /// Something reaches the other side of a connection.
    pub(crate) fn travel(&mut self, event: Event) {
        let at = self.now + self.chance.between(1, 4);
        self.at(at, event);
    }

    pub(crate) fn say(&mut self, what: String) {
        self.ledger.log.push((self.now, what));
    }

    /// Plays until everything has ended, or nothing can be expected to.
    pub(crate) fn run(&mut self) {
        let mut until = PATIENCE;
        while let Some(Reverse((at, place))) = self.queue.pop() {
            if at > until || self.ledger.breach.is_some() {
                break;
            }
            self.now = self.now.max(at);
            if let Some(event) = self.events.remove(&place) {
                self.happen(event);
            }
            if until == PATIENCE && self.ledger.campaigns.iter().all(|campaign| campaign.done) {
                until = self.now + AFTERMATH;
            }
        }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::To(replica, step) => self.to(replica, step),
            Event::Query(replica, query) => self.query(replica, query),
            Event::Arrive(replica, flight) => self.arrive(replica, flight),
            Event::Ask(replica, asked) => self.ask(replica, asked),
            Event::Hear(heard, _, boot) if self.workers[heard.worker].boot != boot => {}
            // A refusal is reported again when the worker is back: what was never heard and never
            // refused either is SENT, and nobody can know better.
            Event::Report(report, boot)
                if report.ack >= 0 && self.workers[report.worker].boot != boot => {}
            Event::Hear(heard, id, _) => {
                self.say(format!("{:?} is heard", heard.key));
                let said = (id, self.now);
                self.workers[heard.worker].said.insert(heard.key, said);
                self.heard.push(heard);
            }
            Event::Report(report, boot) => self.report(report, boot),
            Event::Spawn => self.spawn(),
            Event::LedgerAway(lasts) => {
                self.counted.outages += 1;
                self.ledger.away_until = self.now + lasts;
            }
            Event::RestartWorker(unsaved) => {
                self.counted.restarts += 1;
                let name = self.chance.index(self.workers.len());
                self.say(format!("worker {name} restarts and forgets {unsaved} ms"));
                self.workers[name].restart(self.now, unsaved);
            }
            Event::Kill | Event::Stop(_) | Event::Drain => self.fault(&event),
        }
    }

    fn spawn(&mut self) {
        let name = self.replicas.len();
        self.replicas.push(Replica::default());
        self.ledger.seen.push(0);
        self.at(self.now, Event::To(name, Step::Beat));
        self.at(self.now, Event::To(name, Step::Watch));
    }

    fn fault(&mut self, event: &Event) {
        let living = self.replicas.iter().enumerate();
        let living: Vec<_> = living
            .filter(|(_, r)| !r.dead && !r.leaving)
            .map(|(n, _)| n)
            .collect();
        if living.is_empty() {
            return;
        }
        let name = living[self.chance.index(living.len())];
        self.say(format!("{event:?} hits replica {name}"));
        match event {
            Event::Kill => {
                self.counted.kills += 1;
                self.replicas[name].dead = true;
            }
            Event::Stop(lasts) => {
                self.counted.stops += 1;
                self.replicas[name].stopped_until = self.now + lasts;
            }
            _ => {
                self.counted.drains += 1;
                self.leave(name);
            }
        }
        if !matches!(event, Event::Stop(_)) {
            let back = self.now + self.chance.between(10, 300);
            self.at(back, Event::Spawn);
        }
    }

    fn to(&mut self, name: usize, step: Step) {
        let replica = &self.replicas[name];
        if replica.dead {
            return;
        }
        if replica.stopped_until > self.now {
            return self.at(replica.stopped_until, Event::To(name, step));
        }
        self.take_step(name, step);
    }

    fn arrive(&mut self, name: usize, mut flight: Flight) {
        let boot = self.workers[flight.worker].boot;
        flight.boot = boot;
        let deed = worker::deed(&mut self.chance, self.now < FAULTS_END);
        let own = flight.id.filter(|_| self.workers[flight.worker].own_ids);
        let id = own.unwrap_or_else(|| self.chance.between(1 << 32, u64::MAX));
        self.say(format!("{:?} arrives by {id:x}: {deed:?}", flight.key));
        let accepted = matches!(deed.answer, Some((_, Answer::Accepted)));
        match deed.heard_in {
            Some(late) => {
                let heard = Heard {
                    worker: flight.worker,
                    sender: flight.sender,
                    key: flight.key,
                    arrived: self.now,
                };
                self.at(self.now + late, Event::Hear(heard, id, boot));
            }
            // What the engine took is among its chats, also what WhatsApp then refuses.
            None if accepted => {
                let said = (id, self.now);
                self.workers[flight.worker].said.insert(flight.key, said);
            }
            None => {}
        }
        for (late, ack) in deed.acks {
            let report = Report {
                worker: flight.worker,
                sender: flight.sender,
                id,
                ack,
            };
            self.at(self.now + late, Event::Report(report, boot));
        }
        let gives_up = flight.left + SEND_TIMEOUT;
        let (at, answer) = match deed.answer {
            Some((late, answer)) if self.now + late < gives_up => (self.now + late, Some(answer)),
            _ => (gives_up, None),
        };
        let told = (answer == Some(Answer::Accepted)).then_some(id);
        self.at(at, Event::To(name, Step::Answered(flight, answer, told)));
    }

    fn ask(&mut self, name: usize, mut asked: Asked) {
        let worker = &self.workers[asked.flight.worker];
        let said = worker.said.get(&asked.flight.key).copied();
        asked.found = said.map(|(id, _)| id);
        asked.answered = !(self.now < FAULTS_END && self.chance.once_in(6));
        asked.supported = self.workers[asked.flight.worker].store;
        let told = Event::To(name, Step::Told(asked));
        if self.is_troubled() && self.chance.once_in(12) {
            // A slow answer is as old as its question.
            let late = self.now + self.chance.between(50, 700);
            return self.at(late, told);
        }
        self.travel(told);
    }

    fn report(&mut self, report: Report, boot: u32) {
        if self.ledger.away_until > self.now {
            // WAHA repeats what was not taken.
            let again = self.now + 200;
            return self.at(again, Event::Report(report, boot));
        }
        let Report {
            sender, id, ack, ..
        } = report;
        let known = self.ledger.receipts.get(&(sender, id));
        if known.is_none_or(|known| known.0.is_none()) {
            self.counted.early_reports += 1;
            if self.is(Mutation::DropEarlyReports) {
                return;
            }
        }
        self.ledger.report(self.now, sender, id, ack);
    }

    /// What the history came to.
    pub(crate) fn figures(&self) -> Figures {
        let mut figures = self.counted;
        for message in self.ledger.campaigns.iter().flat_map(|c| &c.messages) {
            figures.messages += 1;
            match message.status {
                S::Sent | S::Delivered | S::Read => figures.sent += 1,
                S::Failed => figures.failed += 1,
                S::Unknown => figures.unknown += 1,
                _ => {}
            }
        }
        figures
    }

    /// Everything that happened, for a person.
    pub(crate) fn story(&self) -> String {
        let mut lines = vec![format!(
            "{:?}, {:?}, workers {:?}",
            self.delays,
            self.on_unknown,
            self.workers
                .iter()
                .map(|w| (w.own_ids, w.store))
                .collect::<Vec<_>>()
        )];
        let log = self.ledger.log.iter();
        lines.extend(log.map(|(at, what)| format!("{at:6} {what}")));
        lines.join("\n")
    }
}

fn ledger(chance: &mut Chance, workers: usize, mutation: Option<Mutation>) -> Ledger {
    let mut ledger = Ledger {
        lanes: vec![LaneRow::default(); workers],
        unfenced: mutation == Some(Mutation::NoFence),
        counts_twice: mutation == Some(Mutation::CountTwice),
        forgets_retries: mutation == Some(Mutation::ForgetRetries),
        ..Ledger::default()
    };
    for _ in 0..chance.between(2, 5) {
        let number = ledger.senders.len();
        ledger.senders.push(Sender {
            worker: chance.index(workers),
            ..Sender::default()
        });
        for _ in 0..chance.between(1, 3) {
            let count = chance.between(1, 6) as i64;
            let message = Message {
                status: S::Pending,
                attempts: 0,
                id: None,
            };
            ledger.campaigns.push(Campaign {
                sender: number,
                messages: (0..count).map(|_| message.clone()).collect(),
                counters: [(S::Pending, count)].into(),
                next_ordinal: 0,
                begun: false,
                done: false,
            });
        }
    }
    ledger
}
