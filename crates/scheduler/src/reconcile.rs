//! Drives sessions: asks a worker what it sees, lets `policy::session_plan` say what is next, does
//! that one thing, and writes down what came of it. Repeated until it is as wanted.

mod act;
mod words;

use std::sync::Arc;
use std::time::Duration;

use metrics::counter;
use models::session::{SessionStatus, SessionWanted};
use policy::session_plan::{Seen, Situation, Step, Wait, next_step};
use store::reconcile::{self, Conclusion, Due};
use store::{StoreError, checks, health};
use waha::sessions::{Me, Restriction, SessionInfo};
use waha::{CallClass, CallError, Waha};

use crate::check::puzzled;
use crate::fleet::{Fleet, Hands, STEPS};

/// Longer than a look (20 s) and two lifecycle calls (45 s each) can take.
const LEASE: Duration = Duration::from_secs(150);
/// A live slot is freed by somebody's stop or delete; asking for it is one short statement.
const SLOT_EVERY: Duration = Duration::from_secs(2);
/// The check that finds the worker again makes its sessions due; this is for a lost one.
const DOWN_EVERY: Duration = Duration::from_secs(60);

/// Takes the sessions in hand that are due.
pub(crate) async fn reconcile_due(fleet: &Arc<Fleet>, hands: &Hands) -> Result<(), StoreError> {
    let batch = hands.free();
    if batch == 0 {
        return Ok(());
    }
    let db = fleet.store.client().await?;
    for due in reconcile::claim_due(&db, batch, LEASE).await? {
        let fleet = Arc::clone(fleet);
        hands.take(async move { turn(&fleet, &due).await });
    }
    Ok(())
}

/// What a worker said about a session.
struct Look {
    seen: Seen,
    /// It has our webhook, of this placement.
    ours: bool,
    /// Somebody else is linked to it.
    stranger: bool,
    /// What WhatsApp holds against the number.
    restriction: Option<Restriction>,
}

impl Look {
    /// What that is in our words; what we do not know leaves things as they were.
    fn status(&self, before: SessionStatus) -> SessionStatus {
        match self.seen {
            Seen::Absent => SessionStatus::Stopped,
            Seen::Present(status) => status,
            Seen::Puzzling => before,
        }
    }
}

/// One session's turn: one look, at most one step, one conclusion.
///
/// # Errors
/// When the ledger does not answer; the lease brings the session back.
pub async fn turn(fleet: &Arc<Fleet>, due: &Due) -> Result<(), StoreError> {
    if due.worker.down {
        return worker_is_down(fleet, due).await;
    }
    let waha = match fleet.waha(&due.worker.url, &due.worker.api_key) {
        Ok(waha) => waha,
        Err(error) => return failed(fleet, due, due.status, "look", &error).await,
    };
    let look = match look(fleet, &waha, due).await {
        Ok(look) => look,
        Err(error) => return failed(fleet, due, due.status, "look", &error).await,
    };
    let now = fleet.clock.now();
    if let Some(restriction) = look.restriction.and_then(|told| told.in_force_at(now)) {
        rest_number(fleet, due, restriction).await?;
    }
    let mut now = situation(due, &look);
    let status = look.status(due.status);
    let mut step = next_step(&now);
    if step == Step::TakeLiveSlot {
        let taken = reconcile::take_live_slot(&fleet.store.client().await?, due).await?;
        count(step, if taken { "done" } else { "refused" });
        if !taken {
            return no_slot(fleet, due, status).await;
        }
        now.live = true;
        step = next_step(&now);
    }
    if let Step::Done | Step::Wait(_) | Step::Forget = step {
        return rest(fleet, due, &now, (status, due.status_age), step).await;
    }
    let done = act::act(fleet, &waha, due, step).await;
    match done {
        Err(error) => failed(fleet, due, status, step.name(), &error).await,
        Ok(answer) => {
            count(step, "done");
            let worker = &due.worker.name;
            let phone = due.phone.masked();
            let verb = step.name();
            tracing::info!(%phone, worker.name = worker, step = verb,
                "session {phone} on {worker}: {verb}");
            stepped(fleet, due, (now, status), step, answer).await
        }
    }
}

/// WhatsApp restricts the number, not its session: it rests, and nothing is restarted for it.
async fn rest_number(fleet: &Fleet, due: &Due, found: Restriction) -> Result<(), StoreError> {
    let restriction = health::Restriction {
        code: found.kind.code(),
        reason: found.kind.reason().to_owned(),
        until: found.until,
        otherwise: fleet.settings.restricted_rest,
        otherwise_max: fleet.settings.restricted_rest_max,
    };
    let mut db = fleet.store.client().await?;
    if health::restrict(&mut db, &due.phone, due.generation, &restriction).await? {
        counter!("scheduler_numbers_restricted_total", "code" => restriction.code).increment(1);
        let phone = due.phone.masked();
        let (code, reason) = (restriction.code, &restriction.reason);
        tracing::warn!(%phone, code, "number {phone} rests: {reason}");
    }
    Ok(())
}

