//! The ledger against a real PostgreSQL; run by `make test`.
#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]
#![expect(clippy::disallowed_methods, reason = "tests make their own ids")]

mod accept;
mod asks;
mod audit;
mod cancel;
mod checks;
mod fixture;
mod groups;
mod health;
mod lanes;
mod ledger;
mod partitions;
mod placement;
mod pruning;
mod races;
mod receipts;
mod reconcile;
mod retention;
mod situation;
mod sweep;
mod unnamed;
