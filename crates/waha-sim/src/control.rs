//! The control API: the person with the phone, faults, and who heard what.

use std::time::Duration;

use serde_json::{Value, json};

use crate::answer::Answer;
use crate::events;
use crate::fault::{Fault, Kind, Request};
use crate::lifecycle;
use crate::limits;
use crate::pairing::digits_of;
use crate::route::Req;
use crate::server;
use crate::session::{self, Session, happen};
use crate::sim::{Cx, Sim};
use crate::status::{Event, Login, Status};
use crate::store::{self, Stored};

/// Entries of `heard` given at once: by default, and at most.
const HEARD_DEFAULT: usize = 1_000;
const HEARD_MAX: usize = 10_000;
/// A restarted worker is away for this long when the fault does not say.
const DOWN_MILLIS: u64 = 1_000;

fn refuse(status: u16, error: impl Into<String>) -> Answer {
    Answer::Json(status, json!({"error": error.into()}))
}

/// `GET /control/heard` and `GET /control/N/heard`.
pub(crate) fn heard(sim: &Sim, req: &Req, worker: Option<usize>) -> Answer {
    let number = |name| req.query(name).map(str::parse::<u64>);
    let (Ok(after), Ok(limit)) = (number("after").transpose(), number("limit").transpose()) else {
        return refuse(400, "after and limit are whole numbers");
    };
    let limit = limit.map_or(HEARD_DEFAULT, |n| usize::try_from(n).unwrap_or(HEARD_MAX));
    let (next, messages) = sim
        .heard
        .read(after.unwrap_or(0), limit.min(HEARD_MAX), worker);
    let newest = sim.heard.newest();
    Answer::Json(
        200,
        json!({"next": next, "newest": newest, "messages": messages}),
    )
}

/// The calls below `/control/N`.
pub(crate) fn of_worker(cx: &Cx, req: &Req, call: &str) -> Answer {
    match (req.method.as_str(), call) {
        ("GET", "heard") => heard(&cx.sim, req, Some(cx.worker().number)),
        ("POST", "link") => with_session(req, |name| link(cx, name, &req.body)),
        ("POST", "inbound") => with_session(req, |name| inbound(cx, name, &req.body)),
        ("POST", "unlink") => with_session(req, |name| unlink(cx, name)),
        ("POST", "fault") => add_fault(cx, &req.body),
        ("GET", "fault") => Answer::Json(200, json!({"faults": cx.lock().faults})),
        ("DELETE", "fault") => {
            let mut state = cx.lock();
            state.faults.clear();
            limits::lift(cx, &mut state);
            Answer::Empty(204)
        }
        _ => refuse(404, "there is no such control call"),
    }
}

fn with_session(req: &Req, act: impl FnOnce(&str) -> Answer) -> Answer {
    match req.body["session"].as_str() {
        Some(name) => act(name),
        None => refuse(400, "session is missing"),
    }
}

fn wrong_status(name: &str, session: Option<&Session>, expected: Status) -> Answer {
    let status = session.map(|session| session.status.name());
    let error = format!("session {name} is not in {}", expected.name());
    Answer::Json(
        409,
        json!({"error": error, "session": name, "status": status}),
    )
}

/// A person scans the QR or types the pairing code.
fn link(cx: &Cx, name: &str, body: &Value) -> Answer {
    let mut state = cx.lock();
    let pairing = |session: &&mut Session| {
        matches!(session.status, Status::ScanQrCode | Status::PasskeyRequired)
    };
    let Some(session) = state.sessions.get_mut(name).filter(pairing) else {
        return wrong_status(name, state.sessions.get(name), Status::ScanQrCode);
    };
    let given = match &body["phone"] {
        Value::String(phone) => Some(digits_of(phone)),
        Value::Number(phone) => Some(phone.to_string()),
        _ => session.code_for.clone(),
    };
    let looks_like_phone = (8..=15).contains(&name.len()) && digits_of(name) == name;
    let made_up = || match looks_like_phone {
        true => name.to_owned(),
        false => session::lid(name)[..11].to_owned(),
    };
    let phone = given
        .filter(|phone| !phone.is_empty())
        .unwrap_or_else(made_up);
    session.login = Login::Valid;
    session.me = Some(format!("{phone}@c.us").into());
    happen(cx, &mut state, name, Event::Scanned);
    let status = state
        .sessions
        .get(name)
        .map(|session| session.status.name());
    let me = json!({"id": format!("{phone}@c.us")});
    Answer::Json(200, json!({"session": name, "status": status, "me": me}))
}

/// The account's owner removes the device on the phone.
fn unlink(cx: &Cx, name: &str) -> Answer {
    let mut state = cx.lock();
    let Some(session) = state
        .sessions
        .get_mut(name)
        .filter(|s| s.login == Login::Valid)
    else {
        return wrong_status(name, state.sessions.get(name), Status::Working);
    };
    session.login = Login::Revoked;
    happen(cx, &mut state, name, Event::LoggedOut);
    let status = state
        .sessions
        .get(name)
        .map(|session| session.status.name());
    Answer::Json(200, json!({"session": name, "status": status}))
}

