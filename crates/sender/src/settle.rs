//! Finding out what became of a message that may have been heard.
//!
//! What is proof of what is decided by [`policy::settle`]; here the questions are asked: of our
//! own record of WhatsApp's reports, then of the worker. A worker that does not answer says
//! nothing at all, so it is asked again until it is back; meanwhile its lane says nothing,
//! because every further message would end the same way.

use std::sync::atomic::Ordering;
use std::time::Duration;

use models::message::MessageKey;
use models::outcome::UNANSWERED;
use models::phone::PhoneNumber;
use models::template::Template;
use policy::lane::Moment;
use policy::settle::{Facts, LookUp, Step, settle};
use store::ledger::{Cause, Conclusion, Outcome, Proof};
use store::receipts::{self, Evidence};
use store::{StoreError, lanes, roster};
use waha::messages::Lookup;
use waha::{CallClass, CallError};

use crate::flight::{Line, Said, Written, cause, not_sent};

/// How long a session that is not ready is waited for: a restart takes seconds, a person hours.
const SESSION_MAX: Duration = Duration::from_secs(60);
/// The pause between two questions: the first ones, and those of a message that stays unsettled.
const ASK_EVERY: Duration = Duration::from_secs(1);
const ASK_EVERY_MAX: Duration = Duration::from_secs(5);
/// Pauses before they begin to grow.
const QUICK_PAUSES: u32 = 10;

/// A message of which nobody knows what became.
pub(crate) struct Unsettled<'a> {
    /// Its sender.
    pub(crate) phone: &'a PhoneNumber,
    /// The session's name on the worker.
    pub(crate) session: &'a str,
    /// What may have been said.
    pub(crate) said: &'a Said,
    /// The longest after it left that the worker may still be at it.
    pub(crate) horizon: Duration,
    /// What to write when nothing tells.
    pub(crate) unknown: Cause,
}

/// Counts one look-up that waits for its worker, for as long as it is held.
struct Away<'a>(&'a Line);

impl<'a> Away<'a> {
    /// True with the first one: it tells people why the lane waits.
    fn enter(line: &'a Line) -> (Self, bool) {
        (Self(line), line.away.fetch_add(1, Ordering::AcqRel) == 0)
    }
}

impl Drop for Away<'_> {
    fn drop(&mut self) {
        self.0.away.fetch_sub(1, Ordering::AcqRel);
    }
}

/// How far the asking has come.
struct Asking<'a> {
    look_up: LookUp,
    /// When the worker was asked last.
    asked_at: Moment,
    /// The id that the worker knows the message by, where it is not ours.
    other_id: Option<String>,
    /// Since when every question has failed.
    failing_since: Option<Moment>,
    pauses: u32,
    /// Held while the worker does not answer; true for whoever noticed first.
    away: Option<(Away<'a>, bool)>,
}

impl Asking<'_> {
    const fn new(now: Moment) -> Self {
        Self {
            look_up: LookUp::NotAsked,
            asked_at: now,
            other_id: None,
            failing_since: None,
            pauses: 0,
            away: None,
        }
    }

    /// Pauses made before this one.
    const fn pauses(&mut self) -> u32 {
        self.pauses += 1;
        self.pauses - 1
    }

    /// The worker has answered.
    fn told(&mut self, told: Lookup, said: &Said) {
        (self.failing_since, self.away) = (None, None);
        self.look_up = match told {
            Lookup::Found { message_id, .. } => {
                self.other_id = Some(message_id).filter(|id| Some(id) != said.own_id.as_ref());
                LookUp::Found
            }
            Lookup::NotFound => LookUp::NotFound,
            Lookup::Unsupported => LookUp::Unsupported,
        };
    }
}

impl Line {
    /// Whether the worker is known not to answer.
    pub fn is_away(&self) -> bool {
        self.away.load(Ordering::Acquire) > 0
    }

    /// The longest that a worker may be at a request of which only `code` is known.
    pub(crate) fn horizon(&self, code: &str, media: bool) -> Duration {
        let settings = &self.context.settings;
        if UNANSWERED.contains(&code) {
            settings.silent_horizon(media)
        } else {
            settings.settle_quiet
        }
    }

    /// Settles a message that somebody before us claimed and never concluded. `ours` says that it
    /// was claimed in this tenure: then it was never sent, because all that we send we conclude.
    /// `None`: we leave the lane before that is known.
    pub async fn settle(
        &self,
        speaker: &roster::Speaker,
        in_flight: &roster::InFlight,
        ours: bool,
    ) -> Option<(Option<Written>, Outcome)> {
        let outcome = if ours {
            let detail = "the claim's answer was lost; nothing was sent".to_owned();
            not_sent(cause("claim_lost", detail), Duration::ZERO, false)
        } else {
            self.look_up_claimed(speaker, in_flight).await?
        };
        let conclusion = self.conclusion(&speaker.phone, in_flight.key, outcome.clone());
        let written = self
            .write(Conclusion {
                claimed_on: in_flight.worker,
                ..conclusion
            })
            .await;
        Some((written, outcome))
    }

