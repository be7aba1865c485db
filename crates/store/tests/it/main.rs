//! The ledger against a real PostgreSQL; run by `make test`.
#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]
#![expect(clippy::disallowed_methods, reason = "tests make their own ids")]

mod asks;
mod audit;
mod checks;
mod fixture;
mod health;
mod lanes;
mod ledger;
mod placement;
mod races;
mod reconcile;
mod sweep;
mod unnamed;
