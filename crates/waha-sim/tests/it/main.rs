//! The simulator over real HTTP, by the numbers of the contract's section 13.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod fleet;
mod receiver;

mod control;
mod limits;
mod pairing;
mod personalities;
mod process;
mod requests;
mod restarts;
mod sending;
mod sessions;
mod webhooks;
