//! The ack writers: they group what workers report of messages into few transactions.
//!
//! There is no timer: a lone report is written at once, and under load a group grows to what one
//! write takes. A report is answered only when it is written, because WAHA repeats what was not
//! answered (15 times, every 2 s) and forgets what was.

use std::sync::Arc;

use chassis::Shutdown;
use futures_util::future::join;
use models::phone::PhoneNumber;
use store::receipts::{self, Report};
use store::{Store, StoreError};
use tokio::sync::{mpsc, oneshot};

use crate::problem::Problem;

/// Most reports in one transaction; larger groups gain little and hold their rows' locks longer.
const GROUP_MAX: usize = 500;
/// Seconds after which a gateway that is behind is worth another try; WAHA's own pause.
const RETRY_SECS: u32 = 2;

type Answer = oneshot::Sender<Result<(), Away>>;

/// The group was not written.
#[derive(Debug, Clone, Copy)]
struct Away;

/// The way to the writers. Cheap to clone.
#[derive(Debug, Clone)]
pub struct AckWriter {
    reports: Arc<[mpsc::Sender<(Report, Answer)>]>,
}

/// The reports that one writer has not looked at yet.
#[derive(Debug)]
pub struct Queue {
    reports: mpsc::Receiver<(Report, Answer)>,
}

/// The way to `count` writers, at least one, which let `waiting_max` reports wait; and their
/// queues, each of which [`run`] must be given. A number always has the same writer, or one would
/// wait for the other's locks.
pub fn queues(count: usize, waiting_max: usize) -> (AckWriter, Vec<Queue>) {
    let count = count.max(1);
    let ways = (0..count).map(|_| mpsc::channel(waiting_max.div_ceil(count)));
    let (reports, receivers): (Vec<_>, Vec<_>) = ways.unzip();
    let queues = receivers.into_iter().map(|reports| Queue { reports });
    let writer = AckWriter {
        reports: reports.into(),
    };
    (writer, queues.collect())
}

impl AckWriter {
    /// Writes a report down.
    ///
    /// # Errors
    /// When it is not written, because too many wait or the database is away.
    pub async fn write(&self, report: Report) -> Result<(), Problem> {
        let (answer, answered) = oneshot::channel();
        let writer = &self.reports[writer_of(&report.sender, self.reports.len())];
        if writer.try_send((report, answer)).is_err() {
            let detail = "too many reports wait to be written; nothing was changed";
            return Err(Problem::not_yet(detail, RETRY_SECS));
        }
        match answered.await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(Away)) | Err(_) => {
                let detail = "the report could not be written; nothing was changed";
                Err(Problem::not_yet(detail, RETRY_SECS))
            }
        }
    }
}

/// Who writes what this number's worker reports. Numbers that follow each other are spread.
fn writer_of(sender: &PhoneNumber, writers: usize) -> usize {
    let spread = sender.key().get().wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32;
    (spread % writers as u64) as usize
}

/// A group whose reports have not been answered yet, all of them alike.
#[derive(Debug)]
struct Unanswered {
    answers: Vec<Answer>,
    written: Result<(), Away>,
}

impl Unanswered {
    fn answer(&mut self) {
        for answer in self.answers.drain(..) {
            // Whoever reported may have given up; then it comes again.
            let _gone = answer.send(self.written);
        }
    }
}

/// Writes groups until shutdown, and then what still waits. Where more has gathered meanwhile, a
/// group is answered when the next one has left: the database works while answers go out.
pub async fn run(store: Store, mut queue: Queue, shutdown: Shutdown) {
    let (mut group, mut failing) = (Vec::with_capacity(GROUP_MAX), false);
    let mut former = Unanswered {
        answers: Vec::new(),
        written: Ok(()),
    };
    loop {
        if queue.reports.is_empty() {
            former.answer();
        }
        tokio::select! {
            biased;
            taken = queue.reports.recv_many(&mut group, GROUP_MAX) => if taken == 0 { return },
            () = shutdown.requested() => queue.reports.close(),
        }
        if group.is_empty() {
            continue;
        }
        metrics::histogram!("gateway_ack_group_rows").record(group.len() as f64);
        let (reports, answers): (Vec<_>, Vec<_>) = group.drain(..).unzip();
        let answered = async { former.answer() };
        let (written, ()) = join(record(&store, &reports), answered).await;
        failing = told(written.as_ref().err(), failing);
        if written.as_ref().is_err_and(|error| !error.is_unavailable()) {
            record_singly(&store, reports.into_iter().zip(answers)).await;
        } else {
            let written = written.map_err(|_unavailable| Away);
            former = Unanswered { answers, written };
        }
    }
}

/// One bad report must not hold up the others; nor must a database that has gone meanwhile.
async fn record_singly(store: &Store, asked: impl Iterator<Item = (Report, Answer)>) {
    let mut away = false;
    for (report, answer) in asked {
        let written = if away {
            Err(Away)
        } else {
            record(store, &[report]).await.map_err(|error| {
                away = error.is_unavailable();
                Away
            })
        };
        let _gone = answer.send(written);
    }
}

/// Says the first failure of a row; an outage would say it a thousand times.
fn told(error: Option<&StoreError>, failing: bool) -> bool {
    if let (Some(error), false) = (error, failing) {
        tracing::warn!("reports of workers cannot be written, they will come again: {error}");
    }
    error.is_some()
}

async fn record(store: &Store, reports: &[Report]) -> Result<(), StoreError> {
    let mut client = store.client().await?;
    let recorded = receipts::record(&mut client, reports).await?;
    metrics::counter!("gateway_acks_total").increment(recorded.taken);
    metrics::counter!("gateway_acks_moved_total").increment(recorded.moved);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::problem::Kind;

    #[tokio::test]
    async fn a_report_that_finds_no_room_is_refused_at_once() {
        let (writer, _queues) = queues(1, 1);
        let report = Report {
            sender: "42108077".parse().unwrap(),
            generation: 1,
            message_id: "3EB0".to_owned(),
            ack: 1,
            at: None,
        };
        let waits = writer.write(report.clone());
        // Polled once, it has taken the only place.
        futures_util::pin_mut!(waits);
        assert!(futures_util::poll!(&mut waits).is_pending());
        let refused = writer.write(report).await.unwrap_err();
        assert_eq!(refused.kind, Kind::Unavailable);
    }

    #[test]
    fn numbers_are_spread_over_the_writers() {
        const WRITERS: usize = 3;
        let mut numbers = [0; WRITERS];
        for step in [1_u64, 2, 1_000] {
            for n in 0..200 {
                let sender: PhoneNumber = (21_642_108_000 + n * step).to_string().parse().unwrap();
                numbers[writer_of(&sender, WRITERS)] += 1;
            }
        }
        let fair = 600 / WRITERS;
        assert!(numbers.iter().all(|n| *n > fair / 2), "{numbers:?}");
    }
}
