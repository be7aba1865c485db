//! The route table, and what all routes share: reading a request, the key, error answers.

use std::collections::HashMap;

use serde_json::{Value, json};
use time::format_description::well_known::Rfc3339;

use crate::about;
use crate::answer::{Answer, Echo, Failure};
use crate::chatting;
use crate::fault::{self, Kind};
use crate::lifecycle;
use crate::limits;
use crate::pairing;
use crate::send;
use crate::sim::{Cx, Stamp};

/// A request to a worker, read.
pub(crate) struct Req {
    pub(crate) method: String,
    /// Below the worker's base URL, with its leading slash, as it came.
    pub(crate) path: String,
    /// The path's parts, percent-decoded.
    pub(crate) parts: Vec<String>,
    pub(crate) query: HashMap<String, String>,
    pub(crate) key: Option<String>,
    pub(crate) wants_json: bool,
    pub(crate) body: Value,
    pub(crate) arrived: Stamp,
}

impl Req {
    pub(crate) fn query(&self, name: &str) -> Option<&str> {
        self.query.get(name).map(String::as_str)
    }
}

/// Whether the worker takes a request at all; asked before its body is read.
pub(crate) fn admit(cx: &Cx) -> Option<Answer> {
    let mut guard = cx.lock();
    let state = &mut *guard;
    if state.down {
        return Some(Answer::Drop);
    }
    let seed = cx.sim.options.seed;
    let hits = fault::strike(&mut state.faults, (&mut state.rng, seed), None, "");
    hits.first().map(|hit| match hit.kind {
        Kind::BadGateway => Answer::Raw(
            502,
            "text/html",
            "<html><head><title>502 Bad Gateway</title></head></html>".into(),
        ),
        _ => Answer::Drop,
    })
}

/// Answers a request whose body was read, or could not be.
pub(crate) async fn answer(cx: &Cx, req: Req, unreadable: Option<Failure>) -> Answer {
    let outcome = match unreadable {
        Some(failure) => Err(failure),
        None => dispatch(cx, &req).await,
    };
    outcome.unwrap_or_else(|failure| {
        let echo = Echo {
            method: &req.method,
            path: &req.path,
            body: &req.body,
            query: json!(req.query),
            timestamp: req.arrived.at.format(&Rfc3339).unwrap_or_default(),
        };
        failure.into_answer(&echo, cx.profile())
    })
}

fn has_key(cx: &Cx, req: &Req) -> bool {
    let key = req.key.as_deref();
    let query = req
        .query("x-api-key")
        .filter(|_| cx.profile().key_in_query());
    !cx.profile().key_enforced() || key.or(query) == Some(&cx.worker().api_key)
}

async fn dispatch(cx: &Cx, req: &Req) -> Result<Answer, Failure> {
    let parts: Vec<&str> = req.parts.iter().map(String::as_str).collect();
    let method = req.method.as_str();
    if (method, &parts[..]) == ("GET", &["ping"]) {
        return Ok(Answer::Json(200, json!({"message": "pong"})));
    }
    let of_api = matches!(parts.first(), Some(&("api" | "health")));
    if !of_api && cx.profile().key_enforced() {
        return Err(Failure::Basic);
    }
    if !has_key(cx, req) {
        return Err(Failure::Unauthorized);
    }
    match (method, &parts[..]) {
        ("GET", ["health"]) => about::health(cx),
        ("GET", ["api", "version"] | ["api", "server", "version"]) => {
            Ok(Answer::Json(200, about::version(cx)))
        }
        ("GET", ["api", "server", "status"]) => Ok(about::status(cx)),
        ("GET", ["api", "server", "environment"]) => Ok(about::environment(cx)),
        ("POST", ["api", "server", "stop"]) => Ok(about::stop(cx)),
        (_, ["api", "sessions", rest @ ..]) => sessions(cx, req, rest).await,
        ("POST", ["api", call]) => post(cx, req, call).await,
        ("GET", ["api", "contacts", "check-exists"] | ["api", "checkNumberStatus"]) => {
            chatting::check_exists(cx, req).await
        }
        ("GET", ["api", "sendText"]) => send_by_query(cx, req).await,
        ("PUT", ["api", "reaction"]) => created_as(200, chatting::typing(cx, &req.body).await),
        (_, ["api", session, rest @ ..]) => of_session(cx, req, session, rest).await,
        _ => Err(Failure::NoRoute),
    }
}

