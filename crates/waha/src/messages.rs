//! Sending, and looking up what was sent.

use models::media::{Media, MediaKind};
use models::outcome::SendOutcome;
use models::phone::PhoneNumber;
use reqwest::Method;
use reqwest::header::CONTENT_TYPE;
use time::OffsetDateTime;

use crate::answer::{Kind, classify};
use crate::client::Waha;
use crate::dto::answers::{self, Heard};
use crate::dto::requests::{RemoteFile, SendMedia, SendText, chat_id, convert, full_message_id};
use crate::error::{CallError, call};
use crate::wire::exchange;

/// How many of a chat's newest messages a look-up reads.
const LOOKED_AT: usize = 100;

/// A message id like those that NOWEB makes: `3EB0` and 18 hex digits (WAHA contract, section 7.4).
/// `random` is to be different for every message ever.
pub fn new_message_id(random: [u8; 9]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    let mut id = String::with_capacity(4 + 2 * random.len());
    id.push_str("3EB0");
    for byte in random {
        let digit = |nibble: u8| char::from(DIGITS[usize::from(nibble & 0xF)]);
        id.extend([digit(byte >> 4), digit(byte)]);
    }
    id
}

/// Who says something to whom.
#[derive(Debug, Clone, Copy)]
pub struct Letter<'a> {
    /// The session's name on the worker.
    pub session: &'a str,
    /// The recipient.
    pub to: &'a PhoneNumber,
    /// The message id to use, where the worker lets us choose it; others ignore it.
    pub id: Option<&'a str>,
}

/// The JSON that says a text.
pub fn text_body(letter: Letter<'_>, text: &str) -> Vec<u8> {
    let body = SendText {
        session: letter.session,
        chat_id: chat_id(letter.to),
        text,
        link_preview: false,
        id: letter.id,
    };
    // A struct of texts cannot fail to be written; an empty body would be refused, not sent.
    serde_json::to_vec(&body).unwrap_or_default()
}

/// What a worker knows of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lookup {
    /// It was said.
    Found {
        /// Its bare id.
        message_id: String,
        /// How far it has come, where the engine tells: as in webhooks.
        ack: Option<i16>,
    },
    /// The worker has kept the chat and the message is not in it.
    NotFound,
    /// The worker keeps no chats, or not enough of this one: it cannot say.
    Unsupported,
}

impl Waha {
    /// Says a text, once. Links get no preview.
    pub async fn send_text(&self, letter: Letter<'_>, text: &str) -> SendOutcome {
        let request = self.say().header(CONTENT_TYPE, "application/json");
        let request = request.body(text_body(letter, text));
        classify(Kind::Text, exchange(request).await)
    }

    /// Sends a file, once, which the worker downloads from its URL. Voice notes have no caption:
    /// with one, sound leaves as a file.
    pub async fn send_media(
        &self,
        letter: Letter<'_>,
        media: &Media,
        caption: &str,
    ) -> SendOutcome {
        let kind = match media.kind {
            MediaKind::Voice if !caption.trim().is_empty() => MediaKind::File,
            kind => kind,
        };
        let (call, caption) = match kind {
            MediaKind::Image => ("sendImage", Some(caption)),
            MediaKind::Video => ("sendVideo", Some(caption)),
            MediaKind::Voice => ("sendVoice", None),
            MediaKind::File => ("sendFile", Some(caption)),
        };
        let body = SendMedia {
            session: letter.session,
            chat_id: chat_id(letter.to),
            file: RemoteFile::of(media),
            caption,
            convert: convert(kind, media.mimetype),
            id: letter.id,
        };
        let timeout = self.timeouts.media;
        let request = self.request(Method::POST, &["api", call], &[], timeout);
        classify(Kind::Media, exchange(request.json(&body)).await)
    }

