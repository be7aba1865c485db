//! Until when this replica may speak.
//!
//! Others may take our lanes once our heartbeat is `dead_after` old by the database's clock. We
//! stop a little sooner by our own, counted from before the heartbeat was sent, so that a replica
//! that was cut off or suspended is silent before its successor speaks.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use chassis::BoxError;
use models::ids::ReplicaId;
use policy::lane::Moment;
use store::{Store, replicas};

use crate::moments::Moments;

/// What a lease falls short of `dead_after` by, for the difference in the clocks' speed and for
/// the time between looking at the lease and the request leaving.
const MARGIN: Duration = Duration::from_millis(500);

/// The right to speak, renewed by each heartbeat.
#[derive(Debug, Default)]
pub struct Lease {
    until_ms: AtomicU64,
    /// Since when it has not lapsed; 0 when it never did.
    back_since_ms: AtomicU64,
}

impl Lease {
    /// Whether we may speak at `now`.
    pub fn holds(&self, now: Moment) -> bool {
        millis(now) < self.until_ms.load(Ordering::Acquire)
    }

    /// Whether others may be called dead by the age of their heartbeats. What kept ours away may
    /// have kept theirs: once ours is back, theirs get as long to come back too.
    pub fn may_judge(&self, now: Moment, dead_after: Duration) -> bool {
        let back_since = self.back_since_ms.load(Ordering::Acquire);
        self.holds(now)
            && (back_since == 0 || back_since.saturating_add(millis(dead_after)) <= millis(now))
    }

    fn renew(&self, beat_sent_at: Moment, dead_after: Duration) {
        let had_until = self.until_ms.load(Ordering::Acquire);
        if had_until > 0 && had_until <= millis(beat_sent_at) {
            self.back_since_ms
                .store(millis(beat_sent_at), Ordering::Release);
        }
        let until = millis(beat_sent_at + dead_after.saturating_sub(MARGIN));
        self.until_ms.fetch_max(until, Ordering::AcqRel);
    }
}

fn millis(moment: Moment) -> u64 {
    u64::try_from(moment.as_millis()).unwrap_or(u64::MAX)
}

/// One heartbeat: says that we live, and renews the lease.
pub async fn beat(
    store: &Store,
    replica: (ReplicaId, &str),
    (lease, dead_after): (&Lease, Duration),
    moments: &Moments,
) -> Result<(), BoxError> {
    let sent_at = moments.now();
    let (id, name) = replica;
    replicas::beat(&store.client().await?, id, "sender", name).await?;
    lease.renew(sent_at, dead_after);
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
        assert!(!lease.may_judge(at(0), dead_after), "not heard of yet");
        lease.renew(at(100), dead_after);
        assert!(lease.may_judge(at(100), dead_after), "never away");
        lease.renew(at(105), dead_after);
        assert!(lease.may_judge(at(114), dead_after));
        assert!(!lease.may_judge(at(115), dead_after), "away");
        for seconds in [160, 165] {
            lease.renew(at(seconds), dead_after);
            assert!(lease.holds(at(seconds)));
            assert!(!lease.may_judge(at(seconds), dead_after), "just back");
        }
        lease.renew(at(170), dead_after);
        assert!(lease.may_judge(at(170), dead_after));
    }

    #[test]
    fn a_lease_ends_before_others_may_take_over_and_never_shrinks() {
        let (lease, dead_after) = (Lease::default(), Duration::from_secs(10));
        let at = Moment::from_secs;
        assert!(
            !lease.holds(at(0)),
            "nothing may be said before the first heartbeat"
        );
        lease.renew(at(100), dead_after);
        assert!(lease.holds(at(109)));
        assert!(!lease.holds(at(110)));
        lease.renew(at(50), dead_after);
        assert!(
            lease.holds(at(109)),
            "a late answer to an old heartbeat takes nothing away"
        );
    }
}