    async fn look_up_claimed(
        &self,
        speaker: &roster::Speaker,
        in_flight: &roster::InFlight,
    ) -> Option<Outcome> {
        let detail = "the process that was sending it ended before it wrote down the answer";
        let unknown = cause("owner_died", detail.to_owned());
        let Some(found) = self.found(in_flight.key).await? else {
            return Some(Outcome::Unknown(unknown));
        };
        if in_flight.worker != self.tenure.worker {
            return Some(match found.ack {
                Some(ack) => proved(ack),
                None => Outcome::Unknown(unknown),
            });
        }
        let text = Template::parse(&found.template, true).ok();
        let text = text.and_then(|template| template.render(&found.own, &found.shared).ok());
        let Some(text) = text else {
            return Some(Outcome::Unknown(unknown));
        };
        let said = Said {
            recipient: found.recipient,
            text,
            own_id: found.message_id.filter(|_| self.own_ids()),
            attempts: found.attempts,
            began: self.context.clock.now() - in_flight.claimed_ago,
            // Its owner was silent before the lane was ours, so it left no later than now.
            left: self.context.moments.now(),
        };
        let unsettled = Unsettled {
            phone: &speaker.phone,
            session: &speaker.waha_name,
            said: &said,
            horizon: self.context.settings.silent_horizon(found.media),
            unknown,
        };
        self.look_up(unsettled).await
    }

    /// Reads what a message said, however long the database takes to come back.
    async fn found(&self, key: MessageKey) -> Option<Option<roster::Said>> {
        loop {
            let read = async {
                let client = self.context.store.client().await?;
                roster::said(&client, key).await
            };
            match read.await {
                Ok(said) => return Some(said),
                Err(error) if !error.is_unavailable() => return Some(None),
                Err(_) => self.pause(0).await?,
            }
        }
    }

    /// Asks everybody who may know, until somebody does or nobody will. `None`: we leave the lane
    /// before that is known.
    pub(crate) async fn look_up(&self, unsettled: Unsettled<'_>) -> Option<Outcome> {
        let mut asking = Asking::new(self.context.moments.now());
        loop {
            let evidence = self.evidence(&unsettled).await;
            let facts = self.facts(&unsettled, &asking, evidence).await;
            match settle(&facts) {
                Step::Ask => {}
                Step::AskAgain => self.pause(asking.pauses()).await?,
                told => return Some(self.outcome(told, unsettled, asking)),
            }
            asking.asked_at = self.context.moments.now();
            match self.ask(&unsettled).await {
                Ok(told) => asking.told(told, unsettled.said),
                Err(error) if self.is_over(&error, &mut asking) => {
                    asking.look_up = LookUp::GaveUp;
                }
                Err(error) => {
                    self.wait_for_worker(&error, &mut asking).await;
                    asking.look_up = LookUp::NotAsked;
                    self.pause(asking.pauses()).await?;
                }
            }
        }
    }

    /// All that is known by now.
    async fn facts(
        &self,
        unsettled: &Unsettled<'_>,
        asking: &Asking<'_>,
        evidence: Option<Evidence>,
    ) -> Facts {
        let said = unsettled.said;
        let since_left = asking.asked_at.saturating_sub(said.left);
        let own_id = said.own_id.is_some() && self.own_ids();
        let over = self.context.settings.settle_max + unsettled.horizon;
        // Asked when it decides and not before: it costs another question to the worker.
        let decides = asking.look_up == LookUp::NotFound && since_left >= unsettled.horizon;
        let undisturbed = match evidence {
            Some(evidence) if own_id && decides => self.ran_through(said, evidence).await,
            _ => None,
        };
        Facts {
            record: evidence.and_then(|evidence| evidence.ack),
            look_up: asking.look_up,
            own_id,
            since_left,
            horizon: unsettled.horizon,
            undisturbed: undisturbed.or((since_left > over).then_some(false)),
            attempts: said.attempts,
            on_unknown: self.context.settings.on_unknown.0,
        }
    }

    fn outcome(&self, told: Step, unsettled: Unsettled<'_>, asking: Asking<'_>) -> Outcome {
        match told {
            Step::Sent if asking.look_up == LookUp::Found => sent(asking.other_id, Proof::LookUp),
            Step::Sent => sent(None, Proof::Receipt),
            Step::Refused => Outcome::Failed(refused()),
            Step::NeverArrived => Outcome::Failed(never_arrived()),
            Step::SendAgain => Outcome::Again {
                cause: unsettled.unknown,
                retry_in: Duration::ZERO,
                number_rests: false,
                tried: true,
            },
            Step::Unknown | Step::Ask | Step::AskAgain => Outcome::Unknown(unsettled.unknown),
        }
    }

