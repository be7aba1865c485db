//! The answers we read.

use std::borrow::Cow;

use models::worker::Engine;
use serde::Deserialize;
use serde_json::Value;

use super::{bare_id, seconds, text, texts, value};
use crate::server::{ServerInfo, ServerStatus, Tier};
use crate::sessions::{Me, Restriction, RestrictionKind, SeenStatus, SessionInfo};

/// `GET /api/version`.
pub(crate) fn server_info(body: &[u8]) -> Option<ServerInfo> {
    let body = value(body)?;
    Some(ServerInfo {
        version: text(&body, "version")?.parse().ok()?,
        engine: engine(&body),
        tier: match text(&body, "tier").as_deref() {
            Some("PLUS") => Tier::Plus,
            _ => Tier::Core,
        },
        worker_id: worker_id(&body),
    })
}

fn engine(body: &Value) -> Engine {
    let name = text(body, "engine");
    name.and_then(|name| Engine::from_name(&name))
        .unwrap_or(Engine::Other)
}

/// The instance's own name, when it has one.
pub(crate) fn worker_id(body: &Value) -> Option<String> {
    text(body.get("worker")?, "id").filter(|id| !id.is_empty())
}

/// `GET /api/server/status`.
pub(crate) fn server_status(body: &[u8]) -> Option<ServerStatus> {
    let body = value(body)?;
    let uptime = body.get("uptime")?;
    let ms = uptime.as_u64().or_else(|| {
        // WAHA computes it from a clock that may have been set back.
        uptime.as_i64().map(|_| 0)
    })?;
    Some(ServerStatus {
        uptime: std::time::Duration::from_millis(ms),
        worker_id: worker_id(&body),
    })
}

/// A list of sessions; entries without a name are left out.
pub(crate) fn sessions(body: &[u8]) -> Option<Vec<SessionInfo>> {
    match value(body)? {
        Value::Array(entries) => Some(entries.iter().filter_map(session_info).collect()),
        Value::Null => Some(Vec::new()),
        _ => None,
    }
}

/// One session.
pub(crate) fn session(body: &[u8]) -> Option<SessionInfo> {
    session_info(&value(body)?)
}

/// A session, or nothing where WAHA may answer with an empty body.
pub(crate) fn maybe_session(body: &[u8]) -> Option<Option<SessionInfo>> {
    match value(body)? {
        Value::Null => Some(None),
        body => session_info(&body).map(Some),
    }
}

fn session_info(body: &Value) -> Option<SessionInfo> {
    let config = body.get("config").unwrap_or(&Value::Null);
    let webhooks = config.get("webhooks").and_then(Value::as_array);
    let webhooks = webhooks.into_iter().flatten();
    Some(SessionInfo {
        name: text(body, "name")?,
        status: SeenStatus::parse(&text(body, "status").unwrap_or_default()),
        me: body.get("me").and_then(me),
        assigned_worker: text(body, "assignedWorker").filter(|id| !id.is_empty()),
        metadata: texts(config, "metadata"),
        webhook_urls: webhooks.filter_map(|hook| text(hook, "url")).collect(),
    })
}

/// `GET /api/sessions/{s}/me`, where an empty answer means: not linked.
pub(crate) fn maybe_me(body: &[u8]) -> Option<Option<Me>> {
    match value(body)? {
        Value::Null => Some(None),
        body => me(&body).map(Some),
    }
}

/// Who is linked.
pub(crate) fn me(body: &Value) -> Option<Me> {
    let id = text(body, "id")?;
    let user = id.split(['@', ':']).next().unwrap_or_default();
    Some(Me {
        phone: user.parse().ok(),
        push_name: text(body, "pushName"),
        lid: text(body, "lid"),
        restriction: restriction(body),
        id,
    })
}

/// A time lock goes before a quota: it holds for all new chats.
fn restriction(me: &Value) -> Option<Restriction> {
    let locked = |lock: &Value| lock.get("isActive").and_then(Value::as_bool) == Some(true);
    let capped = |cap: &Value| text(cap, "cappingStatus").as_deref() == Some("CAPPED");
    let found = |key: &str, holds: &dyn Fn(&Value) -> bool, kind, end: &str| {
        let body = me.get(key).filter(|body| holds(body))?;
        let until = body.get(end).and_then(seconds);
        Some(Restriction {
            kind,
            until: until.and_then(|at| time::OffsetDateTime::from_unix_timestamp(at).ok()),
        })
    };
    let kind = RestrictionKind::TimeLocked;
    found("reachoutTimelock", &locked, kind, "timeEnforcementEnds").or_else(|| {
        let kind = RestrictionKind::QuotaUsedUp;
        found("messageCapping", &capped, kind, "cycleEnd")
    })
}

