//! Messages a session can be asked about later.

use serde_json::{Value, json};

use crate::options::Options;
use crate::profile::Engine;
use crate::rng::Rng;
use crate::session::Session;

/// A message as the engine's store keeps it.
#[derive(Clone, Debug)]
pub(crate) struct Stored {
    pub(crate) id: String,
    pub(crate) chat: String,
    pub(crate) from_me: bool,
    pub(crate) body: String,
    pub(crate) has_media: bool,
    /// Unix seconds.
    pub(crate) timestamp: i64,
    /// Acks to come: nanoseconds of the process clock, and the code.
    pub(crate) acks: Vec<(u64, i8)>,
    pub(crate) first_ack: i8,
}

impl Stored {
    /// The id in WAHA's long form.
    pub(crate) fn long_id(&self) -> String {
        format!("{}_{}_{}", self.from_me, self.chat, self.id)
    }

    fn ack(&self, mono_ns: u64) -> i8 {
        let due = self
            .acks
            .iter()
            .filter(|(at, _)| *at <= mono_ns)
            .map(|(_, ack)| *ack);
        // An ERROR counts only where nothing better was seen.
        due.fold(self.first_ack, |seen, ack| match (seen, ack) {
            (0, -1) => -1,
            _ => seen.max(ack),
        })
    }

    /// WAHA's message form. NOWEB and GOWS put the chat into `from` whoever wrote; WEBJS tells
    /// the two sides apart.
    pub(crate) fn view(&self, engine: Engine, me: &str, mono_ns: u64) -> Value {
        let ack = self.ack(mono_ns);
        let (from, to) = match (engine, self.from_me) {
            (Engine::Webjs, true) => (me, Some(self.chat.as_str())),
            (Engine::Webjs, false) => (self.chat.as_str(), Some(me)),
            (Engine::Noweb | Engine::Gows, _) => (self.chat.as_str(), None),
        };
        json!({
            "id": self.long_id(),
            "timestamp": self.timestamp,
            "from": from,
            "fromMe": self.from_me,
            "source": if self.from_me { "api" } else { "app" },
            "to": to,
            "body": self.body,
            "hasMedia": self.has_media,
            "media": null,
            "ack": ack,
            "ackName": ack_name(ack),
            "location": null,
            "vCards": null,
            "replyTo": null,
            "_data": {"key": {"fromMe": self.from_me, "id": self.id}},
        })
    }
}

pub(crate) const fn ack_name(ack: i8) -> &'static str {
    match ack {
        0 => "PENDING",
        1 => "SERVER",
        2 => "DEVICE",
        3 => "READ",
        4 => "PLAYED",
        _ => "ERROR",
    }
}

/// Keeps `message`, dropping the oldest beyond `limit`.
pub(crate) fn keep(session: &mut Session, message: Stored, limit: usize) {
    if session.store_order.len() >= limit.max(1)
        && let Some(oldest) = session.store_order.pop_front()
    {
        session.store.remove(&oldest);
    }
    let id = message.id.clone();
    if session.store.insert(id.clone(), message).is_none() {
        session.store_order.push_back(id);
    }
}

/// Loses what was said since `since`, in unix seconds.
pub(crate) fn forget_since(session: &mut Session, since: i64) {
    session.store.retain(|_, message| message.timestamp < since);
    let store = &session.store;
    session.store_order.retain(|id| store.contains_key(id));
}

/// How the acks of one message are to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Acks {
    /// As chance and the options have it.
    Usual,
    None,
    /// -1.
    Error,
    Repeated,
    Unordered,
}

/// The acks of a message and the pause before each in nanoseconds from now, first to last.
/// `first` is the engine's first ack: 1, or 2 on GOWS.
pub(crate) fn plan_acks(acks: Acks, first: i8, options: &Options, rng: &mut Rng) -> Vec<(u64, i8)> {
    let acks = match acks {
        Acks::Usual if rng.chance(options.lost_ack_share) => Acks::None,
        Acks::Usual if rng.chance(options.repeated_ack_share) => Acks::Repeated,
        Acks::Usual if rng.chance(options.unordered_ack_share) => Acks::Unordered,
        other => other,
    };
    let mut codes: Vec<i8> = match acks {
        Acks::None => Vec::new(),
        Acks::Error => vec![-1],
        _ if rng.chance(options.read_share) => (first..=3).collect(),
        _ => (first..=2).collect(),
    };
    match acks {
        Acks::Repeated => codes = codes.iter().flat_map(|code| [*code, *code]).collect(),
        Acks::Unordered => codes.reverse(),
        Acks::Usual | Acks::None | Acks::Error => {}
    }
    let mut at = 0;
    let planned = codes.into_iter().map(|code| {
        at += u64::try_from(rng.millis(options.ack_delay_ms).as_nanos()).unwrap_or(u64::MAX / 8);
        (at, code)
    });
    planned.collect()
}

/// Messages of one chat, newest first.
pub(crate) fn of_chat<'a>(session: &'a Session, chat: &str) -> impl Iterator<Item = &'a Stored> {
    let newest_first = session
        .store_order
        .iter()
        .rev()
        .filter_map(|id| session.store.get(id));
    newest_first.filter(move |message| message.chat == chat)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn acks_follow_the_plan() {
        let options = Options::default();
        let codes = |acks, first| -> Vec<i8> {
            let plan = plan_acks(acks, first, &options, &mut Rng::new(1, 1));
            assert!(plan.is_sorted_by_key(|(at, _)| *at));
            plan.into_iter().map(|(_, code)| code).collect()
        };
        assert_eq!(codes(Acks::Usual, 1), [1, 2, 3]);
        assert_eq!(codes(Acks::Usual, 2), [2, 3]);
        assert_eq!(codes(Acks::None, 1), [] as [i8; 0]);
        assert_eq!(codes(Acks::Error, 1), [-1]);
        assert_eq!(codes(Acks::Repeated, 2), [2, 2, 3, 3]);
        assert_eq!(codes(Acks::Unordered, 1), [3, 2, 1]);
    }

    #[test]
    fn a_stored_message_shows_the_highest_ack_so_far() {
        let message = |acks: &[(u64, i8)]| Stored {
            id: "A".into(),
            chat: "2@c.us".into(),
            from_me: true,
            body: String::new(),
            has_media: false,
            timestamp: 0,
            acks: acks.to_vec(),
            first_ack: 0,
        };
        assert_eq!(message(&[(10, 3), (20, 2)]).ack(25), 3);
        assert_eq!(message(&[(10, 1), (20, 2)]).ack(15), 1);
        assert_eq!(message(&[(10, 1), (20, -1)]).ack(25), 1);
        assert_eq!(message(&[(10, -1)]).ack(25), -1);
        assert_eq!(message(&[(10, -1)]).ack(5), 0);
        assert_eq!(message(&[]).long_id(), "true_2@c.us_A");
    }
}
