//! What is asked of the ledger and what it answers: claims, conclusions, outcomes.

use std::time::Duration;

use models::campaign::CampaignStatus;
use models::ids::WorkerId;
use models::message::{MessageKey, MessageStatus};
use models::phone::PhoneNumber;
use models::template::Variables;

use crate::lanes::Tenure;

/// Asks for the right to send one message: PENDING to SENDING.
#[derive(Debug, Clone)]
pub struct Claim {
    /// The lane it is sent on.
    pub tenure: Tenure,
    /// Its sender, of whom no other message may be in flight.
    pub phone: PhoneNumber,
    /// Of the sender's session; a session placed elsewhere since then is refused.
    pub generation: i32,
    /// Which message.
    pub key: MessageKey,
    /// The WhatsApp id to give it, where its worker lets us choose. One that was given before is
    /// kept: the same message has the same id however often it is tried.
    pub message_id: Option<String>,
}

/// A message that we may send now, and nobody else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claimed {
    /// Who is to hear it.
    pub recipient: PhoneNumber,
    /// The recipient's own variables.
    pub variables: Variables,
    /// This attempt's number, from 1.
    pub attempt: i16,
    /// The WhatsApp id that it carries, if it was ever given one.
    pub message_id: Option<String>,
}

/// What became of a claimed message.
#[derive(Debug, Clone)]
pub struct Conclusion {
    /// The lane it was sent on.
    pub tenure: Tenure,
    /// Its sender.
    pub phone: PhoneNumber,
    /// Which message.
    pub key: MessageKey,
    /// The worker that it was claimed for: another one's, where a session moved since.
    pub claimed_on: WorkerId,
    /// Where it goes from SENDING.
    pub outcome: Outcome,
}

/// Where a message goes from SENDING.
#[derive(Debug, Clone)]
pub enum Outcome {
    /// A worker accepted it.
    Sent {
        /// WhatsApp's id, where it is another than the claim gave it.
        message_id: Option<String>,
        /// How we know.
        proof: Proof,
    },
    /// Refused for good.
    Failed(Cause),
    /// May have been heard.
    Unknown(Cause),
    /// To be tried again, through no fault of the recipient: PENDING.
    Again {
        /// Why.
        cause: Cause,
        /// Not before.
        retry_in: Duration,
        /// Whether the whole number rests until then.
        number_rests: bool,
        /// Whether it was tried, so that the attempt counts.
        tried: bool,
    },
}

/// How we know that a worker accepted a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Proof {
    /// It answered so.
    Answer,
    /// It knew the message when it was asked afterwards.
    LookUp,
    /// WhatsApp reported on the message.
    Receipt,
}

impl Proof {
    /// The answer class in the message's story.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Answer => "accepted",
            Self::LookUp => "looked_up",
            Self::Receipt => "receipt",
        }
    }
}

/// A stable word and a sentence.
#[derive(Debug, Clone)]
pub struct Cause {
    /// For tables and metrics.
    pub code: String,
    /// For people.
    pub detail: String,
}

/// A conclusion that was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Concluded {
    /// The campaign's status after it.
    pub campaign: CampaignStatus,
    /// The number's messages that workers accepted since its last ack.
    pub unacked: i32,
    /// Since the first of those was accepted.
    pub unacked_for: Option<Duration>,
    /// Whether an ack of the number ever came.
    pub ever_acked: bool,
    /// The number's rests in a row.
    pub rests: i32,
}

impl Outcome {
    /// The status a message has afterwards.
    pub const fn status(&self) -> MessageStatus {
        match self {
            Self::Sent { .. } => MessageStatus::Sent,
            Self::Failed(_) => MessageStatus::Failed,
            Self::Unknown(_) => MessageStatus::Unknown,
            Self::Again { .. } => MessageStatus::Pending,
        }
    }

    /// Why, where it is not SENT.
    pub const fn cause(&self) -> Option<&Cause> {
        match self {
            Self::Sent { .. } => None,
            Self::Failed(cause) | Self::Unknown(cause) | Self::Again { cause, .. } => Some(cause),
        }
    }

    pub(super) fn message_id(&self) -> Option<&str> {
        match self {
            Self::Sent { message_id, .. } => message_id.as_deref(),
            Self::Failed(_) | Self::Unknown(_) | Self::Again { .. } => None,
        }
    }

    /// The class of what was answered, for the message's story.
    pub(super) fn answer(&self) -> &str {
        match self {
            Self::Sent { proof, .. } => proof.name(),
            Self::Failed(cause) | Self::Unknown(cause) | Self::Again { cause, .. } => &cause.code,
        }
    }

    pub(super) const fn uncounted(&self) -> bool {
        matches!(self, Self::Again { tried: false, .. })
    }

    pub(super) const fn retry_secs(&self) -> Option<f64> {
        match self {
            Self::Again { retry_in, .. } => Some(retry_in.as_secs_f64()),
            Self::Sent { .. } | Self::Failed(_) | Self::Unknown(_) => None,
        }
    }

    pub(super) const fn number_rests(&self) -> bool {
        matches!(
            self,
            Self::Again {
                number_rests: true,
                ..
            }
        )
    }
}
