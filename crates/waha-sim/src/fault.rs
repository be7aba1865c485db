//! Faults on demand: what can be asked for, when one strikes, and what it changes about a send.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::answer::exception;
use crate::profile::Engine;
use crate::rng::{Rng, luck};
use crate::store::Acks;

/// What can go wrong. The README says what each does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Kind {
    // Of any request.
    Refuse,
    BadGateway,
    // Of a send.
    LostAnswer,
    #[serde(rename = "error_500_timed_out")]
    TimedOut,
    SlowAnswer,
    #[serde(rename = "error_463")]
    Reachout,
    #[serde(rename = "error_475")]
    Capped,
    #[serde(rename = "error_400")]
    EngineSick,
    ConnectionClosed,
    NotOnWhatsapp,
    Blocked,
    MissingAck,
    RepeatedAck,
    UnorderedAck,
    EmptyAnswer,
    IgnoreId,
    Silent,
    // At once.
    Restart,
    DropLink,
    CloseSocket,
    Passkey,
    OddStatus,
    OddEvent,
}

impl Kind {
    /// Strikes any request to the worker, before it is read.
    pub(crate) fn of_requests(self) -> bool {
        matches!(self, Self::Refuse | Self::BadGateway)
    }

    /// Happens when it is asked for and is then over.
    pub(crate) fn at_once(self) -> bool {
        use Kind as K;
        matches!(
            self,
            K::Restart | K::DropLink | K::CloseSocket | K::Passkey | K::OddStatus | K::OddEvent
        )
    }

    /// Belongs to a recipient rather than to a moment.
    fn of_people(self) -> bool {
        matches!(self, Self::NotOnWhatsapp | Self::Blocked)
    }
}

/// The body of `POST /fault`.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Request {
    pub(crate) kind: Kind,
    /// Only this session; all of the worker when absent.
    pub(crate) session: Option<String>,
    /// Only sends to these numbers (digits).
    pub(crate) phones: Option<Vec<String>>,
    /// Ends after so many strikes; never when absent.
    pub(crate) count: Option<u64>,
    /// Lets so many matching requests pass first.
    #[serde(default)]
    pub(crate) after: u64,
    /// Chance to strike a matching request, 0 to 1.
    #[serde(default = "always")]
    pub(crate) probability: f64,
    pub(crate) millis: Option<u64>,
    /// For faults of unknown outcome: whether the message got through.
    pub(crate) delivered: Option<bool>,
}

fn always() -> f64 {
    1.0
}

/// A fault in force.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Fault {
    pub(crate) id: u64,
    #[serde(flatten)]
    pub(crate) request: Request,
    pub(crate) struck: u64,
}

impl Fault {
    fn concerns(&self, session: Option<&str>, digits: &str) -> bool {
        let request = &self.request;
        let session_fits = match (&request.session, session) {
            (None, _) => true,
            (Some(wanted), Some(given)) => wanted == given,
            (Some(_), None) => false,
        };
        let phones = request.phones.as_deref();
        session_fits && phones.is_none_or(|list| list.iter().any(|phone| phone == digits))
    }

    /// Whether a person is one whom this fault is about, however often it is asked.
    pub(crate) fn is_about(&self, kind: Kind, session: &str, digits: &str, seed: u64) -> bool {
        self.request.kind == kind
            && self.concerns(Some(session), digits)
            && luck(seed, digits) < self.request.probability
    }

    fn strikes(&mut self, rng: &mut Rng, seed: u64, digits: &str) -> bool {
        if self.request.kind.of_people() {
            return luck(seed, digits) < self.request.probability;
        }
        if self.request.after > 0 {
            self.request.after -= 1;
            return false;
        }
        rng.chance(self.request.probability)
    }
}

/// The faults of `faults` that strike a request now; spent ones are removed.
pub(crate) fn strike(
    faults: &mut Vec<Fault>,
    (rng, seed): (&mut Rng, u64),
    session: Option<&str>,
    digits: &str,
) -> Vec<Request> {
    if faults.is_empty() {
        return Vec::new();
    }
    let mut struck = Vec::new();
    for fault in faults.iter_mut() {
        let of_requests = session.is_none();
        if fault.request.kind.of_requests() != of_requests
            || !fault.concerns(session, digits)
            || !fault.strikes(rng, seed, digits)
        {
            continue;
        }
        fault.struck += 1;
        struck.push(fault.request.clone());
    }
    faults.retain(|fault| fault.request.count.is_none_or(|count| fault.struck < count));
    struck
}

/// How a send is answered.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Reply {
    Usual,
    Empty,
    Drop,
    /// Shape 6 around this exception.
    Fail(Value),
}

/// What becomes of a send.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Effects {
    /// The recipient gets the message.
    pub(crate) heard: bool,
    /// `message.any` is emitted and the message stored.
    pub(crate) created: bool,
    pub(crate) acks: Acks,
    pub(crate) reply: Reply,
    /// Added to the time until the answer.
    pub(crate) pause: Duration,
    pub(crate) ignore_id: bool,
}

impl Effects {
    pub(crate) const fn none() -> Self {
        Self {
            heard: true,
            created: true,
            acks: Acks::Usual,
            reply: Reply::Usual,
            pause: Duration::ZERO,
            ignore_id: false,
        }
    }

    fn fail(&mut self, exception: Value, heard: bool) {
        self.heard = heard;
        self.created = heard;
        self.reply = Reply::Fail(exception);
        if !heard {
            self.acks = Acks::None;
        }
    }

    /// The account may not start this chat: an error at once on GOWS, an ack -1 elsewhere.
    fn forbid(&mut self, engine: Engine, code: u16) {
        if engine == Engine::Gows {
            self.fail(grpc(&format!("server returned error {code}")), false);
        } else {
            self.heard = false;
            self.acks = Acks::Error;
        }
    }
}

