//! What tests share: a database and a vhost for each, bounded waiting, ports and seeds.
//!
//! Dev-only. Everything here panics with a sentence when it cannot do its work, because its only
//! caller is a test. Absent on purpose: fixed sleeps, and any service.

mod cleanup;
mod database;
mod seed;
mod vhost;
mod wait;

pub use database::{TestDatabase, database};
pub use seed::seed;
pub use vhost::{TestVhost, vhost};
pub use wait::{eventually, free_port};

/// What a test needs that finds no servers.
const HOW_TO_RUN: &str =
    "run `make test`, or set DATABASE_URL, AMQP_URL and RABBITMQ_MANAGEMENT_URL";

/// The variable `key` as a URL.
fn url_from_env(key: &str) -> url::Url {
    let text = std::env::var(key).unwrap_or_else(|_| panic!("{key} is not set: {HOW_TO_RUN}"));
    text.parse()
        .unwrap_or_else(|cause| panic!("{key} is not a URL ({cause}): {HOW_TO_RUN}"))
}

/// A name that no other test has, and that tells which ones tests may leave behind if killed.
fn fresh_name() -> String {
    format!("test_{}", uuid::Uuid::now_v7().simple())
}
