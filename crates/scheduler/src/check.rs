//! Checks workers: are they there, what can they do, have they restarted, and are their sessions
//! what we take them for?

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use chassis::Backoff;
use metrics::counter;
use models::session::SessionStatus;
use models::worker::WorkerHealth;
use store::StoreError;
use store::checks::{self, DueWorker, Known, Passed};
use waha::sessions::{SeenStatus, SessionInfo};
use waha::{CallError, Waha};

use crate::fleet::{Fleet, Hands, NEW_WORDS};

/// Longer than the three calls of a check can take.
const LEASE: Duration = Duration::from_secs(60);
/// Failed checks in a row after which a worker counts as down: one may be a moment's trouble.
const FAILURES_MAX: i32 = 2;
/// Between the first failure and the check that decides.
const SECOND_LOOK: Duration = Duration::from_secs(2);
/// Workers without sessions are checked this many times less often.
const EMPTY_FACTOR: u32 = 4;
const RETRIES: Backoff = Backoff {
    min: Duration::from_secs(5),
    max: Duration::from_secs(60),
};

/// Takes the workers in hand whose check is due.
pub(crate) async fn check_due(fleet: &Arc<Fleet>, hands: &Hands) -> Result<(), StoreError> {
    let batch = hands.free();
    if batch == 0 {
        return Ok(());
    }
    let db = fleet.store.client().await?;
    for worker in checks::claim_due(&db, batch, LEASE).await? {
        let fleet = Arc::clone(fleet);
        hands.take(async move { check(&fleet, &worker).await });
    }
    Ok(())
}

/// What a worker said.
struct Answer {
    found: Passed,
    sessions: Vec<SessionInfo>,
}

/// Checks one worker.
///
/// # Errors
/// When the ledger does not answer; the worker is due again after its lease.
pub async fn check(fleet: &Arc<Fleet>, worker: &DueWorker) -> Result<(), StoreError> {
    // Read before the worker is asked: what changes meanwhile is not overwritten by its answer.
    let known = if worker.placed > 0 {
        checks::known(&fleet.store.client().await?, worker.id).await?
    } else {
        Vec::new()
    };
    let answer = match fleet.waha(&worker.url, &worker.api_key) {
        Ok(waha) => ask(&waha, !known.is_empty()).await,
        Err(error) => Err(error),
    };
    let outcome = match answer {
        Ok(answer) => {
            passed(fleet, worker, &known, &answer).await?;
            "up"
        }
        Err(error) => failed(fleet, worker, &error).await?,
    };
    counter!("scheduler_worker_checks_total", "outcome" => outcome).increment(1);
    Ok(())
}

async fn ask(waha: &Waha, with_sessions: bool) -> Result<Answer, CallError> {
    let server = waha.version().await?;
    let status = waha.status().await?;
    let sessions = if with_sessions {
        waha.sessions().await?
    } else {
        Vec::new()
    };
    let found = Passed {
        version: server.version.to_string(),
        engine: server.engine,
        tier: server.tier.name().to_owned(),
        capabilities: server.capabilities(),
        uptime: status.uptime,
    };
    Ok(Answer { found, sessions })
}

async fn passed(
    fleet: &Fleet,
    worker: &DueWorker,
    known: &[Known],
    answer: &Answer,
) -> Result<(), StoreError> {
    let db = fleet.store.client().await?;
    let came_up = worker.health != WorkerHealth::Up;
    let restarted = worker
        .uptime
        .is_some_and(|before| answer.found.uptime < before);
    if came_up || restarted {
        let looked_at = checks::wake(&db, worker.id).await?;
        let what = if came_up { "is up" } else { "has restarted" };
        let name = &worker.name;
        tracing::info!(worker.id = %worker.id, sessions = looked_at, "worker {name} {what}");
    }
    let differences = compare(known, &answer.sessions, |known, seen| {
        let ours = fleet.webhook_url(&known.phone, known.generation);
        seen.webhook_urls.iter().any(|url| url == ours.as_str())
    });
    let changed = checks::record_seen(&db, worker.id, &differences.changed).await?;
    let missing = checks::make_due(&db, &differences.missing).await?;
    let every = fleet.settings.worker_check_every;
    let every = every * if worker.placed > 0 { 1 } else { EMPTY_FACTOR };
    let again_in = every.mul_f64(0.9 + fleet.chance.fraction() / 5.0);
    checks::pass(&db, worker.id, &answer.found, again_in).await?;
    if came_up {
        fleet.room.notify_one();
    }
    if came_up || restarted || changed + missing > 0 {
        fleet.due.notify_one();
    }
    Ok(())
}

