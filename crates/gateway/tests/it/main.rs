//! The gateway over real HTTP, on a real PostgreSQL and a real RabbitMQ; run by `make test`.
#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

mod acks;
mod app;
mod bad_days;
mod campaigns;
mod connections;
mod delays;
mod flat;
mod intake;
mod looks;
mod monitoring;
mod openapi;
mod sending;
mod sessions;
mod webhook;
mod wire;
mod workers;
