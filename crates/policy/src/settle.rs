//! What became of a message whose answer was lost, or whose sender died before writing it down.
//!
//! Nobody must hear a message twice because we crashed or a server stammered. Proof is taken in
//! this order: WhatsApp's report on it, a find at the worker, its absence there. Absence proves
//! something only of an id that we chose, only when the worker cannot still be at the request, and
//! only when it has not been disturbed meanwhile, because what it forgot it does not know either.
//! Then the message is said again as the very same one.

use std::time::Duration;

/// What to do with what nobody can tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnUnknown {
    /// UNKNOWN, until a person or a late report settles it.
    Hold,
    /// Say it again, at the risk that somebody hears it twice.
    Resend,
}

impl OnUnknown {
    /// The word in settings.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Hold => "hold",
            Self::Resend => "resend",
        }
    }

    /// The choice of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Hold, Self::Resend]
            .into_iter()
            .find(|choice| choice.name() == name)
    }
}

/// What the worker told of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LookUp {
    /// It was not asked yet, or did not answer.
    NotAsked,
    /// It said the message.
    Found,
    /// It keeps its chats, and the message is not among them.
    NotFound,
    /// It keeps no chats, or is not the one that was to say it.
    Unsupported,
    /// It was asked for as long as makes sense.
    GaveUp,
}

/// How often a message leaves at most when it provably never arrives, and when `resend` says so.
pub const ATTEMPTS_MAX: i16 = 5;

/// All that is known of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Facts {
    /// WhatsApp's highest report on its id, from our own record.
    pub record: Option<i16>,
    /// What the worker told last.
    pub look_up: LookUp,
    /// Whether it carries an id that we chose.
    pub own_id: bool,
    /// From when it left at the latest to when the worker was asked. Not to now: an answer that
    /// took its time, or was read late, is as old as its question.
    pub since_left: Duration,
    /// The longest that the worker may be at it.
    pub horizon: Duration,
    /// Whether the worker's process and the number's session have run without a break since
    /// before it left. A worker keeps its chats only after WhatsApp was told (NOWEB writes its
    /// store on its own event), so one that was killed or lost its link in between forgot. `None`
    /// where that is not known yet.
    pub undisturbed: Option<bool>,
    /// Attempts so far, the one in question included.
    pub attempts: i16,
    /// The operator's choice.
    pub on_unknown: OnUnknown,
}

/// What to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// It was said: SENT.
    Sent,
    /// WhatsApp refused it: FAILED.
    Refused,
    /// Ask the worker.
    Ask,
    /// Ask the worker once more, after a pause.
    AskAgain,
    /// PENDING again, by the same id where it has one.
    SendAgain,
    /// It provably never arrived, however often it was tried: FAILED.
    NeverArrived,
    /// Nobody can tell: UNKNOWN.
    Unknown,
}

