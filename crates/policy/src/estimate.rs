//! When a campaign will probably be done.
//!
//! A promise it is not: failed workers, phones that have to be linked and other senders that come
//! later are not foreseen.

use std::time::Duration;

use models::delays::Delays;
use time::OffsetDateTime;

/// What an estimate rests on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Load {
    /// Messages of the campaign still to be sent.
    pub messages: i64,
    /// Messages of the sender's older campaigns still to be sent.
    pub messages_before: i64,
    /// How many those campaigns are.
    pub campaigns_before: i64,
    /// Senders with open campaigns on the same worker, this one included.
    pub speakers: i64,
    /// What chance adds to each message delay, at most.
    pub jitter_max: Duration,
}

/// When the last message will probably have left, if the first can leave at `start`. A lane that
/// several senders share gives each a message at best every `speakers` switch delays.
pub fn finish_at(start: OffsetDateTime, load: &Load, delays: &Delays) -> OffsetDateTime {
    let own = delays.message + load.jitter_max / 2;
    let lane = match u32::try_from(load.speakers) {
        Ok(speakers) if speakers > 1 => delays.sender_switch.saturating_mul(speakers),
        _ => Duration::ZERO,
    };
    let gaps = load.messages.saturating_add(load.messages_before) - 1;
    let waits = load.campaigns_before;
    start
        .saturating_add(times(own.max(lane), gaps))
        .saturating_add(times(delays.campaign, waits))
}

fn times(delay: Duration, count: i64) -> time::Duration {
    let millis = i64::try_from(delay.as_millis()).unwrap_or(i64::MAX);
    time::Duration::milliseconds(millis.saturating_mul(count.max(0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: OffsetDateTime = OffsetDateTime::UNIX_EPOCH;
    const DELAYS: Delays = Delays {
        message: Duration::from_secs(30),
        sender_switch: Duration::from_secs(10),
        campaign: Duration::from_secs(100),
    };

    fn check(load: Load, wanted_secs: i64) {
        let got = finish_at(START, &load, &DELAYS);
        assert_eq!((got - START).whole_seconds(), wanted_secs, "{load:?}");
    }

    #[test]
    fn gaps_add_up() {
        let load = Load {
            messages: 1,
            ..Load::default()
        };
        check(load, 0);
        check(
            Load {
                messages: 11,
                ..load
            },
            300,
        );
        check(
            Load {
                messages: 11,
                jitter_max: Duration::from_secs(10),
                ..load
            },
            350,
        );
        check(
            Load {
                messages: 11,
                messages_before: 5,
                campaigns_before: 1,
                ..load
            },
            550,
        );
        check(
            Load {
                messages: 0,
                ..load
            },
            0,
        );
    }

    #[test]
    fn a_shared_lane_is_slower_when_its_switches_are() {
        let load = Load {
            messages: 11,
            speakers: 3,
            ..Load::default()
        };
        check(load, 300);
        check(
            Load {
                speakers: 5,
                ..load
            },
            500,
        );
    }

    #[test]
    fn nothing_overflows() {
        let load = Load {
            messages: i64::MAX,
            messages_before: i64::MAX,
            campaigns_before: i64::MAX,
            speakers: i64::MAX,
            ..Load::default()
        };
        assert!(finish_at(START, &load, &DELAYS) > START);
    }
}