/// NOWEB's answer to a send, of which nothing else is kept.
#[derive(Deserialize)]
struct Keyed<'a> {
    #[serde(borrow)]
    key: Key<'a>,
}

#[derive(Deserialize)]
struct Key<'a> {
    #[serde(borrow)]
    id: Cow<'a, str>,
}

/// The bare message id in a send's answer; the places differ by engine, NOWEB's is looked at first.
pub(crate) fn sent_message_id(body: &[u8]) -> Option<String> {
    if let Ok(Keyed { key }) = serde_json::from_slice(body) {
        return bare_id(&key.id).map(str::to_owned);
    }
    let body = value(body)?;
    let at = |path: &str| body.pointer(path).and_then(Value::as_str);
    at("/id")
        .or_else(|| at("/id/_serialized"))
        .or_else(|| at("/id/id"))
        .or_else(|| at("/_data/id/_serialized"))
        .or_else(|| at("/_data/key/id"))
        .and_then(bare_id)
        .map(str::to_owned)
}

/// A message in a chat's history.
pub(crate) struct Heard {
    /// Its bare id.
    pub(crate) id: String,
    /// Whether the session said it.
    pub(crate) from_me: bool,
    /// Its text or caption.
    pub(crate) body: Option<String>,
    /// When, in seconds since 1970.
    pub(crate) at: Option<i64>,
    /// How far it has come, as in webhooks.
    pub(crate) ack: Option<i16>,
}

/// `GET .../messages`; entries without an id are left out.
pub(crate) fn history(body: &[u8]) -> Option<Vec<Heard>> {
    match value(body)? {
        Value::Array(entries) => Some(entries.iter().filter_map(heard).collect()),
        _ => None,
    }
}

/// `GET .../messages/{id}`; null when there is no such message.
pub(crate) fn maybe_heard(body: &[u8]) -> Option<Option<Heard>> {
    match value(body)? {
        Value::Null => Some(None),
        body => heard(&body).map(Some),
    }
}

fn heard(body: &Value) -> Option<Heard> {
    Some(Heard {
        id: bare_id(body.get("id")?.as_str()?)?.to_owned(),
        from_me: body.get("fromMe").and_then(Value::as_bool) == Some(true),
        body: text(body, "body"),
        at: body.get("timestamp").and_then(seconds),
        ack: body
            .get("ack")
            .and_then(Value::as_i64)
            .and_then(|ack| ack.try_into().ok()),
    })
}

/// The PNG of a QR code that came wrapped in JSON, in base64.
pub(crate) fn wrapped_qr(body: &[u8]) -> Option<String> {
    text(&value(body)?, "data")
}

