//! Webhook envelopes.

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;
use time::OffsetDateTime;

use super::answers::{me, worker_id};
use super::{bare_id, seconds, text, texts, value};
use crate::sessions::{Restriction, RestrictionKind, SeenStatus};
use crate::webhook::{Ack, Envelope, Event, Incoming, PlainAck};

/// Reads an envelope; `None` when it names no event or no session.
pub(crate) fn envelope(body: &[u8]) -> Option<Envelope> {
    let body = value(body)?;
    let name = text(&body, "event")?;
    let payload = body.get("payload").unwrap_or(&Value::Null);
    Some(Envelope {
        id: text(&body, "id"),
        at: body.get("timestamp").and_then(milliseconds),
        session: text(&body, "session")?,
        metadata: texts(&body, "metadata"),
        me: body.get("me").and_then(me),
        worker_id: body.get("environment").and_then(worker_id),
        event: event(&name, payload).unwrap_or(Event::Other(name)),
    })
}

fn milliseconds(value: &Value) -> Option<OffsetDateTime> {
    moment(value.as_i64()?)
}

fn moment(ms: i64) -> Option<OffsetDateTime> {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(ms) * 1_000_000).ok()
}

/// What an ack says to us. Fields of other types, twice the same field, or a text with an escape in
/// it make it another than a plain one.
#[derive(Deserialize)]
struct AckEnvelope<'a> {
    event: &'a str,
    session: &'a str,
    timestamp: Option<i64>,
    #[serde(borrow)]
    metadata: Option<AckMetadata<'a>>,
    payload: AckPayload<'a>,
}

#[derive(Deserialize)]
struct AckMetadata<'a> {
    #[serde(rename = "wahacast.generation")]
    generation: Option<&'a str>,
}

#[derive(Deserialize)]
struct AckPayload<'a> {
    id: &'a str,
    #[serde(rename = "fromMe")]
    from_me: bool,
    ack: i8,
    error: Option<IgnoredAny>,
}

/// Reads an ack that is like most; `None` of anything else.
pub(crate) fn plain_ack(body: &[u8]) -> Option<PlainAck<'_>> {
    let read: AckEnvelope<'_> = serde_json::from_str(std::str::from_utf8(body).ok()?).ok()?;
    if read.event != "message.ack" || read.payload.error.is_some() {
        return None;
    }
    Some(PlainAck {
        session: read.session,
        generation: read.metadata.and_then(|metadata| metadata.generation),
        at: read.timestamp.and_then(moment),
        message_id: bare_id(read.payload.id)?,
        ack: read.payload.ack,
        from_me: read.payload.from_me,
    })
}

/// Why WhatsApp refused a message; most versions do not say.
fn ack_error(error: &Value) -> Option<Restriction> {
    let code = error.get("code")?;
    let code = code.as_i64().or_else(|| code.as_str()?.parse().ok())?;
    let kind = match code {
        463 => RestrictionKind::TimeLocked,
        475 => RestrictionKind::QuotaUsedUp,
        _ => return None,
    };
    let until = error.get("until").and_then(seconds);
    let until = until.and_then(|at| OffsetDateTime::from_unix_timestamp(at).ok());
    Some(Restriction { kind, until })
}

fn event(name: &str, payload: &Value) -> Option<Event> {
    match name {
        "session.status" => Some(Event::SessionStatus {
            status: SeenStatus::parse(&text(payload, "status")?),
        }),
        "message.ack" => Some(Event::Ack(Ack {
            message_id: bare_id(payload.get("id")?.as_str()?)?.to_owned(),
            ack: i8::try_from(payload.get("ack")?.as_i64()?).ok()?,
            from_me: payload.get("fromMe")?.as_bool()?,
            error: payload.get("error").and_then(ack_error),
        })),
        "message" | "message.any" => Some(Event::Message(Incoming {
            message_id: bare_id(payload.get("id")?.as_str()?)?.to_owned(),
            chat: text(payload, "from")?,
            from_me: payload.get("fromMe").and_then(Value::as_bool) == Some(true),
            text: text(payload, "body").unwrap_or_default(),
            at: payload
                .get("timestamp")
                .and_then(seconds)
                .and_then(|at| OffsetDateTime::from_unix_timestamp(at).ok()),
        })),
        _ => None,
    }
}
