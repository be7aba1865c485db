//! Saying a thing once. A peer that sends an unknown word sends it thousands of times.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

/// Remembers which keys were seen, up to a bound; beyond it, new keys are taken for seen, so
/// neither the memory nor the log can be filled by a peer.
#[derive(Debug)]
pub struct LogOnce {
    seen: Mutex<BTreeSet<Box<str>>>,
    bound: usize,
}

impl LogOnce {
    /// Remembers at most `bound` keys. `const`, so it can be a `static`.
    #[must_use]
    pub const fn new(bound: usize) -> Self {
        Self {
            seen: Mutex::new(BTreeSet::new()),
            bound,
        }
    }

    /// True the first time that `key` is seen, and only then. Log when it is.
    pub fn first(&self, key: &str) -> bool {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.len() < self.bound && !seen.contains(key) && seen.insert(key.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn once_per_key_and_bounded() {
        static SEEN: LogOnce = LogOnce::new(2);
        assert!(SEEN.first("a"));
        assert!(!SEEN.first("a"));
        assert!(SEEN.first("b"));
        assert!(!SEEN.first("c"), "the set is full");
    }
}
