//! How long a fault is felt: pure, from what was heard and when the fault was.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::history::Heard;

/// A fault that happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Happened {
    /// Its kind.
    pub(crate) fault: String,
    /// Whom it hit.
    pub(crate) whom: String,
    /// When it began.
    #[serde(with = "time::serde::rfc3339")]
    pub(crate) began: OffsetDateTime,
    /// When what was broken was whole again.
    #[serde(with = "time::serde::rfc3339")]
    pub(crate) healed: OffsetDateTime,
    /// Seconds from then until every worker that spoke before it was heard again.
    pub(crate) recovery: f64,
    /// The longest silence of any of those workers that the fault fell into, in seconds.
    pub(crate) silence: f64,
}

/// A worker heard within this time before a fault had something to say.
const ACTIVE: Duration = Duration::from_secs(4);
/// A worker that is not heard within this time had nothing more to say.
const DONE: Duration = Duration::from_secs(60);

/// Fills in recovery and silence. `heard` is in order of arrival.
pub(crate) fn measure(faults: &mut [Happened], heard: &[Heard]) {
    let mut by_worker: BTreeMap<usize, Vec<OffsetDateTime>> = BTreeMap::new();
    for one in heard {
        by_worker
            .entry(one.worker)
            .or_default()
            .push(one.arrived_at);
    }
    for fault in faults {
        for times in by_worker.values() {
            let began = times.partition_point(|at| *at < fault.began);
            let active = began > 0 && fault.began - times[began - 1] <= ACTIVE;
            let healed = times.partition_point(|at| *at < fault.healed);
            let Some(next) = times.get(healed).filter(|_| active) else {
                continue;
            };
            if *next - fault.healed > DONE {
                continue;
            }
            fault.recovery = fault.recovery.max((*next - fault.healed).as_seconds_f64());
            let around = &times[began - 1..=healed];
            let gaps = around
                .windows(2)
                .map(|pair| (pair[1] - pair[0]).as_seconds_f64());
            fault.silence = gaps.fold(fault.silence, f64::max);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: i64) -> OffsetDateTime {
        OffsetDateTime::UNIX_EPOCH + time::Duration::milliseconds(ms)
    }

    fn heard(worker: usize, ms: i64) -> Heard {
        Heard {
            worker,
            session: String::new(),
            chat: String::new(),
            message_id: String::new(),
            arrived_at: at(ms),
            arrived_mono_ns: 0,
            answered_mono_ns: None,
        }
    }

    #[test]
    fn the_slowest_worker_that_had_work_counts() {
        let mut fault = [Happened {
            fault: "kill_sender".to_owned(),
            whom: "sender-1".to_owned(),
            began: at(10_000),
            healed: at(12_000),
            recovery: 0.0,
            silence: 0.0,
        }];
        let history = [
            heard(3, 1_000), // had nothing to say for long
            heard(1, 9_000),
            heard(2, 9_500),
            heard(1, 11_000),
            heard(1, 12_500),
            heard(2, 15_000),
            heard(3, 70_000),
        ];
        measure(&mut fault, &history);
        assert!((fault[0].recovery - 3.0).abs() < 1e-9, "{fault:?}");
        assert!((fault[0].silence - 5.5).abs() < 1e-9, "{fault:?}");
    }
}
