//! Creating, changing, starting and stopping sessions (contract section 5.2).

use std::sync::Arc;

use serde_json::{Value, json};
use tokio::sync::OwnedMutexGuard;

use crate::answer::{Answer, Failure};
use crate::config;
use crate::hooks::Hook;
use crate::session::{Session, happen};
use crate::sim::{Cx, WorkerState};
use crate::status::{Event, Status};
use crate::wait;

type Outcome = Result<Answer, Failure>;

/// How long a call waits for the lock of its session's name.
const LOCK_MILLIS: u64 = 5_000;

/// Serialises lifecycle calls on one name; a 500 when the turn does not come.
async fn exclusive(cx: &Cx, name: &str) -> Result<OwnedMutexGuard<()>, Failure> {
    let lock = {
        let mut state = cx.lock();
        if state.locks.len() > 64 {
            state.locks.retain(|_, lock| Arc::strong_count(lock) > 1);
        }
        Arc::clone(state.locks.entry(name.to_owned()).or_default())
    };
    let turn = tokio::time::timeout(cx.wait(LOCK_MILLIS), lock.lock_owned()).await;
    turn.map_err(|_| Failure::uncaught("Error", &format!("async-lock timed out in queue {name}")))
}

fn not_found() -> Failure {
    Failure::nest(404, "Session not found")
}

fn view(cx: &Cx, name: &str) -> Answer {
    let state = cx.lock();
    match state.sessions.get(name) {
        Some(session) => Answer::Json(201, session.view(cx)),
        None => Answer::Empty(201),
    }
}

fn exists(cx: &Cx, name: &str) -> bool {
    cx.lock().sessions.contains_key(name)
}

fn running(cx: &Cx, name: &str) -> bool {
    cx.lock().sessions.get(name).is_some_and(Session::running)
}

fn checked(body: &Value) -> Result<(), Failure> {
    let faults = config::check(&body["config"]);
    if faults.is_empty() {
        Ok(())
    } else {
        Err(Failure::Validation(faults))
    }
}

fn configure(cx: &Cx, state: &mut WorkerState, name: &str, config: &Value) {
    let session = state
        .sessions
        .entry(name.to_owned())
        .or_insert_with(|| Session::new(name));
    session.config = config.clone();
    session.hooks = Hook::of_config(config, cx.sim.options.hook_retries);
}

/// Starts a session that is not running.
pub(crate) fn start_now(cx: &Cx, name: &str) {
    let mut state = cx.lock();
    if let Some(session) = state.sessions.get_mut(name) {
        session.assigned = true;
    }
    happen(cx, &mut state, name, Event::Start);
}

/// Stops a session and takes the time that stopping takes.
async fn stop_now(cx: &Cx, name: &str) {
    let stopped = happen(cx, &mut cx.lock(), name, Event::Stop);
    if stopped {
        tokio::time::sleep(cx.wait(cx.profile().stop_millis())).await;
    }
}

pub(crate) fn list(cx: &Cx, all: Option<&str>) -> Outcome {
    let all = match all {
        None | Some("false" | "0" | "") => false,
        Some("true" | "1") => true,
        Some(_) => {
            return Err(Failure::Validation(vec![
                "all must be a boolean value".into(),
            ]));
        }
    };
    let state = cx.lock();
    let sessions = state
        .sessions
        .values()
        .filter(|session| all || session.running());
    Ok(Answer::Json(
        200,
        sessions.map(|session| session.view(cx)).collect(),
    ))
}

pub(crate) fn get(cx: &Cx, name: &str) -> Outcome {
    if !cx.profile().ancient() {
        wait::only_default(cx, name)?;
    }
    let state = cx.lock();
    let session = state.sessions.get(name).ok_or_else(not_found)?;
    let mut view = session.view(cx);
    view["engine"] = session.engine_view(cx);
    Ok(Answer::Json(200, view))
}

pub(crate) fn me(cx: &Cx, name: &str) -> Outcome {
    let state = cx.lock();
    let session = state.sessions.get(name).filter(|session| session.running());
    let session = session.ok_or_else(|| wait::not_running(name))?;
    Ok(Answer::or_empty(200, session.me_view(cx)))
}

pub(crate) async fn create(cx: Cx, body: Value) -> Outcome {
    let name = match body["name"].as_str() {
        Some(name) if !name.is_empty() => name.to_owned(),
        _ => format!(
            "session_{}",
            cx.lock().rng.event_id(cx.sim.clock.millis()).split_off(4)
        ),
    };
    let mut faults = config::check_name(&name);
    faults.extend(config::check(&body["config"]));
    if !faults.is_empty() {
        return Err(Failure::Validation(faults));
    }
    wait::only_default(&cx, &name)?;
    let _turn = exclusive(&cx, &name).await?;
    if exists(&cx, &name) {
        let text = format!("Session '{name}' already exists. Use PUT to update it.");
        return Err(Failure::nest(422, text));
    }
    // Only what JavaScript calls true starts it, whatever the documentation says.
    let start = truthy(&body["start"]);
    if !cx.profile().many_sessions() && !start {
        return Ok(Answer::Empty(201));
    }
    configure(&cx, &mut cx.lock(), &name, &body["config"]);
    if start {
        start_now(&cx, &name);
    }
    Ok(view(&cx, &name))
}

