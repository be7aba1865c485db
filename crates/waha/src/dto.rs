//! WAHA's words: the only place that knows its field names, headers and sentences.
//!
//! Requests are exact. Answers are read leniently: unknown fields are ignored, missing and
//! mistyped ones count as absent, an empty body is JSON null.

pub(crate) mod answers;
pub(crate) mod events;
pub(crate) mod problem;
pub(crate) mod requests;

use serde_json::Value;

/// The header that carries the key.
pub(crate) const KEY_HEADER: &str = "X-Api-Key";
/// The header that carries a webhook's signature.
pub(crate) const HMAC_HEADER: &str = "X-Webhook-Hmac";

/// Reads a body; an empty one is null.
pub(crate) fn value(body: &[u8]) -> Option<Value> {
    if body.trim_ascii().is_empty() {
        return Some(Value::Null);
    }
    serde_json::from_slice(body).ok()
}

/// A field's text, when it is a text.
pub(crate) fn text(value: &Value, field: &str) -> Option<String> {
    value.get(field)?.as_str().map(str::to_owned)
}

/// A field's texts by name, leaving out what is not a text.
pub(crate) fn texts(value: &Value, field: &str) -> std::collections::BTreeMap<String, String> {
    let entries = value.get(field).and_then(Value::as_object);
    let entries = entries.into_iter().flatten();
    entries
        .filter_map(|(name, text)| Some((name.clone(), text.as_str()?.to_owned())))
        .collect()
}

/// A point in time in seconds: a number, a text, or the `{low, high}` of old versions.
pub(crate) fn seconds(value: &Value) -> Option<i64> {
    match value {
        Value::Number(number) => number.as_i64(),
        Value::String(text) => text.parse().ok(),
        Value::Object(parts) => {
            let low = parts.get("low")?.as_i64()? & 0xffff_ffff;
            let high = parts.get("high").and_then(Value::as_i64).unwrap_or(0);
            Some((high << 32) | low)
        }
        Value::Null | Value::Bool(_) | Value::Array(_) => None,
    }
}

/// The bare part of a message id: `3EB0` of `true_12132132130@c.us_3EB0`.
pub(crate) fn bare_id(id: &str) -> Option<&str> {
    let mut parts = id.split('_');
    let bare = match (parts.next(), parts.next(), parts.next()) {
        (Some(bare), None, None) | (_, _, Some(bare)) => bare,
        _ => return None,
    };
    (!bare.is_empty()).then_some(bare)
}
