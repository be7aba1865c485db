//! The one look a second that watches all lanes.
//!
//! It asks for what has changed: lanes that were woken or handed to us, the global delays, dead
//! replicas whose lanes are to be adopted, parked lanes whose moment comes. All lanes are read only
//! now and then, to find those that we lost, and to weigh ours against what the others hold.

use std::sync::Arc;
use std::time::Duration;

use models::ids::WorkerId;
use policy::lane::Moment;
use store::lanes::{self, Around, Shares, Tenure};
use store::{Client, StoreError, roster};

use super::Table;
use super::entries::Leaves;

/// Between two looks at all lanes, unless something calls for one. What a replica lost it may not
/// speak on anyway; until it notices, it only remembers it.
const ALL_EVERY: Duration = Duration::from_secs(30);
/// Lanes that one statement takes or notes.
const BATCH: i64 = 500;
/// Statements of a kind in one look; the next goes on.
const ROUNDS: usize = 40;
/// Lanes that one statement hands over.
const HANDED_OVER: usize = 500;

/// A heartbeat is too old a moment after the last in which it was not.
const DEATH_SEEN: Duration = Duration::from_millis(20);

/// What the looks so far have seen.
#[derive(Default)]
pub(super) struct Looks {
    /// The version of the global delays that every lane was told.
    pub(super) settings_version: Option<i64>,
    /// Living replicas.
    replicas: i64,
    /// The last look at all lanes; `None` when there must be one, because the last look failed and
    /// what it was told is lost, or somebody could not be told.
    all_at: Option<Moment>,
}

impl Table {
    /// One look at our lanes, at what surrounds them, and at what is to be done about it.
    pub async fn look(self: &Arc<Self>) -> Result<(), StoreError> {
        let context = &self.context;
        let asked_at = context.moments.now();
        let client = context.store.client().await?;
        let around = lanes::around(&client, context.settings.dead_after).await?;
        self.read_delays(&client, &around).await?;
        let last = self.begin_look(&around, asked_at);
        let mut told = self.note_woken(&client, asked_at).await?;
        let all = last.is_none();
        if all {
            let (heard, own) = self.note_all(&client, asked_at).await?;
            let shares = lanes::shares(&client, context.settings.dead_after).await?;
            told &= heard && self.level(own, shares);
        }
        if around.orphaned && context.may_judge() {
            self.adopt(&client).await?;
        }
        drop(client);
        self.watch_death(&around);
        if told {
            self.looks().all_at = last.or(Some(asked_at));
        }
        self.entries()
            .open_due(asked_at + context.settings.open_ahead());
        self.open_queued();
        self.show();
        self.hand_over_left().await
    }

    /// When all lanes were last looked at; `None` when this look must. Until this look has
    /// succeeded, the next one must.
    fn begin_look(&self, around: &Around, now: Moment) -> Option<Moment> {
        let mut looks = self.looks();
        let changed = std::mem::replace(&mut looks.replicas, around.replicas) != around.replicas;
        let last = looks.all_at.take();
        last.filter(|at| !changed && now < *at + ALL_EVERY)
    }

    /// Looks as soon as a replica whose heartbeat stays away counts as dead: many wait for its
    /// lanes to speak.
    fn watch_death(self: &Arc<Self>, around: &Around) {
        let every = self.context.settings.watch_every;
        let Some(death) = around.next_death_in.filter(|death| *death < every) else {
            return;
        };
        let table = Arc::clone(self);
        self.supervisor.spawn("death watch", async move {
            table.context.clock.sleep(death + DEATH_SEEN).await;
            table.look_now.notify_one();
        });
    }

    async fn read_delays(&self, client: &Client, around: &Around) -> Result<(), StoreError> {
        if self.looks().settings_version == Some(around.settings_version) {
            return Ok(());
        }
        if let Some((delays, version)) = roster::global_delays(client).await? {
            let changed = self
                .delays
                .send_if_modified(|known| std::mem::replace(known, delays) != delays);
            if changed {
                self.entries().open_all();
            }
            self.looks().settings_version = Some(version);
        }
        Ok(())
    }

    /// Tells the lanes that were woken; returns whether all of them could be told.
    async fn note_woken(&self, client: &Client, asked_at: Moment) -> Result<bool, StoreError> {
        let mut told = true;
        for _ in 0..ROUNDS {
            let woken = lanes::woken(client, self.context.replica, BATCH).await?;
            for (tenure, wake) in &woken {
                told &= self.note(*tenure, *wake, asked_at);
            }
            if is_last(woken.len()) {
                break;
            }
        }
        Ok(told)
    }

    fn note(&self, tenure: Tenure, wake: i64, asked_at: Moment) -> bool {
        // Lanes that have left are ours in the ledger until they are handed over.
        if self.left().contains(&tenure) {
            return true;
        }
        let mut entries = self.entries();
        if entries.serve(tenure, asked_at) {
            tracing::info!(worker.id = %tenure.worker, epoch = tenure.epoch, "a lane is ours");
        }
        entries.woken(tenure, wake)
    }

