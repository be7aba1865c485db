//! The checks that hold the tree in shape: arrows between crates, sizes, words that do not belong,
//! documents that must not lie.
//!
//! Every check is a pure function from files to [`Fault`]s, so that each can be shown to fail on a
//! bad sample. `tests/it` runs all of them over the repository. Absent on purpose: anything that
//! rustc, rustfmt or clippy can check.

pub mod arrows;
pub mod block;
pub mod docs;
pub mod fault;
pub mod keys;
pub mod manifest;
pub mod metrics;
pub mod source;
pub mod tree;
pub mod words;

pub use fault::Fault;
pub use tree::{File, Tree};
