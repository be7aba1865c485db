//! What a webhook is worth: how far its word is taken.

use chassis::LogOnce;
use models::phone::PhoneNumber;
use models::session::SessionStatus;
use time::OffsetDateTime;
use waha::sessions::{GENERATION, Restriction};
use waha::webhook::{Envelope, Event, PlainAck, SigningKey, parse, plain_ack};

use crate::problem::{Kind, Problem};

/// Unknown words are logged once each; a server that sends many is not logged for ever.
static UNKNOWN: LogOnce = LogOnce::new(200);

/// Whether a webhook's word is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trust {
    /// It is signed with our key.
    Signed,
    /// Nobody signed it: a reason to look for oneself.
    Hint,
}

/// What to do about an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// The session is in this status.
    Record(SessionStatus),
    /// Something may have changed: look.
    Look,
    /// WhatsApp reports on a message of ours.
    Receipt(Receipt),
    /// Nothing.
    Ignore,
}

/// How far a message of ours has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    /// Its bare id.
    pub message_id: String,
    /// As in `policy::receipt`.
    pub ack: i16,
    /// When, by the worker's clock.
    pub at: Option<OffsetDateTime>,
    /// What WhatsApp holds against the number.
    pub restriction: Option<Restriction>,
}

/// The name of the only session of an old Core (WAHA contract, section 1).
const OLD_CORE_SESSION: &str = "default";
/// A report says when it was, but neither of the future nor of ages ago.
const AGE_MAX: time::Duration = time::Duration::days(30);
/// Longer ids are none of WhatsApp's.
const ID_CHARS_MAX: usize = 200;

/// Checks a webhook's signature over its very bytes.
///
/// # Errors
/// When it is wrong. One that is absent, or cannot be checked, makes the webhook a hint.
pub fn trust(
    key: Option<&SigningKey>,
    signature: Option<&str>,
    body: &[u8],
) -> Result<Trust, Problem> {
    match (key, signature) {
        (Some(key), Some(signature)) if key.verify(body, signature) => Ok(Trust::Signed),
        (Some(_), Some(_)) => {
            let detail = "the signature does not fit the body; was it made with another key?";
            Err(Problem::new(Kind::SignatureWrong, detail))
        }
        _ => Ok(Trust::Hint),
    }
}

/// What a body asks for, which came over the path of this placement.
///
/// # Errors
/// It is no event, or one of another placement.
pub fn read(
    trust: Trust,
    body: &[u8],
    (phone, generation): (&PhoneNumber, i32),
) -> Result<Step, Problem> {
    let elsewhere = || {
        Problem::fault(
            "/session",
            "the event is of another session than its path says",
        )
    };
    if let Some(ack) = plain_ack(body) {
        let ours = is_at(ack.session, ack.generation, phone, generation);
        return ours.then(|| plain(trust, &ack)).ok_or_else(elsewhere);
    }
    let envelope = envelope(body)?;
    let ours = is_of(&envelope, phone, generation);
    ours.then(|| step(trust, &envelope)).ok_or_else(elsewhere)
}

fn envelope(body: &[u8]) -> Result<Envelope, Problem> {
    parse(body).map_err(
        |not| match serde_json::from_slice::<serde::de::IgnoredAny>(body) {
            Ok(_) => Problem::fault("", not.to_string()),
            Err(error) => Problem::new(
                Kind::MalformedJson,
                format!("the body is not JSON: {error}"),
            ),
        },
    )
}

/// Whether an envelope is of the placement that its path names. The signature covers the body
/// alone: without this, what was signed for one number could be said again for another.
pub fn is_of(envelope: &Envelope, phone: &PhoneNumber, generation: i32) -> bool {
    let told = envelope.metadata.get(GENERATION).map(String::as_str);
    is_at(&envelope.session, told, phone, generation)
}

fn is_at(session: &str, told: Option<&str>, phone: &PhoneNumber, generation: i32) -> bool {
    let same_placement = told.map(|told| *told == generation.to_string());
    // An old Core knows one name only, for whichever number.
    session == phone.digits() && same_placement != Some(false)
        || session == OLD_CORE_SESSION && same_placement == Some(true)
}

/// [`step`] of an ack that is like most.
fn plain(trust: Trust, ack: &PlainAck<'_>) -> Step {
    if ack.from_me {
        receipt(trust, ack.at, (ack.message_id, ack.ack.into()), None)
    } else {
        Step::Ignore
    }
}

/// Decides what an event asks for.
pub fn step(trust: Trust, envelope: &Envelope) -> Step {
    match &envelope.event {
        Event::SessionStatus { status } => match (trust, status.known()) {
            (Trust::Signed, Some(status)) => Step::Record(status),
            (_, None) => {
                note_unknown("status", &format!("{status:?}"));
                Step::Look
            }
            (Trust::Hint, Some(_)) => Step::Look,
        },
        Event::Ack(ack) if ack.from_me => receipt(
            trust,
            envelope.at,
            (&ack.message_id, ack.ack.into()),
            ack.error,
        ),
        // The worker has made it; nothing is known of WhatsApp yet.
        Event::Message(own) if own.from_me => {
            receipt(trust, envelope.at, (&own.message_id, 0), None)
        }
        Event::Ack(_) | Event::Message(_) => Step::Ignore,
        Event::Other(name) => {
            note_unknown("event", name);
            Step::Ignore
        }
    }
}

