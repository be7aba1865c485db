//! Accepting a campaign: whole or not at all.

use std::collections::HashMap;

use models::campaign::{CampaignStatus, Counts};
use models::ids::{CampaignId, TraceId};
use models::phone::PhoneNumber;
use models::template::Variables;
use time::OffsetDateTime;
use tokio_postgres::types::{Json, ToSql};
use uuid::Uuid;

use super::prospect::{Prospect, prospects};
use super::{Campaign, copy};
use crate::spool::{Spool, SpooledRow, rows_of};
use crate::{Client, GenericClient, StoreError, Transaction};

/// A campaign to be accepted.
#[derive(Debug, Clone)]
pub struct NewCampaign {
    /// Its id, made by the caller.
    pub id: CampaignId,
    /// Whose number it is sent from.
    pub sender: PhoneNumber,
    /// What every recipient hears, placeholders and all.
    pub template: String,
    /// The campaign's own variables.
    pub variables: Variables,
    /// A file to send.
    pub media_url: Option<String>,
    /// Recipients left out because they were named before.
    pub duplicates_removed: i32,
    /// Of the request that makes it.
    pub trace_id: TraceId,
}

/// What came of a submitted campaign.
#[derive(Debug)]
pub enum Acceptance {
    /// It will be sent.
    Accepted(Box<Accepted>),
    /// Its number has no session.
    SenderUnknown,
}

/// A campaign that was accepted.
#[derive(Debug)]
pub struct Accepted {
    /// As it was stored.
    pub campaign: Campaign,
    /// What lies before it, where that could be read: it is stored whatever became of the look.
    pub prospect: Option<Prospect>,
}

/// Up to here one statement stores everything: COPY pays from some hundred rows on, and costs a
/// transaction of eight round trips.
const FEW: usize = 100;

/// A campaign with its recipients.
pub type Submitted = (NewCampaign, Spool);

/// Whether a campaign is one for [`accept_few`].
pub fn has_few(recipients: &Spool) -> bool {
    recipients.len() <= FEW && recipients.little().is_some()
}

/// Stores a campaign, its recipients and its job, or nothing of them, and looks at what lies
/// before it. There must be a recipient.
pub async fn accept(
    client: &mut Client,
    campaign: NewCampaign,
    recipients: Spool,
) -> Result<Acceptance, StoreError> {
    if has_few(&recipients) {
        return accept_again(client, &(campaign, recipients)).await;
    }
    let rows = recipients.len();
    let created_at = in_a_transaction(client, &campaign, recipients).await?;
    answer(client, &campaign, rows, created_at).await
}

/// The same for several campaigns, each with few recipients, at once: those whose number has a
/// session are stored, all of them or none.
pub async fn accept_few(db: &Client, group: &[Submitted]) -> Result<Vec<Acceptance>, StoreError> {
    let campaigns: Vec<&NewCampaign> = group.iter().map(|(new, _)| new).collect();
    let stored = in_one_statement(db, group).await?;
    let mut prospects = prospects(db, &campaigns).await.unwrap_or_default();
    let answer = |(new, recipients): &Submitted| match stored.get(&new.id) {
        None => Acceptance::SenderUnknown,
        Some(created_at) => {
            let prospect = prospects.remove(&new.id);
            accepted(new, recipients.len(), *created_at, prospect)
        }
    };
    Ok(group.iter().map(answer).collect())
}

/// Stores a campaign with few recipients, unless it is stored already: when an attempt was cut off,
/// nobody knows what came of it, and it may even go on. Of two attempts one fails by the id.
pub async fn accept_again(
    client: &Client,
    submitted: &Submitted,
) -> Result<Acceptance, StoreError> {
    let (campaign, recipients) = submitted;
    let stored = match accept_few(client, std::slice::from_ref(submitted)).await {
        Err(error) if is_there(&error) => None,
        answers => answers?.pop(),
    };
    match stored {
        Some(stored @ Acceptance::Accepted(_)) => Ok(stored),
        // Where there is no session any more, it may have been stored before.
        _ => found(client, campaign, recipients.len()).await,
    }
}

/// What became of a campaign with many recipients whose storing was cut off. Whoever may still be
/// at it is waited for, so that one that is not stored never will be.
pub async fn recall(
    client: &mut Client,
    campaign: &NewCampaign,
    rows: usize,
) -> Result<Option<Acceptance>, StoreError> {
    let tx = client.transaction().await?;
    let inserted = insert(&tx, campaign, rows).await;
    tx.rollback().await?;
    match inserted {
        Err(error) if is_there(&error) => found(client, campaign, rows).await.map(Some),
        Err(error) if error.constraint().is_none() => Err(error),
        // Where it is refused for another cause, its number is not even known.
        Ok(_) | Err(_) => Ok(None),
    }
}

