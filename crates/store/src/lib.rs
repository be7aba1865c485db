//! The ledger: everything that is in PostgreSQL, one noun a file.
//!
//! Always true: SQL stands here and nowhere else, beside the function that runs it; functions take
//! any client, so that they compose in a transaction; what happened comes back as a value.
//! Absent on purpose: decisions, clocks (the database's own is used), network calls other than to
//! PostgreSQL.

pub mod audit;
pub mod campaigns;
pub mod checks;
mod client;
mod column;
pub mod delays;
pub mod error;
pub mod figures;
pub mod health;
pub mod lanes;
pub mod ledger;
pub mod migrate;
pub mod outbox;
pub mod partitions;
pub mod placement;
mod plan;
pub mod pool;
pub mod receipts;
pub mod reconcile;
pub mod removals;
pub mod replicas;
pub mod retention;
pub mod roster;
pub mod senders;
pub mod sessions;
pub mod spool;
mod standing;
pub mod story;
pub mod sweep;
pub mod unknown;
pub mod workers;

pub use client::{Client, GenericClient, Runnable, Statement, Statements, Transaction};
pub use error::StoreError;
pub use pool::Store;
pub use spool::Spool;
