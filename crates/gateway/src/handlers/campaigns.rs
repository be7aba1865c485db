//! Campaigns: submitted, looked at, cancelled.

use actix_web::HttpRequest;
use actix_web::web::Data;
use metrics::counter;
use models::campaign::CampaignStatus;
use models::ids::CampaignId;
use models::message::MessageStatus;
use models::phone::PhoneNumber;
use models::template::Template;
use store::campaigns::{
    self as ledger, Acceptance, Accepted, Campaign, Cancellation, Filter, NewCampaign,
};
use store::{Client, GenericClient, Spool};

use crate::auth::MaybeAdmin;
use crate::boundary::Trace;
use crate::cursor::Ordinal;
use crate::estimate::{Around, ended, first_estimate, outlook};
use crate::extract::params::{FromParams, Page, Params};
use crate::extract::{CampaignPath, Query, Submitted, values};
use crate::looks::{self, Looked};
use crate::problem::{Kind, Problem, ProblemView};
use crate::reply::{self, Answer};
use crate::state::Gateway;
use crate::views::campaigns::{
    AcceptedView, CampaignView, FailedRecipient, FailedView, MessageView, Outlook,
};
use crate::views::requests::SendRequest;
use crate::views::schema::PhoneText;

/// Submit a campaign
///
/// Everything is stored, and will be sent, when this answers 202. As `application/x-ndjson` the
/// first line is the campaign without `recipients` and each further line one recipient; nothing
/// exists until the last line is in and good.
#[utoipa::path(post, path = "/api/send", tag = "Messaging", operation_id = "send",
    request_body(content(
        (SendRequest = "application/json"), (String = "application/x-ndjson")
    )),
    responses(
        (status = 202, description = "Accepted", body = AcceptedView),
        (status = 409, description = "The sender has no session", body = ProblemView,
            content_type = "application/problem+json")))]
pub async fn send(submitted: Submitted, trace: Trace, gateway: Data<Gateway>) -> Answer {
    let Submitted(submission) = submitted;
    let id = CampaignId::new(gateway.chance.uuid_v7());
    let (campaign, recipients, left_out) = submission.into_parts(id, trace.0);
    let accepted = store_whole(&gateway, campaign, recipients).await?;
    let (campaign, around) = (&accepted.campaign, Around::of(&gateway));
    let prospect = accepted.prospect.as_ref();
    let finish_at = prospect.and_then(|prospect| first_estimate(campaign, prospect, around));
    let view = AcceptedView::new(campaign, left_out, finish_at);
    Ok(reply::accepted(&view.status_url.clone(), view))
}

/// Stores a campaign with its job, and has the job published.
async fn store_whole(
    gateway: &Gateway,
    campaign: NewCampaign,
    recipients: Spool,
) -> Result<Box<Accepted>, Problem> {
    let sender = campaign.sender.clone();
    match gateway.intake.store((campaign, recipients)).await? {
        Acceptance::SenderUnknown => Err(sender_unknown(&sender)),
        Acceptance::Accepted(accepted) => {
            gateway.accepted.notify_one();
            counter!("gateway_campaigns_accepted_total").increment(1);
            let recipients = u64::try_from(accepted.campaign.counts.total).unwrap_or_default();
            counter!("gateway_recipients_accepted_total").increment(recipients);
            Ok(accepted)
        }
    }
}

fn sender_unknown(sender: &PhoneNumber) -> Problem {
    let unknown = Problem::session_unknown(sender);
    Problem::new(Kind::SenderUnknown, unknown.detail)
}

/// Campaigns with their outlooks, in their order.
pub(super) async fn views(
    db: &Client,
    gateway: &Gateway,
    rows: Vec<Campaign>,
) -> Result<Vec<CampaignView>, Problem> {
    let looked = looks::with_situations(db, rows, gateway.settings.dead_after).await?;
    let around = Around::of(gateway);
    Ok(looked.into_iter().map(|one| view(one, around)).collect())
}

