//! One message: claimed, said, and what became of it written down.
//!
//! No transaction is open and no lock is held while the worker is spoken to.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

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
use store::ledger::{Cause, Claim, Concluded, Conclusion, Outcome};
use time::OffsetDateTime;
use waha::Waha;
use waha::messages::Letter;

use crate::context::Context;
use crate::writer::ClaimAnswer;

/// A lane's own end of the line.
pub struct Line {
    /// What all lanes share.
    pub context: Arc<Context>,
    /// Our right to the lane.
    pub tenure: Tenure,
    /// The worker.
    pub waha: Waha,
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
    /// When it began, by the wall clock.
    pub began: OffsetDateTime,
    /// What it says, classified.
    pub outcome: SendOutcome,
    /// Who was to hear it.
    pub recipient: PhoneNumber,
    /// What was said.
    pub text: String,
}

impl Line {
    /// Claims a message and says it.
    pub async fn speak(&self, flight: &Flight) -> Spoken {
        let context = &self.context;
        let claim = Claim {
            tenure: self.tenure,
            phone: flight.phone.clone(),
            generation: flight.generation,
            key: flight.key,
        };
        let claimed = match context.writer.claim(claim).await {
            ClaimAnswer::Granted(claimed) => claimed,
            ClaimAnswer::Refused => return Spoken::NotClaimed { refused: true },
            ClaimAnswer::NotWritten => return Spoken::NotClaimed { refused: false },
        };
        let _permit = context.sends.acquire().await;
        let began = context.clock.now();
        let recipient = claimed.recipient;
        let (at, text, outcome) = match flight.template.render(&claimed.variables, &flight.shared) {
            // Between the claim and here this replica may have been suspended.
            _ if !context.lease.holds(context.moments.now()) => (None, String::new(), stale()),
            Err(missing) => (
                None,
                String::new(),
                ours("variable_missing", missing.to_string()),
            ),
            Ok(text) => {
                let outcome = self.send(flight, &recipient, &text).await;
                (Some(context.moments.now()), text, outcome)
            }
        };
        Spoken::Answered(Answered {
            at,
            began,
            outcome,
            recipient,
            text,
        })
    }

    async fn send(&self, flight: &Flight, to: &PhoneNumber, text: &str) -> SendOutcome {
        let letter = Letter {
            session: &flight.waha_name,
            to,
            id: None,
        };
        match &flight.media {
            Some(media) => self.waha.send_media(letter, media, text).await,
            None => self.waha.send_text(letter, text).await,
        }
    }

    /// Carries a verdict out: looks up what may have been heard, and writes down what it is.
    /// `None`: we leave the lane before that is known, and its next owner settles the message.
    pub async fn conclude(
        &self,
        flight: &Flight,
        answered: &Answered,
        verdict: Verdict,
    ) -> Option<(Option<Concluded>, Outcome)> {
        let outcome = match verdict {
            Verdict::Sent { message_id } => Outcome::Sent { message_id },
            Verdict::Failed { code, detail } => Outcome::Failed(cause(code, detail)),
            Verdict::NumberRests { rest, code, detail } => Outcome::Again {
                cause: cause(code, detail),
                retry_in: rest,
                number_rests: true,
            },
            Verdict::LaneRests { rest, code, detail } => Outcome::Again {
                cause: cause(code, detail),
                retry_in: rest,
                number_rests: false,
            },
            Verdict::LookUp { code, detail } => {
                let unknown = cause(code, detail);
                let said = (&answered.recipient, answered.text.as_str(), answered.began);
                self.look_up(&flight.waha_name, said, unknown).await?
            }
        };
        tracing::debug!(
            campaign.id = %flight.key.campaign, ordinal = flight.key.ordinal,
            trace.id = %flight.trace_id, sender = %flight.phone.masked(),
            to = %answered.recipient.masked(), status = outcome.status().name(),
            "a message was said"
        );
        let concluded = self
            .write(flight.phone.clone(), flight.key, outcome.clone())
            .await;
        Some((concluded, outcome))
    }

    pub(crate) async fn write(
        &self,
        phone: PhoneNumber,
        key: MessageKey,
        outcome: Outcome,
    ) -> Option<Concluded> {
        metrics::counter!("sender_messages_total", "outcome" => outcome.status().name())
            .increment(1);
        let conclusion = Conclusion {
            tenure: self.tenure,
            phone,
            key,
            outcome,
        };
        self.context.writer.conclude(conclusion).await
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
