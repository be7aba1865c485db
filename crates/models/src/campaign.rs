//! Campaigns: their states and what has become of their messages.

use serde::{Deserialize, Serialize};

/// Declares an enum of states with their names in tables, JSON and metrics.
macro_rules! states {
    (
        $(#[$doc:meta])*
        $type:ident { $($(#[$vdoc:meta])* $variant:ident = $name:literal),+ $(,)? }
    ) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum $type { $($(#[$vdoc])* #[serde(rename = $name)] $variant),+ }

        impl $type {
            /// Every state, in the order of the documentation.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The name in tables, answers, metrics and logs.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name),+ }
            }

            /// The state of that name.
            pub fn from_name(name: &str) -> Option<Self> {
                match name { $($name => Some(Self::$variant),)+ _ => None }
            }
        }

        impl std::fmt::Display for $type {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.name())
            }
        }
    };
}
pub(crate) use states;

states! {
    /// What a campaign is doing.
    CampaignStatus {
        /// Accepted, no message sent yet.
        Pending = "PENDING",
        /// Waits for its time.
        Scheduled = "SCHEDULED",
        /// At least one message was claimed.
        InProgress = "IN_PROGRESS",
        /// Stopped by its user, can go on.
        Paused = "PAUSED",
        /// Every message was sent.
        Completed = "COMPLETED",
        /// Nothing is left to do, and something failed or is unknown.
        CompletedWithErrors = "COMPLETED_WITH_ERRORS",
        /// Ended by its user.
        Cancelled = "CANCELLED",
    }
}

impl CampaignStatus {
    /// Whether nothing will ever be sent for it again.
    pub const fn is_final(self) -> bool {
        matches!(
            self,
            Self::Completed | Self::CompletedWithErrors | Self::Cancelled
        )
    }
}

/// How many of a campaign's messages are in which state; a message is counted once, in the
/// state it is in now, so that the fields always add up to the total.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// All messages.
    pub total: i64,
    /// Handed to a worker right now.
    pub sending: i64,
    /// Accepted by a worker.
    pub sent: i64,
    /// Shown on the recipient's phone.
    pub delivered: i64,
    /// Read by the recipient.
    pub read: i64,
    /// Refused for good.
    pub failed: i64,
    /// Never sent, because the campaign was cancelled.
    pub cancelled: i64,
    /// Never sent, because the recipient does not want messages.
    pub suppressed: i64,
    /// May or may not have been heard.
    pub unknown: i64,
}

impl Counts {
    /// Messages not begun, those that wait for another attempt included.
    pub const fn pending(&self) -> i64 {
        self.total - self.sending - self.done()
    }

    /// Messages with which nothing will be done any more.
    pub const fn done(&self) -> i64 {
        self.accepted() + self.failed + self.cancelled + self.suppressed + self.unknown
    }

    /// Messages that a worker accepted, however far they have come since.
    pub const fn accepted(&self) -> i64 {
        self.sent + self.delivered + self.read
    }

    /// Share of messages that need nothing more, 0 to 100, rounded down to a hundredth.
    #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
    pub fn progress(&self) -> f64 {
        if self.total == 0 {
            return 100.0;
        }
        (self.done() as f64 * 10_000.0 / self.total as f64).floor() / 100.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_reads_back() {
        for status in CampaignStatus::ALL {
            assert_eq!(CampaignStatus::from_name(status.name()), Some(*status));
        }
    }

    #[test]
    fn counts_add_up() {
        let counts = Counts {
            total: 10,
            sending: 1,
            sent: 2,
            delivered: 1,
            read: 1,
            failed: 1,
            ..Counts::default()
        };
        assert_eq!(
            (counts.pending(), counts.done(), counts.accepted()),
            (4, 5, 4)
        );
        assert!((counts.progress() - 50.0).abs() < f64::EPSILON);
    }
}
