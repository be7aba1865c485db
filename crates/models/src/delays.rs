//! The delays that keep a number from being banned.

use std::time::Duration;

/// The delays that hold for one sender. Each is a least gap; nothing is ever sent earlier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Delays {
    /// R1: between two messages of one sender.
    pub message: Duration,
    /// R2: before this sender's message, after another sender's on the same worker. Zero: the
    /// senders of a worker do not see each other.
    pub sender_switch: Duration,
    /// R3: between the end of a sender's campaign and the first message of its next.
    pub campaign: Duration,
}

/// A sender's own delays; `None` inherits the global one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DelayOverrides {
    /// Instead of [`Delays::message`].
    pub message: Option<Duration>,
    /// Instead of [`Delays::sender_switch`].
    pub sender_switch: Option<Duration>,
    /// Instead of [`Delays::campaign`].
    pub campaign: Option<Duration>,
}

/// The longest delay: one day.
pub const DELAY_MAX: Duration = Duration::from_secs(86_400);

impl DelayOverrides {
    /// The delays in force, given the global ones.
    pub fn over(self, global: Delays) -> Delays {
        Delays {
            message: self.message.unwrap_or(global.message),
            sender_switch: self.sender_switch.unwrap_or(global.sender_switch),
            campaign: self.campaign.unwrap_or(global.campaign),
        }
    }
}

/// A delay from seconds as users give them, kept to the millisecond (rounded up, so that a gap is
/// never shorter than asked). `None` unless it is a number from 0 to [`DELAY_MAX`].
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "checked to lie between 0 and 86,400,000"
)]
pub fn delay_from_secs(secs: f64) -> Option<Duration> {
    let in_range = (0.0..=DELAY_MAX.as_secs_f64()).contains(&secs);
    // 0.2 * 1000.0 is 200.00000000000003: a delay of whole milliseconds must stay what it is.
    in_range.then(|| Duration::from_millis((secs * 1000.0 - 1e-6).ceil().max(0.0) as u64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_become_whole_milliseconds_and_never_fewer() {
        for (secs, wanted) in [
            (0.0, Some(0)),
            (0.2, Some(200)),
            (2.0, Some(2_000)),
            (0.0004, Some(1)),
            (86_400.0, Some(86_400_000)),
            (86_400.1, None),
            (-0.1, None),
            (f64::NAN, None),
            (f64::INFINITY, None),
        ] {
            assert_eq!(
                delay_from_secs(secs),
                wanted.map(Duration::from_millis),
                "{secs}"
            );
        }
    }
}
