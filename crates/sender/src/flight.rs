//! One message: claimed, said, and what became of it written down.
//!
//! No transaction is open and no lock is held while the worker is spoken to.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use chassis::Shutdown;
use models::ids::TraceId;
use models::media::Media;
use models::message::MessageKey;
use models::outcome::{Blame, Refusal, SendOutcome};
use models::phone::PhoneNumber;
use models::template::{Template, Variables};
use policy::lane::Moment;
use policy::outcome::Verdict;
use store::lanes::Tenure;
use store::ledger::{Cause, Claim, Concluded, Conclusion, Outcome, Proof};
use time::OffsetDateTime;
use waha::Waha;
use waha::messages::{Letter, new_message_id};

use crate::context::Context;
use crate::settle::Unsettled;
use crate::writer::ClaimAnswer;

/// A lane's own end of the line.
pub struct Line {
    /// What all lanes share.
    pub context: Arc<Context>,
    /// Our right to the lane.
    pub tenure: Tenure,
    /// The worker.
    pub waha: Waha,
    /// Whether it lets us choose the ids of messages, until it ignores one: what it was when it
    /// was asked is not what it is after an update.
    pub own_ids: AtomicBool,
    /// Raised when we are to leave the lane.
    pub leaving: Shutdown,
    /// Look-ups that wait for the worker to come back; while there are any, nothing is said.
    pub away: AtomicUsize,
}

/// A message that may be said as far as the lane's rules go.
#[derive(Clone)]
pub struct Flight {
    /// Its sender.
    pub phone: PhoneNumber,
    /// Of the sender's session.
    pub generation: i32,
    /// The session's name on the worker.
    pub waha_name: String,
    /// Which message.
    pub key: MessageKey,
    /// What it says.
    pub template: Arc<Template>,
    /// The campaign's variables.
    pub shared: Arc<Variables>,
    /// A file to send with it.
    pub media: Option<Arc<Media>>,
    /// Of the request that made its campaign.
    pub trace_id: TraceId,
}

/// What came of trying to say a message.
pub enum Spoken {
    /// It was not claimed, so nothing left.
    NotClaimed {
        /// Whether the ledger refused the claim, rather than not answering.
        refused: bool,
    },
    /// Claimed, and either answered or given up on.
    Answered(Answered),
}

/// An answer and when it came.
pub struct Answered {
    /// When the request was answered or given up on; `None` when it never left.
    pub at: Option<Moment>,
    /// What it says, classified.
    pub outcome: SendOutcome,
    /// What was said, to whom and when.
    pub said: Said,
}

/// A message as it may have left.
pub struct Said {
    /// Who was to hear it.
    pub recipient: PhoneNumber,
    /// What it says.
    pub text: String,
    /// The WhatsApp id that we chose for it, where the worker lets us.
    pub own_id: Option<String>,
    /// Attempts so far, this one included.
    pub attempts: i16,
    /// When it may have left at the earliest, by the wall clock.
    pub began: OffsetDateTime,
    /// When it left at the latest.
    pub left: Moment,
}

impl Line {
    /// Claims a message and says it, not before a moment.
    pub async fn speak(&self, flight: &Flight, not_before: Moment) -> Spoken {
        let context = &self.context;
        let claim = Claim {
            tenure: self.tenure,
            phone: flight.phone.clone(),
            generation: flight.generation,
            key: flight.key,
            message_id: self.own_ids().then(|| self.new_message_id()),
        };
        let claimed = match context.writer.claim(claim).await {
            ClaimAnswer::Granted(claimed) => claimed,
            ClaimAnswer::Refused => return Spoken::NotClaimed { refused: true },
            ClaimAnswer::NotWritten => return Spoken::NotClaimed { refused: false },
        };
        if context.moments.now() < not_before {
            context.moments.sleep_until(Some(not_before)).await;
        }
        let _permit = context.sends.acquire().await;
        let mut said = Said {
            text: String::new(),
            own_id: claimed.message_id.filter(|_| self.own_ids()),
            attempts: claimed.attempt,
            began: context.clock.now(),
            left: context.moments.now(),
            recipient: claimed.recipient,
        };
        let (at, outcome) = match flight.template.render(&claimed.variables, &flight.shared) {
            // Between the claim and here this replica may have been suspended.
            _ if !context.lease.holds(context.moments.now()) => (None, stale()),
            Err(missing) => (None, ours("variable_missing", missing.to_string())),
            Ok(text) => {
                said.text = text;
                let outcome = self.send(flight, &said).await;
                (Some(context.moments.now()), outcome)
            }
        };
        Spoken::Answered(Answered { at, outcome, said })
    }

    /// Whether the worker lets us choose the ids of messages.
    pub(crate) fn own_ids(&self) -> bool {
        self.own_ids.load(Ordering::Acquire)
    }

    fn new_message_id(&self) -> String {
        let mut random = [0; 9];
        self.context.chance.fill(&mut random);
        new_message_id(random)
    }

