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
}

impl Lease {
    /// Whether we may speak at `now`.
    pub fn holds(&self, now: Moment) -> bool {
        millis(now) < self.until_ms.load(Ordering::Acquire)
    }

    fn renew(&self, beat_sent_at: Moment, dead_after: Duration) {
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

#[cfg(test)]
mod tests {
    use super::*;

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
