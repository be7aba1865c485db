//! The command line of wahacast: everything needed to run the system on one machine.
//!
//! It starts private servers (PostgreSQL, RabbitMQ) and the same binaries that are deployed as
//! child processes, watches them, and stops them in order. Absent on purpose: any business rule; it
//! speaks to the system only through its HTTP interface, and reads the ledger where it audits or
//! measures it.

mod audit;
mod bench;
mod chaos;
pub mod cli;
mod control;
mod demo;
mod env_file;
mod exec;
mod process;
mod servers;
mod signals;
mod supervise;
mod up;
mod workdir;
