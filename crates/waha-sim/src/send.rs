//! The send calls: order of checks, delivery, acks, and the answer (contract section 7).

use std::time::Duration;

use serde_json::Value;

use crate::answer::{Answer, Failure};
use crate::bodies;
use crate::events;
use crate::fault::{self, Effects, Kind, Reply};
use crate::heard::{Heard, Media};
use crate::limits;
use crate::media;
use crate::profile::Engine;
use crate::sim::{Cx, Stamp, WorkerState};
use crate::status::Status;
use crate::store::{self, Stored};
use crate::wait;

/// A message that passed the checks and goes to the engine.
pub(crate) struct Outgoing {
    pub(crate) session: String,
    /// `digits@c.us`, or another address as given.
    pub(crate) chat: String,
    /// text, image, file, voice, video and so on.
    pub(crate) kind: &'static str,
    pub(crate) text: String,
    pub(crate) media: Option<Media>,
    /// The id that the caller chose, where the version honours it.
    pub(crate) id: Option<String>,
    pub(crate) arrived: Stamp,
}

/// What is known when the engine call is over; the answer leaves after `pause`.
struct Delivered {
    answer: Result<Answer, Failure>,
    seq: Option<u64>,
    pause: Duration,
    boot: u64,
}

/// A send call of any kind.
pub(crate) async fn send(
    cx: &Cx,
    kind: &'static str,
    body: &Value,
    arrived: Stamp,
) -> Result<Answer, Failure> {
    let session = session_of(cx, body)?;
    // The usual case needs no await before delivery, so a client that hangs up cannot undo it;
    // everything that waits runs detached for the same reason.
    let ready = is_working(cx, &session) && !media::needs_download(&body["file"]);
    let delivered = if ready {
        deliver(cx, prepare(cx, session, kind, (body, arrived))?)
    } else {
        let (task_cx, body) = (cx.clone(), body.clone());
        let work = async move {
            wait::for_status(&task_cx, &session, Status::Working).await?;
            let outgoing = prepare(&task_cx, session, kind, (&body, arrived))?;
            media::download(&task_cx, &body["file"]).await?;
            Ok(deliver(&task_cx, outgoing))
        };
        cx.detached(work).await.unwrap_or(Err(Failure::Drop))?
    };
    if !delivered.pause.is_zero() {
        tokio::time::sleep(delivered.pause).await;
        // A worker that restarted meanwhile answers nobody.
        let state = cx.lock();
        if state.down || state.boot != delivered.boot {
            return Err(Failure::Drop);
        }
    }
    let answered = !matches!(delivered.answer, Ok(Answer::Drop) | Err(Failure::Drop));
    if let Some(seq) = delivered.seq.filter(|_| answered) {
        cx.sim.heard.answered(seq, cx.sim.clock.mono_ns());
    }
    delivered.answer
}

/// The session that a body names; 2024 takes a missing one for an unknown one.
pub(crate) fn session_of(cx: &Cx, body: &Value) -> Result<String, Failure> {
    match body["session"].as_str() {
        Some(name) if !name.is_empty() => Ok(name.to_owned()),
        _ if cx.profile().ancient() => Err(wait::not_running("undefined")),
        _ => Err(Failure::nest(400, "Session name is required")),
    }
}

fn is_working(cx: &Cx, name: &str) -> bool {
    let state = cx.lock();
    state
        .sessions
        .get(name)
        .is_some_and(|session| session.status == Status::Working)
}

/// The engine's view of the request. There is no validation: what is missing is a TypeError.
fn prepare(
    cx: &Cx,
    session: String,
    kind: &'static str,
    (body, arrived): (&Value, Stamp),
) -> Result<Outgoing, Failure> {
    let media = media::of(cx, kind, &body["file"])?;
    let chat = match &body["chatId"] {
        Value::String(chat) => chat_of(chat),
        Value::Null => return Err(undefined("match")),
        _ => return Err(Failure::type_error("chatId.match is not a function")),
    };
    let text = match (kind, &body["text"]) {
        ("text", Value::String(text)) => text.clone(),
        ("text", Value::Null) => return Err(undefined("match")),
        ("text", _) => return Err(Failure::type_error("text.match is not a function")),
        _ => body["caption"]
            .as_str()
            .or(body["title"].as_str())
            .unwrap_or_default()
            .to_owned(),
    };
    let id = body["id"]
        .as_str()
        .filter(|id| cx.profile().own_ids() && !id.is_empty());
    let id = id.map(str::to_owned);
    Ok(Outgoing {
        session,
        chat,
        kind,
        text,
        media,
        id,
        arrived,
    })
}