/// Decides what to do about a message of which nobody knows what became.
pub fn settle(facts: &Facts) -> Step {
    match facts.record {
        Some(0..) => return Step::Sent,
        Some(..0) => return Step::Refused,
        None => {}
    }
    match facts.look_up {
        LookUp::NotAsked => Step::Ask,
        LookUp::Found => Step::Sent,
        LookUp::NotFound if facts.since_left < facts.horizon => Step::AskAgain,
        LookUp::NotFound if facts.own_id && facts.undisturbed.is_none() => Step::AskAgain,
        LookUp::NotFound if facts.own_id && facts.undisturbed == Some(true) => {
            if facts.attempts < ATTEMPTS_MAX {
                Step::SendAgain
            } else {
                Step::NeverArrived
            }
        }
        LookUp::NotFound | LookUp::Unsupported | LookUp::GaveUp => match facts.on_unknown {
            OnUnknown::Hold => Step::Unknown,
            // Still a chance that it is reported on, and no use in saying it beside itself.
            OnUnknown::Resend if facts.since_left < facts.horizon => Step::AskAgain,
            OnUnknown::Resend if facts.attempts < ATTEMPTS_MAX => Step::SendAgain,
            OnUnknown::Resend => Step::Unknown,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LOOK_UPS: [LookUp; 5] = [
        LookUp::NotAsked,
        LookUp::Found,
        LookUp::NotFound,
        LookUp::Unsupported,
        LookUp::GaveUp,
    ];

    fn facts(record: Option<i16>, look_up: LookUp, own_id: bool, secs: u64) -> Facts {
        Facts {
            record,
            look_up,
            own_id,
            since_left: Duration::from_secs(secs),
            horizon: Duration::from_secs(130),
            undisturbed: Some(true),
            attempts: 1,
            on_unknown: OnUnknown::Hold,
        }
    }

    #[test]
    fn the_first_that_tells_decides() {
        for (record, look_up, own_id, secs, step) in [
            (None, LookUp::NotAsked, true, 0, Step::Ask),
            (Some(0), LookUp::NotAsked, true, 0, Step::Sent),
            (Some(3), LookUp::NotFound, true, 200, Step::Sent),
            (Some(-1), LookUp::Found, true, 0, Step::Refused),
            (None, LookUp::Found, false, 0, Step::Sent),
            (None, LookUp::NotFound, true, 129, Step::AskAgain),
            (None, LookUp::NotFound, true, 130, Step::SendAgain),
            (None, LookUp::NotFound, false, 129, Step::AskAgain),
            (None, LookUp::NotFound, false, 130, Step::Unknown),
            (None, LookUp::Unsupported, true, 900, Step::Unknown),
            (None, LookUp::GaveUp, true, 900, Step::Unknown),
        ] {
            let facts = facts(record, look_up, own_id, secs);
            assert_eq!(settle(&facts), step, "{facts:?}");
        }
    }

    #[test]
    fn the_absence_of_what_may_have_been_forgotten_proves_nothing() {
        let mut facts = facts(None, LookUp::NotFound, true, 500);
        facts.undisturbed = None;
        assert_eq!(settle(&facts), Step::AskAgain);
        facts.undisturbed = Some(false);
        assert_eq!(settle(&facts), Step::Unknown);
        facts.on_unknown = OnUnknown::Resend;
        assert_eq!(
            settle(&facts),
            Step::SendAgain,
            "the operator takes the risk"
        );
        facts.since_left = Duration::from_secs(129);
        facts.look_up = LookUp::Unsupported;
        assert_eq!(
            settle(&facts),
            Step::AskAgain,
            "but not while it is under way"
        );
    }

    #[test]
    fn what_never_arrives_is_not_tried_for_ever() {
        let mut facts = facts(None, LookUp::NotFound, true, 500);
        facts.attempts = ATTEMPTS_MAX;
        assert_eq!(settle(&facts), Step::NeverArrived);
        facts.look_up = LookUp::Unsupported;
        facts.on_unknown = OnUnknown::Resend;
        assert_eq!(settle(&facts), Step::Unknown);
    }

    #[test]
    fn the_names_of_choices_read_back() {
        for choice in [OnUnknown::Hold, OnUnknown::Resend] {
            assert_eq!(OnUnknown::from_name(choice.name()), Some(choice));
        }
        assert_eq!(OnUnknown::from_name("retry"), None);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]
        #[test]
        fn what_may_have_been_heard_leaves_again_only_by_proof_or_by_choice(
            record in proptest::option::of(-1_i16..=4),
            look_up in proptest::sample::select(&LOOK_UPS[..]),
            own_id: bool,
            (since, horizon) in (0_u64..300, 0_u64..300),
            attempts in 1_i16..8,
            (resend, undisturbed) in any::<(bool, Option<bool>)>(),
        ) {
            let on_unknown = if resend { OnUnknown::Resend } else { OnUnknown::Hold };
            let facts = Facts {
                record, look_up, own_id, attempts, on_unknown, undisturbed,
                since_left: Duration::from_secs(since),
                horizon: Duration::from_secs(horizon),
            };
            let step = settle(&facts);
            if step == Step::SendAgain {
                let absent = look_up == LookUp::NotFound && own_id
                    && undisturbed == Some(true);
                prop_assert!(record.is_none() && look_up != LookUp::Found);
                prop_assert!(attempts < ATTEMPTS_MAX && since >= horizon);
                prop_assert!(absent || resend, "{:?}", facts);
            }
            if step == Step::Unknown {
                prop_assert!(record.is_none() && look_up != LookUp::Found);
            }
            let asks = matches!(step, Step::Ask | Step::AskAgain);
            let waits = look_up == LookUp::NotFound
                || resend && matches!(look_up, LookUp::Unsupported | LookUp::GaveUp);
            let unsure = look_up == LookUp::NotFound && own_id && undisturbed.is_none();
            prop_assert_eq!(asks, record.is_none() && (look_up == LookUp::NotAsked
                || waits && since < horizon || unsure));
        }
    }
}