/// Somebody writes to the account.
fn inbound(cx: &Cx, name: &str, body: &Value) -> Answer {
    let (Some(from), Some(text)) = (body["from"].as_str(), body["text"].as_str()) else {
        return refuse(400, "from and text are needed");
    };
    let mut state = cx.lock();
    let id = state.rng.message_id();
    let working = |session: &&mut Session| session.status == Status::Working;
    let Some(session) = state.sessions.get_mut(name).filter(working) else {
        return wrong_status(name, state.sessions.get(name), Status::Working);
    };
    let stored = Stored {
        id: id.clone(),
        chat: crate::send::chat_of(from),
        from_me: false,
        body: text.to_owned(),
        has_media: false,
        timestamp: cx.sim.clock.millis() / 1_000,
        acks: Vec::new(),
        first_ack: 2,
    };
    let payload = stored.view(
        cx.profile().engine,
        session.me.as_deref().unwrap_or_default(),
        0,
    );
    session.friends.insert(stored.chat.clone());
    if crate::send::has_store(cx, &session.config) {
        store::keep(session, stored, cx.sim.options.stored_messages);
    }
    let message_id = payload["id"].clone();
    events::emit(cx, &mut state, name, ("message", payload.clone()));
    events::emit(cx, &mut state, name, ("message.any", payload));
    Answer::Json(201, json!({"message_id": message_id}))
}

fn add_fault(cx: &Cx, body: &Value) -> Answer {
    let request: Request = match serde_json::from_value(body.clone()) {
        Ok(request) => request,
        Err(error) => return refuse(400, error.to_string()),
    };
    if !(0.0..=1.0).contains(&request.probability) {
        return refuse(400, "probability is between 0 and 1");
    }
    if request.kind.at_once() {
        return at_once(cx, &request);
    }
    let mut state = cx.lock();
    let id = state.next_fault;
    state.next_fault += 1;
    if let (Kind::Reachout | Kind::Capped, Some(millis)) = (request.kind, request.millis) {
        cx.later(Duration::from_millis(millis), move |cx| {
            let mut state = cx.lock();
            let before = state.faults.len();
            state.faults.retain(|fault| fault.id != id);
            if state.faults.len() < before {
                limits::lift(cx, &mut state);
            }
        });
    }
    state.faults.push(Fault {
        id,
        request,
        struck: 0,
    });
    Answer::Json(201, json!({"id": id}))
}

/// Lets a fault happen that has no duration: to its session, or to all of the worker.
fn at_once(cx: &Cx, request: &Request) -> Answer {
    if request.kind == Kind::Restart {
        restart(cx, request.millis);
        return Answer::Json(201, json!({"struck": 1}));
    }
    let mut state = cx.lock();
    let names: Vec<String> = match &request.session {
        Some(name) => vec![name.clone()],
        None => state.sessions.keys().cloned().collect(),
    };
    let outage = request
        .millis
        .map_or_else(|| cx.wait(800), Duration::from_millis);
    let mut struck = 0;
    for name in names {
        let done = match request.kind {
            Kind::DropLink => session::drop_link(cx, &mut state, &name, outage),
            Kind::CloseSocket => happen(cx, &mut state, &name, Event::Closed),
            Kind::Passkey => happen(cx, &mut state, &name, Event::PasskeyAsked),
            Kind::OddStatus => happen(cx, &mut state, &name, Event::OddlyHeld),
            _ => {
                let payload = json!({"note": "an event that no client knows"});
                events::emit(cx, &mut state, &name, ("hologram.received", payload));
                true
            }
        };
        struck += i32::from(done);
    }
    Answer::Json(201, json!({"struck": struck}))
}

/// Kills the worker's process and starts it again after `down_millis`.
pub(crate) fn restart(cx: &Cx, down_millis: Option<u64>) {
    let mut state = cx.lock();
    state.down = true;
    state.boot += 1;
    let boot = state.boot;
    let tick = state.tick();
    let many = cx.profile().many_sessions();
    let unsaved = cx.sim.options.unsaved_ms;
    let saved_until = cx.sim.clock.millis() - i64::try_from(unsaved).unwrap_or(i64::MAX);
    for session in state.sessions.values_mut() {
        if unsaved > 0 {
            store::forget_since(session, saved_until / 1_000);
        }
        session.status = Status::Stopped;
        (session.run, session.epoch) = (tick, tick);
        session.qr_shown = 0;
        session.link_down = false;
        session.presence = None;
        session.history.clear();
        if !many {
            // One-session Core keeps nothing but the credentials.
            session.config = Value::Null;
            session.hooks.clear();
        }
    }
    drop(state);
    let down = down_millis.map_or_else(|| cx.wait(DOWN_MILLIS), Duration::from_millis);
    let cx = cx.clone();
    cx.sim.runtime.clone().spawn(async move {
        server::close(cx.worker()).await;
        tokio::time::sleep(down).await;
        if !cx.sim.is_stopped() && boot_up(&cx, boot) {
            server::reopen(&cx).await;
        }
    });
}

/// Brings the worker back, unless a later restart does that.
fn boot_up(cx: &Cx, boot: u64) -> bool {
    let mut state = cx.lock();
    if state.boot != boot {
        return false;
    }
    state.down = false;
    state.started_at = cx.sim.clock.millis();
    if !cx.profile().many_sessions() {
        state
            .sessions
            .entry("default".to_owned())
            .or_insert_with(|| Session::new("default"));
        return true;
    }
    drop(state);
    // About a second after boot come the sessions that this worker id ran last.
    cx.later(cx.wait(1_000), move |cx| {
        let names: Vec<String> = {
            let state = cx.lock();
            let assigned = state.sessions.values().filter(|session| session.assigned);
            if state.boot == boot {
                assigned.map(|s| s.name.to_string()).collect()
            } else {
                vec![]
            }
        };
        for name in names {
            lifecycle::start_now(cx, &name);
        }
    });
    true
}
