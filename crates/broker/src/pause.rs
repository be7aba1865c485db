//! Waiting between attempts. This crate knows no clock of ours, so it waits by tokio's.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

/// The first wait; doubled for each further attempt.
const MIN: Duration = Duration::from_millis(200);
/// No wait is longer: campaigns wait for a broker that is back, and one attempt costs nothing.
const MAX: Duration = Duration::from_secs(5);

/// The wait after failure number `attempt`, 0 being the first. Without jitter: what waits here is
/// one connection a process, and its attempts are spread by when each noticed the loss.
pub(crate) fn after(attempt: u32) -> Duration {
    let factor = 1_u32.checked_shl(attempt).unwrap_or(u32::MAX);
    MIN.saturating_mul(factor).min(MAX)
}

/// Waits, or returns at once when `stop` is raised.
#[expect(
    clippy::disallowed_methods,
    reason = "an adapter imports no crate with a clock"
)]
pub(crate) async fn unless(stop: &CancellationToken, wait: Duration) {
    tokio::select! {
        () = stop.cancelled() => {}
        () = tokio::time::sleep(wait) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_a_bound() {
        assert_eq!(
            [0, 1, 2, 20, 40].map(after),
            [MIN, MIN * 2, MIN * 4, MAX, MAX]
        );
    }
}