    /// Compares all that we own with all that we serve. Returns whether all that were woken could
    /// be told, and how many are ours to keep.
    async fn note_all(
        &self,
        client: &Client,
        asked_at: Moment,
    ) -> Result<(bool, usize), StoreError> {
        let (mut told, mut own, mut after) = (true, 0, None);
        loop {
            let page = lanes::owned(client, self.context.replica, after, BATCH).await?;
            for (tenure, wake) in &page {
                told &= self.note(*tenure, *wake, asked_at);
                // Lanes that have left are ours in the ledger until they are handed over.
                own += usize::from(!self.left().contains(tenure));
            }
            after = page.last().map(|(tenure, _)| tenure.worker);
            if is_last(page.len()) {
                break;
            }
        }
        self.entries().end_others(asked_at);
        Ok((told, own))
    }

    /// Takes lanes that the dead have left, about our share of them.
    async fn adopt(&self, client: &Client) -> Result<(), StoreError> {
        let context = &self.context;
        let dead_after = context.settings.dead_after;
        let mut adopted = 0;
        for _ in 0..ROUNDS {
            let taken = lanes::adopt(client, context.replica, dead_after, BATCH).await?;
            let now = context.moments.now();
            for (tenure, _) in &taken {
                self.entries().serve(*tenure, now);
            }
            adopted += taken.len();
            if is_last(taken.len()) {
                break;
            }
        }
        if adopted > 0 {
            tracing::warn!(lanes = adopted, "adopted lanes of a replica that died");
            metrics::counter!("sender_lanes_adopted_total").increment(adopted as u64);
        }
        Ok(())
    }

    /// Gives some lanes up when we hold far more than our share. Returns whether all that shall
    /// leave were told so.
    fn level(&self, own: usize, shares: Shares) -> bool {
        let own = own.saturating_sub(self.entries().leaving());
        let excess = excess(own, shares.lanes_owned, shares.replicas);
        let workers = self.entries().staying(excess);
        self.leave(workers)
    }

    /// Has lanes leave; returns whether all of them do.
    pub(super) fn leave(&self, workers: Vec<WorkerId>) -> bool {
        let mut told = true;
        for worker in workers {
            let leaves = self.entries().leave(worker);
            match leaves {
                Leaves::AtOnce(tenure) => drop(self.left().insert(tenure)),
                Leaves::ByAndBy => {}
                Leaves::NotYet => told = false,
            }
        }
        told
    }

    pub(super) async fn hand_over_left(&self) -> Result<(), StoreError> {
        let left: Vec<_> = self.left().iter().copied().collect();
        if left.is_empty() {
            return Ok(());
        }
        let context = &self.context;
        let client = context.store.client().await?;
        let dead_after = context.settings.dead_after;
        for left in left.chunks(HANDED_OVER) {
            let gone = lanes::hand_over(&client, context.replica, left, dead_after).await?;
            tracing::info!(lanes = gone, "handed lanes over to other replicas");
            let mut all = self.left();
            for tenure in left {
                all.remove(tenure);
            }
        }
        Ok(())
    }

    fn show(&self) {
        let entries = self.entries();
        metrics::gauge!("sender_lanes_owned").set(entries.len() as f64);
        metrics::gauge!("sender_lanes_parked").set(entries.parked() as f64);
    }
}

/// Whether a batch of so many was the last one.
fn is_last(found: usize) -> bool {
    i64::try_from(found).is_ok_and(|found| found < BATCH)
}

/// How many lanes to give up: those above the even share, but only when they are a tenth of it or
/// more, so that replicas do not pass lanes to and fro.
fn excess(own: usize, owned_by_all: i64, replicas: i64) -> usize {
    let replicas = usize::try_from(replicas).unwrap_or_default();
    if replicas < 2 {
        return 0;
    }
    // Our own may be missing among all, when our heartbeat is late.
    let all = usize::try_from(owned_by_all).unwrap_or_default().max(own);
    let share = all.div_ceil(replicas);
    let excess = own.saturating_sub(share);
    if excess >= (share / 10).max(1) {
        excess
    } else {
        0
    }
}

#[cfg(test)]
mod tests {
    use super::excess;

    #[test]
    fn a_replica_gives_up_what_is_far_above_its_share() {
        for (own, all, replicas, wanted) in [
            (3, 3, 1, 0),
            (3, 3, 2, 1),
            (2, 3, 2, 0),
            (1, 3, 2, 0),
            (1_000, 1_000, 2, 500),
            (520, 1_000, 2, 0),
            (560, 1_000, 2, 60),
            (3, 3, 0, 0),
            (1, 0, 1, 0),
            (1, 0, 2, 0),
            (0, 0, 0, 0),
        ] {
            assert_eq!(
                excess(own, all, replicas),
                wanted,
                "{own} of {all} on {replicas}"
            );
        }
    }
}
