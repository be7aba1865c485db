//! WhatsApp's own limits on cold messages: reachout time-lock and message capping (section 9).

use serde_json::{Value, json};

use crate::answer::{Answer, Failure};
use crate::events;
use crate::fault::{Kind, Request};
use crate::sim::{Cx, WorkerState};
use crate::status::Status;
use crate::wait;

/// How long a limit is announced to last when the fault does not say.
const LIMIT_MILLIS: u64 = 3_600_000;

/// Puts the limit on the session, once, and re-emits WORKING with the news.
pub(crate) fn impose(cx: &Cx, state: &mut WorkerState, name: &str, fault: &Request) {
    let Some(session) = state.sessions.get_mut(name) else {
        return;
    };
    let now = cx.sim.clock.millis() / 1_000;
    let millis = fault.millis.unwrap_or(LIMIT_MILLIS);
    let end = now + i64::try_from(millis / 1_000).unwrap_or(0);
    let data = match fault.kind {
        Kind::Reachout if session.timelock.is_null() => {
            session.timelock = json!({
                "enforcementType": "RESTRICT_ALL_COMPANIONS",
                "isActive": true,
                "timeEnforcementEnds": end,
            });
            json!({"reachoutTimelock": session.timelock})
        }
        Kind::Capped if session.capping.is_null() => {
            session.capping = json!({
                "cappingStatus": "CAPPED",
                "totalQuota": 1000,
                "usedQuota": 1000,
                "cycleStart": now,
                "cycleEnd": end,
                "mvStatus": null,
                "oteStatus": null,
            });
            json!({"messageCapping": session.capping})
        }
        _ => return,
    };
    events::session_status(cx, state, name, data);
}

/// Lifts every limit of the worker's sessions.
pub(crate) fn lift(cx: &Cx, state: &mut WorkerState) {
    let limited = state
        .sessions
        .values_mut()
        .filter(|session| !(session.timelock.is_null() && session.capping.is_null()));
    let mut names = Vec::new();
    for session in limited {
        session.timelock = Value::Null;
        session.capping = Value::Null;
        if session.status == Status::Working {
            names.push(session.name.to_string());
        }
    }
    for name in names {
        events::session_status(cx, state, &name, Value::Null);
    }
}

/// `GET /api/sessions/{s}/timelock` and `/capping`, from 2026.8 on.
pub(crate) async fn show(cx: &Cx, name: &str, what: &str) -> Result<Answer, Failure> {
    if !cx.profile().limit_endpoints() {
        return Err(Failure::NoRoute);
    }
    wait::for_status(cx, name, Status::Working).await?;
    let state = cx.lock();
    let limit = state.sessions.get(name).map(|session| match what {
        "timelock" => session.timelock.clone(),
        _ => session.capping.clone(),
    });
    Ok(Answer::or_empty(200, limit.unwrap_or(Value::Null)))
}