/// How a worker's sessions differ from what we know.
#[derive(Debug, Default, PartialEq, Eq)]
struct Differences<'a> {
    changed: Vec<(&'a Known, SessionStatus)>,
    /// Not there, or without our webhook, although they were made.
    missing: Vec<&'a Known>,
}

fn compare<'a>(
    known: &'a [Known],
    seen: &[SessionInfo],
    ours: impl Fn(&Known, &SessionInfo) -> bool,
) -> Differences<'a> {
    let seen: HashMap<_, _> = seen.iter().map(|info| (info.name.as_str(), info)).collect();
    let mut differences = Differences::default();
    // One that is not made yet may be somebody else's leavings: the reconciler settles that.
    for known in known.iter().filter(|known| known.created) {
        let Some(info) = seen.get(known.waha_name.as_str()) else {
            differences.missing.push(known);
            continue;
        };
        match info.status.known() {
            Some(status) if status != known.status => differences.changed.push((known, status)),
            Some(_) if !ours(known, info) => differences.missing.push(known),
            Some(_) => {}
            None => puzzled(&info.status),
        }
    }
    differences
}

/// Says once that a worker used a word we do not know; it is ignored otherwise.
pub(crate) fn puzzled(status: &SeenStatus) {
    let word = status.to_string();
    if NEW_WORDS.first(&word) {
        tracing::warn!("a worker reports the session status {word:?}, which is new to us: ignored");
    }
}

async fn failed(
    fleet: &Fleet,
    worker: &DueWorker,
    error: &CallError,
) -> Result<&'static str, StoreError> {
    let db = fleet.store.client().await?;
    let down = worker.failures + 1 >= FAILURES_MAX;
    if down && worker.health != WorkerHealth::Down {
        let now = fleet.clock.now();
        let since = format!(
            "{:02}:{:02} UTC on {}",
            now.hour(),
            now.minute(),
            now.date()
        );
        let name = &worker.name;
        let reason = format!("its worker {name} does not answer since {since}: {error}");
        checks::explain_down(&db, worker.id, &reason).await?;
        tracing::warn!(worker.id = %worker.id, "worker {name} is down: {error}");
    }
    let again_in = if down {
        let attempt = u32::try_from(worker.failures + 1 - FAILURES_MAX).unwrap_or(0);
        RETRIES.after(attempt, fleet.chance.fraction())
    } else {
        SECOND_LOOK.min(fleet.settings.worker_check_every)
    };
    checks::fail(&db, worker.id, &error.to_string(), down, again_in).await?;
    Ok(if down { "down" } else { "failed" })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(name: &str, status: SessionStatus) -> Known {
        Known {
            phone: name.parse().unwrap(),
            generation: 7,
            waha_name: name.to_owned(),
            status,
            created: true,
        }
    }

    fn seen(name: &str, status: SeenStatus) -> SessionInfo {
        SessionInfo {
            name: name.to_owned(),
            status,
            me: None,
            assigned_worker: None,
            metadata: std::collections::BTreeMap::new(),
            webhook_urls: vec!["ours".to_owned()],
        }
    }

    #[test]
    fn differences_are_found_and_nothing_else() {
        let list = [
            known("10000001", SessionStatus::Working),
            known("10000002", SessionStatus::Working),
            known("10000003", SessionStatus::Working),
            known("10000004", SessionStatus::Working),
            known("10000005", SessionStatus::Working),
            Known {
                created: false,
                ..known("10000006", SessionStatus::Starting)
            },
        ];
        let mut bare = seen("10000005", SeenStatus::Working);
        bare.webhook_urls.clear();
        let answer = [
            seen("10000001", SeenStatus::Working),
            seen("10000002", SeenStatus::Failed),
            seen("10000004", SeenStatus::Other("DANCING".to_owned())),
            bare,
            seen("stranger", SeenStatus::Working),
        ];
        let found = compare(&list, &answer, |_, info| !info.webhook_urls.is_empty());
        assert_eq!(found.changed, [(&list[1], SessionStatus::Failed)]);
        assert_eq!(found.missing, [&list[2], &list[4]]);
    }
}
