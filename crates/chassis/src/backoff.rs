//! How long to wait before trying again. Pure: the random part is an argument.

use std::time::Duration;

/// Exponential growth from `min` to `max`, with jitter so that replicas do not march in step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// The wait before the first repetition, at most.
    pub min: Duration,
    /// No wait is longer than this.
    pub max: Duration,
}

impl Backoff {
    /// What the loops of every service use: quick to return, never more than half a minute late.
    pub const LOOP: Self = Self {
        min: Duration::from_millis(500),
        max: Duration::from_secs(30),
    };

    /// The wait after failure number `attempt` (0 is the first). `fraction` lies in `[0, 1)` and
    /// chooses a point in the upper half of the step, so a wait is never close to nothing.
    #[must_use]
    pub fn after(self, attempt: u32, fraction: f64) -> Duration {
        let factor = 1_u32.checked_shl(attempt).unwrap_or(u32::MAX);
        let step = self.min.saturating_mul(factor).min(self.max);
        step.mul_f64(0.5 + fraction.clamp(0.0, 1.0) / 2.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BACKOFF: Backoff = Backoff {
        min: Duration::from_secs(1),
        max: Duration::from_secs(30),
    };

    #[test]
    fn doubles_until_the_bound() {
        let waits: Vec<u64> = (0..7).map(|n| BACKOFF.after(n, 1.0).as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 30, 30]);
    }

    #[test]
    fn jitter_stays_in_the_upper_half_and_no_attempt_overflows() {
        for attempt in [0, 3, 31, 32, u32::MAX] {
            let (low, high) = (BACKOFF.after(attempt, 0.0), BACKOFF.after(attempt, 0.999));
            assert!(low * 2 >= high, "attempt {attempt}: {low:?} to {high:?}");
            assert!(high <= BACKOFF.max);
            assert!(low >= BACKOFF.min / 2);
        }
    }
}
