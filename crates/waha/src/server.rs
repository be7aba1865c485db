//! The server itself: is it there, what is it, since when.

use std::time::Duration;

use models::worker::{Capabilities, Engine};

use crate::client::Waha;
use crate::dto::answers;
use crate::error::{CallError, call, order};
use crate::version::{Version, capabilities};

/// The edition. From 2026.6.1 on it says nothing about what a server can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Tier {
    /// The free edition.
    Core,
    /// The paid one.
    Plus,
}

impl Tier {
    /// WAHA's word for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Core => "CORE",
            Self::Plus => "PLUS",
        }
    }
}

/// Who a server is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerInfo {
    /// Its version.
    pub version: Version,
    /// What runs its sessions.
    pub engine: Engine,
    /// Its edition.
    pub tier: Tier,
    /// The instance's own name, when it has one.
    pub worker_id: Option<String>,
}

impl ServerInfo {
    /// What it can do.
    pub fn capabilities(&self) -> Capabilities {
        capabilities(self.version, self.engine, self.tier)
    }
}

/// How a server is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerStatus {
    /// Time since it started; less than last time means that it has restarted.
    pub uptime: Duration,
    /// The instance's own name, when it has one.
    pub worker_id: Option<String>,
}

impl Waha {
    /// Whether anything answers. Needs no key, so it proves nothing about ours.
    ///
    /// # Errors
    /// See [`CallError`].
    pub async fn ping(&self) -> Result<(), CallError> {
        order(self.probe(&["ping"])).await
    }

    /// Who the server is. From 2025.6.5 on a success also proves the key.
    ///
    /// # Errors
    /// See [`CallError`].
    pub async fn version(&self) -> Result<ServerInfo, CallError> {
        call(self.probe(&["api", "version"]), answers::server_info).await
    }

    /// How long the server has been up.
    ///
    /// # Errors
    /// See [`CallError`].
    pub async fn status(&self) -> Result<ServerStatus, CallError> {
        let request = self.probe(&["api", "server", "status"]);
        call(request, answers::server_status).await
    }
}