fn undefined(property: &str) -> Failure {
    let text = format!("Cannot read properties of undefined (reading '{property}')");
    Failure::type_error(&text)
}

/// The chat as WAHA's own ids spell it.
pub(crate) fn chat_of(text: &str) -> String {
    match text.split_once('@') {
        None => format!("{text}@c.us"),
        Some((user, "s.whatsapp.net")) => format!("{user}@c.us"),
        Some(_) => text.to_owned(),
    }
}

/// The engine call: from here on the message may be out.
fn deliver(cx: &Cx, outgoing: Outgoing) -> Delivered {
    let mut guard = cx.lock();
    let state = &mut *guard;
    let boot = state.boot;
    let refused = |answer, pause| Delivered {
        answer: Err(answer),
        seq: None,
        pause,
        boot,
    };
    let Some(session) = state.sessions.get(&outgoing.session) else {
        return refused(Failure::NoSuchSession(outgoing.session), Duration::ZERO);
    };
    if session.status != Status::Working {
        let (name, status) = (outgoing.session, session.status);
        let failure = Failure::NotInStatus {
            session: name,
            status,
            expected: Status::Working,
        };
        return refused(failure, Duration::ZERO);
    }
    if session.link_down {
        let failure = Failure::Uncaught(fault::connection_closed());
        return refused(failure, Duration::ZERO);
    }
    let effects = strike(cx, state, &outgoing);
    let chosen = outgoing.id.clone().filter(|_| !effects.ignore_id);
    let id = chosen.unwrap_or_else(|| state.rng.message_id());
    let pause = effects.pause + state.rng.millis(cx.sim.options.send_delay_ms);
    let first_ack = if cx.profile().engine == Engine::Gows {
        2
    } else {
        1
    };
    let acks = store::plan_acks(effects.acks, first_ack, &cx.sim.options, &mut state.rng);
    let seq = effects.heard.then(|| hear(cx, state, &outgoing, &id));
    let timestamp = outgoing.arrived.at.unix_timestamp();
    let answer = match effects.reply {
        Reply::Usual if cx.profile().empty_send_answer() => Ok(Answer::Empty(201)),
        Reply::Usual => Ok(Answer::Json(
            201,
            bodies::sent(cx, &outgoing, &id, timestamp),
        )),
        Reply::Empty => Ok(Answer::Empty(201)),
        Reply::Drop => Ok(Answer::Drop),
        Reply::Fail(exception) => Err(Failure::Uncaught(exception)),
    };
    if effects.created {
        create(cx, state, (&outgoing, &id), &acks);
    }
    announce_acks(cx, state, (&outgoing, &id), acks);
    Delivered {
        answer,
        seq,
        pause,
        boot,
    }
}

/// What the faults in force make of this send.
fn strike(cx: &Cx, state: &mut WorkerState, outgoing: &Outgoing) -> Effects {
    let mut effects = Effects::none();
    if state.faults.is_empty() {
        return effects;
    }
    let digits = outgoing.chat.split('@').next().unwrap_or_default();
    let name = &outgoing.session;
    let seed = cx.sim.options.seed;
    let friend = state
        .sessions
        .get(name)
        .is_some_and(|s| s.friends.contains(&outgoing.chat));
    let hits = fault::strike(
        &mut state.faults,
        (&mut state.rng, seed),
        Some(name),
        digits,
    );
    for hit in &hits {
        let of_new_chats = matches!(hit.kind, Kind::Reachout | Kind::Capped);
        if of_new_chats && friend {
            continue;
        }
        if of_new_chats {
            limits::impose(cx, state, name, hit);
        }
        fault::apply(&mut effects, hit, cx.profile().engine, digits);
    }
    effects
}

