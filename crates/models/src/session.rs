//! Sessions: one phone number's WhatsApp login on one worker.

use crate::campaign::states;
use serde::{Deserialize, Serialize};

states! {
    /// What a session is seen to be doing. All but `QUEUED` are WAHA's own words.
    SessionStatus {
        /// No worker has room for it yet.
        Queued = "QUEUED",
        /// Connecting.
        Starting = "STARTING",
        /// Waits for a person to scan its QR code or to type its pairing code.
        ScanQrCode = "SCAN_QR_CODE",
        /// Waits for a person to confirm a passkey (GOWS).
        PasskeyRequired = "PASSKEY_REQUIRED",
        /// Can send.
        Working = "WORKING",
        /// Gave up or was logged out; a person must link it again.
        Failed = "FAILED",
        /// Not running; its login may still be there.
        Stopped = "STOPPED",
    }
}

impl SessionStatus {
    /// Whether a person has to link the number before anything can be sent.
    pub const fn requires_auth(self) -> bool {
        matches!(
            self,
            Self::ScanQrCode | Self::PasskeyRequired | Self::Failed
        )
    }
}

states! {
    /// What a session's users want of it.
    SessionWanted {
        /// To run, so that it can send.
        Running = "RUNNING",
        /// To keep its login and not run.
        Stopped = "STOPPED",
        /// To leave its worker for good.
        Gone = "GONE",
    }
}
