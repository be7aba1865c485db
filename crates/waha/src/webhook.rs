//! What WAHA tells us unasked: signatures and envelopes of its webhooks.

use std::collections::BTreeMap;

use hmac::{Hmac, Mac};
use secrecy::{ExposeSecret, SecretString};
use sha2::Sha512;
use time::OffsetDateTime;

use crate::dto;
use crate::sessions::{Me, Restriction, SeenStatus};

/// The header that carries the signature: HMAC-SHA512 of the body, in hex.
pub const SIGNATURE_HEADER: &str = dto::HMAC_HEADER;

/// One event as delivered. WAHA repeats and reorders deliveries, and loses those that were on
/// their way when it stops.
#[derive(Debug, Clone, PartialEq)]
pub struct Envelope {
    /// The same for every delivery of one event; absent before 2025.
    pub id: Option<String>,
    /// When it happened by the worker's clock; absent before 2025.
    pub at: Option<OffsetDateTime>,
    /// The session's name on the worker.
    pub session: String,
    /// What the session was created with.
    pub metadata: BTreeMap<String, String>,
    /// Who is linked; absent before anybody is, and in old versions.
    pub me: Option<Me>,
    /// The instance's own name, when it has one.
    pub worker_id: Option<String>,
    /// What happened.
    pub event: Event,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A session changed its status, or says it again.
    SessionStatus {
        /// The status now.
        status: SeenStatus,
    },
    /// WhatsApp says how far a message has come.
    Ack(Ack),
    /// A message in one of the session's chats: from somebody, or its own.
    Message(Incoming),
    /// Anything else, by its name; also one of the above that cannot be read.
    Other(String),
}

/// How far a message has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ack {
    /// Its bare id.
    pub message_id: String,
    /// -1 error, 0 pending, 1 server, 2 device, 3 read, 4 played; may skip, repeat and go back.
    pub ack: i8,
    /// Whether the session said it.
    pub from_me: bool,
    /// With -1, and only where the version says it: what WhatsApp holds against the number.
    pub error: Option<Restriction>,
}

/// A message from somebody. `Debug` shows neither who wrote nor what.
#[derive(Clone, PartialEq, Eq)]
pub struct Incoming {
    /// Its bare id.
    pub message_id: String,
    /// The chat: `<digits>@c.us`, `<digits>@lid`, a group's or a channel's.
    pub chat: String,
    /// Whether the session itself said it.
    pub from_me: bool,
    /// Its text or caption.
    pub text: String,
    /// When, to the second.
    pub at: Option<OffsetDateTime>,
}

impl std::fmt::Debug for Incoming {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Incoming")
            .field("message_id", &self.message_id)
            .field("from_me", &self.from_me)
            .field("at", &self.at)
            .finish_non_exhaustive()
    }
}

/// A body that is no event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is not an event of WAHA")]
pub struct NotAnEvent;

/// An ack as most are, without the rest of its envelope.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlainAck<'a> {
    /// The session's name on the worker.
    pub session: &'a str,
    /// The placement that the session was created for, when it says so.
    pub generation: Option<&'a str>,
    /// As in [`Envelope`].
    pub at: Option<OffsetDateTime>,
    /// As in [`Ack`].
    pub message_id: &'a str,
    /// As in [`Ack`].
    pub ack: i8,
    /// As in [`Ack`].
    pub from_me: bool,
}

/// A key that webhooks are signed with, made ready: three reports come for each message, and the
/// first half of the work on a signature is the same for all of them. `Debug` does not show it.
#[derive(Clone)]
pub struct SigningKey(Option<Hmac<Sha512>>);

impl SigningKey {
    /// Makes a key ready.
    pub fn new(key: &SecretString) -> Self {
        // None is refused: a key of HMAC may have any length.
        Self(Hmac::new_from_slice(key.expose_secret().as_bytes()).ok())
    }

    /// Whether `signature` (hex, of either case) is right for these very bytes. Takes the same time
    /// wherever it is wrong.
    pub fn verify(&self, body: &[u8], signature: &str) -> bool {
        let (Some(signature), Some(mut mac)) = (unhex(signature.trim()), self.0.clone()) else {
            return false;
        };
        mac.update(body);
        mac.verify_slice(&signature).is_ok()
    }
}

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SigningKey")
    }
}

/// [`SigningKey::verify`] with a key that is used once.
pub fn verify(key: &SecretString, body: &[u8], signature: &str) -> bool {
    SigningKey::new(key).verify(body, signature)
}

/// What hex digits of either case are worth; above 15: none is.
const DIGITS: [u8; 256] = {
    let mut digits = [0xff; 256];
    let mut n = 0;
    while n < 16 {
        let digit = b"0123456789abcdef"[n];
        digits[digit as usize] = n as u8;
        digits[digit.to_ascii_uppercase() as usize] = n as u8;
        n += 1;
    }
    digits
};