/// Whether a campaign was refused because it is stored already.
fn is_there(error: &StoreError) -> bool {
    error.constraint() == Some("campaigns_pkey")
}

/// What is told of a campaign that may have been stored by an earlier attempt.
async fn found(
    client: &Client,
    campaign: &NewCampaign,
    rows: usize,
) -> Result<Acceptance, StoreError> {
    let found = super::one(client, campaign.id).await?;
    let created_at = found.map(|found| found.created_at);
    answer(client, campaign, rows, created_at).await
}

/// What is told of a campaign that was stored at that time, if it was.
async fn answer(
    client: &Client,
    campaign: &NewCampaign,
    rows: usize,
    created_at: Option<OffsetDateTime>,
) -> Result<Acceptance, StoreError> {
    let Some(created_at) = created_at else {
        return Ok(Acceptance::SenderUnknown);
    };
    let prospects = prospects(client, &[campaign]).await;
    let prospect = prospects.unwrap_or_default().remove(&campaign.id);
    Ok(accepted(campaign, rows, created_at, prospect))
}

fn accepted(
    new: &NewCampaign,
    rows: usize,
    created_at: OffsetDateTime,
    prospect: Option<Prospect>,
) -> Acceptance {
    Acceptance::Accepted(Box::new(Accepted {
        campaign: fresh(new, rows, created_at),
        prospect,
    }))
}

/// A campaign of which nothing was sent yet.
fn fresh(campaign: &NewCampaign, rows: usize, created_at: OffsetDateTime) -> Campaign {
    Campaign {
        id: campaign.id,
        sender: campaign.sender.clone(),
        status: CampaignStatus::Pending,
        cancel_reason: None,
        counts: Counts {
            total: i64::try_from(rows).unwrap_or(i64::MAX),
            ..Counts::default()
        },
        duplicates_removed: campaign.duplicates_removed,
        created_at,
        started_at: None,
        completed_at: None,
        messages_purged_at: None,
    }
}

/// Sessions are locked as by [`SENDER`], for the same time, in the order of their numbers.
const ONE_STATEMENT: &str = "
    WITH sender AS MATERIALIZED (
        SELECT phone FROM sessions WHERE phone = ANY ($2::text[]) AND wanted <> 'GONE'
        ORDER BY phone FOR KEY SHARE
    ), campaign AS (
        INSERT INTO campaigns (id, sender, template, variables, media_url, total,
            duplicates_removed, trace_id)
        SELECT a.id, a.sender, a.template, a.variables::jsonb, a.media_url, a.total,
            a.duplicates_removed, a.trace_id
        FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[], $6::integer[],
                $7::integer[], $8::uuid[])
            AS a (id, sender, template, variables, media_url, total, duplicates_removed, trace_id)
        JOIN sender ON sender.phone = a.sender
        ORDER BY a.sender, a.id
        RETURNING id, sender, trace_id, created_at
    ), recipients AS (
        INSERT INTO messages (campaign_id, ordinal, recipient, variables)
        SELECT c.id, r.ordinal, r.recipient, r.variables::jsonb
        FROM unnest($9::uuid[], $10::integer[], $11::text[], $12::text[])
            AS r (campaign, ordinal, recipient, variables)
        JOIN campaign c ON c.id = r.campaign
    ), job AS (
        INSERT INTO outbox (campaign_id, sender, trace_id)
        SELECT id, sender, trace_id FROM campaign
    )
    SELECT id, created_at FROM campaign";

/// The columns of campaigns, as one statement takes them.
#[derive(Default)]
struct Columns<'a> {
    ids: Vec<Uuid>,
    senders: Vec<&'a str>,
    templates: Vec<&'a str>,
    variables: Vec<Option<String>>,
    media_urls: Vec<Option<&'a str>>,
    totals: Vec<i32>,
    duplicates_removed: Vec<i32>,
    trace_ids: Vec<Uuid>,
}

impl<'a> Columns<'a> {
    fn push(&mut self, campaign: &'a NewCampaign, rows: usize) {
        let own = (!campaign.variables.is_empty()).then_some(&campaign.variables);
        // Texts by their names can always be written as JSON.
        let own = own.and_then(|own| serde_json::to_string(own).ok());
        self.ids.push(campaign.id.uuid());
        self.senders.push(campaign.sender.digits());
        self.templates.push(&campaign.template);
        self.variables.push(own);
        self.media_urls.push(campaign.media_url.as_deref());
        self.totals.push(total(rows));
        self.duplicates_removed.push(campaign.duplicates_removed);
        self.trace_ids.push(campaign.trace_id.uuid());
    }
}

