//! One idempotent step, run now and then. Timer and wake-up both just run it.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;

use crate::{Backoff, BoxError, Chance, Clock, Shutdown, chain};

/// A loop around one step. It never ends on an error; it says so once, waits longer and longer
/// unless it is [keeping pace](Self::keeping_pace), and says when the step works again.
#[derive(Debug)]
pub struct Periodic {
    name: &'static str,
    every: Duration,
    clock: Clock,
    shutdown: Shutdown,
    wake: Option<Arc<Notify>>,
    chance: Chance,
    retry_max: Duration,
}

/// Runs `step` now and every `every` until shutdown. See [`Periodic`] for wake-ups.
pub async fn periodic<S, F, E>(
    name: &'static str,
    every: Duration,
    clock: Clock,
    shutdown: Shutdown,
    step: S,
) where
    S: FnMut() -> F,
    F: Future<Output = Result<(), E>>,
    E: Into<BoxError>,
{
    Periodic::new(name, every, clock, shutdown).run(step).await;
}

impl Periodic {
    /// `every` is the wait between the end of one step and the start of the next.
    #[must_use]
    pub fn new(name: &'static str, every: Duration, clock: Clock, shutdown: Shutdown) -> Self {
        Self {
            name,
            every,
            clock,
            shutdown,
            wake: None,
            chance: Chance::system(),
            retry_max: Backoff::LOOP.max,
        }
    }

    /// Runs the step at once when `wake` is notified. A notification during a step is kept.
    #[must_use]
    pub fn wake_on(mut self, wake: Arc<Notify>) -> Self {
        self.wake = Some(wake);
        self
    }

    /// Repeats a step that failed at its usual pace or a little faster. For heartbeats: one that
    /// waits longer and longer makes its sender look dead when what it beats to is back.
    #[must_use]
    pub fn keeping_pace(mut self) -> Self {
        self.retry_max = self.every;
        self
    }

    /// Runs `step` until shutdown; a step that has begun is finished.
    pub async fn run<S, F, E>(self, mut step: S)
    where
        S: FnMut() -> F,
        F: Future<Output = Result<(), E>>,
        E: Into<BoxError>,
    {
        let mut failures: u32 = 0;
        while !self.shutdown.is_requested() {
            match step().await {
                Ok(()) if failures > 0 => {
                    tracing::info!(task = self.name, failures, "{} works again", self.name);
                    failures = 0;
                }
                Ok(()) => {}
                Err(error) => {
                    let error = chain(&*error.into());
                    if failures == 0 {
                        tracing::warn!(task = self.name, "{} failed, retrying: {error}", self.name);
                    } else {
                        tracing::debug!(task = self.name, failures, "still failing: {error}");
                    }
                    failures = failures.saturating_add(1);
                }
            }
            self.rest(failures).await;
        }
    }

    /// Wake-ups do not shorten the wait after a failure, or a busy caller would undo the back-off.
    async fn rest(&self, failures: u32) {
        let wait = match failures.checked_sub(1) {
            None => self.every,
            Some(attempt) => {
                let min = self
                    .every
                    .clamp(Duration::from_millis(100), Backoff::LOOP.max);
                Backoff {
                    min,
                    max: self.retry_max,
                }
                .after(attempt, self.chance.fraction())
            }
        };
        let woken = async {
            match &self.wake {
                Some(wake) if failures == 0 => wake.notified().await,
                _ => std::future::pending().await,
            }
        };
        tokio::select! {
            () = self.shutdown.requested() => {}
            () = woken => {}
            () = self.clock.sleep(wait) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    /// Runs a step for `seconds` of paused time and returns how often it ran.
    async fn runs(seconds: u64, wake: Option<Arc<Notify>>, fails: bool) -> u32 {
        let shutdown = Shutdown::new();
        let count = AtomicU32::new(0);
        let mut periodic = Periodic::new(
            "test",
            Duration::from_secs(1),
            Clock::system(),
            shutdown.clone(),
        );
        periodic.wake = wake;
        let step = || {
            count.fetch_add(1, Ordering::Relaxed);
            async move { if fails { Err("down") } else { Ok(()) } }
        };
        let clock = Clock::system();
        tokio::select! {
            () = periodic.run(step) => {}
            () = clock.sleep(Duration::from_secs(seconds)) => {}
        }
        count.into_inner()
    }

    #[tokio::test(start_paused = true)]
    async fn runs_at_once_and_then_at_each_interval() {
        let count = runs(10, None, false).await;
        assert!((10..=11).contains(&count), "{count} runs in ten seconds");
    }

    #[tokio::test(start_paused = true)]
    async fn backs_off_on_errors_and_goes_on() {
        let count = runs(120, None, true).await;
        assert!(
            (6..=13).contains(&count),
            "{count} runs in two minutes of failure"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_heartbeat_that_fails_keeps_its_pace() {
        let (clock, second) = (Clock::system(), Duration::from_secs(1));
        let beats = Periodic::new("test", second, clock.clone(), Shutdown::new()).keeping_pace();
        let count = AtomicU32::new(0);
        let beat = async || {
            count.fetch_add(1, Ordering::Relaxed);
            Err::<(), _>("down")
        };
        tokio::select! {
            () = beats.run(beat) => {}
            () = clock.sleep(120 * second) => {}
        }
        let count = count.into_inner();
        assert!((120..=241).contains(&count), "{count} beats in two minutes");
    }

    #[tokio::test(start_paused = true)]
    async fn a_wake_up_that_came_early_is_kept() {
        let wake = Arc::new(Notify::new());
        wake.notify_one();
        let with = runs(1, Some(wake), false).await;
        assert!(with >= 2, "{with} runs");
    }

    #[tokio::test(start_paused = true)]
    async fn stops_when_asked() {
        let shutdown = Shutdown::new();
        shutdown.request();
        let step = || async { Ok::<(), String>(()) };
        periodic(
            "test",
            Duration::from_secs(1),
            Clock::system(),
            shutdown,
            step,
        )
        .await;
    }
}
