//! Time and chance as handles that are passed down.
//!
//! Everything outside this module receives a [`Clock`] or a [`Chance`], or better, the values that
//! they gave. That makes a test with paused time and a seed replay a whole day in a second.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, RngCore, SeedableRng};
use time::OffsetDateTime;
use tokio::time::Instant;
use uuid::Uuid;

/// The wall clock and the monotonic clock of this process. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Clock {
    simulated: Option<(OffsetDateTime, Instant)>,
}

impl Clock {
    /// The machine's own clocks.
    #[must_use]
    pub fn system() -> Self {
        Self { simulated: None }
    }

    /// A wall clock that starts at `start` and moves with tokio's clock, which tests may pause.
    /// Must be called inside a tokio runtime when its time is paused.
    #[must_use]
    pub fn simulated(start: OffsetDateTime) -> Self {
        Self {
            simulated: Some((start, Self::monotonic())),
        }
    }

    /// The wall clock, UTC. May step; never use it for measuring.
    #[must_use]
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place that asks the machine"
    )]
    pub fn now(&self) -> OffsetDateTime {
        match self.simulated {
            None => OffsetDateTime::now_utc(),
            Some((start, origin)) => start + Self::monotonic().duration_since(origin),
        }
    }

    /// The monotonic clock, for deadlines and measuring.
    #[must_use]
    pub fn instant(&self) -> Instant {
        Self::monotonic()
    }

    /// Waits until `deadline` on the monotonic clock.
    pub async fn sleep_until(&self, deadline: Instant) {
        tokio::time::sleep_until(deadline).await;
    }

    /// Waits for `duration` on the monotonic clock.
    #[expect(clippy::disallowed_methods, reason = "the one place that waits")]
    pub async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "the one place that asks the machine"
    )]
    fn monotonic() -> Instant {
        Instant::now()
    }
}

/// The source of randomness of this process. Cheap to clone; clones share one stream.
#[derive(Clone)]
pub struct Chance {
    stream: Arc<Mutex<StdRng>>,
    seeded: bool,
}

impl Chance {
    /// Seeded by the operating system.
    #[must_use]
    pub fn system() -> Self {
        Self {
            stream: Arc::new(Mutex::new(StdRng::from_os_rng())),
            seeded: false,
        }
    }

    /// The same numbers for the same seed, for tests.
    #[must_use]
    pub fn seeded(seed: u64) -> Self {
        Self {
            stream: Arc::new(Mutex::new(StdRng::seed_from_u64(seed))),
            seeded: true,
        }
    }

    /// Uniform in `[0, 1)`.
    #[must_use]
    pub fn fraction(&self) -> f64 {
        self.with(|stream| stream.random())
    }

    /// Uniform over all values.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.with(RngCore::next_u64)
    }

    /// Fills `bytes`; strong enough for secrets unless seeded.
    pub fn fill(&self, bytes: &mut [u8]) {
        self.with(|stream| stream.fill_bytes(bytes));
    }

    /// An id that sorts by the time it was made; growing within one process unless seeded.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "the one place that makes ids")]
    pub fn uuid_v7(&self) -> Uuid {
        if !self.seeded {
            return Uuid::now_v7();
        }
        let millis = OffsetDateTime::now_utc().unix_timestamp_nanos() / 1_000_000;
        let mut random = [0; 10];
        self.fill(&mut random);
        let millis = u64::try_from(millis).unwrap_or_default();
        uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid()
    }

    /// A random id.
    #[must_use]
    pub fn uuid_v4(&self) -> Uuid {
        let mut random = [0; 16];
        self.fill(&mut random);
        uuid::Builder::from_random_bytes(random).into_uuid()
    }

    fn with<T>(&self, draw: impl FnOnce(&mut StdRng) -> T) -> T {
        draw(&mut self.stream.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl fmt::Debug for Chance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Chance")
            .field("seeded", &self.seeded)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn simulated_wall_time_follows_the_paused_clock() {
        let start = OffsetDateTime::UNIX_EPOCH;
        let clock = Clock::simulated(start);
        clock.sleep(Duration::from_secs(3_600)).await;
        assert_eq!(clock.now() - start, time::Duration::hours(1));
    }

    #[test]
    fn one_seed_gives_one_stream() {
        let (a, b) = (Chance::seeded(7), Chance::seeded(7));
        assert_eq!(a.number(), b.number());
        assert_eq!(a.uuid_v4(), b.uuid_v4());
        assert!((0.0..1.0).contains(&a.fraction()));
    }

    #[test]
    fn ids_have_the_versions_they_claim() {
        for chance in [Chance::system(), Chance::seeded(1)] {
            assert_eq!(chance.uuid_v7().get_version_num(), 7);
            assert_eq!(chance.uuid_v4().get_version_num(), 4);
        }
        let chance = Chance::system();
        assert!(chance.uuid_v7() < chance.uuid_v7());
    }
}