fn view((campaign, situation): Looked, around: Around) -> CampaignView {
    let outlook = match &situation {
        _ if campaign.status.is_final() => ended(&campaign),
        Some(situation) => outlook(&campaign, situation, around),
        None => Outlook::default(),
    };
    CampaignView::new(campaign, outlook)
}

async fn one_view(gateway: &Gateway, id: CampaignId) -> Result<CampaignView, Problem> {
    let looked = gateway.looks.look(id).await?;
    let looked = looked.ok_or_else(|| Problem::campaign_unknown(id))?;
    Ok(view(looked, Around::of(gateway)))
}

/// A campaign that there is.
pub(super) async fn found(db: &impl GenericClient, id: CampaignId) -> Result<Campaign, Problem> {
    let campaign = ledger::one(db, id).await?;
    campaign.ok_or_else(|| Problem::campaign_unknown(id))
}

/// Which messages to show with a campaign.
#[derive(Debug)]
pub struct Details {
    shown: bool,
    page: Page<Ordinal>,
}

impl FromParams for Details {
    fn from_params(params: &mut Params) -> Option<Self> {
        let shown = params.flag("details").unwrap_or(false);
        let page = params.page();
        Some(Self { shown, page })
    }
}

/// Where a campaign stands
///
/// With `details=true` its messages too, a page at a time, until they are past retention.
#[utoipa::path(get, path = "/api/status/{campaign_id}", tag = "Messaging",
    operation_id = "campaign_status",
    params(
        ("campaign_id" = Uuid, Path, description = "The campaign's id"),
        ("details" = Option<bool>, Query, description = "Show its messages"),
        ("limit" = Option<i64>, Query, minimum = 1, maximum = 1000),
        ("cursor" = Option<String>, Query, description = "From a Link header")),
    responses((status = 200, description = "How it is doing", body = CampaignView)))]
pub async fn status(
    req: HttpRequest,
    id: CampaignPath,
    details: Query<Details>,
    gateway: Data<Gateway>,
) -> Answer {
    let Query(Details { shown, page }) = details;
    let mut view = one_view(&gateway, id.0).await?;
    if !shown {
        return Ok(reply::ok(view));
    }
    if view.messages_purged_at.is_some() {
        // Also of a campaign whose rows are about to go: what is over is not shown.
        view.messages = Some(Vec::new());
        return Ok(reply::ok(view));
    }
    let db = gateway.store.client().await?;
    let (messages, next) = messages(&db, id.0, &page).await?;
    view.messages = Some(messages);
    Ok(reply::page(&req, view, next.as_deref()))
}

async fn messages(
    db: &impl GenericClient,
    id: CampaignId,
    page: &Page<Ordinal>,
) -> Result<(Vec<MessageView>, Option<String>), Problem> {
    let after = page.after.map_or(-1, |Ordinal(ordinal)| ordinal);
    let mut rows = ledger::messages(db, id, None, after, page.limit_and_one()).await?;
    let next = page.cut(&mut rows, |row| Ordinal(row.ordinal));
    let (template, shared) = ledger::text(db, id).await?.unwrap_or_default();
    let template = Template::parse(&template, true).ok();
    let views = rows
        .into_iter()
        .map(|row| MessageView::new(row, template.as_ref(), &shared));
    Ok((views.collect(), next))
}

/// Which campaigns to list.
#[derive(Debug)]
pub struct Which {
    filter: Filter,
    page: Page<CampaignId>,
}

impl FromParams for Which {
    fn from_params(params: &mut Params) -> Option<Self> {
        let sender = params.phone("sender_number");
        let status = params.read("status", |text| {
            values::one_of(text, CampaignStatus::ALL, CampaignStatus::name)
        });
        let from = params
            .read("start_date", values::moment)
            .map(|moment| moment.from);
        let before = params
            .read("end_date", values::moment)
            .map(|moment| moment.before);
        let page: Page<CampaignId> = params.page();
        let filter = Filter {
            sender,
            status,
            from,
            before,
            after: page.after,
        };
        Some(Self { filter, page })
    }
}