    /// What we know ourselves of a message; `None` while the database is away: the worker can be
    /// asked meanwhile, and the conclusion looks at the record once more.
    async fn evidence(&self, unsettled: &Unsettled<'_>) -> Option<Evidence> {
        let id = unsettled.said.own_id.as_deref();
        let read = async {
            let client = self.context.store.client().await?;
            receipts::evidence(&client, unsettled.phone, id, self.tenure.worker).await
        };
        read.await.ok()
    }

    /// Whether the worker's process and the session have run without a break since before the
    /// message was claimed; `None` when the worker does not tell.
    async fn ran_through(&self, said: &Said, evidence: Evidence) -> Option<bool> {
        let by_clock = (self.context.clock.now() - said.began).unsigned_abs();
        // The wall clock may have stepped back meanwhile.
        let since = by_clock.max(self.context.moments.now().saturating_sub(said.left));
        if evidence.working_for.is_none_or(|worked| worked < since) {
            return Some(false);
        }
        let status = self.waha.status().await.ok()?;
        Some(status.uptime >= since)
    }

    /// Asks the worker whether it said the message. By its id, and where that is not known by its
    /// text: a worker may have ignored the id that we chose.
    async fn ask(&self, unsettled: &Unsettled<'_>) -> Result<Lookup, CallError> {
        let (session, said) = (unsettled.session, unsettled.said);
        if let Some(id) = &said.own_id {
            match self.waha.get_message(session, &said.recipient, id).await? {
                Lookup::NotFound => {}
                told => return Ok(told),
            }
        }
        // WAHA's times are whole seconds.
        let since = said.began - time::Duration::seconds(1);
        self.waha
            .find_sent(session, &said.recipient, &said.text, since)
            .await
    }

    /// Whether a look-up that failed like this has been tried for long enough, in a row.
    fn is_over(&self, error: &CallError, asking: &mut Asking<'_>) -> bool {
        let now = self.context.moments.now();
        let tried = now.saturating_sub(*asking.failing_since.get_or_insert(now));
        match error.class() {
            CallClass::Down | CallClass::Misconfigured | CallClass::Faulty => {
                tried > self.context.settings.settle_max
            }
            CallClass::Session | CallClass::Status => tried > SESSION_MAX,
            CallClass::Refused => true,
        }
    }

    /// While a worker does not answer its lane says nothing; whoever notices first says why.
    async fn wait_for_worker<'a>(&'a self, error: &CallError, asking: &mut Asking<'a>) {
        if !is_away(error) {
            asking.away = None;
            return;
        }
        let (_, leads) = asking.away.get_or_insert_with(|| Away::enter(self));
        if *leads {
            self.tell(error).await;
        }
    }

    /// Notes where people look for reasons that the lane waits for its worker.
    async fn tell(&self, error: &CallError) {
        let reason = format!("the worker does not answer: {error}").replace('\0', "");
        let note = async {
            let client = self.context.store.client().await?;
            lanes::rest(
                &client,
                self.context.replica,
                self.tenure,
                2 * ASK_EVERY,
                &reason,
            )
            .await
        };
        if let Err::<(), StoreError>(error) = note.await {
            tracing::debug!("a note was not written: {error}");
        }
    }

    /// Waits before the next question; `None` when we are to leave the lane.
    async fn pause(&self, pauses: u32) -> Option<()> {
        let grown = ASK_EVERY * (pauses / QUICK_PAUSES + 1);
        tokio::select! {
            () = self.leaving.requested() => None,
            () = self.context.clock.sleep(grown.min(ASK_EVERY_MAX)) => Some(()),
        }
    }
}

fn sent(message_id: Option<String>, proof: Proof) -> Outcome {
    Outcome::Sent { message_id, proof }
}

/// What a report of WhatsApp alone proves.
fn proved(ack: i16) -> Outcome {
    match ack {
        ..0 => Outcome::Failed(refused()),
        0.. => sent(None, Proof::Receipt),
    }
}

fn refused() -> Cause {
    let detail = "WhatsApp took the message and refused it".to_owned();
    cause("whatsapp_refused", detail)
}

fn never_arrived() -> Cause {
    let detail = "the worker answered with errors again and again, and never said it".to_owned();
    cause("never_arrived", detail)
}

fn is_away(error: &CallError) -> bool {
    matches!(
        error.class(),
        CallClass::Down | CallClass::Misconfigured | CallClass::Faulty
    )
}
