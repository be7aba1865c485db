//! RabbitMQ: publishing with confirms and consuming without ever giving up.
//!
//! A message is a wake-up that says where there is work; the ledger is the truth. So this crate
//! promises two things only: a publish that returned `Ok` is stored in a queue, and a consumer
//! whose channel or connection went comes back by itself.
//!
//! Recovery is done here and not by the client library, whose own leaves a consumer that lost its
//! channel waiting for ever. Absent on purpose: any knowledge of what a job means.

mod connection;
mod consumer;
mod pause;
mod publisher;
pub mod topology;

pub use connection::{Broker, BrokerError, State};
pub use consumer::{Consumer, Disposition};
pub use publisher::{PublishError, Publisher};