    /// Looks for a message of ours by its text (or caption), said at `since` or later by the
    /// worker's clock. Where several fit, the newest is given. The session must be WORKING.
    ///
    /// # Errors
    /// See [`CallError`]; none of them says anything about the message.
    pub async fn find_sent(
        &self,
        session: &str,
        to: &PhoneNumber,
        text: &str,
        since: OffsetDateTime,
    ) -> Result<Lookup, CallError> {
        let chat = chat_id(to);
        let since = since.unix_timestamp();
        let (limit, from) = (LOOKED_AT.to_string(), since.to_string());
        let query = [
            ("limit", limit.as_str()),
            ("downloadMedia", "false"),
            ("sortBy", "timestamp"),
            ("sortOrder", "desc"),
            ("filter.timestamp.gte", from.as_str()),
            ("filter.fromMe", "true"),
        ];
        let path = ["api", session, "chats", &chat, "messages"];
        let history = call(self.read(&path, &query), answers::history).await;
        supported(history.map(|history| find(&history, text, since)))
    }

    /// Looks for a message of ours by its bare id. The session must be WORKING.
    ///
    /// # Errors
    /// See [`CallError`]; none of them says anything about the message.
    pub async fn get_message(
        &self,
        session: &str,
        to: &PhoneNumber,
        message_id: &str,
    ) -> Result<Lookup, CallError> {
        let (chat, id) = (chat_id(to), full_message_id(to, message_id));
        let path = ["api", session, "chats", &chat, "messages", &id];
        let request = self.read(&path, &[("downloadMedia", "false")]);
        let heard = call(request, answers::maybe_heard).await;
        supported(heard.map(|heard| match heard {
            Some(heard) => Lookup::Found {
                message_id: heard.id,
                ack: heard.ack,
            },
            // A missing message is a 404; an empty answer says nothing.
            None => Lookup::Unsupported,
        }))
    }
}

/// A worker that refuses the call as such keeps no chats: an old version, an engine without it,
/// or NOWEB without its store (400).
fn supported(answer: Result<Lookup, CallError>) -> Result<Lookup, CallError> {
    match answer {
        Err(CallError::NoMessage) => Ok(Lookup::NotFound),
        Err(CallError::NotOffered { .. } | CallError::Refused { .. }) => Ok(Lookup::Unsupported),
        other => other,
    }
}

/// The filters are WAHA's to apply and ours to check: old versions ignore them.
fn find(history: &[Heard], text: &str, since: i64) -> Lookup {
    let recent = |heard: &&Heard| heard.at.is_none_or(|at| at >= since);
    let ours = |heard: &&Heard| heard.from_me && heard.body.as_deref() == Some(text);
    let newest = history
        .iter()
        .filter(recent)
        .filter(ours)
        .max_by_key(|heard| heard.at);
    match newest {
        Some(heard) => Lookup::Found {
            message_id: heard.id.clone(),
            ack: heard.ack,
        },
        // The part of the chat that we were shown does not reach back far enough.
        None if history.len() >= LOOKED_AT && history.iter().all(|h| recent(&h)) => {
            Lookup::Unsupported
        }
        None => Lookup::NotFound,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(id: &str, from_me: bool, body: &str, at: i64) -> Heard {
        Heard {
            id: id.to_owned(),
            from_me,
            body: Some(body.to_owned()),
            at: Some(at),
            ack: None,
        }
    }

    #[test]
    fn ids_look_like_those_of_the_engine() {
        let id = new_message_id([0, 1, 0xAB, 3, 4, 5, 6, 7, 0xFF]);
        assert_eq!(id, "3EB00001AB0304050607FF");
    }

    #[test]
    fn only_our_own_recent_message_with_that_text_is_found() {
        let history = [
            heard("THEIRS", false, "hi", 30),
            heard("OTHER", true, "hi there", 25),
            heard("OURS", true, "hi", 20),
            heard("FIRST", true, "hi", 15),
            heard("OLD", true, "hi", 5),
        ];
        let found = |since| find(&history, "hi", since);
        let message_id = "OURS".to_owned();
        let ack = None;
        assert_eq!(found(10), Lookup::Found { message_id, ack });
        assert_eq!(found(21), Lookup::NotFound);
        assert_eq!(find(&history, "bye", 0), Lookup::NotFound);
        assert_eq!(find(&[], "hi", 0), Lookup::NotFound);
    }

    #[test]
    fn a_full_page_of_newer_messages_proves_nothing() {
        let mut page: Vec<_> = (0..LOOKED_AT).map(|_| heard("X", true, "x", 50)).collect();
        assert_eq!(find(&page, "hi", 10), Lookup::Unsupported);
        page[0].at = Some(9);
        assert_eq!(find(&page, "hi", 10), Lookup::NotFound);
    }
}
