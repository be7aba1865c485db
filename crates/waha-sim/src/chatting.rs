//! Everything around a send: presence, typing, checking numbers, ids, and looking messages up.

use serde_json::{Value, json};

use crate::answer::{Answer, Failure};
use crate::fault::Kind;
use crate::pairing::digits_of;
use crate::profile::{Engine, Version};
use crate::route::Req;
use crate::send;
use crate::sim::Cx;
use crate::status::Status;
use crate::store;
use crate::wait;

type Outcome = Result<Answer, Failure>;

/// Messages given when the caller names no limit.
const MESSAGES_DEFAULT: usize = 10;

async fn working(cx: &Cx, body: &Value) -> Result<String, Failure> {
    let name = send::session_of(cx, body)?;
    wait::for_status(cx, &name, Status::Working).await?;
    Ok(name)
}

/// `startTyping` and `stopTyping`.
pub(crate) async fn typing(cx: &Cx, body: &Value) -> Outcome {
    working(cx, body).await?;
    if body["chatId"].is_null() {
        let text = "Cannot read properties of undefined (reading 'match')";
        return Err(Failure::type_error(text));
    }
    Ok(Answer::Json(201, json!({"result": true})))
}

pub(crate) async fn seen(cx: &Cx, body: &Value) -> Outcome {
    let name = working(cx, body).await?;
    let listed = body["messageIds"]
        .as_array()
        .is_some_and(|ids| !ids.is_empty());
    let named = listed || body["messageId"].is_string();
    if named || cx.profile().engine != Engine::Noweb {
        return Ok(Answer::Empty(201));
    }
    if cx.profile().ancient() {
        let text = "Cannot read properties of undefined (reading 'split')";
        return Err(Failure::type_error(text));
    }
    require_store(cx, &name)?;
    Ok(Answer::Empty(201))
}

pub(crate) async fn set_presence(cx: &Cx, name: &str, body: &Value) -> Outcome {
    wait::for_status(cx, name, Status::Working).await?;
    let presence = match body["presence"].as_str() {
        Some("online") => Some("online"),
        Some("offline") => Some("offline"),
        Some("typing" | "recording" | "paused") if body["chatId"].is_string() => None,
        Some(presence @ ("typing" | "recording" | "paused")) => {
            let text = format!("Presence '{presence}' requires 'chatId'");
            return Err(Failure::Detail(text));
        }
        _ => return Err(Failure::Detail("Presence is not known".to_owned())),
    };
    if let (Some(presence), Some(session)) = (presence, cx.lock().sessions.get_mut(name)) {
        session.presence = Some(presence);
    }
    Ok(Answer::Empty(201))
}

pub(crate) async fn check_exists(cx: &Cx, req: &Req) -> Outcome {
    let name = send::session_of(cx, &json!({"session": req.query("session")}))?;
    wait::for_status(cx, &name, Status::Working).await?;
    let Some(phone) = req.query("phone") else {
        let text = "Cannot read properties of undefined (reading 'replace')";
        return Err(Failure::type_error(text));
    };
    let digits = digits_of(phone.split('@').next().unwrap_or_default());
    let seed = cx.sim.options.seed;
    let state = cx.lock();
    let about =
        |fault: &crate::fault::Fault| fault.is_about(Kind::NotOnWhatsapp, &name, &digits, seed);
    let gows = cx.profile().engine == Engine::Gows;
    if digits.is_empty() || state.faults.iter().any(about) {
        let mut none = json!({"numberExists": false});
        if gows {
            none["chatId"] = Value::Null;
        }
        return Ok(Answer::Json(200, none));
    }
    let mut found = json!({"numberExists": true, "chatId": format!("{digits}@c.us")});
    if gows && cx.profile().version >= Version::new(2026, 8, 0) {
        found["pn"] = json!(format!("{digits}@c.us"));
    }
    Ok(Answer::Json(200, found))
}

/// An id for the caller to choose; the older address of the call served status posts only.
pub(crate) async fn new_message_id(cx: &Cx, name: &str, for_status_posts: bool) -> Outcome {
    if !for_status_posts && cx.profile().version < Version::new(2026, 4, 3) {
        return Err(Failure::NoRoute);
    }
    wait::for_status(cx, name, Status::Working).await?;
    if cx.profile().engine == Engine::Webjs {
        let text = "The method is not implemented by 'WEBJS' engine";
        return Err(Failure::nest(501, text));
    }
    Ok(Answer::Json(200, json!({"id": cx.lock().rng.message_id()})))
}

fn require_store(cx: &Cx, name: &str) -> Result<(), Failure> {
    let state = cx.lock();
    let config = state
        .sessions
        .get(name)
        .map_or(&Value::Null, |session| &session.config);
    if send::has_store(cx, config) {
        return Ok(());
    }
    Err(Failure::nest(
        400,
        "Enable NOWEB store \"config.noweb.store.enabled=True\" and \
         \"config.noweb.store.full_sync=True\" when starting a new session. \
         Read more: https://waha.devlike.pro/docs/engines/noweb#store",
    ))
}

/// The messages of a chat, newest first unless `sortOrder=asc`.
pub(crate) async fn messages(cx: &Cx, name: &str, chat: &str, req: &Req) -> Outcome {
    wait::for_status(cx, name, Status::Working).await?;
    require_store(cx, name)?;
    let number = |key, default| {
        req.query(key)
            .and_then(|n| n.parse().ok())
            .unwrap_or(default)
    };
    let (limit, offset) = (number("limit", MESSAGES_DEFAULT), number("offset", 0));
    let from_me = req.query("filter.fromMe").map(|text| text == "true");
    let chat = send::chat_of(chat);
    let now = cx.sim.clock.mono_ns();
    let state = cx.lock();
    let Some(session) = state.sessions.get(name) else {
        return Err(wait::not_running(name));
    };
    let me = session.me.as_deref().unwrap_or_default();
    let mut chosen: Vec<&store::Stored> = store::of_chat(session, &chat)
        .filter(|message| from_me.is_none_or(|wanted| message.from_me == wanted))
        .collect();
    if req.query("sortOrder") == Some("asc") {
        chosen.reverse();
    }
    let page = chosen.into_iter().skip(offset).take(limit);
    Ok(Answer::Json(
        200,
        page.map(|message| message.view(cx.profile().engine, me, now))
            .collect(),
    ))
}

/// One message by its long or bare id.
pub(crate) async fn message(cx: &Cx, name: &str, (chat, id): (&str, &str)) -> Outcome {
    wait::for_status(cx, name, Status::Working).await?;
    require_store(cx, name)?;
    let bare = id.split('_').nth(2).unwrap_or(id);
    let chat = send::chat_of(chat);
    let now = cx.sim.clock.mono_ns();
    let state = cx.lock();
    let session = state.sessions.get(name);
    let found = session.and_then(|session| Some((session, session.store.get(bare)?)));
    match found.filter(|(_, message)| message.chat == chat) {
        Some((session, message)) => {
            let me = session.me.as_deref().unwrap_or_default();
            Ok(Answer::Json(
                200,
                message.view(cx.profile().engine, me, now),
            ))
        }
        None => Err(Failure::nest(404, "Message not found")),
    }
}
