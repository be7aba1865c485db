//! The monotonic clock as `policy` sees it: a duration since an origin in the past.

use std::time::Duration;

use chassis::Clock;
use policy::lane::Moment;
use tokio::time::Instant;

/// The origin lies this long before the process started, so that gaps that began before it have a
/// moment. Longer than any delay (one day).
const HEAD_START: Duration = Duration::from_secs(10 * 86_400);

/// Turns the monotonic clock into moments and back.
#[derive(Debug, Clone)]
pub struct Moments {
    clock: Clock,
    started: Instant,
}

impl Moments {
    /// Moments of this process.
    pub fn new(clock: Clock) -> Self {
        let started = clock.instant();
        Self { clock, started }
    }

    /// This moment.
    pub fn now(&self) -> Moment {
        HEAD_START + self.clock.instant().duration_since(self.started)
    }

    /// The moment that long before now; what is older than the origin is the origin.
    pub fn ago(&self, ago: Duration) -> Moment {
        self.now().saturating_sub(ago)
    }

    /// Waits until a moment; for ever when there is none.
    pub async fn sleep_until(&self, moment: Option<Moment>) {
        match moment {
            Some(moment) => {
                let since_start = moment.saturating_sub(HEAD_START);
                self.clock.sleep_until(self.started + since_start).await;
            }
            None => std::future::pending().await,
        }
    }
}