/// Adds what `fault` does to a send to `digits` on `engine`.
pub(crate) fn apply(effects: &mut Effects, fault: &Request, engine: Engine, digits: &str) {
    let millis = |default| Duration::from_millis(fault.millis.unwrap_or(default));
    match fault.kind {
        Kind::LostAnswer => {
            effects.reply = Reply::Drop;
            effects.pause += millis(0);
        }
        Kind::TimedOut => {
            effects.fail(boom("Timed Out", 408), fault.delivered.unwrap_or(true));
            effects.pause += millis(0);
        }
        Kind::SlowAnswer => effects.pause += millis(5_000),
        Kind::Reachout => effects.forbid(engine, 463),
        Kind::Capped => effects.forbid(engine, 475),
        Kind::EngineSick => effects.fail(grpc("server returned error 400"), false),
        Kind::ConnectionClosed => {
            effects.fail(connection_closed(), fault.delivered.unwrap_or(false));
        }
        Kind::NotOnWhatsapp if engine == Engine::Gows => {
            let text = format!("no LID found for {digits}@s.whatsapp.net from server");
            effects.fail(grpc(&text), false);
        }
        Kind::NotOnWhatsapp => {
            effects.heard = false;
            effects.acks = if engine == Engine::Webjs {
                Acks::Error
            } else {
                Acks::None
            };
        }
        Kind::Blocked => {
            effects.heard = false;
            effects.acks = Acks::Error;
        }
        Kind::MissingAck => effects.acks = Acks::None,
        Kind::RepeatedAck => effects.acks = Acks::Repeated,
        Kind::UnorderedAck => effects.acks = Acks::Unordered,
        Kind::EmptyAnswer => effects.reply = Reply::Empty,
        Kind::IgnoreId => effects.ignore_id = true,
        Kind::Silent => {
            effects.heard = false;
            effects.acks = Acks::None;
        }
        Kind::Refuse
        | Kind::BadGateway
        | Kind::Restart
        | Kind::DropLink
        | Kind::CloseSocket
        | Kind::Passkey
        | Kind::OddStatus
        | Kind::OddEvent => {}
    }
}

/// The exception of a lost link.
pub(crate) fn connection_closed() -> Value {
    boom("Connection Closed", 428)
}

fn boom(message: &str, status: u16) -> Value {
    let mut exception = exception("Error", message);
    exception["data"] = Value::Null;
    exception["isBoom"] = json!(true);
    exception["isServer"] = json!(false);
    exception["output"] = json!({
        "statusCode": status,
        "payload": {"statusCode": status, "message": message},
        "headers": {},
    });
    exception
}

fn grpc(details: &str) -> Value {
    let mut exception = exception("Error", &format!("2 UNKNOWN: {details}"));
    exception["code"] = json!(2);
    exception["details"] = json!(details);
    exception["metadata"] = json!({});
    exception
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(text: &str) -> Request {
        serde_json::from_str(text).unwrap()
    }

    fn effects(text: &str, engine: Engine) -> Effects {
        let mut effects = Effects::none();
        apply(&mut effects, &request(text), engine, "15550001");
        effects
    }

    #[test]
    fn each_engine_shows_a_fault_its_own_way() {
        use Engine::{Gows, Noweb, Webjs};
        // fault, engine, heard, acks, answered as usual
        let table = [
            ("error_463", Noweb, false, Acks::Error, true),
            ("error_463", Gows, false, Acks::None, false),
            ("error_475", Gows, false, Acks::None, false),
            ("not_on_whatsapp", Noweb, false, Acks::None, true),
            ("not_on_whatsapp", Gows, false, Acks::None, false),
            ("not_on_whatsapp", Webjs, false, Acks::Error, true),
            ("error_500_timed_out", Noweb, true, Acks::Usual, false),
            ("connection_closed", Noweb, false, Acks::None, false),
            ("lost_answer", Noweb, true, Acks::Usual, false),
            ("missing_ack", Noweb, true, Acks::None, true),
            ("silent", Noweb, false, Acks::None, true),
        ];
        for (kind, engine, heard, acks, usual) in table {
            let got = effects(&format!(r#"{{"kind":"{kind}"}}"#), engine);
            let usual_reply = got.reply == Reply::Usual;
            assert_eq!(
                (got.heard, got.acks, usual_reply),
                (heard, acks, usual),
                "{kind} {engine:?}"
            );
        }
        let lid = effects(r#"{"kind":"not_on_whatsapp"}"#, Gows);
        let Reply::Fail(exception) = lid.reply else {
            panic!("not a failure")
        };
        assert_eq!(
            exception["message"],
            "2 UNKNOWN: no LID found for 15550001@s.whatsapp.net from server"
        );
    }

    #[test]
    fn a_fault_strikes_where_when_and_as_often_as_asked() {
        let text = r#"{"kind":"slow_answer","session":"a","count":2,"after":1}"#;
        let mut faults = vec![Fault {
            id: 1,
            request: request(text),
            struck: 0,
        }];
        let mut rng = Rng::new(1, 1);
        let mut hits = |session| strike(&mut faults, (&mut rng, 1), Some(session), "1").len();
        let sequence = ["a", "b", "a", "b", "a", "a"].map(&mut hits);
        assert_eq!(sequence, [0, 0, 1, 0, 1, 0]);
        assert!(faults.is_empty());
    }

    #[test]
    fn unknown_kinds_and_fields_are_refused() {
        for bad in [
            r#"{"kind":"nope"}"#,
            r#"{"kind":"silent","seconds":3}"#,
            r#"{}"#,
        ] {
            assert!(serde_json::from_str::<Request>(bad).is_err(), "{bad}");
        }
    }
}