/// The columns of their recipients.
#[derive(Default)]
struct RecipientColumns<'a> {
    campaigns: Vec<Uuid>,
    ordinals: Vec<i32>,
    numbers: Vec<String>,
    variables: Vec<Option<&'a str>>,
}

impl<'a> RecipientColumns<'a> {
    fn push(&mut self, campaign: CampaignId, rows: &[SpooledRow<'a>]) {
        for (ordinal, row) in (0..).zip(rows) {
            self.campaigns.push(campaign.uuid());
            self.ordinals.push(ordinal);
            self.numbers.push(row.number.number().to_string());
            self.variables.push(row.variables);
        }
    }
}

fn total(rows: usize) -> i32 {
    i32::try_from(rows).unwrap_or(i32::MAX)
}

/// A few recipients each in one round trip, and without a transaction of our own; when those were
/// stored whose number has a session.
async fn in_one_statement(
    db: &impl GenericClient,
    group: &[Submitted],
) -> Result<HashMap<CampaignId, OffsetDateTime>, StoreError> {
    let (mut new, mut to) = (Columns::default(), RecipientColumns::default());
    for (campaign, recipients) in group {
        new.push(campaign, recipients.len());
        to.push(
            campaign.id,
            &rows_of(recipients.little().unwrap_or_default())?,
        );
    }
    let statement = db.prepare_cached(ONE_STATEMENT).await?;
    let parameters: &[&(dyn ToSql + Sync)] = &[
        &new.ids,
        &new.senders,
        &new.templates,
        &new.variables,
        &new.media_urls,
        &new.totals,
        &new.duplicates_removed,
        &new.trace_ids,
        &to.campaigns,
        &to.ordinals,
        &to.numbers,
        &to.variables,
    ];
    let rows = db.query(&statement, parameters).await?;
    let stored = rows.iter();
    Ok(stored
        .map(|row| (CampaignId::new(row.get(0)), row.get(1)))
        .collect())
}

const SENDER: &str =
    "SELECT phone FROM sessions WHERE phone = $1 AND wanted <> 'GONE' FOR KEY SHARE";
const INSERT: &str = "
    INSERT INTO campaigns (id, sender, template, variables, media_url, total, duplicates_removed,
        trace_id)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8) RETURNING created_at";
const OUTBOX: &str = "INSERT INTO outbox (campaign_id, sender, trace_id) VALUES ($1, $2, $3)";

/// Any number of recipients, by COPY; when it was stored, unless the number has no session.
async fn in_a_transaction(
    client: &mut Client,
    campaign: &NewCampaign,
    recipients: Spool,
) -> Result<Option<OffsetDateTime>, StoreError> {
    let tx = client.transaction().await?;
    match write(&tx, campaign, recipients).await {
        Ok(created_at) => {
            tx.commit().await?;
            Ok(created_at)
        }
        Err(error) => {
            // Waited for: after a COPY that failed, PgBouncer 1.18 takes what comes behind the end
            // of this transaction for part of it, and its answer never arrives.
            let _gone = tx.rollback().await;
            Err(error)
        }
    }
}

async fn write(
    tx: &Transaction<'_>,
    campaign: &NewCampaign,
    recipients: Spool,
) -> Result<Option<OffsetDateTime>, StoreError> {
    let (sender, rows) = (campaign.sender.digits(), recipients.len());
    let statement = tx.prepare_cached(SENDER).await?;
    if tx.query_opt(&statement, &[&sender]).await?.is_none() {
        return Ok(None);
    }
    let created_at = insert(tx, campaign, rows).await?;
    copy::messages(tx, campaign.id, recipients).await?;
    let statement = tx.prepare_cached(OUTBOX).await?;
    let ids = (campaign.id.uuid(), campaign.trace_id.uuid());
    tx.execute(&statement, &[&ids.0, &sender, &ids.1]).await?;
    Ok(Some(created_at))
}

async fn insert(
    tx: &Transaction<'_>,
    campaign: &NewCampaign,
    rows: usize,
) -> Result<OffsetDateTime, StoreError> {
    let variables = (!campaign.variables.is_empty()).then_some(Json(&campaign.variables));
    let statement = tx.prepare_cached(INSERT).await?;
    let parameters: &[&(dyn ToSql + Sync)] = &[
        &campaign.id.uuid(),
        &campaign.sender.digits(),
        &campaign.template,
        &variables,
        &campaign.media_url,
        &total(rows),
        &campaign.duplicates_removed,
        &campaign.trace_id.uuid(),
    ];
    Ok(tx.query_one(&statement, parameters).await?.get(0))
}
