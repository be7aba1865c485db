//! The deployed binaries as processes, driven over real HTTP through `wahacast up`, against
//! simulated WAHA workers. What is shown, and how to see the figures, stands at the head of each
//! file. One system runs at a time, because pacing is measured.
//!
//! Reproduce: `cargo build --workspace --bins && target/debug/wahacast servers --dir .local/test
//! -- cargo test -p wahacast --test it -- --nocapture`
#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

mod api;
mod bad_input;
mod chaos;
mod checks;
mod fleet;
mod guide;
mod killed;
mod outages;
mod pacing;
mod system;