async fn sessions(cx: &Cx, req: &Req, rest: &[&str]) -> Result<Answer, Failure> {
    let method = req.method.as_str();
    match (method, rest) {
        ("GET", []) => return lifecycle::list(cx, req.query("all")),
        ("GET", [name]) => return lifecycle::get(cx, name),
        ("GET", [name, "me"]) => return lifecycle::me(cx, name),
        ("GET", [name, what @ ("timelock" | "capping")]) => {
            return limits::show(cx, name, what).await;
        }
        _ => {}
    }
    // A lifecycle call runs to its end even when its client hangs up, as in WAHA.
    let own = cx.clone();
    let body = || req.body.clone();
    let name = rest
        .first()
        .map(|name| (*name).to_owned())
        .unwrap_or_default();
    let done = match (method, rest) {
        ("POST", []) => cx.detached(lifecycle::create(own, body())).await,
        ("POST", ["start"]) => cx.detached(lifecycle::old(own, "start", body())).await,
        ("POST", ["stop"]) => cx.detached(lifecycle::old(own, "stop", body())).await,
        ("POST", ["logout"]) => cx.detached(lifecycle::old(own, "logout", body())).await,
        ("PUT", [_]) => cx.detached(lifecycle::update(own, name, body())).await,
        ("DELETE", [_]) => cx.detached(lifecycle::delete(own, name)).await,
        ("POST", [_, "start"]) => cx.detached(lifecycle::start(own, name)).await,
        ("POST", [_, "stop"]) => cx.detached(lifecycle::stop(own, name)).await,
        ("POST", [_, "restart"]) => cx.detached(lifecycle::restart(own, name)).await,
        ("POST", [_, "logout"]) => cx.detached(lifecycle::logout(own, name)).await,
        _ => return Err(Failure::NoRoute),
    };
    done.unwrap_or(Err(Failure::Drop))
}

async fn post(cx: &Cx, req: &Req, call: &str) -> Result<Answer, Failure> {
    let kind = match call {
        "sendText" | "reply" | "sendLinkPreview" => "text",
        "sendImage" => "image",
        "sendFile" => "file",
        "sendVoice" => "voice",
        "sendVideo" => "video",
        "sendPoll" => "poll",
        "sendLocation" => "location",
        "sendContactVcard" => "contact",
        "startTyping" | "stopTyping" => return chatting::typing(cx, &req.body).await,
        "sendSeen" => return chatting::seen(cx, &req.body).await,
        "keys" if !cx.profile().many_sessions() => {
            let text = "API key management is not available in this edition of WAHA";
            return Err(Failure::nest(422, text));
        }
        _ => return Err(Failure::NoRoute),
    };
    send::send(cx, kind, &req.body, req.arrived).await
}

/// The deprecated `GET /api/sendText`, which answers 200.
async fn send_by_query(cx: &Cx, req: &Req) -> Result<Answer, Failure> {
    let body = json!({
        "session": req.query("session"),
        "chatId": req.query("phone"),
        "text": req.query("text"),
    });
    created_as(200, send::send(cx, "text", &body, req.arrived).await)
}

fn created_as(status: u16, outcome: Result<Answer, Failure>) -> Result<Answer, Failure> {
    outcome.map(|answer| match answer {
        Answer::Json(_, value) => Answer::Json(status, value),
        Answer::Empty(_) => Answer::Empty(status),
        other => other,
    })
}

async fn of_session(cx: &Cx, req: &Req, session: &str, rest: &[&str]) -> Result<Answer, Failure> {
    match (req.method.as_str(), rest) {
        ("GET", ["auth", "qr"]) => pairing::qr(cx, session, req).await,
        ("POST", ["auth", "request-code"]) => pairing::request_code(cx, session, &req.body).await,
        ("POST", ["presence"]) => chatting::set_presence(cx, session, &req.body).await,
        ("GET", ["new-message-id"]) => chatting::new_message_id(cx, session, false).await,
        ("GET", ["status", "new-message-id"]) => chatting::new_message_id(cx, session, true).await,
        ("GET", ["chats", chat, "messages"]) => chatting::messages(cx, session, chat, req).await,
        ("GET", ["chats", chat, "messages", id]) => {
            chatting::message(cx, session, (chat, id)).await
        }
        _ => Err(Failure::NoRoute),
    }
}
