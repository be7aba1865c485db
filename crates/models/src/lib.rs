//! The nouns of wahacast: ids, numbers, templates, campaigns, messages, sessions, workers, delays.
//!
//! Always true: a value of one of these types is valid, because the only way in is a parser.
//! Absent on purpose: I/O, clocks, randomness, HTTP and SQL.

pub mod campaign;
pub mod delays;
pub mod ids;
pub mod job;
pub mod media;
pub mod message;
pub mod outcome;
pub mod phone;
pub mod session;
pub mod template;
pub mod worker;