pub(crate) async fn update(cx: Cx, name: String, body: Value) -> Outcome {
    wait::only_default(&cx, &name)?;
    checked(&body)?;
    let _turn = exclusive(&cx, &name).await?;
    if !exists(&cx, &name) && cx.profile().many_sessions() {
        return Err(not_found());
    }
    configure(&cx, &mut cx.lock(), &name, &body["config"]);
    if running(&cx, &name) {
        stop_now(&cx, &name).await;
        start_now(&cx, &name);
    }
    match view(&cx, &name) {
        Answer::Json(_, session) => Ok(Answer::Json(200, session)),
        other => Ok(other),
    }
}

pub(crate) async fn delete(cx: Cx, name: String) -> Outcome {
    wait::only_default(&cx, &name)?;
    let _turn = exclusive(&cx, &name).await?;
    stop_now(&cx, &name).await;
    cx.lock().sessions.remove(&name);
    Ok(Answer::Empty(200))
}

pub(crate) async fn start(cx: Cx, name: String) -> Outcome {
    wait::only_default(&cx, &name)?;
    let _turn = exclusive(&cx, &name).await?;
    if !exists(&cx, &name) {
        return Err(not_found());
    }
    if running(&cx, &name) {
        return if cx.profile().many_sessions() {
            Ok(view(&cx, &name))
        } else {
            already(&name)
        };
    }
    start_now(&cx, &name);
    Ok(view(&cx, &name))
}

fn already(name: &str) -> Outcome {
    Err(Failure::nest(
        422,
        format!("Session '{name}' is already started."),
    ))
}

pub(crate) async fn stop(cx: Cx, name: String) -> Outcome {
    wait::only_default(&cx, &name)?;
    let _turn = exclusive(&cx, &name).await?;
    if let Some(session) = cx.lock().sessions.get_mut(&name) {
        session.assigned = false;
    }
    stop_now(&cx, &name).await;
    Ok(view(&cx, &name))
}

pub(crate) async fn restart(cx: Cx, name: String) -> Outcome {
    wait::only_default(&cx, &name)?;
    let _turn = exclusive(&cx, &name).await?;
    if !exists(&cx, &name) {
        return Err(not_found());
    }
    stop_now(&cx, &name).await;
    start_now(&cx, &name);
    Ok(view(&cx, &name))
}

pub(crate) async fn logout(cx: Cx, name: String) -> Outcome {
    wait::only_default(&cx, &name)?;
    let _turn = exclusive(&cx, &name).await?;
    if !exists(&cx, &name) {
        return Err(not_found());
    }
    let was_running = running(&cx, &name);
    stop_now(&cx, &name).await;
    tokio::time::sleep(cx.wait(1_000)).await;
    if let Some(session) = cx.lock().sessions.get_mut(&name) {
        session.wipe();
    }
    if was_running {
        start_now(&cx, &name);
    }
    Ok(view(&cx, &name))
}

/// The deprecated calls that carry the name in their body.
pub(crate) async fn old(cx: Cx, call: &'static str, body: Value) -> Outcome {
    let Some(name) = body["name"].as_str().filter(|name| !name.is_empty()) else {
        return Err(Failure::nest(400, "Session name is required"));
    };
    let name = name.to_owned();
    wait::only_default(&cx, &name)?;
    if call == "start" {
        let faults = config::check_name(&name);
        if !faults.is_empty() {
            return Err(Failure::Validation(faults));
        }
        checked(&body)?;
    }
    let _turn = exclusive(&cx, &name).await?;
    if call == "start" {
        return old_start(&cx, &name, &body);
    }
    if let Some(session) = cx.lock().sessions.get_mut(&name) {
        session.assigned = false;
    }
    stop_now(&cx, &name).await;
    if call == "logout" || truthy(&body["logout"]) {
        cx.lock().sessions.remove(&name);
    }
    Ok(Answer::Empty(201))
}

fn old_start(cx: &Cx, name: &str, body: &Value) -> Outcome {
    if running(cx, name) {
        return already(name);
    }
    if !exists(cx, name) || !body["config"].is_null() {
        configure(cx, &mut cx.lock(), name, &body["config"]);
    }
    start_now(cx, name);
    let state = cx.lock();
    let (status, config) = match state.sessions.get(name) {
        Some(session) => (session.status, session.config.clone()),
        None => (Status::Stopped, Value::Null),
    };
    let mut answer = json!({"name": name, "status": status.name()});
    if !config.is_null() {
        answer["config"] = config;
    }
    Ok(Answer::Json(201, answer))
}

/// Truth as JavaScript sees it.
pub(crate) fn truthy(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(truth) => *truth,
        Value::Number(number) => number.as_f64().is_some_and(|number| number != 0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(_) | Value::Object(_) => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn truth_is_javascripts() {
        let table = [
            (json!(null), false),
            (json!(false), false),
            (json!(0), false),
            (json!(""), false),
            (json!(true), true),
            (json!(1), true),
            (json!("false"), true),
            (json!({}), true),
        ];
        for (value, truth) in table {
            assert_eq!(truthy(&value), truth, "{value}");
        }
    }
}
