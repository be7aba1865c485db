//! Who heard what and when: the log that checkers compare with the ledger.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;
use time::OffsetDateTime;

/// One message that the simulated WhatsApp delivered.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Heard {
    /// Position in the process-wide order of deliveries, from 1.
    pub(crate) seq: u64,
    /// The worker's number, from 1.
    pub(crate) worker: usize,
    #[serde(serialize_with = "shared")]
    pub(crate) session: Arc<str>,
    /// The sender's own address.
    #[serde(serialize_with = "shared")]
    pub(crate) from: Arc<str>,
    pub(crate) chat: String,
    /// text, image, file, voice, video and so on.
    pub(crate) kind: &'static str,
    /// The text or the caption.
    pub(crate) text: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) media: Option<Media>,
    pub(crate) message_id: String,
    /// When the request reached the worker.
    #[serde(with = "time::serde::rfc3339")]
    pub(crate) arrived_at: OffsetDateTime,
    /// The same in nanoseconds of a monotonic clock that starts with the process.
    pub(crate) arrived_mono_ns: u64,
    /// When the answer was handed back, by the same clock; null when it never was.
    pub(crate) answered_mono_ns: Option<u64>,
}

fn shared<S: serde::Serializer>(text: &Arc<str>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(text)
}

/// The media part of a message, as far as a checker needs it.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Media {
    pub(crate) mimetype: String,
    pub(crate) filename: Option<String>,
    pub(crate) url: Option<String>,
    /// Bytes received, where they were.
    pub(crate) size: Option<usize>,
}

/// The bounded log. Entries keep their number when older ones are dropped.
pub(crate) struct HeardLog {
    capacity: usize,
    log: Mutex<Log>,
}

#[derive(Default)]
struct Log {
    /// Entries dropped so far, so entry i carries the number `dropped + i + 1`.
    dropped: u64,
    entries: VecDeque<Heard>,
}

/// Entries looked at for one request, so that a filter that finds little stays cheap.
const SCAN_MAX: usize = 100_000;

impl HeardLog {
    pub(crate) fn new(capacity: usize) -> Self {
        Self {
            capacity: capacity.max(1),
            log: Mutex::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Appends an entry and returns the number that it got.
    pub(crate) fn push(&self, mut entry: Heard) -> u64 {
        let mut log = self.lock();
        if log.entries.len() >= self.capacity {
            log.entries.pop_front();
            log.dropped += 1;
        }
        entry.seq = log.dropped + log.entries.len() as u64 + 1;
        let seq = entry.seq;
        log.entries.push_back(entry);
        seq
    }

    /// Notes when the answer to entry `seq` was handed back.
    pub(crate) fn answered(&self, seq: u64, mono_ns: u64) {
        let mut log = self.lock();
        let Some(index) = seq.checked_sub(log.dropped + 1) else {
            return;
        };
        if let Some(entry) = log.entries.get_mut(index as usize) {
            entry.answered_mono_ns = Some(mono_ns);
        }
    }

    /// Up to `limit` entries after number `after`, of one worker or of all, and the number to
    /// ask with next time.
    pub(crate) fn read(
        &self,
        after: u64,
        limit: usize,
        worker: Option<usize>,
    ) -> (u64, Vec<Heard>) {
        let log = self.lock();
        let skip = after.saturating_sub(log.dropped) as usize;
        let mut next = after.max(log.dropped);
        let mut found = Vec::new();
        for entry in log.entries.iter().skip(skip).take(SCAN_MAX) {
            if found.len() >= limit {
                break;
            }
            next = entry.seq;
            if worker.is_none_or(|number| number == entry.worker) {
                found.push(entry.clone());
            }
        }
        (next, found)
    }
}

impl HeardLog {
    /// The number of the newest entry; 0 before the first.
    pub(crate) fn newest(&self) -> u64 {
        let log = self.lock();
        log.dropped + log.entries.len() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(worker: usize) -> Heard {
        Heard {
            seq: 0,
            worker,
            session: "s".into(),
            from: "1@c.us".into(),
            chat: "2@c.us".to_owned(),
            kind: "text",
            text: String::new(),
            media: None,
            message_id: String::new(),
            arrived_at: OffsetDateTime::UNIX_EPOCH,
            arrived_mono_ns: 0,
            answered_mono_ns: None,
        }
    }

    fn seqs(log: &HeardLog, after: u64, limit: usize, worker: Option<usize>) -> (u64, Vec<u64>) {
        let (next, entries) = log.read(after, limit, worker);
        (next, entries.iter().map(|entry| entry.seq).collect())
    }

    #[test]
    fn pages_filters_and_drops_the_oldest() {
        let log = HeardLog::new(4);
        for worker in [1, 2, 1, 2, 1, 2] {
            log.push(entry(worker));
        }
        assert_eq!(seqs(&log, 0, 10, None), (6, vec![3, 4, 5, 6]));
        assert_eq!(seqs(&log, 4, 1, None), (5, vec![5]));
        assert_eq!(seqs(&log, 0, 10, Some(2)), (6, vec![4, 6]));
        assert_eq!(seqs(&log, 6, 10, None), (6, vec![]));
        log.answered(1, 9);
        log.answered(5, 7);
        let (_, entries) = log.read(4, 1, None);
        assert_eq!(entries[0].answered_mono_ns, Some(7));
    }
}
