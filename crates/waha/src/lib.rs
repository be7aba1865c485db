//! The client side of WAHA (WhatsApp HTTP API): calls, answers, webhooks.
//!
//! Always true: every call has a time limit; a redirect is never followed; no answer is kept that
//! is larger than a fixed bound; no error, log line or `Debug` carries a key, a phone number or a
//! message text. What became of a send is decided in [`answer`] and nowhere else.
//!
//! Absent on purpose: retries (a second send may speak twice), clocks, and the field names of
//! WAHA outside `dto`.

pub mod answer;
pub mod client;
mod dto;
pub mod error;
pub mod messages;
pub mod pairing;
mod redact;
pub mod server;
pub mod sessions;
pub mod version;
pub mod webhook;
mod wire;

pub use answer::CODES;
pub use client::{Timeouts, Waha, http_client};
pub use error::{CallClass, CallError};