/// Exactly 64 bytes in hex.
fn unhex(text: &str) -> Option<[u8; 64]> {
    let digits: &[u8; 128] = text.as_bytes().try_into().ok()?;
    let (mut bytes, mut seen) = ([0; 64], 0);
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        let (high, low) = (DIGITS[usize::from(pair[0])], DIGITS[usize::from(pair[1])]);
        seen |= high | low;
        *byte = high << 4 | low & 0xf;
    }
    (seen <= 0xf).then_some(bytes)
}

/// Reads an ack of the form that nearly all have, at a fraction of what [`parse`] costs, and says
/// the same as that; `None` of anything else.
pub fn plain_ack(body: &[u8]) -> Option<PlainAck<'_>> {
    dto::events::plain_ack(body)
}

/// Reads an envelope of any version.
///
/// # Errors
/// When the body is no JSON object with an event and a session. Unknown events are no error.
pub fn parse(body: &[u8]) -> Result<Envelope, NotAnEvent> {
    dto::events::envelope(body).ok_or(NotAnEvent)
}

#[cfg(test)]
mod tests {
    use super::*;

    const RECORDED: &[u8] = br#"{"id":"evt_01m81nk2wps7cek9sx283meabj","timestamp":1795352529814,"event":"session.status","session":"default",
 "metadata":{"tenant":"7"},"me":{"id":"12025550100@c.us","pushName":"Fake Sender","lid":"99887766554433@lid"},
 "payload":{"name":"default","status":"WORKING","statuses":[{"status":"STARTING","timestamp":1795352527019},
   {"status":"SCAN_QR_CODE","timestamp":1795352527803},{"status":"WORKING","timestamp":1795352529814}]},
 "engine":"NOWEB","environment":{"version":"2026.2.1","engine":"NOWEB","tier":"CORE","browser":null,"platform":"linux/x64","worker":{"id":"w1"}}}"#;

    #[test]
    fn the_recorded_envelope_is_read() {
        let envelope = parse(RECORDED).unwrap();
        assert_eq!(
            envelope.id.as_deref(),
            Some("evt_01m81nk2wps7cek9sx283meabj")
        );
        assert_eq!(
            envelope.at.unwrap().unix_timestamp_nanos(),
            1_795_352_529_814_000_000
        );
        assert_eq!(envelope.session, "default");
        assert_eq!(envelope.metadata["tenant"], "7");
        assert_eq!(envelope.worker_id.as_deref(), Some("w1"));
        let status = SeenStatus::Working;
        assert_eq!(envelope.event, Event::SessionStatus { status });
        assert!(!format!("{envelope:?}").contains("12025550100"));
    }

    #[test]
    fn envelopes_of_2024_and_strange_ones_are_read() {
        let old = br#"{"event":"session.status","session":"default","me":null,
            "payload":{"name":"default","status":"HALF_ASLEEP"},"engine":"NOWEB",
            "environment":{"version":"2024.10.8","engine":"NOWEB","tier":"CORE"}}"#;
        let old = parse(old).unwrap();
        assert_eq!((old.id, old.at), (None, None));
        let status = SeenStatus::Other("HALF_ASLEEP".to_owned());
        assert_eq!(old.event, Event::SessionStatus { status });
        for (body, event) in [
            (
                &br#"{"event":"poll.vote","session":"a","payload":{}}"#[..],
                "poll.vote",
            ),
            (
                br#"{"event":"session.status","session":"a","payload":7}"#,
                "session.status",
            ),
            (
                br#"{"event":"message.ack","session":"a","payload":{"ack":999}}"#,
                "message.ack",
            ),
        ] {
            assert_eq!(parse(body).unwrap().event, Event::Other(event.to_owned()));
        }
        for body in [
            &b""[..],
            b"[]",
            b"{}",
            br#"{"event":"x"}"#,
            br#"{"event":1,"session":"s"}"#,
        ] {
            assert_eq!(parse(body), Err(NotAnEvent));
        }
    }

    #[test]
    fn acks_and_messages_are_read() {
        let ack = br#"{"event":"message.ack","session":"s","payload":{"id":"true_12132132130@c.us_3EB0","from":"12132132130@c.us","fromMe":true,"ack":-1,"ackName":"ERROR"}}"#;
        let message_id = "3EB0".to_owned();
        let ack = parse(ack).unwrap().event;
        assert_eq!(
            ack,
            Event::Ack(Ack {
                message_id,
                ack: -1,
                from_me: true,
                error: None,
            })
        );
        let refused = br#"{"event":"message.ack","session":"s","payload":{"id":"true_1@c.us_3EB0","fromMe":true,"ack":-1,"error":{"code":"463","until":1784477333}}}"#;
        let Event::Ack(refused) = parse(refused).unwrap().event else {
            panic!("no ack");
        };
        let error = refused.error.unwrap();
        assert_eq!(error.kind.code(), "time_locked");
        assert_eq!(error.until.unwrap().unix_timestamp(), 1_784_477_333);
        let own = br#"{"event":"message.any","session":"s","payload":{"id":"true_1@c.us_3EB0","from":"1@c.us","fromMe":true}}"#;
        assert!(matches!(parse(own).unwrap().event, Event::Message(own) if own.from_me));
        let message = br#"{"event":"message","session":"s","payload":{"id":"false_12025550199@c.us_3EB0INCOMING0001","timestamp":1795352531,"from":"12025550199@c.us","fromMe":false,"body":"STOP"}}"#;
        let Event::Message(message) = parse(message).unwrap().event else {
            panic!("no message");
        };
        assert_eq!(
            (message.chat.as_str(), message.text.as_str()),
            ("12025550199@c.us", "STOP")
        );
        let debug = format!("{message:?}");
        assert!(!debug.contains("STOP") && !debug.contains("12025550199"));
    }

    /// RFC 4231, test case 2.
    #[test]
    fn signatures_are_checked_over_the_very_bytes() {
        let key = SecretString::from("Jefe");
        let body = b"what do ya want for nothing?";
        let right = "164b7a7bfcf819e2e395fbe73b56e0a387bd64222e831fd610270cd7ea250554\
                     9758bf75c05a994a6d034f65f8f0e6fdcaeab1a34d4a6b4b636e070a38bce737";
        assert!(verify(&key, body, right));
        assert!(verify(&key, body, &right.to_uppercase()));
        assert!(!verify(&key, b"what do ya want for nothing", right));
        assert!(!verify(&SecretString::from("jefe"), body, right));
        for wrong in [
            "",
            "16",
            &right[..126],
            &right.replace('1', "2"),
            &"zz".repeat(64),
        ] {
            assert!(!verify(&key, body, wrong));
        }
        assert!(!verify(&key, body, &"é".repeat(64)));
    }

    /// What [`parse`] says of an ack, as [`plain_ack`] would.
    fn slowly(envelope: &Envelope) -> Option<PlainAck<'_>> {
        let Event::Ack(ack) = &envelope.event else {
            return None;
        };
        Some(PlainAck {
            session: &envelope.session,
            generation: envelope
                .metadata
                .get(crate::sessions::GENERATION)
                .map(String::as_str),
            at: envelope.at,
            message_id: &ack.message_id,
            ack: ack.ack,
            from_me: ack.from_me,
        })
    }

    #[test]
    fn a_plain_ack_says_the_same_as_its_envelope() {
        let id = r#""id":"true_12132132130@c.us_3EB0""#;
        for (before, payload, plain) in [
            ("", r#""fromMe":true,"ack":2"#, true),
            ("", r#""fromMe":false,"ack":-1,"error":null,"to":7"#, true),
            (
                r#""timestamp":1795352529814,"me":{"id":"x"},"#,
                r#""fromMe":true,"ack":3"#,
                true,
            ),
            (
                r#""timestamp":null,"metadata":null,"id":{},"#,
                r#""ack":3,"fromMe":true"#,
                true,
            ),
            (
                r#""metadata":{"tenant":7,"wahacast.generation":"7"},"#,
                r#""ack":3,"fromMe":true"#,
                true,
            ),
            // Read with care.
            (
                r#""timestamp":9223372036854775807,"#,
                r#""ack":3,"fromMe":true"#,
                true,
            ),
            (r#""timestamp":1.5,"#, r#""ack":3,"fromMe":true"#, false),
            (r#""metadata":7,"#, r#""ack":3,"fromMe":true"#, false),
            (
                r#""metadata":{"wahacast.generation":7},"#,
                r#""ack":3,"fromMe":true"#,
                false,
            ),
            ("", r#""fromMe":true,"ack":300"#, false),
            ("", r#""fromMe":1,"ack":3"#, false),
            ("", r#""fromMe":true"#, false),
            ("", r#""fromMe":true,"ack":-1,"error":{"code":463}"#, false),
            ("", r#""fromMe":true,"ack":1,"ack":2"#, false),
            (
                "",
                r#""fromMe":true,"ack":1,"id":"true_x_\u0033EB0""#,
                false,
            ),
        ] {
            let body = format!(
                r#"{{{before}"event":"message.ack","session":"s","payload":{{{id},{payload}}}}}"#
            );
            let told = plain_ack(body.as_bytes());
            assert_eq!(told.is_some(), plain, "{body}");
            if told.is_some() {
                let envelope = parse(body.as_bytes()).unwrap();
                assert_eq!(told, slowly(&envelope), "{body}");
            }
        }
        for body in [RECORDED, b"", b"{}", b"[]", b"\xff", b"{}{}"] {
            assert_eq!(plain_ack(body), None);
        }
    }

    #[test]
    fn a_key_that_is_ready_is_not_shown_and_signs_alike() {
        let key = SigningKey::new(&SecretString::from("Jefe"));
        assert_eq!(format!("{key:?}"), "SigningKey");
        assert!(!key.verify(b"", "00"));
    }
}
