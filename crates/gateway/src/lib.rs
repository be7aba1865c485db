//! The HTTP API: everything that users, operators and WAHA servers say to wahacast, answered from
//! the ledger.
//!
//! Always true: a campaign is stored whole, with its job, or not at all; accepting never waits for
//! the broker; whatever a client sends, the answer is a documented one and never a 500; nothing a
//! person should not see (keys, numbers, texts) is logged.
//!
//! Absent on purpose: WAHA calls that change something. Sessions are steered by writing down what
//! is wanted; the scheduler makes it so.

pub mod accept;
pub mod acks;
pub mod auth;
pub mod boundary;
pub mod cursor;
pub mod estimate;
pub mod extract;
pub mod handlers;
pub mod intake;
pub mod looks;
pub mod openapi;
pub mod problem;
pub mod relay;
pub mod reply;
pub mod reports;
pub mod routes;
pub mod server;
pub mod settings;
pub mod state;
pub mod views;
pub mod webhook;

pub use problem::Problem;
pub use server::run;
pub use settings::GatewaySettings;
pub use state::Gateway;
