//! Success bodies of the send calls, shaped as each engine shapes them (contract section 7.4).

use serde_json::{Value, json};

use crate::profile::Engine;
use crate::send::Outgoing;
use crate::sim::Cx;

/// The answer to a send.
pub(crate) fn sent(cx: &Cx, outgoing: &Outgoing, id: &str, timestamp: i64) -> Value {
    match cx.profile().engine {
        Engine::Noweb if outgoing.kind == "poll" => poll(outgoing, id, timestamp),
        Engine::Noweb => json!({
            "key": {"remoteJid": jid(&outgoing.chat), "fromMe": true, "id": id},
            "message": noweb_message(outgoing),
            "messageTimestamp": timestamp.to_string(),
            "status": "PENDING",
        }),
        Engine::Gows => json!({
            "id": format!("true_{}_{id}", outgoing.chat),
            "_data": {"Info": {"ID": id, "Chat": jid(&outgoing.chat), "IsFromMe": true}},
        }),
        Engine::Webjs => {
            let key = json!({
                "fromMe": true,
                "remote": outgoing.chat,
                "id": id,
                "_serialized": format!("true_{}_{id}", outgoing.chat),
            });
            json!({
                "_data": {
                    "id": key, "body": outgoing.text, "type": "chat", "t": timestamp, "ack": 0,
                },
                "id": key,
                "ack": 0,
                "hasMedia": outgoing.media.is_some(),
                "body": outgoing.text,
                "timestamp": timestamp,
                "to": outgoing.chat,
                "fromMe": true,
            })
        }
    }
}

/// The payload of `message.any` for a message of ours. 2024 NOWEB gave the timestamp as the
/// three parts of a 64-bit number.
pub(crate) fn created(cx: &Cx, mut view: Value) -> Value {
    if cx.profile().ancient() && cx.profile().engine == Engine::Noweb {
        view["timestamp"] = json!({"low": view["timestamp"], "high": 0, "unsigned": true});
    }
    view
}

/// The engines' own spelling of a chat.
fn jid(chat: &str) -> String {
    match chat.strip_suffix("@c.us") {
        Some(user) => format!("{user}@s.whatsapp.net"),
        None => chat.to_owned(),
    }
}

fn noweb_message(outgoing: &Outgoing) -> Value {
    let text = &outgoing.text;
    let Some(media) = &outgoing.media else {
        return match outgoing.kind {
            "location" => json!({"locationMessage": {"name": text}}),
            "contact" => json!({"contactsArrayMessage": {"contacts": []}}),
            _ => json!({"extendedTextMessage": {"text": text}}),
        };
    };
    let mut part = json!({
        "url": "https://mmg.whatsapp.net/v/t62.0000-24/simulated.enc",
        "mimetype": media.mimetype,
        "fileSha256": "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=",
        "fileLength": media.size.unwrap_or(0).to_string(),
        "mediaKey": "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=",
    });
    let name = match outgoing.kind {
        "image" => "imageMessage",
        "video" => "videoMessage",
        "voice" => "audioMessage",
        _ => "documentMessage",
    };
    if outgoing.kind == "voice" {
        part["ptt"] = json!(true);
    } else {
        part["caption"] = json!(text);
    }
    if name == "documentMessage" {
        part["fileName"] = json!(media.filename);
    }
    let mut message = json!({});
    message[name] = part;
    message
}

/// NOWEB answers a poll with WAHA's message form.
fn poll(outgoing: &Outgoing, id: &str, timestamp: i64) -> Value {
    json!({
        "id": format!("true_{}_{id}", outgoing.chat),
        "timestamp": timestamp,
        "from": outgoing.chat,
        "fromMe": true,
        "source": "api",
        "body": outgoing.text,
        "hasMedia": false,
        "media": null,
        "ack": 0,
        "ackName": "PENDING",
        "_data": {"key": {"remoteJid": jid(&outgoing.chat), "fromMe": true, "id": id}},
    })
}