    async fn send(&self, flight: &Flight, said: &Said) -> SendOutcome {
        let letter = Letter {
            session: &flight.waha_name,
            to: &said.recipient,
            id: said.own_id.as_deref(),
        };
        match &flight.media {
            Some(media) => self.waha.send_media(letter, media, &said.text).await,
            None => self.waha.send_text(letter, &said.text).await,
        }
    }

    /// Carries a verdict out: looks up what may have been heard, and writes down what it is.
    /// `None`: we leave the lane before that is known, and its next owner settles the message.
    pub async fn conclude(
        &self,
        flight: &Flight,
        answered: &Answered,
        verdict: Verdict,
    ) -> Option<(Option<Written>, Outcome)> {
        let said = &answered.said;
        let outcome = match verdict {
            Verdict::Sent { message_id } => Outcome::Sent {
                message_id: self.other_id(message_id, said),
                proof: Proof::Answer,
            },
            Verdict::Failed { code, detail } => Outcome::Failed(cause(code, detail)),
            Verdict::NumberRests { rest, code, detail } => {
                not_sent(cause(code, detail), rest, true)
            }
            Verdict::LaneRests { rest, code, detail } => not_sent(cause(code, detail), rest, false),
            Verdict::LookUp { code, detail } => {
                let horizon = self.horizon(code, flight.media.is_some());
                let unsettled = Unsettled {
                    phone: &flight.phone,
                    session: &flight.waha_name,
                    said,
                    horizon,
                    unknown: cause(code, detail),
                };
                self.look_up(unsettled).await?
            }
        };
        tracing::debug!(
            campaign.id = %flight.key.campaign, ordinal = flight.key.ordinal,
            trace.id = %flight.trace_id, sender = %flight.phone.masked(),
            to = %said.recipient.masked(), status = outcome.status().name(),
            "a message was said"
        );
        let conclusion = self.conclusion(&flight.phone, flight.key, outcome.clone());
        Some((self.write(conclusion).await, outcome))
    }

    /// The id that the worker gave a message, where it is another than ours. From then on its word
    /// that it does not know an id of ours proves nothing.
    fn other_id(&self, told: Option<String>, said: &Said) -> Option<String> {
        let other = told.filter(|told| Some(told) != said.own_id.as_ref());
        if other.is_some() && said.own_id.is_some() && self.own_ids.swap(false, Ordering::AcqRel) {
            metrics::counter!("sender_ids_ignored_total").increment(1);
            tracing::warn!(worker.id = %self.tenure.worker,
                "a worker that should let us choose message ids gave one of its own");
        }
        other
    }

    /// What is to be written of a message that was claimed on this lane.
    pub(crate) fn conclusion(
        &self,
        phone: &PhoneNumber,
        key: MessageKey,
        outcome: Outcome,
    ) -> Conclusion {
        Conclusion {
            tenure: self.tenure,
            phone: phone.clone(),
            key,
            claimed_on: self.tenure.worker,
            outcome,
        }
    }

    /// Writes down what became of a message, and puts its number to rest when WhatsApp has fallen
    /// silent about it.
    pub(crate) async fn write(&self, conclusion: Conclusion) -> Option<Written> {
        let status = conclusion.outcome.status().name();
        metrics::counter!("sender_messages_total", "outcome" => status).increment(1);
        let (phone, sent) = (
            conclusion.phone.clone(),
            matches!(conclusion.outcome, Outcome::Sent { .. }),
        );
        let concluded = self.context.writer.conclude(conclusion).await?;
        let rested = sent && self.rest_if_silent(&phone, &concluded).await;
        Some(Written { concluded, rested })
    }
}

/// A conclusion that was written, and whether it put the number to rest.
#[derive(Debug, Clone, Copy)]
pub struct Written {
    /// What it came to.
    pub concluded: Concluded,
    /// The number rests, so that what is known of it here is old.
    pub rested: bool,
}

/// What was provably not sent, through no fault of the recipient.
pub(crate) const fn not_sent(cause: Cause, rest: Duration, number_rests: bool) -> Outcome {
    Outcome::Again {
        cause,
        retry_in: rest,
        number_rests,
        tried: false,
    }
}

/// PostgreSQL's text holds every character but NUL, and answers come from outside.
pub(crate) fn cause(code: &str, detail: String) -> Cause {
    Cause {
        code: code.to_owned(),
        detail: detail.replace('\0', ""),
    }
}

fn ours(code: &'static str, detail: String) -> SendOutcome {
    SendOutcome::Refused(Refusal {
        blame: Blame::Ours,
        code,
        detail,
    })
}

fn stale() -> SendOutcome {
    let detail = "this replica's heartbeat was late, so it must not speak".to_owned();
    SendOutcome::Refused(Refusal {
        blame: Blame::Worker,
        code: "heartbeat_late",
        detail,
    })
}
