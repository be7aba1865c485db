//! Messages: one row of the ledger for each recipient of a campaign.

use crate::campaign::states;
use serde::{Deserialize, Serialize};

states! {
    /// What became of one recipient's message.
    MessageStatus {
        /// Not begun, or waiting for another attempt.
        Pending = "PENDING",
        /// Claimed: the request may be on its way to the worker.
        Sending = "SENDING",
        /// A worker accepted it.
        Sent = "SENT",
        /// On the recipient's phone.
        Delivered = "DELIVERED",
        /// Read by the recipient.
        Read = "READ",
        /// Refused for good; the error says why.
        Failed = "FAILED",
        /// Its campaign was cancelled first.
        Cancelled = "CANCELLED",
        /// The recipient does not want messages.
        Suppressed = "SUPPRESSED",
        /// It may have been heard; nobody can say, so no machine sends it again.
        Unknown = "UNKNOWN",
    }
}

impl MessageStatus {
    /// The number in the ledger's `status` column. Never renumber: rows carry it.
    pub const fn code(self) -> i16 {
        match self {
            Self::Pending => 0,
            Self::Sending => 1,
            Self::Sent => 2,
            Self::Delivered => 3,
            Self::Read => 4,
            Self::Failed => 5,
            Self::Cancelled => 6,
            Self::Suppressed => 7,
            Self::Unknown => 8,
        }
    }

    /// The status of that number in the ledger.
    pub fn from_code(code: i16) -> Option<Self> {
        Self::ALL
            .iter()
            .copied()
            .find(|status| status.code() == code)
    }
}

/// One message's place in the ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MessageKey {
    /// Its campaign.
    pub campaign: crate::ids::CampaignId,
    /// Its place in the campaign, from 0.
    pub ordinal: i32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_and_names_read_back() {
        for status in MessageStatus::ALL {
            assert_eq!(MessageStatus::from_code(status.code()), Some(*status));
            assert_eq!(MessageStatus::from_name(status.name()), Some(*status));
        }
    }
}
