//! Single messages on the wire.

use models::phone::PhoneNumber;
use serde::Serialize;
use store::story::{Step, Story};
use time::OffsetDateTime;
use time::serde::rfc3339;
use utoipa::ToSchema;
use uuid::Uuid;

use super::campaigns::{CampaignState, MessageState};

/// A message and how it came to be what it is.
#[derive(Debug, Serialize, ToSchema)]
pub struct StoryView {
    /// Its campaign.
    pub campaign_id: Uuid,
    /// Who was to hear it.
    pub recipient: String,
    /// Its place in the campaign, from 0.
    pub ordinal: i32,
    /// Where it stands.
    pub status: MessageState,
    /// Attempts that count.
    pub attempts: i16,
    /// The WhatsApp id that it carries.
    #[schema(required, nullable)]
    pub waha_message_id: Option<String>,
    /// WhatsApp's highest report: -1 error, 0 made, 1 server, 2 device, 3 read, 4 played.
    #[schema(required, nullable)]
    pub ack: Option<i16>,
    /// When that was.
    #[serde(with = "rfc3339::option")]
    #[schema(required, nullable)]
    pub ack_at: Option<OffsetDateTime>,
    /// What went wrong, as a word.
    #[schema(required, nullable)]
    pub error_code: Option<String>,
    /// What went wrong, for people.
    #[schema(required, nullable)]
    pub error: Option<String>,
    /// Its transitions, oldest first.
    pub transitions: Vec<TransitionView>,
}

/// One transition of a message.
#[derive(Debug, Serialize, ToSchema)]
pub struct TransitionView {
    /// When.
    #[serde(with = "rfc3339")]
    pub at: OffsetDateTime,
    /// Into which status.
    pub status: MessageState,
    /// The worker that it was handed to.
    #[schema(required, nullable)]
    pub worker_id: Option<Uuid>,
    /// That worker's name, while it is registered.
    #[schema(required, nullable)]
    pub worker: Option<String>,
    /// The process that moved it.
    #[schema(required, nullable)]
    pub replica: Option<Uuid>,
    /// The lane's epoch that the process held.
    #[schema(required, nullable)]
    pub epoch: Option<i64>,
    /// The class of what was answered or reported; null when nothing was yet.
    #[schema(required, nullable, example = "accepted")]
    pub answer: Option<String>,
}

impl From<Step> for TransitionView {
    fn from(step: Step) -> Self {
        Self {
            at: step.at,
            status: step.status.into(),
            worker_id: step.worker,
            worker: step.worker_name,
            replica: step.replica,
            epoch: step.epoch,
            answer: step.answer,
        }
    }
}

impl StoryView {
    /// The view of a story.
    pub fn new(recipient: &PhoneNumber, story: Story) -> Self {
        let (ack, ack_at) = story.ack.unzip();
        let (error_code, error) = story.error.unzip();
        Self {
            campaign_id: story.key.campaign.uuid(),
            recipient: recipient.to_string(),
            ordinal: story.key.ordinal,
            status: story.status.into(),
            attempts: story.attempts,
            waha_message_id: story.message_id,
            ack,
            ack_at,
            error_code,
            error,
            transitions: story.steps.into_iter().map(TransitionView::from).collect(),
        }
    }
}

/// What came of settling UNKNOWN messages.
#[derive(Debug, Serialize, ToSchema)]
pub struct SettledView {
    /// The campaign.
    pub campaign_id: Uuid,
    /// Messages that were settled by this call.
    pub settled: u64,
    /// What the campaign is doing now.
    pub status: CampaignState,
    /// Messages that are still UNKNOWN.
    pub unknown_messages: i64,
}