/// A pairing code.
pub(crate) fn pairing_code(body: &[u8]) -> Option<String> {
    text(&value(body)?, "code")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_message_id_is_found_in_every_engines_answer() {
        let noweb = r#"{"key":{"remoteJid":"12132132130@s.whatsapp.net","fromMe":true,"id":"3EB02929BA63A6346BDCF9"},
            "message":{"extendedTextMessage":{"text":"hi"}},"messageTimestamp":"1795352531","status":"PENDING"}"#;
        let gows = r#"{"id":"true_12132132130@c.us_3EB0AA","_data":null}"#;
        let gows_group = r#"{"id":"true_1203@g.us_3EB0AA_12132132130@c.us","_data":{}}"#;
        let webjs = r#"{"_data":{"id":{"fromMe":true,"remote":"62811@c.us","id":"3EB0BB",
            "_serialized":"true_62811@c.us_3EB0BB"},"ack":0},"id":{"fromMe":true,"id":"3EB0BB",
            "_serialized":"true_62811@c.us_3EB0BB"},"ack":0}"#;
        for (body, id) in [
            (noweb, Some("3EB02929BA63A6346BDCF9")),
            (gows, Some("3EB0AA")),
            (gows_group, Some("3EB0AA")),
            (webjs, Some("3EB0BB")),
            (r#"{"id":{"id":"3EB0CC"}}"#, Some("3EB0CC")),
            (
                r#"{"_data":{"id":{"_serialized":"true_1@c.us_D"}}}"#,
                Some("D"),
            ),
            (r#"{"_data":{"key":{"id":"E"}}}"#, Some("E")),
            ("", None),
            ("{}", None),
            ("not JSON", None),
            (r#"{"id":""}"#, None),
        ] {
            assert_eq!(sent_message_id(body.as_bytes()).as_deref(), id, "{body}");
        }
    }

    #[test]
    fn versions_of_all_years_are_read() {
        let old = br#"{"version":"2024.10.8","engine":"NOWEB","tier":"CORE","browser":"x"}"#;
        let new = br#"{"version":"2026.6.1","engine":"GOWS","tier":"PLUS","browser":null,
            "platform":"linux/x64","worker":{"id":"w1"}}"#;
        let old = server_info(old).unwrap();
        assert_eq!(
            (old.engine, old.tier, old.worker_id),
            (Engine::Noweb, Tier::Core, None)
        );
        let new = server_info(new).unwrap();
        assert_eq!((new.engine, new.tier), (Engine::Gows, Tier::Plus));
        assert_eq!(new.worker_id.as_deref(), Some("w1"));
        assert_eq!(server_info(br#"{"message":"pong"}"#), None);
        let status = br#"{"startTimestamp":1,"uptime":1500,"worker":{"id":""}}"#;
        let status = server_status(status).unwrap();
        assert_eq!((status.uptime.as_millis(), status.worker_id), (1_500, None));
    }

    #[test]
    fn sessions_are_read_with_and_without_their_parts() {
        let recorded = br#"{"name":"default","status":"WORKING",
            "config":{"metadata":{"tenant":"7"},"webhooks":[{"url":"http://127.0.0.1:3999/hook",
            "events":["session.status"],"hmac":{"key":"geheim"}}]},
            "me":{"id":"12025550100@c.us","pushName":"Fake Sender","lid":"99887766554433@lid",
            "reachoutTimelock":{"isActive":true,"timeEnforcementEnds":1784477333}},
            "presence":null,"timestamps":{"activity":1795352532729},"engine":{"engine":"NOWEB"}}"#;
        let session = session(recorded).unwrap();
        let debug = format!("{session:?}");
        assert!(
            !debug.contains("geheim") && !debug.contains("12025550100"),
            "{debug}"
        );
        assert_eq!(session.status, SeenStatus::Working);
        assert_eq!(session.metadata["tenant"], "7");
        assert_eq!(session.webhook_urls, ["http://127.0.0.1:3999/hook"]);
        let me = session.me.unwrap();
        assert_eq!(me.phone.unwrap().digits(), "12025550100");
        let restriction = me.restriction.unwrap();
        assert_eq!(restriction.kind, RestrictionKind::TimeLocked);
        assert_eq!(restriction.until.unwrap().unix_timestamp(), 1_784_477_333);
        let capped = br#"{"id":"1202@c.us","reachoutTimelock":null,
            "messageCapping":{"cappingStatus":"CAPPED","cycleEnd":null}}"#;
        let restriction = maybe_me(capped).unwrap().unwrap().restriction.unwrap();
        assert_eq!(restriction.kind, RestrictionKind::QuotaUsedUp);
        let warned = br#"{"id":"1202@c.us","messageCapping":{"cappingStatus":"FIRST_WARNING"}}"#;
        assert_eq!(maybe_me(warned).unwrap().unwrap().restriction, None);

        let list = br#"[{"name":"a","status":"NEW_ONE","config":null,"me":null},{"x":1},
            {"name":"b","status":"PASSKEY_CONFIRMATION_REQUIRED","config":{},"timestamps":{}}]"#;
        let list = sessions(list).unwrap();
        assert_eq!(list[0].status, SeenStatus::Other("NEW_ONE".to_owned()));
        assert_eq!(list[1].status, SeenStatus::PasskeyRequired);
        assert_eq!(maybe_session(b""), Some(None));
        assert_eq!(maybe_me(b""), Some(None));
        assert_eq!(maybe_session(b"[]"), None);
    }

    #[test]
    fn history_is_read_with_every_kind_of_timestamp() {
        let body = br#"[{"id":"true_1@c.us_A","fromMe":true,"body":"x","timestamp":1795352531},
            {"id":"false_1@c.us_B","timestamp":"1795352532"},
            {"id":"true_1@c.us_C","timestamp":{"low":1795352533,"high":0,"unsigned":true}},{}]"#;
        let heard = history(body).unwrap();
        let at: Vec<_> = heard
            .iter()
            .map(|h| h.at.unwrap() - 1_795_352_530)
            .collect();
        assert_eq!(at, [1, 2, 3]);
        assert!(heard[0].from_me && !heard[1].from_me);
    }
}