/// Anybody can say that a message was read: only a signed word proves it.
fn receipt(
    trust: Trust,
    at: Option<OffsetDateTime>,
    (message_id, ack): (&str, i16),
    restriction: Option<Restriction>,
) -> Step {
    let plausible = message_id.len() <= ID_CHARS_MAX && !message_id.contains('\0');
    if trust == Trust::Hint || !plausible {
        metrics::counter!("gateway_acks_ignored_total").increment(1);
        return Step::Ignore;
    }
    Step::Receipt(Receipt {
        message_id: message_id.to_owned(),
        ack: ack.clamp(-1, 4),
        at,
        restriction,
    })
}

impl Receipt {
    /// When it was, where that can be believed at `now`: a worker's clock may be wrong.
    pub fn believable_at(&self, now: OffsetDateTime) -> Option<OffsetDateTime> {
        self.at.filter(|at| *at <= now && now - *at <= AGE_MAX)
    }
}

fn note_unknown(what: &str, word: &str) {
    let word: String = word.chars().take(80).collect();
    if UNKNOWN.first(&word) {
        tracing::warn!(
            what,
            word,
            "a worker reports an unknown {what}, {word:?}; it is ignored"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATUS: &[u8] =
        br#"{"event":"session.status","session":"s","payload":{"name":"s","status":"WORKING"}}"#;

    const DANCING: &[u8] =
        br#"{"event":"session.status","session":"s","payload":{"name":"s","status":"DANCING"}}"#;

    #[test]
    fn only_a_signed_word_is_taken() {
        let envelope = waha::webhook::parse(STATUS).unwrap();
        assert_eq!(
            step(Trust::Signed, &envelope),
            Step::Record(SessionStatus::Working)
        );
        assert_eq!(step(Trust::Hint, &envelope), Step::Look);
    }

    #[test]
    fn what_was_signed_for_one_placement_says_nothing_of_another() {
        let phone: PhoneNumber = "42108077".parse().unwrap();
        for (session, generation, of_it) in [
            ("42108077", Some("7"), true),
            ("42108077", None, true),
            ("42108077", Some("6"), false),
            ("42108078", Some("7"), false),
            ("42108078", None, false),
            ("default", Some("7"), true),
            ("default", None, false),
            ("default", Some("8"), false),
        ] {
            let metadata = generation.map_or("{}".to_owned(), |generation| {
                format!(r#"{{"wahacast.generation":"{generation}"}}"#)
            });
            let body = format!(
                r#"{{"event":"x","session":"{session}","metadata":{metadata},"payload":{{}}}}"#
            );
            let envelope = waha::webhook::parse(body.as_bytes()).unwrap();
            assert_eq!(is_of(&envelope, &phone, 7), of_it, "{body}");
        }
    }

    #[test]
    fn times_that_cannot_be_are_not_believed() {
        let now = OffsetDateTime::UNIX_EPOCH + time::Duration::days(20_000);
        let day = time::Duration::days(1);
        for (at, believed) in [(now, true), (now + day, false), (now - 31 * day, false)] {
            let receipt = Receipt {
                message_id: "3EB0".to_owned(),
                ack: -1,
                at: Some(at),
                restriction: None,
            };
            assert_eq!(receipt.believable_at(now).is_some(), believed);
        }
    }

    #[test]
    fn only_a_signed_report_on_our_own_message_is_a_receipt() {
        let ack = |from_me: bool, ack: i32| {
            let body = format!(
                r#"{{"event":"message.ack","session":"s","payload":
                    {{"id":"true_1@c.us_3EB0","fromMe":{from_me},"ack":{ack}}}}}"#
            );
            waha::webhook::parse(body.as_bytes()).unwrap()
        };
        assert_eq!(step(Trust::Hint, &ack(true, 2)), Step::Ignore);
        assert_eq!(step(Trust::Signed, &ack(false, 2)), Step::Ignore);
        for (told, taken) in [(-1, -1), (3, 3), (9, 4), (-9, -1)] {
            let Step::Receipt(receipt) = step(Trust::Signed, &ack(true, told)) else {
                panic!("no receipt");
            };
            assert_eq!((receipt.message_id.as_str(), receipt.ack), ("3EB0", taken));
        }
    }

    #[test]
    fn what_is_unknown_is_no_failure() {
        for (body, wanted) in [
            (
                &br#"{"event":"call.received","session":"s","payload":{}}"#[..],
                Step::Ignore,
            ),
            (DANCING, Step::Look),
        ] {
            let envelope = waha::webhook::parse(body).unwrap();
            assert_eq!(step(Trust::Signed, &envelope), wanted);
        }
    }

    #[test]
    fn signatures() {
        let key = SigningKey::new(&"a key of this deployment".into());
        assert_eq!(trust(Some(&key), None, STATUS).unwrap(), Trust::Hint);
        assert_eq!(trust(None, Some("abc"), STATUS).unwrap(), Trust::Hint);
        let wrong = trust(Some(&key), Some(&"0".repeat(128)), STATUS).unwrap_err();
        assert_eq!(wrong.kind, Kind::SignatureWrong);
    }
}
