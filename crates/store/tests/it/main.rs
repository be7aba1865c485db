//! The ledger against a real PostgreSQL; run by `make test`.
#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

mod fixture;
mod lanes;
mod ledger;
