//! The decisions of wahacast, as pure functions over values.
//!
//! Always true: the same arguments give the same answer. Absent on purpose: clocks, randomness and
//! I/O; time and chance are arguments.

pub mod estimate;
pub mod health;
pub mod lane;
pub mod outcome;
pub mod placement;
pub mod receipt;
pub mod session_plan;
pub mod settle;
pub mod waiting;
