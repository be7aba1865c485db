//! Laws of the policies, over generated histories.
#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

mod history;
mod lane;
