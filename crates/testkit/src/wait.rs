//! Waiting for what must come, and not longer than it may take.

use std::net::TcpListener;
use std::time::{Duration, Instant};

/// Between two looks: short against any bound, long against what a look costs.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Calls `probe` until it gives a value, and returns that.
///
/// # Panics
/// When nothing came within `bound` of real time; the message names `what` was waited for.
pub async fn eventually<T>(
    what: &str,
    bound: Duration,
    mut probe: impl AsyncFnMut() -> Option<T>,
) -> T {
    let started = Instant::now();
    loop {
        if let Some(value) = probe().await {
            return value;
        }
        assert!(
            started.elapsed() < bound,
            "waited {bound:?} in vain for: {what}"
        );
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// A port of 127.0.0.1 that was free a moment ago. Prefer to bind port 0 yourself where you can.
///
/// # Panics
/// When the machine has none.
#[must_use]
pub fn free_port() -> u16 {
    let bound = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    bound
        .unwrap_or_else(|cause| panic!("no free port: {cause}"))
        .port()
}
