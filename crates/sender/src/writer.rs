//! The ledger writers: each groups whatever has gathered while its previous write was on its way.
//!
//! A lane always has the same writer, so that what it writes stays in its order. There are several
//! because one is one connection, and one connection is at most one core of PostgreSQL.
//!
//! There is no timer: a lone message is written at once, and under load a group grows to what one
//! write takes. A conclusion is never dropped: it is kept and written again until the database
//! takes or refuses it. A claim that was not written is given back, because nothing was said yet.

use std::sync::Arc;

use chassis::{Backoff, Chance, Clock, Shutdown, chain};
use models::ids::{ReplicaId, WorkerId};
use store::ledger::{self, Cause, Claim, Claimed, Concluded, Conclusion, Outcome};
use store::{Store, StoreError};
use tokio::sync::{mpsc, oneshot};

/// Most rows in one transaction. Under load half of them are claims and half conclusions, so that a
/// statement has some 500 of them; larger ones gain little (measured: 93,000 rows/s at 100, 128,000
/// at 500) and hold their rows' locks longer.
const GROUP_MAX: usize = 1_000;
/// Writes that may wait. A lane waits for its writes, so this bounds nothing but a burst.
const QUEUE: usize = 2 * GROUP_MAX;

/// What came of asking for a claim.
#[derive(Debug)]
pub enum ClaimAnswer {
    /// Ours to send.
    Granted(Claimed),
    /// The lane, the session, the campaign or the message moved on.
    Refused,
    /// The database did not answer: it may or may not be written, and nothing was sent.
    NotWritten,
}

enum Write {
    Claim(Claim, oneshot::Sender<ClaimAnswer>),
    Conclude(Conclusion, oneshot::Sender<Option<Concluded>>),
}

/// The way to the writers. Cheap to clone.
#[derive(Clone)]
pub struct Writer {
    queues: Arc<[mpsc::Sender<Write>]>,
}

/// The writes that have not been looked at yet.
pub struct Queue {
    writes: mpsc::Receiver<Write>,
}

/// The way to `count` writers, at least one, and their queues: [`run`] must be given each.
pub fn queues(count: usize) -> (Writer, Vec<Queue>) {
    let (senders, receivers): (Vec<_>, Vec<_>) =
        (0..count.max(1)).map(|_| mpsc::channel(QUEUE)).unzip();
    let queues = receivers.into_iter().map(|writes| Queue { writes });
    let writer = Writer {
        queues: senders.into(),
    };
    (writer, queues.collect())
}

impl Writer {
    /// Asks for the right to send a message.
    pub async fn claim(&self, claim: Claim) -> ClaimAnswer {
        let (answer, answered) = oneshot::channel();
        let queue = self.queue(claim.tenure.worker);
        if queue.send(Write::Claim(claim, answer)).await.is_err() {
            return ClaimAnswer::NotWritten;
        }
        answered.await.unwrap_or(ClaimAnswer::NotWritten)
    }

    /// Writes what became of a message; `None` when the lane has moved on, so that somebody else
    /// settles it.
    pub async fn conclude(&self, conclusion: Conclusion) -> Option<Concluded> {
        let (answer, answered) = oneshot::channel();
        let queue = self.queue(conclusion.tenure.worker);
        queue.send(Write::Conclude(conclusion, answer)).await.ok()?;
        answered.await.ok().flatten()
    }

    /// That of a lane. Ids are random in their low bits, so lanes spread evenly.
    fn queue(&self, lane: WorkerId) -> &mpsc::Sender<Write> {
        let random = usize::from(lane.uuid().as_bytes()[15]);
        &self.queues[random % self.queues.len()]
    }
}

/// What one group of writes is about.
#[derive(Default)]
struct Group {
    claims: Vec<Claim>,
    claimed: Vec<oneshot::Sender<ClaimAnswer>>,
    conclusions: Vec<Conclusion>,
    concluded: Vec<oneshot::Sender<Option<Concluded>>>,
}

impl Group {
    fn add(&mut self, write: Write) {
        match write {
            Write::Claim(claim, answer) => {
                self.claims.push(claim);
                self.claimed.push(answer);
            }
            Write::Conclude(conclusion, answer) => {
                self.conclusions.push(conclusion);
                self.concluded.push(answer);
            }
        }
    }

    fn is_empty(&self) -> bool {
        self.claims.is_empty() && self.conclusions.is_empty()
    }

    fn len(&self) -> usize {
        self.claims.len() + self.conclusions.len()
    }

    /// Somebody who asked may have gone; that is theirs to know.
    fn answer(&mut self, written: ledger::Written) {
        for (answer, claimed) in self.claimed.drain(..).zip(written.claimed) {
            let claimed = claimed.map_or(ClaimAnswer::Refused, ClaimAnswer::Granted);
            let _gone = answer.send(claimed);
        }
        for (answer, concluded) in self.concluded.drain(..).zip(written.concluded) {
            let _gone = answer.send(concluded);
        }
        self.claims.clear();
        self.conclusions.clear();
    }

