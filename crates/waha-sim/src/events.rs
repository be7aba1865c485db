//! The events that webhooks carry (contract sections 10.3 and 10.4).

use std::sync::Arc;

use actix_web::web::Bytes;
use serde::Serialize;
use serde_json::{Value, json};

use crate::hooks::{self, Delivery, Hook};
use crate::sim::{Cx, WorkerState};
use crate::store::ack_name;

/// The envelope, with its fields in the recorded order.
#[derive(Serialize)]
struct Envelope<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    timestamp: Option<i64>,
    event: &'a str,
    session: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<&'a Value>,
    me: Value,
    payload: Value,
    engine: &'a str,
    environment: Value,
}

/// Whether anyone listens to `event` of this session; asked before a payload is built.
pub(crate) fn wanted(cx: &Cx, state: &WorkerState, name: &str, event: &str) -> bool {
    let global = cx.sim.global_hook.iter();
    let own = state
        .sessions
        .get(name)
        .into_iter()
        .flat_map(|session| &session.hooks);
    own.chain(global).any(|hook| hook.wants(event))
}

/// Hands an event to every receiver that wants it. Returns at once.
pub(crate) fn emit(cx: &Cx, state: &mut WorkerState, name: &str, (event, payload): (&str, Value)) {
    let profile = cx.profile();
    let Some(session) = state.sessions.get(name) else {
        return;
    };
    let listeners = session.hooks.iter().chain(cx.sim.global_hook.iter());
    let listeners: Vec<Arc<Hook>> = listeners
        .filter(|hook| hook.wants(event))
        .cloned()
        .collect();
    if listeners.is_empty() {
        return;
    }
    let timestamp = cx.sim.clock.millis();
    let envelope = Envelope {
        id: profile
            .envelope_ids()
            .then(|| state.rng.event_id(timestamp)),
        timestamp: profile.envelope_ids().then_some(timestamp),
        event,
        session: name,
        metadata: session
            .config
            .get("metadata")
            .filter(|metadata| metadata.is_object()),
        me: session.me_view(cx),
        payload,
        engine: profile.engine.name(),
        environment: crate::about::version(cx),
    };
    // Serialising plain data into memory cannot fail; nothing is posted if it ever does.
    let Ok(body) = serde_json::to_vec(&envelope) else {
        return;
    };
    let body = Bytes::from(body);
    for hook in listeners {
        const DIGITS: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";
        let delivery = Delivery {
            hook,
            body: body.clone(),
            timestamp,
            request_id: state.rng.text(DIGITS, 17),
            jitter: (state.rng.next() % 1_000) as f64 / 1_000.0,
        };
        hooks::deliver(cx, delivery);
    }
}

/// `session.status`; `data` is what 2026.7.1 adds, mostly null.
pub(crate) fn session_status(cx: &Cx, state: &mut WorkerState, name: &str, data: Value) {
    let Some(session) = state.sessions.get(name) else {
        return;
    };
    let mut payload = json!({"name": name, "status": session.status.name()});
    if cx.profile().status_history() {
        let points = session.history.iter();
        let points = points.map(|(s, at)| json!({"status": s.name(), "timestamp": at}));
        payload["statuses"] = points.collect();
    }
    if cx.profile().status_data() {
        payload["data"] = data;
    }
    emit(cx, state, name, ("session.status", payload));
}

/// The event name of acks in `chat`.
pub(crate) fn ack_event(cx: &Cx, chat: &str) -> &'static str {
    if chat.ends_with("@g.us") && cx.profile().group_acks_apart() {
        "message.ack.group"
    } else {
        "message.ack"
    }
}

/// The payload of an ack; `from` is the chat of the recipient, as recorded.
pub(crate) fn ack_payload(chat: &str, id: &str, ack: i8) -> Value {
    json!({
        "id": format!("true_{chat}_{id}"),
        "from": chat,
        "fromMe": true,
        "ack": ack,
        "ackName": ack_name(ack),
    })
}