fn hear(cx: &Cx, state: &WorkerState, outgoing: &Outgoing, id: &str) -> u64 {
    let session = state.sessions.get(&outgoing.session);
    cx.sim.heard.push(Heard {
        seq: 0,
        worker: cx.worker().number,
        session: session.map_or_else(|| "".into(), |session| session.name.clone()),
        from: session
            .and_then(|session| session.me.clone())
            .unwrap_or_else(|| "".into()),
        chat: outgoing.chat.clone(),
        kind: outgoing.kind,
        text: outgoing.text.clone(),
        media: outgoing.media.clone(),
        message_id: id.to_owned(),
        arrived_at: outgoing.arrived.at,
        arrived_mono_ns: outgoing.arrived.mono_ns,
        answered_mono_ns: None,
    })
}

/// Stores the message where the engine has a store, and emits `message.any`.
fn create(cx: &Cx, state: &mut WorkerState, (outgoing, id): (&Outgoing, &str), acks: &[(u64, i8)]) {
    let name = &outgoing.session;
    let now = cx.sim.clock.mono_ns();
    let wanted = events::wanted(cx, state, name, "message.any");
    let Some(session) = state.sessions.get_mut(name) else {
        return;
    };
    session.activity = Some(cx.sim.clock.millis());
    let stores = has_store(cx, &session.config);
    if !wanted && !stores {
        return;
    }
    let stored = Stored {
        id: id.to_owned(),
        chat: outgoing.chat.clone(),
        from_me: true,
        body: outgoing.text.clone(),
        has_media: outgoing.media.is_some(),
        timestamp: outgoing.arrived.at.unix_timestamp(),
        acks: acks.iter().map(|(at, ack)| (now + at, *ack)).collect(),
        first_ack: i8::from(cx.profile().engine == Engine::Gows),
    };
    if wanted {
        let me = session.me.clone().unwrap_or_else(|| "".into());
        let payload = bodies::created(cx, stored.view(cx.profile().engine, &me, 0));
        events::emit(cx, state, name, ("message.any", payload));
    }
    if stores && let Some(session) = state.sessions.get_mut(name) {
        store::keep(session, stored, cx.sim.options.stored_messages);
    }
}

/// Whether the engine can be asked for messages: NOWEB only with its store enabled.
pub(crate) fn has_store(cx: &Cx, config: &Value) -> bool {
    let enabled = &config["noweb"]["store"]["enabled"];
    cx.profile().engine != Engine::Noweb || crate::lifecycle::truthy(enabled)
}

/// Lets the acks come one after the other, unless the session's run ends first.
fn announce_acks(
    cx: &Cx,
    state: &WorkerState,
    (outgoing, id): (&Outgoing, &str),
    acks: Vec<(u64, i8)>,
) {
    let event = events::ack_event(cx, &outgoing.chat);
    if acks.is_empty() || !events::wanted(cx, state, &outgoing.session, event) {
        return;
    }
    let Some(session) = state.sessions.get(&outgoing.session) else {
        return;
    };
    let (name, run) = (outgoing.session.clone(), session.run);
    let (chat, id, cx) = (outgoing.chat.clone(), id.to_owned(), cx.clone());
    cx.sim.runtime.clone().spawn(async move {
        let mut passed = 0;
        for (at, ack) in acks {
            tokio::time::sleep(Duration::from_nanos(at - passed)).await;
            passed = at;
            let mut state = cx.lock();
            let same_run = |s: &crate::session::Session| s.run == run && s.running();
            if cx.sim.is_stopped() || !state.sessions.get(&name).is_some_and(same_run) {
                return;
            }
            let payload = events::ack_payload(&chat, &id, ack);
            events::emit(&cx, &mut state, &name, (event, payload));
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chats_are_spelled_as_waha_does() {
        let table = [
            ("12132132130", "12132132130@c.us"),
            ("12132132130@c.us", "12132132130@c.us"),
            ("12132132130@s.whatsapp.net", "12132132130@c.us"),
            ("+1 213 213 2130", "+1 213 213 2130@c.us"),
            ("123@g.us", "123@g.us"),
        ];
        for (given, chat) in table {
            assert_eq!(chat_of(given), chat);
        }
    }
}
