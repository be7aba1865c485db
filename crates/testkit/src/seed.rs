//! Randomness that a failure can be replayed with.

/// The variable that replays a run.
const VARIABLE: &str = "WAHACAST_TEST_SEED";

/// The seed in `WAHACAST_TEST_SEED`, or a random one; printed, so it stands beside a failure.
///
/// # Panics
/// When the variable holds anything but a number.
#[must_use]
pub fn seed() -> u64 {
    let seed = match std::env::var(VARIABLE) {
        Ok(text) => text
            .parse()
            .unwrap_or_else(|_| panic!("{VARIABLE} is not a number: {text}")),
        Err(_) => uuid::Uuid::new_v4().as_u64_pair().0,
    };
    println!("to replay: {VARIABLE}={seed}");
    seed
}
