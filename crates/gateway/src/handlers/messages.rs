//! Single messages: their stories, and the end of their uncertainty.

use actix_web::web::Data;
use store::story::story as read;
use store::unknown::{Settled, settle};

use super::campaigns::found;
use crate::auth::Admin;
use crate::extract::{CampaignPath, Json, MessagePath};
use crate::problem::{Kind, Problem, ProblemView};
use crate::reply::{self, Answer};
use crate::state::Gateway;
use crate::views::messages::{SettledView, StoryView};
use crate::views::requests::UnknownRequest;
use crate::views::schema::PhoneText;

mod request;

pub use request::Settlement;

/// The story of one message
///
/// Every transition that the ledger holds of it: when, on which worker, by which process, and what
/// was answered or reported. Of a message that was tried very often the middle is left out.
#[utoipa::path(get, path = "/api/campaigns/{campaign_id}/messages/{recipient}", tag = "Messaging",
    operation_id = "message_story",
    params(
        ("campaign_id" = Uuid, Path, description = "The campaign's id"),
        ("recipient" = PhoneText, Path, description = "Whose message")),
    responses(
        (status = 200, description = "What became of it, and how", body = StoryView),
        (status = 410, description = "Its messages are past retention", body = ProblemView,
            content_type = "application/problem+json")))]
pub async fn story(path: MessagePath, gateway: Data<Gateway>) -> Answer {
    let MessagePath {
        campaign,
        recipient,
    } = path;
    let db = gateway.store.client().await?;
    if let Some(at) = found(&db, campaign).await?.messages_purged_at {
        return Err(Problem::messages_purged(campaign, at));
    }
    match read(&db, campaign, &recipient).await? {
        Some(story) => Ok(reply::ok(StoryView::new(&recipient, story))),
        None => {
            let detail = format!("campaign {campaign} has no message to {recipient}");
            Err(Problem::new(Kind::MessageUnknown, detail))
        }
    }
}

/// Settle UNKNOWN messages
///
/// For a person who knows better: they were heard (`SENT`), they were not and shall not be
/// (`FAILED`), or they shall be said again (`RESEND`), at the risk that somebody hears one twice.
#[utoipa::path(post, path = "/api/campaigns/{campaign_id}/unknown", tag = "Messaging",
    operation_id = "settle_unknown",
    request_body = UnknownRequest,
    params(("campaign_id" = Uuid, Path, description = "The campaign's id")),
    responses(
        (status = 200, description = "How many were settled", body = SettledView),
        (status = 410, description = "Its messages are past retention", body = ProblemView,
            content_type = "application/problem+json")),
    security(("admin_key" = [])))]
pub async fn settle_unknown(
    _: Admin,
    id: CampaignPath,
    settlement: Json<Settlement>,
    gateway: Data<Gateway>,
) -> Answer {
    let Json(settlement) = settlement;
    let mut db = gateway.store.client().await?;
    let recipients = settlement.recipients.as_deref();
    let settled = match settle(&mut db, id.0, recipients, settlement.resolution).await? {
        Settled::Missing => return Err(Problem::campaign_unknown(id.0)),
        Settled::Purged(at) => return Err(Problem::messages_purged(id.0, at)),
        Settled::Messages(settled) => settled,
    };
    let campaign = found(&db, id.0).await?;
    Ok(reply::ok(SettledView {
        campaign_id: id.0.uuid(),
        settled,
        status: campaign.status.into(),
        unknown_messages: campaign.counts.unknown,
    }))
}