/// A sender's campaigns, newest first
///
/// With the admin key `sender_number` may be left out, and everybody's are listed.
#[utoipa::path(get, path = "/api/campaigns", tag = "Messaging", operation_id = "list_campaigns",
    params(
        ("sender_number" = Option<PhoneText>, Query,
            description = "Whose; needed without the admin key"),
        ("status" = Option<crate::views::campaigns::CampaignState>, Query),
        ("start_date" = Option<String>, Query,
            description = "Only those submitted at or after this time or day",
            example = "2026-11-22"),
        ("end_date" = Option<String>, Query,
            description = "Only those submitted at or before this time, or on this day"),
        ("limit" = Option<i64>, Query, minimum = 1, maximum = 1000),
        ("cursor" = Option<String>, Query, description = "From a Link header")),
    responses((status = 200, description = "One page of campaigns", body = Vec<CampaignView>)))]
pub async fn list(
    req: HttpRequest,
    admin: MaybeAdmin,
    which: Query<Which>,
    gateway: Data<Gateway>,
) -> Answer {
    let Query(Which { filter, page }) = which;
    if filter.sender.is_none() && !admin.0 {
        return Err(Problem::fault(
            "?sender_number",
            "is missing; only operators see everybody's",
        ));
    }
    let db = gateway.store.client().await?;
    let mut rows = ledger::list(&db, &filter, page.limit_and_one()).await?;
    let next = page.cut(&mut rows, |row| row.id);
    let views = views(&db, &gateway, rows).await?;
    Ok(reply::page(&req, views, next.as_deref()))
}

/// Cancel a campaign
///
/// What was not begun is never sent. Cancelling twice is fine.
#[utoipa::path(post, path = "/api/cancel/{campaign_id}", tag = "Messaging",
    operation_id = "cancel_campaign",
    params(("campaign_id" = Uuid, Path, description = "The campaign's id")),
    responses(
        (status = 200, description = "It is cancelled", body = CampaignView),
        (status = 409, description = "It has ended already", body = ProblemView,
            content_type = "application/problem+json")))]
pub async fn cancel(id: CampaignPath, gateway: Data<Gateway>) -> Answer {
    let cancelled = ledger::cancel(&mut gateway.store.client().await?, id.0).await?;
    match cancelled {
        Cancellation::Missing => Err(Problem::campaign_unknown(id.0)),
        Cancellation::Ended(status) => {
            let detail = format!("campaign {} is {status}: nothing is left to cancel", id.0);
            Err(Problem::new(Kind::CampaignFinished, detail))
        }
        Cancellation::Cancelled => Ok(reply::ok(one_view(&gateway, id.0).await?)),
    }
}

/// The recipients of a campaign that could not be reached
#[utoipa::path(get, path = "/api/campaigns/{campaign_id}/failed", tag = "Messaging",
    operation_id = "failed_recipients",
    params(
        ("campaign_id" = Uuid, Path, description = "The campaign's id"),
        ("limit" = Option<i64>, Query, minimum = 1, maximum = 1000),
        ("cursor" = Option<String>, Query, description = "From a Link header")),
    responses((status = 200, description = "One page of them", body = FailedView)))]
pub async fn failed(
    req: HttpRequest,
    id: CampaignPath,
    page: Query<Page<Ordinal>>,
    gateway: Data<Gateway>,
) -> Answer {
    let db = gateway.store.client().await?;
    let campaign = found(&db, id.0).await?;
    let after = page.0.after.map_or(-1, |Ordinal(ordinal)| ordinal);
    let failed = Some(MessageStatus::Failed);
    let mut rows = match campaign.messages_purged_at {
        Some(_) => Vec::new(),
        None => ledger::messages(&db, id.0, failed, after, page.0.limit_and_one()).await?,
    };
    let next = page.0.cut(&mut rows, |row| Ordinal(row.ordinal));
    let view = FailedView {
        campaign_id: id.0.uuid(),
        count: campaign.counts.failed,
        messages_purged_at: campaign.messages_purged_at,
        recipients: rows.into_iter().map(FailedRecipient::from).collect(),
    };
    Ok(reply::page(&req, view, next.as_deref()))
}