    fn give_claims_back(&mut self) {
        for answer in self.claimed.drain(..) {
            let _gone = answer.send(ClaimAnswer::NotWritten);
        }
        self.claims.clear();
    }

    fn absorb(&mut self, other: Self) {
        self.claims.extend(other.claims);
        self.claimed.extend(other.claimed);
        self.conclusions.extend(other.conclusions);
        self.concluded.extend(other.concluded);
    }

    /// Groups of one, for when the whole is refused and the bad row must be found.
    fn singles(&mut self) -> Vec<Self> {
        let conclusions = self.conclusions.drain(..).zip(self.concluded.drain(..));
        let conclusions = conclusions.map(|(c, answer)| Write::Conclude(c, answer));
        let claims = self.claims.drain(..).zip(self.claimed.drain(..));
        let claims = claims.map(|(claim, answer)| Write::Claim(claim, answer));
        let single = |write| {
            let mut group = Self::default();
            group.add(write);
            group
        };
        conclusions.chain(claims).map(single).collect()
    }
}

/// One writer: writes groups until every [`Writer`] is gone, or until `given_up` while the database
/// is away.
pub async fn run(
    store: Store,
    replica: ReplicaId,
    mut queue: Queue,
    (clock, chance): (Clock, Chance),
    given_up: Shutdown,
) {
    let (mut gathered, mut group) = (Vec::with_capacity(GROUP_MAX), Group::default());
    let mut failures: u32 = 0;
    loop {
        let room = GROUP_MAX.saturating_sub(group.len()).max(1);
        let waiting = !group.is_empty();
        if waiting {
            while gathered.len() < room
                && let Ok(write) = queue.writes.try_recv()
            {
                gathered.push(write);
            }
        } else if queue.writes.recv_many(&mut gathered, room).await == 0 {
            return;
        }
        gathered.drain(..).for_each(|write| group.add(write));
        metrics::histogram!("sender_ledger_group_rows").record(group.len() as f64);
        match write(&store, replica, &mut group).await {
            Ok(()) => failures = 0,
            Err(error) => {
                if failures == 0 {
                    tracing::warn!("the ledger cannot be written, waiting: {}", chain(&error));
                }
                group.give_claims_back();
                let wait = Backoff::LOOP.after(failures, chance.fraction());
                failures += 1;
                tokio::select! {
                    () = clock.sleep(wait) => {}
                    () = given_up.requested() => return,
                }
            }
        }
    }
}

/// Writes one group; an error leaves in it what must be written again.
async fn write(store: &Store, replica: ReplicaId, group: &mut Group) -> Result<(), StoreError> {
    match attempt(store, replica, group).await {
        Err(error) if !error.is_unavailable() => {
            tracing::error!(
                rows = group.len(),
                "a ledger write was refused: {}",
                chain(&error)
            );
            write_singly(store, replica, group).await
        }
        result => result,
    }
}

async fn attempt(store: &Store, replica: ReplicaId, group: &mut Group) -> Result<(), StoreError> {
    let mut client = store.client().await?;
    let written = ledger::write(&mut client, replica, &group.conclusions, &group.claims).await?;
    group.answer(written);
    Ok(())
}

/// One bad row must not hold up the others. A conclusion that is refused even alone becomes
/// UNKNOWN without the words that it was refused for, and is left to the lane's next owner if
/// that fails too.
async fn write_singly(
    store: &Store,
    replica: ReplicaId,
    group: &mut Group,
) -> Result<(), StoreError> {
    let mut singles = group.singles().into_iter();
    while let Some(mut single) = singles.next() {
        let away = match attempt(store, replica, &mut single).await {
            Ok(()) => continue,
            Err(error) if error.is_unavailable() => Some(error),
            Err(_) => give_up_words(store, replica, &mut single).await.err(),
        };
        if let Some(error) = away {
            group.absorb(single);
            singles.for_each(|single| group.absorb(single));
            return Err(error);
        }
    }
    Ok(())
}

/// Concludes a refused single as UNKNOWN; an error means that the database is away.
async fn give_up_words(
    store: &Store,
    replica: ReplicaId,
    single: &mut Group,
) -> Result<(), StoreError> {
    single.give_claims_back();
    for conclusion in &mut single.conclusions {
        let code = "ledger_refused".to_owned();
        conclusion.outcome = Outcome::Unknown(Cause {
            code,
            detail: String::new(),
        });
    }
    match attempt(store, replica, single).await {
        Err(error) if !error.is_unavailable() => {
            tracing::error!("a conclusion cannot be written: {}", chain(&error));
            single.conclusions.clear();
            single.concluded.clear();
            Ok(())
        }
        result => result,
    }
}