fn situation(due: &Due, look: &Look) -> Situation {
    let number = |n: i32| u32::try_from(n).unwrap_or(0);
    Situation {
        wanted: due.wanted,
        seen: look.seen,
        ours: look.ours,
        // A login that was left there by somebody is not to speak for this number. Asked once:
        // what a worker shows may outlive the link.
        logout: due.logout || (look.stranger && !due.created && due.attempts == 0),
        live: due.live,
        attempts: number(due.attempts),
        restarts: match look.seen {
            Seen::Present(SessionStatus::Working) => 0,
            _ => number(due.restarts),
        },
    }
}

async fn look(fleet: &Fleet, waha: &Waha, due: &Due) -> Result<Look, CallError> {
    let info = match waha.session(&due.waha_name).await {
        Ok(info) => info,
        Err(CallError::NotFound { .. }) => {
            return Ok(Look {
                seen: Seen::Absent,
                ours: false,
                stranger: false,
                restriction: None,
            });
        }
        Err(error) => return Err(error),
    };
    let ours = fleet.webhook_url(&due.phone, due.generation);
    Ok(Look {
        seen: seen(&info),
        ours: info.webhook_urls.iter().any(|url| url == ours.as_str()),
        stranger: info.me.as_ref().is_some_and(|me| !is_same(me, due)),
        restriction: info.me.and_then(|me| me.restriction),
    })
}

fn seen(info: &SessionInfo) -> Seen {
    match info.status.known() {
        Some(status) => Seen::Present(status),
        None => {
            puzzled(&info.status);
            Seen::Puzzling
        }
    }
}

/// Numbers may be written without their country code, WhatsApp's never are.
fn is_same(me: &Me, due: &Due) -> bool {
    let linked = me.phone.as_ref().map_or("", |phone| phone.digits());
    linked.ends_with(due.phone.digits().trim_start_matches('0'))
}

fn count(step: Step, outcome: &'static str) {
    counter!("scheduler_steps_total", "step" => step.name(), "outcome" => outcome).increment(1);
}

/// What stays as it is, until a turn says otherwise.
fn unchanged(due: &Due, status: SessionStatus) -> Conclusion {
    Conclusion {
        status,
        reason: None,
        attempts: 0,
        restarts: due.restarts,
        created: due.created,
        logged_out: false,
        frees_slot: false,
        again_in: None,
    }
}

async fn conclude(fleet: &Fleet, due: &Due, end: &Conclusion) -> Result<(), StoreError> {
    let written = reconcile::conclude(&fleet.store.client().await?, due, end).await?;
    if !written {
        tracing::debug!("session {} has moved on meanwhile", due.phone.masked());
    }
    if end.frees_slot {
        fleet.room.notify_one();
    }
    Ok(())
}

/// Nothing is to be done now: it is as wanted, gone, or waits.
async fn rest(
    fleet: &Fleet,
    due: &Due,
    now: &Situation,
    (status, status_age): (SessionStatus, Duration),
    step: Step,
) -> Result<(), StoreError> {
    let mut end = unchanged(due, status);
    let for_ever = Duration::ZERO;
    match step {
        Step::Forget => return forget(fleet, due).await,
        Step::Wait(wait) => {
            let age = if status == due.status {
                status_age
            } else {
                for_ever
            };
            end.again_in = wait.look_again_in(age);
            end.reason = Some(words::wait(wait, status).to_owned());
            if wait == Wait::Relinking {
                end.restarts = due.restarts.max(1);
            }
        }
        _ => {
            end.frees_slot = due.wanted == SessionWanted::Stopped;
            // Absent from its worker, there is nothing that could be logged out.
            end.logged_out = due.logout;
            end.created = due.created && now.seen != Seen::Absent;
        }
    }
    if now.seen == Seen::Present(SessionStatus::Working) {
        end.restarts = 0;
    }
    count(step, "done");
    conclude(fleet, due, &end).await
}

