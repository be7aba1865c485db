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
use store::ledger::{Cause, Outcome, Proof};
use store::{StoreError, lanes, receipts, roster};
use waha::messages::Lookup;
use waha::{CallClass, CallError};

use crate::flight::{Line, Said, Written, cause, not_sent};

/// How long a session that is not ready is waited for: a restart takes seconds, a person hours.
const SESSION_MAX: Duration = Duration::from_secs(60);
/// The pause between two questions.
const ASK_EVERY: Duration = Duration::from_secs(1);

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

impl Line {
    /// Whether the worker is known not to answer.
    pub fn is_away(&self) -> bool {
        self.away.load(Ordering::Acquire) > 0
    }

    /// The longest that a worker may be at a request of which only `code` is known.
    pub(crate) fn horizon(&self, code: &str, media: bool) -> Duration {
        let settings = &self.context.settings;
        match UNANSWERED.contains(&code) {
            true if media => settings.media_timeout(),
            true => settings.send_timeout,
            false => settings.settle_quiet,
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
        let written = self
            .write(speaker.phone.clone(), in_flight.key, outcome.clone())
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
            own_id: found.message_id.filter(|_| self.own_ids),
            attempts: found.attempts,
            began: self.context.clock.now() - in_flight.claimed_ago,
            // Its owner was silent before the lane was ours, so it left no later than now.
            left: self.context.moments.now(),
        };
        let unsettled = Unsettled {
            phone: &speaker.phone,
            session: &speaker.waha_name,
            said: &said,
            horizon: self.context.settings.media_timeout(),
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
                Err(_) => self.pause().await?,
            }
        }
    }

    /// Asks everybody who may know, until somebody does or nobody will. `None`: we leave the lane
    /// before that is known.
    pub(crate) async fn look_up(&self, unsettled: Unsettled<'_>) -> Option<Outcome> {
        let (said, asked_at) = (unsettled.said, self.context.moments.now());
        let (mut look_up, mut away) = (LookUp::NotAsked, None);
        let mut found_id = None;
        loop {
            let facts = Facts {
                record: self.record(&unsettled).await,
                look_up,
                own_id: said.own_id.is_some(),
                since_left: self.context.moments.now().saturating_sub(said.left),
                horizon: unsettled.horizon,
                attempts: said.attempts,
                on_unknown: self.context.settings.on_unknown.0,
            };
            match settle(&facts) {
                Step::Sent if look_up == LookUp::Found => {
                    return Some(sent(found_id, Proof::LookUp));
                }
                Step::Sent => return Some(sent(None, Proof::Receipt)),
                Step::Refused => return Some(Outcome::Failed(refused())),
                Step::Unknown => return Some(Outcome::Unknown(unsettled.unknown)),
                Step::NeverArrived => return Some(Outcome::Failed(never_arrived())),
                Step::SendAgain => {
                    return Some(Outcome::Again {
                        cause: unsettled.unknown,
                        retry_in: Duration::ZERO,
                        number_rests: false,
                        tried: true,
                    });
                }
                Step::Ask => {}
                Step::AskAgain => self.pause().await?,
            }
            look_up = match self.ask(&unsettled).await {
                Ok(Lookup::Found { message_id, .. }) => {
                    found_id = Some(message_id).filter(|id| Some(id) != said.own_id.as_ref());
                    LookUp::Found
                }
                Ok(Lookup::NotFound) => LookUp::NotFound,
                Ok(Lookup::Unsupported) => LookUp::Unsupported,
                Err(error) if self.is_over(&error, asked_at) => LookUp::GaveUp,
                Err(error) => {
                    if is_away(&error) {
                        let (_, leads) = away.get_or_insert_with(|| Away::enter(self));
                        if *leads {
                            self.tell(&error).await;
                        }
                    } else {
                        away = None;
                    }
                    self.pause().await?;
                    LookUp::NotAsked
                }
            };
        }
    }

    /// Our own record of what WhatsApp reported of a message; nothing while the database is away,
    /// because the worker can be asked as well and the conclusion looks at the record once more.
    async fn record(&self, unsettled: &Unsettled<'_>) -> Option<i16> {
        let id = unsettled.said.own_id.as_deref()?;
        let read = async {
            let client = self.context.store.client().await?;
            receipts::ack(&client, unsettled.phone, id).await
        };
        read.await.unwrap_or_default()
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

    /// Whether a look-up that failed like this has been tried for long enough.
    fn is_over(&self, error: &CallError, asked_at: Moment) -> bool {
        let tried = self.context.moments.now().saturating_sub(asked_at);
        match error.class() {
            CallClass::Down | CallClass::Misconfigured | CallClass::Faulty => {
                tried > self.context.settings.settle_max
            }
            CallClass::Session | CallClass::Status => tried > SESSION_MAX,
            CallClass::Refused => true,
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
    async fn pause(&self) -> Option<()> {
        tokio::select! {
            () = self.leaving.requested() => None,
            () = self.context.clock.sleep(ASK_EVERY) => Some(()),
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
