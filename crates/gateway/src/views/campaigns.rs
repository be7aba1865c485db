//! Campaigns and their messages on the wire.

use models::campaign::Counts;
use models::template::{Template, Variables};
use policy::waiting::Waiting;
use serde::Serialize;
use store::campaigns::{Campaign, Message};
use time::OffsetDateTime;
use time::serde::rfc3339;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::accept::LeftOut;

macro_rules! status {
    (
        $(#[doc = $doc:literal])+
        $name:ident of $model:path { $($variant:ident = $text:literal),+ $(,)? }
    ) => {
        $(#[doc = $doc])+
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
        pub enum $name {
            $(
                #[doc = $text]
                #[serde(rename = $text)]
                $variant,
            )+
        }

        impl utoipa::PartialSchema for $name {
            fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::Schema> {
                crate::views::schema::one_of(concat!($($doc),+).trim(), &[$($text),+])
            }
        }

        impl utoipa::ToSchema for $name {}

        impl From<$model> for $name {
            fn from(status: $model) -> Self {
                match status { $(<$model>::$variant => Self::$variant,)+ }
            }
        }
    };
}
pub(crate) use status;

status! {
    /// What a campaign is doing.
    CampaignState of models::campaign::CampaignStatus {
        Pending = "PENDING", Scheduled = "SCHEDULED", InProgress = "IN_PROGRESS",
        Paused = "PAUSED", Completed = "COMPLETED",
        CompletedWithErrors = "COMPLETED_WITH_ERRORS", Cancelled = "CANCELLED",
    }
}

status! {
    /// What became of one recipient's message. UNKNOWN: it may have been heard; no machine sends
    /// it again.
    MessageState of models::message::MessageStatus {
        Pending = "PENDING", Sending = "SENDING", Sent = "SENT", Delivered = "DELIVERED",
        Read = "READ", Failed = "FAILED", Cancelled = "CANCELLED", Suppressed = "SUPPRESSED",
        Unknown = "UNKNOWN",
    }
}

/// A campaign that was accepted.
#[derive(Debug, Serialize, ToSchema)]
pub struct AcceptedView {
    /// Its id; whoever knows it may ask for the campaign's status.
    pub id: Uuid,
    /// What it is doing.
    pub status: CampaignState,
    /// The number it is sent from.
    pub sender_number: String,
    /// How many recipients it has.
    pub total_messages: i64,
    /// Recipients that were named more than once.
    pub duplicates_removed: i32,
    /// Recipients that were left out because they are bad, at most 1,000 of them.
    pub skipped: Vec<SkippedView>,
    /// How many were left out, listed or not.
    pub skipped_count: usize,
    /// When it was accepted.
    #[serde(with = "rfc3339")]
    pub created_at: OffsetDateTime,
    /// When it will probably be done, if all goes well.
    #[serde(with = "rfc3339::option")]
    #[schema(required, nullable)]
    pub estimated_finish_at: Option<OffsetDateTime>,
    /// Where to ask how it is doing.
    #[schema(example = "/api/status/019e0b3c-9d55-7c1e-8d1b-0a6f5d1c2b3a")]
    pub status_url: String,
}

/// A recipient that was left out.
#[derive(Debug, Serialize, ToSchema)]
pub struct SkippedView {
    /// Its place in the request, from 0.
    pub index: usize,
    /// What is wrong with it.
    pub detail: String,
}

impl AcceptedView {
    /// What to answer to a submission.
    pub fn new(campaign: &Campaign, left_out: LeftOut, finish_at: Option<OffsetDateTime>) -> Self {
        let skipped = left_out.listed.into_iter().map(|skipped| SkippedView {
            index: skipped.index,
            detail: skipped.detail,
        });
        let id = campaign.id.uuid();
        Self {
            id,
            status: CampaignState::Pending,
            sender_number: campaign.sender.to_string(),
            total_messages: campaign.counts.total,
            duplicates_removed: campaign.duplicates_removed,
            skipped: skipped.collect(),
            skipped_count: left_out.count,
            created_at: campaign.created_at,
            estimated_finish_at: finish_at,
            status_url: format!("/api/status/{id}"),
        }
    }
}

/// Where a campaign stands. At every moment the total is what is pending, sending, sent, failed,
/// cancelled, suppressed and unknown together; delivered and read are parts of sent.
#[derive(Debug, Serialize, ToSchema)]
pub struct CampaignView {
    /// Its id.
    pub id: Uuid,
    /// The number it is sent from.
    pub sender_number: String,
    /// What it is doing.
    pub status: CampaignState,
    /// What it waits for, or why it was cancelled; null when it waits for nothing.
    #[schema(required, nullable)]
    pub reason: Option<String>,
    /// When that is tried again, if it depends on time.
    #[serde(with = "rfc3339::option")]
    #[schema(required, nullable)]
    pub next_attempt_at: Option<OffsetDateTime>,
    /// All messages.
    pub total_messages: i64,
    /// Not begun, or waiting for another attempt.
    pub pending_messages: i64,
    /// On their way to a worker right now.
    pub sending_messages: i64,
    /// Accepted by a worker; those delivered and read included.
    pub sent_messages: i64,
    /// Of these, shown on the recipient's phone; those read included.
    pub delivered_messages: i64,
    /// Of these, read.
    pub read_messages: i64,
    /// Refused for good.
    pub failed_messages: i64,
    /// Never sent, because the campaign was cancelled.
    pub cancelled_messages: i64,
    /// Never sent, because the recipient does not want messages.
    pub suppressed_messages: i64,
    /// May or may not have been heard.
    pub unknown_messages: i64,
    /// Share of messages that need nothing more, 0 to 100.
    #[schema(minimum = 0, maximum = 100)]
    pub progress: f64,
    /// Recipients that were named more than once.
    pub duplicates_removed: i32,
    /// When it was accepted.
    #[serde(with = "rfc3339")]
    pub created_at: OffsetDateTime,
    /// When its first message was begun.
    #[serde(with = "rfc3339::option")]
    #[schema(required, nullable)]
    pub started_at: Option<OffsetDateTime>,
    /// When nothing was left to do.
    #[serde(with = "rfc3339::option")]
    #[schema(required, nullable)]
    pub completed_at: Option<OffsetDateTime>,
    /// When it will probably be done, if all goes well; null when it is.
    #[serde(with = "rfc3339::option")]
    #[schema(required, nullable)]
    pub estimated_finish_at: Option<OffsetDateTime>,
    /// When its messages were deleted, because they were past retention; its totals stay.
    #[serde(with = "rfc3339::option")]
    #[schema(required, nullable)]
    pub messages_purged_at: Option<OffsetDateTime>,
    /// Its messages, with `details=true`; none once they were deleted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub messages: Option<Vec<MessageView>>,
}

/// What is known of a campaign beside its row.
#[derive(Debug, Clone, Default)]
pub struct Outlook {
    /// What it waits for.
    pub waiting: Option<Waiting>,
    /// When it may be done.
    pub finish_at: Option<OffsetDateTime>,
}

impl CampaignView {
    /// The view of a row and its outlook.
    pub fn new(campaign: Campaign, outlook: Outlook) -> Self {
        let Counts {
            total,
            sending,
            delivered,
            read,
            failed,
            cancelled,
            suppressed,
            unknown,
            ..
        } = campaign.counts;
        let (reason, next_attempt_at) = outlook.waiting.map_or((None, None), |waiting| {
            (Some(waiting.reason), waiting.next_attempt_at)
        });
        Self {
            id: campaign.id.uuid(),
            sender_number: campaign.sender.to_string(),
            status: campaign.status.into(),
            reason,
            next_attempt_at,
            total_messages: total,
            pending_messages: campaign.counts.pending(),
            sending_messages: sending,
            sent_messages: campaign.counts.accepted(),
            delivered_messages: delivered + read,
            read_messages: read,
            failed_messages: failed,
            cancelled_messages: cancelled,
            suppressed_messages: suppressed,
            unknown_messages: unknown,
            progress: campaign.counts.progress(),
            duplicates_removed: campaign.duplicates_removed,
            created_at: campaign.created_at,
            started_at: campaign.started_at,
            completed_at: campaign.completed_at,
            estimated_finish_at: outlook.finish_at,
            messages_purged_at: campaign.messages_purged_at,
            messages: None,
        }
    }
}

/// One recipient's message.
#[derive(Debug, Serialize, ToSchema)]
pub struct MessageView {
    /// Who hears it.
    pub recipient: String,
    /// Where it stands.
    pub status: MessageState,
    /// What the recipient reads; null if it can no longer be said.
    #[schema(required, nullable)]
    pub text: Option<String>,
    /// What went wrong, for people.
    #[schema(required, nullable)]
    pub error: Option<String>,
    /// What went wrong, as a word.
    #[schema(required, nullable)]
    pub error_code: Option<String>,
    /// How often it was begun.
    pub attempts: i16,
    /// WhatsApp's id for it.
    #[schema(required, nullable)]
    pub waha_message_id: Option<String>,
    /// When a worker accepted it.
    #[serde(with = "rfc3339::option")]
    #[schema(required, nullable)]
    pub sent_at: Option<OffsetDateTime>,
    /// When it was on the recipient's phone.
    #[serde(with = "rfc3339::option")]
    #[schema(required, nullable)]
    pub delivered_at: Option<OffsetDateTime>,
    /// When it was read.
    #[serde(with = "rfc3339::option")]
    #[schema(required, nullable)]
    pub read_at: Option<OffsetDateTime>,
}

impl MessageView {
    /// The view of a row, with the text that its campaign gives it.
    pub fn new(message: Message, template: Option<&Template>, shared: &Variables) -> Self {
        let text = template.and_then(|template| template.render(&message.variables, shared).ok());
        Self {
            recipient: message.recipient.to_string(),
            status: message.status.into(),
            text,
            error: message.error,
            error_code: message.error_code,
            attempts: message.attempts,
            waha_message_id: message.waha_message_id,
            sent_at: message.sent_at,
            delivered_at: message.delivered_at,
            read_at: message.read_at,
        }
    }
}

/// The recipients of a campaign that could not be reached.
#[derive(Debug, Serialize, ToSchema)]
pub struct FailedView {
    /// The campaign.
    pub campaign_id: Uuid,
    /// How many there are, on this page or not.
    pub count: i64,
    /// When the campaign's messages were deleted, because they were past retention: nobody can be
    /// named then.
    #[serde(with = "rfc3339::option", skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub messages_purged_at: Option<OffsetDateTime>,
    /// Those of this page.
    pub recipients: Vec<FailedRecipient>,
}

/// A recipient that could not be reached.
#[derive(Debug, Serialize, ToSchema)]
pub struct FailedRecipient {
    /// Who.
    pub recipient: String,
    /// Why, for people.
    #[schema(required, nullable)]
    pub error: Option<String>,
    /// Why, as a word.
    #[schema(required, nullable)]
    pub error_code: Option<String>,
}

impl From<Message> for FailedRecipient {
    fn from(message: Message) -> Self {
        Self {
            recipient: message.recipient.to_string(),
            error: message.error,
            error_code: message.error_code,
        }
    }
}
