//! Sender replicas against a real PostgreSQL and RabbitMQ and the simulated fleet.
#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]
#![expect(
    clippy::disallowed_methods,
    reason = "tests make their own ids, tasks and waits"
)]

mod allocations;
mod lease;
mod parking;
mod proof;
mod scene;
mod sending;
