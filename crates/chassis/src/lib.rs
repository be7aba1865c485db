//! What every process of the fleet shares: settings, clock, logs, metrics, probes, shutdown and
//! supervised tasks. It knows nothing of campaigns, and depends on no other crate of ours.
//!
//! Of what is deployed it is the only crate whose code may ask the machine for the time, for
//! randomness or for environment variables, and the only one that may start a task.

pub mod backoff;
pub mod boot;
pub mod clock;
pub mod config;
pub mod error;
pub mod log_once;
pub mod metrics;
pub mod periodic;
pub mod probes;
pub mod shutdown;
pub mod supervise;
pub mod telemetry;

pub use backoff::Backoff;
pub use boot::{Process, Replica};
pub use clock::{Chance, Clock};
pub use error::{BoxError, chain};
pub use log_once::LogOnce;
pub use periodic::{Periodic, periodic};
pub use probes::Readiness;
pub use shutdown::Shutdown;
pub use supervise::Supervisor;
