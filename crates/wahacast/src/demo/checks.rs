//! Compares what was ordered with what the simulated phones heard. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::bail;

use super::fleet::Heard;

/// Gaps of one kind: how long the configured one is and what was measured.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Gaps {
    /// Which rule they obey.
    pub(super) rule: &'static str,
    /// The least that the rule allows.
    pub(super) configured: Duration,
    /// From arrival to arrival, shortest first.
    pub(super) measured: Vec<Duration>,
}

impl Gaps {
    fn new(rule: &'static str, configured: Duration, mut measured: Vec<Duration>) -> Self {
        measured.sort();
        Self {
            rule,
            configured,
            measured,
        }
    }

    /// The shortest gap.
    pub(super) fn smallest(&self) -> Option<Duration> {
        self.measured.first().copied()
    }

    /// The middle gap.
    pub(super) fn median(&self) -> Option<Duration> {
        self.measured.get(self.measured.len() / 2).copied()
    }

    /// # Errors
    /// A gap is shorter than configured, by however little, or there is none to judge by.
    pub(super) fn kept(&self) -> anyhow::Result<()> {
        match self.smallest() {
            None => bail!("no gap between {} was seen at all", self.rule),
            Some(gap) if gap < self.configured => bail!(
                "two messages of {} came {gap:?} apart instead of {:?}",
                self.rule,
                self.configured
            ),
            Some(_) => Ok(()),
        }
    }
}

/// Gaps between consecutive messages of one sender, and between consecutive messages on a worker
/// that come from different senders. `heard` is in order of arrival on each worker.
pub(super) fn gaps(heard: &[Heard], message: Duration, switch: Duration) -> [Gaps; 2] {
    let mut last_of_sender: BTreeMap<&str, u64> = BTreeMap::new();
    let mut last_on_worker: BTreeMap<u64, (&str, u64)> = BTreeMap::new();
    let (mut same, mut other) = (Vec::new(), Vec::new());
    for entry in heard {
        let (sender, at) = (entry.session.as_str(), entry.arrived_mono_ns);
        let since = |before: u64| Duration::from_nanos(at.saturating_sub(before));
        if let Some(before) = last_of_sender.insert(sender, at) {
            same.push(since(before));
        }
        match last_on_worker.insert(entry.worker, (sender, at)) {
            Some((speaker, before)) if speaker != sender => other.push(since(before)),
            _ => {}
        }
    }
    [
        Gaps::new("one sender", message, same),
        Gaps::new("two senders on a worker", switch, other),
    ]
}

/// Every recipient of `sender` heard exactly one message, from `sender`, and nobody else did.
pub(super) fn heard_once(
    heard: &[Heard],
    sender: &str,
    recipients: &[String],
) -> anyhow::Result<()> {
    let mut times: BTreeMap<&str, u32> = recipients.iter().map(|phone| (&**phone, 0)).collect();
    for entry in heard.iter().filter(|entry| entry.session == sender) {
        let phone = entry.chat.split('@').next().unwrap_or_default();
        match times.get_mut(phone) {
            Some(times) => *times += 1,
            None => bail!("{phone} heard a message of {sender} that was not for them"),
        }
    }
    match times.iter().find(|(_, times)| **times != 1) {
        Some((phone, times)) => bail!("{phone} heard the campaign of {sender} {times} times"),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(worker: u64, session: &str, chat: &str, millis: u64) -> Heard {
        Heard {
            worker,
            session: session.to_owned(),
            chat: format!("{chat}@c.us"),
            text: String::new(),
            arrived_mono_ns: millis * 1_000_000,
        }
    }

    #[test]
    fn gaps_are_told_apart() {
        let log = [
            heard(1, "a", "1", 0),
            heard(1, "a", "2", 200),
            heard(1, "b", "3", 700),
            heard(1, "a", "4", 1_200),
            heard(2, "c", "5", 1_201),
        ];
        let ms = Duration::from_millis;
        let [same, other] = gaps(&log, ms(200), ms(500));
        assert_eq!(same.measured, [ms(200), ms(1_000)]);
        assert_eq!(other.measured, [ms(500), ms(500)]);
        same.kept().unwrap();
        other.kept().unwrap();
        let [same, other] = gaps(&log, ms(201), ms(501));
        same.kept().unwrap_err();
        other.kept().unwrap_err();
        gaps(&[], ms(0), ms(0))[0].kept().unwrap_err();
    }

    #[test]
    fn everybody_hears_it_once() {
        let phones = ["1".to_owned(), "2".to_owned()];
        let both = [
            heard(1, "a", "1", 0),
            heard(1, "a", "2", 1),
            heard(1, "b", "1", 2),
        ];
        heard_once(&both, "a", &phones).unwrap();
        let (twice, missing) = ([both.to_vec(), both.to_vec()].concat(), &both[..1]);
        assert!(
            heard_once(&twice, "a", &phones)
                .unwrap_err()
                .to_string()
                .contains("2 times")
        );
        assert!(
            heard_once(missing, "a", &phones)
                .unwrap_err()
                .to_string()
                .contains("0 times")
        );
        let stranger = [heard(1, "a", "9", 0)];
        assert!(
            heard_once(&stranger, "a", &phones)
                .unwrap_err()
                .to_string()
                .contains("not for")
        );
    }
}
