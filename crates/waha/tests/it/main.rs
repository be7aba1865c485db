//! The client against servers that misbehave, and against the simulated WAHA.

#![expect(clippy::unwrap_used, reason = "a test that cannot set its scene fails")]

mod sim;
mod ugly;
mod wire;
