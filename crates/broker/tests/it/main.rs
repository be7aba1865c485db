//! The broker crate against a real RabbitMQ, one vhost a test.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

mod recovery;
mod support;
mod work;