/// A step succeeded: what came of it, and whether that was the last one for now.
async fn stepped(
    fleet: &Fleet,
    due: &Due,
    (before, status): (Situation, SessionStatus),
    step: Step,
    answer: Option<SessionInfo>,
) -> Result<(), StoreError> {
    if step == Step::Delete {
        return forget(fleet, due).await;
    }
    let seen = answer.as_ref().map_or(before.seen, seen);
    let mut end = unchanged(due, status);
    if let Seen::Present(status) = seen {
        end.status = status;
    }
    end.created = due.created || matches!(step, Step::Create | Step::Configure);
    end.logged_out = matches!(step, Step::Create | Step::Logout);
    end.restarts += i32::from(step == Step::Restart);
    let now = Situation {
        seen,
        ours: before.ours || matches!(step, Step::Create | Step::Configure),
        logout: before.logout && !end.logged_out,
        restarts: u32::try_from(end.restarts).unwrap_or(0),
        ..before
    };
    let known = answer.is_some();
    match next_step(&now) {
        Step::Done if known => end.frees_slot = due.wanted == SessionWanted::Stopped,
        Step::Wait(wait) if known => {
            end.again_in = wait.look_again_in(Duration::ZERO);
            end.reason = Some(words::wait(wait, end.status).to_owned());
        }
        _ => {
            end.attempts = due.attempts.saturating_add(1);
            end.again_in = Some(pause(fleet, due));
            end.reason = Some(words::after(step, &due.worker.name));
        }
    }
    conclude(fleet, due, &end).await
}

fn pause(fleet: &Fleet, due: &Due) -> Duration {
    let attempt = u32::try_from(due.attempts).unwrap_or(0);
    STEPS.after(attempt, fleet.chance.fraction())
}

/// A call failed. Nothing about the session is known to have changed.
async fn failed(
    fleet: &Fleet,
    due: &Due,
    status: SessionStatus,
    step: &'static str,
    error: &CallError,
) -> Result<(), StoreError> {
    counter!("scheduler_steps_total", "step" => step, "outcome" => "failed").increment(1);
    let (phone, worker) = (due.phone.masked(), &due.worker.name);
    let attempts = due.attempts.saturating_add(1);
    if due.attempts == 0 {
        tracing::warn!(%phone, worker.name = worker, step,
            "session {phone} on {worker}: {step} failed, to be repeated: {error}");
    }
    if let CallClass::Down | CallClass::Misconfigured = error.class() {
        checks::hurry(&fleet.store.client().await?, due.worker.id).await?;
    }
    let end = Conclusion {
        attempts,
        reason: Some(error.to_string()),
        again_in: Some(pause(fleet, due)),
        ..unchanged(due, status)
    };
    conclude(fleet, due, &end).await
}

async fn no_slot(fleet: &Fleet, due: &Due, status: SessionStatus) -> Result<(), StoreError> {
    let worker = &due.worker.name;
    let end = Conclusion {
        reason: Some(format!("waits for a live slot on worker {worker}")),
        again_in: Some(SLOT_EVERY),
        ..unchanged(due, status)
    };
    conclude(fleet, due, &end).await
}

/// One that was never made there gets another place, or is dropped; the others wait for their
/// login, and their users keep the reason that they were told when the worker went down.
async fn worker_is_down(fleet: &Fleet, due: &Due) -> Result<(), StoreError> {
    match due.wanted {
        SessionWanted::Gone if !due.created => return forget(fleet, due).await,
        SessionWanted::Running if !due.created => {
            if reconcile::requeue(&fleet.store.client().await?, due).await? {
                fleet.room.notify_one();
            }
            return Ok(());
        }
        SessionWanted::Running | SessionWanted::Stopped | SessionWanted::Gone => {}
    }
    let no_answer = || format!("its worker {} does not answer", due.worker.name);
    let still_down = reconcile::is_down(&fleet.store.client().await?, due.worker.id).await?;
    let again_in = if still_down {
        DOWN_EVERY
    } else {
        Duration::ZERO
    };
    let end = Conclusion {
        attempts: due.attempts,
        reason: Some(due.reason.clone().unwrap_or_else(no_answer)),
        again_in: Some(again_in),
        ..unchanged(due, due.status)
    };
    conclude(fleet, due, &end).await
}

/// It is gone from its worker. Wanted again meanwhile, it begins anew.
async fn forget(fleet: &Fleet, due: &Due) -> Result<(), StoreError> {
    let forgotten = reconcile::forget(&mut fleet.store.client().await?, due).await?;
    if forgotten {
        count(Step::Forget, "done");
        fleet.room.notify_one();
        return Ok(());
    }
    let end = Conclusion {
        created: false,
        logged_out: true,
        again_in: Some(Duration::ZERO),
        ..unchanged(due, SessionStatus::Stopped)
    };
    conclude(fleet, due, &end).await
}
