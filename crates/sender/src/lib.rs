//! The sender: consumes campaign jobs and speaks to WAHA at the pace that keeps numbers alive.
//!
//! A job is a wake-up: it makes this replica take the lane of the job's worker, or tells the
//! lane's owner to look again. Each owned lane is one task ([`lane`]); who speaks next is decided
//! by `policy::lane`; every claim and conclusion goes through a [`writer`], which groups them.
//!
//! Always true: a message is claimed in the ledger before its request leaves; nothing of ours is
//! sent after our heartbeat may have gone stale ([`lease`]); what may have been heard is never
//! sent again, unless the operator chose that.

pub mod consume;
pub mod context;
pub mod flight;
pub mod lane;
pub mod lease;
pub mod moments;
pub mod settings;
pub mod settle;
pub mod silence;
pub mod start;
pub mod table;
pub mod writer;
