//! Workers: the WAHA servers of the fleet.

use crate::campaign::states;
use serde::{Deserialize, Serialize};

states! {
    /// What an operator wants of a worker.
    WorkerState {
        /// Takes sessions.
        Active = "active",
        /// Keeps its sessions and takes no new ones.
        Cordoned = "cordoned",
        /// The same as cordoned in this version: nothing is moved away.
        Draining = "draining",
    }
}

states! {
    /// What the last check of a worker found.
    WorkerHealth {
        /// Not checked yet.
        Unknown = "unknown",
        /// Answers, with our key.
        Up = "up",
        /// Does not answer, or refuses our key.
        Down = "down",
    }
}

states! {
    /// The program behind a worker's sessions.
    Engine {
        /// Baileys: a socket, no browser.
        Noweb = "NOWEB",
        /// whatsmeow: a socket, no browser.
        Gows = "GOWS",
        /// A browser.
        Webjs = "WEBJS",
        /// A browser, through WPPConnect.
        Wpp = "WPP",
        /// One that came after this was written.
        Other = "OTHER",
    }
}

/// What a worker can do; follows from its version, tier and engine (WAHA contract, section 1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capabilities {
    /// Several sessions under names of our choice; otherwise one, called `default`.
    pub multi_session: bool,
    /// Images, videos, voice and files can be sent.
    pub media: bool,
    /// The caller may choose the WhatsApp message id.
    pub own_message_ids: bool,
    /// Webhooks are signed.
    pub webhook_hmac: bool,
}
