//! The scheduler: places sessions, drives each until what is seen is what is wanted, looks after
//! workers, and sweeps up after whoever died.
//!
//! Always true: what to do is decided in `policy`, what is known stands in the ledger; whatever a
//! replica takes in hand comes back to the others by itself if it dies; no transaction is open
//! while a worker is asked; no loop runs over all workers or all sessions.
//! Absent on purpose: sending, HTTP routes other than the probes, any order between replicas.

pub mod ask;
pub mod check;
pub mod fleet;
pub mod place;
pub mod reconcile;
pub mod remove;
pub mod settings;
pub mod start;
pub mod storage;
pub mod sweep;
