//! The bodies we send.

use std::collections::BTreeMap;

use models::media::{Media, MediaKind};
use models::phone::PhoneNumber;
use secrecy::ExposeSecret;
use serde::Serialize;

use crate::sessions::{Policy, SessionConfig, WebhookConfig};

/// A person's chat: `<digits>@c.us`.
pub(crate) fn chat_id(to: &PhoneNumber) -> String {
    format!("{}@c.us", to.digits())
}

/// The id by which WAHA finds a message of ours in a chat.
pub(crate) fn full_message_id(to: &PhoneNumber, bare: &str) -> String {
    format!("true_{}_{bare}", chat_id(to))
}

#[derive(Serialize)]
pub(crate) struct SendText<'a> {
    pub(crate) session: &'a str,
    #[serde(rename = "chatId")]
    pub(crate) chat_id: String,
    pub(crate) text: &'a str,
    /// Always false: with previews WAHA fetches every link before it sends.
    #[serde(rename = "linkPreview")]
    pub(crate) link_preview: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) id: Option<&'a str>,
}

#[derive(Serialize)]
pub(crate) struct SendMedia<'a> {
    pub(crate) session: &'a str,
    #[serde(rename = "chatId")]
    pub(crate) chat_id: String,
    pub(crate) file: RemoteFile<'a>,
    /// Given even when empty: the default caption of a video is a joke.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) caption: Option<&'a str>,
    /// Voice and video only: lets WAHA bring the file into WhatsApp's format.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) convert: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) id: Option<&'a str>,
}

#[derive(Serialize)]
pub(crate) struct RemoteFile<'a> {
    mimetype: &'a str,
    filename: &'a str,
    url: &'a str,
}

impl<'a> RemoteFile<'a> {
    pub(crate) fn of(media: &'a Media) -> Self {
        Self {
            mimetype: media.mimetype,
            filename: &media.filename,
            url: media.url.as_str(),
        }
    }
}

/// Whether WAHA has to convert a file before WhatsApp shows it as what it is.
pub(crate) fn convert(kind: MediaKind, mimetype: &str) -> Option<bool> {
    match kind {
        MediaKind::Image | MediaKind::File => None,
        MediaKind::Voice => Some(!mimetype.starts_with("audio/ogg")),
        MediaKind::Video => Some(mimetype != "video/mp4"),
    }
}

#[derive(Serialize)]
pub(crate) struct CreateSession<'a> {
    pub(crate) name: &'a str,
    /// Never left to WAHA's default, which is not what its documentation says.
    pub(crate) start: bool,
    pub(crate) config: Config<'a>,
}

#[derive(Serialize)]
pub(crate) struct UpdateSession<'a> {
    pub(crate) config: Config<'a>,
}

#[derive(Serialize)]
pub(crate) struct Config<'a> {
    metadata: &'a BTreeMap<String, String>,
    webhooks: Vec<Webhook<'a>>,
    noweb: Noweb,
}

#[derive(Serialize)]
struct Noweb {
    store: NowebStore,
}

#[derive(Serialize)]
struct NowebStore {
    enabled: bool,
    #[serde(rename = "fullSync")]
    full_sync: bool,
}

#[derive(Serialize)]
struct Webhook<'a> {
    url: &'a str,
    events: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    hmac: Option<Hmac<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retries: Option<Retries>,
    #[serde(rename = "customHeaders", skip_serializing_if = "Vec::is_empty")]
    custom_headers: Vec<Header<'a>>,
}

#[derive(Serialize)]
struct Hmac<'a> {
    key: &'a str,
}

#[derive(Serialize)]
struct Retries {
    policy: &'static str,
    #[serde(rename = "delaySeconds")]
    delay_seconds: u32,
    attempts: u32,
}

#[derive(Serialize)]
struct Header<'a> {
    name: &'a str,
    value: &'a str,
}

impl<'a> Config<'a> {
    pub(crate) fn of(config: &'a SessionConfig) -> Self {
        Self {
            metadata: &config.metadata,
            webhooks: config.webhooks.iter().map(Webhook::of).collect(),
            // With the store on, NOWEB can be asked what it has sent.
            noweb: Noweb {
                store: NowebStore {
                    enabled: true,
                    full_sync: false,
                },
            },
        }
    }
}

impl<'a> Webhook<'a> {
    fn of(webhook: &'a WebhookConfig) -> Self {
        let header = |(name, value): &'a (String, secrecy::SecretString)| Header {
            name,
            value: value.expose_secret(),
        };
        Self {
            url: webhook.url.as_str(),
            events: &webhook.events,
            hmac: webhook.hmac_key.as_ref().map(|key| Hmac {
                key: key.expose_secret(),
            }),
            retries: webhook.retries.map(|retries| Retries {
                policy: match retries.policy {
                    Policy::Constant => "constant",
                    Policy::Linear => "linear",
                    Policy::Exponential => "exponential",
                },
                delay_seconds: retries.delay_seconds,
                attempts: retries.attempts,
            }),
            custom_headers: webhook.headers.iter().map(header).collect(),
        }
    }
}

#[derive(Serialize)]
pub(crate) struct RequestCode<'a> {
    #[serde(rename = "phoneNumber")]
    pub(crate) phone_number: &'a str,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sessions::Retries as RetryPlan;

    #[test]
    fn a_session_is_asked_for_in_full() {
        let config = SessionConfig {
            metadata: [("generation".to_owned(), "7".to_owned())].into(),
            webhooks: vec![WebhookConfig {
                url: "http://gw:8080/api/webhook/waha".parse().unwrap(),
                events: vec!["session.status".to_owned()],
                hmac_key: Some("k".into()),
                retries: Some(RetryPlan {
                    policy: Policy::Constant,
                    delay_seconds: 1,
                    attempts: 2,
                }),
                headers: vec![("X-My".to_owned(), "v".into())],
            }],
        };
        let body = serde_json::to_value(CreateSession {
            name: "12025550100",
            start: true,
            config: Config::of(&config),
        });
        let wanted = serde_json::json!({
            "name": "12025550100", "start": true,
            "config": {
                "metadata": {"generation": "7"},
                "webhooks": [{
                    "url": "http://gw:8080/api/webhook/waha", "events": ["session.status"],
                    "hmac": {"key": "k"},
                    "retries": {"policy": "constant", "delaySeconds": 1, "attempts": 2},
                    "customHeaders": [{"name": "X-My", "value": "v"}],
                }],
                "noweb": {"store": {"enabled": true, "fullSync": false}},
            },
        });
        assert_eq!(body.unwrap(), wanted);
        assert!(!format!("{config:?}").contains("\"k\""));
    }
}
