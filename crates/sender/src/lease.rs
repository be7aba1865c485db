//! Until when this replica may speak.
//!
//! Others may take our lanes once our heartbeat is `dead_after` old by the database's clock. We
//! stop a little sooner by our own, counted from before the heartbeat was sent, so that a replica
//! that was cut off or suspended is silent before its successor speaks.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chassis::BoxError;
use models::ids::ReplicaId;
use policy::lane::Moment;
use store::{Store, replicas};
use tokio::time::timeout;

use crate::moments::Moments;

/// What a lease falls short of `dead_after` by, for the difference in the clocks' speed and for
/// the time between looking at the lease and the request leaving.
const MARGIN: Duration = Duration::from_millis(500);

/// The right to speak, renewed by each heartbeat.
#[derive(Debug, Default)]
pub struct Lease {
    until_ms: AtomicU64,
    beats: Mutex<Option<Beats>>,
}

/// The heartbeats that were written.
#[derive(Debug, Clone, Copy)]
struct Beats {
    /// When the last one was sent.
    sent_at: Moment,
    /// The first answer since which none was late.
    regular_since: Moment,
}

impl Lease {
    /// Whether we may speak at `now`.
    pub fn holds(&self, now: Moment) -> bool {
        millis(now) < self.until_ms.load(Ordering::Acquire)
    }

    /// Whether others may be called dead by the age of their heartbeats. What keeps ours away may
    /// keep theirs: ours must not be late, and once they are regular, at the start too, those of
    /// the others get as long to come back.
    pub fn may_judge(&self, now: Moment, dead_after: Duration) -> bool {
        self.beats().is_some_and(|beats| {
            now < beats.sent_at + late_after(dead_after) && now >= beats.regular_since + dead_after
        })
    }

    fn renew(&self, sent_at: Moment, answered_at: Moment, dead_after: Duration) {
        let mut beats = self.beats();
        let regular_since = beats
            .filter(|last| sent_at < last.sent_at + late_after(dead_after))
            .map_or(answered_at, |last| last.regular_since);
        *beats = Some(Beats {
            sent_at,
            regular_since,
        });
        let until = millis(sent_at + dead_after.saturating_sub(MARGIN));
        self.until_ms.fetch_max(until, Ordering::AcqRel);
    }

    fn beats(&self) -> MutexGuard<'_, Option<Beats>> {
        self.beats.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A heartbeat that comes later after the one before is late. There are four of them at least
/// within `dead_after`: one may be lost.
fn late_after(dead_after: Duration) -> Duration {
    dead_after / 2
}

fn millis(moment: Moment) -> u64 {
    u64::try_from(moment.as_millis()).unwrap_or(u64::MAX)
}

/// One heartbeat: says that we live, and renews the lease. One that is not answered in time ends
/// its connection with it: what lies behind it in the network would hold up the next ones too.
pub async fn beat(
    store: &Store,
    replica: (ReplicaId, &str),
    (lease, dead_after): (&Lease, Duration),
    moments: &Moments,
) -> Result<(), BoxError> {
    let sent_at = moments.now();
    let (id, name) = replica;
    let patience = dead_after / 4;
    let silent = || BoxError::from("the ledger does not answer");
    let client = timeout(patience, store.client()).await;
    let client = client.map_err(|_| silent())??;
    match timeout(patience, replicas::beat(&client, id, "sender", name)).await {
        Ok(beaten) => beaten?,
        Err(_) => {
            client.close();
            return Err(silent());
        }
    }
    lease.renew(sent_at, moments.now(), dead_after);
    Ok(())
}

/// Says that this replica has ended.
pub async fn leave(store: &Store, replica: ReplicaId) -> Result<(), BoxError> {
    Ok(replicas::leave(&store.client().await?, replica).await?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_was_away_calls_nobody_dead_until_all_can_be_back() {
        let (lease, dead_after) = (Lease::default(), Duration::from_secs(10));
        let at = Moment::from_secs;
        let judges_at = |now| lease.may_judge(at(now), dead_after);
        assert!(!judges_at(0), "not heard of yet");
        // Sent and answered.
        for (sent, answered, judges) in [
            (100, 100, false),
            (104, 104, false),
            (108, 108, false),
            (110, 110, true),
            (114, 117, true),
            // Late, and answered later still.
            (119, 126, false),
            (123, 127, false),
            (127, 127, false),
            (131, 131, false),
            (135, 135, false),
            (136, 136, true),
        ] {
            lease.renew(at(sent), at(answered), dead_after);
            assert_eq!(judges_at(answered), judges, "{sent}");
        }
        assert!(judges_at(140));
        assert!(!judges_at(141), "the next one is late");
    }

    #[test]
    fn a_lease_ends_before_others_may_take_over_and_never_shrinks() {
        let (lease, dead_after) = (Lease::default(), Duration::from_secs(10));
        let at = Moment::from_secs;
        assert!(
            !lease.holds(at(0)),
            "nothing may be said before the first heartbeat"
        );
        lease.renew(at(100), at(100), dead_after);
        assert!(lease.holds(at(109)));
        assert!(!lease.holds(at(110)));
        lease.renew(at(50), at(50), dead_after);
        assert!(
            lease.holds(at(109)),
            "a late answer to an old heartbeat takes nothing away"
        );
    }
}
