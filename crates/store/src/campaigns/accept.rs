//! Accepting a campaign: whole or not at all.

use std::time::Duration;

use deadpool_postgres::{GenericClient, Object};
use futures_util::future::join;
use models::campaign::{CampaignStatus, Counts};
use models::ids::{CampaignId, TraceId};
use models::phone::PhoneNumber;
use models::template::Variables;
use time::OffsetDateTime;
use tokio_postgres::types::{Json, ToSql};
use uuid::Uuid;

use super::situation::{Situation, situation};
use super::{Campaign, copy};
use crate::StoreError;
use crate::spool::{Spool, rows_of};

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
    /// What surrounds it, where that could be read: it is stored whatever became of the look.
    pub situation: Option<Situation>,
}

/// Up to here one statement stores everything: COPY pays from some hundred rows on, and costs a
/// transaction of eight round trips.
const ONE_STATEMENT_ROWS_MAX: usize = 100;

/// Stores a campaign, its recipients and its job, or nothing of them, and looks at what surrounds
/// it. There must be a recipient.
pub async fn accept(
    client: &mut Object,
    campaign: NewCampaign,
    recipients: Spool,
    dead_after: Duration,
) -> Result<Acceptance, StoreError> {
    let rows = recipients.len();
    let (sender, id) = (campaign.sender.clone(), campaign.id);
    let (created_at, surroundings) = match recipients.little() {
        Some(little) if rows <= ONE_STATEMENT_ROWS_MAX => {
            // Both leave at once: the look answers one round trip after the statement it follows.
            let db = &*client;
            let look = situation(db, &sender, id, dead_after);
            let (stored, look) = join(in_one_statement(db, &campaign, little), look).await;
            (stored?, look)
        }
        _ => {
            let created_at = in_a_transaction(client, &campaign, recipients).await?;
            let look = situation(&*client, &sender, id, dead_after).await;
            (created_at, look)
        }
    };
    let Some(created_at) = created_at else {
        return Ok(Acceptance::SenderUnknown);
    };
    Ok(Acceptance::Accepted(Box::new(Accepted {
        campaign: fresh(campaign, rows, created_at),
        situation: surroundings.ok().flatten(),
    })))
}

/// A campaign of which nothing was sent yet.
fn fresh(campaign: NewCampaign, rows: usize, created_at: OffsetDateTime) -> Campaign {
    Campaign {
        id: campaign.id,
        sender: campaign.sender,
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

/// What is stored of a campaign, in the order in which both ways take it.
struct Columns<'a> {
    id: Uuid,
    sender: &'a str,
    template: &'a str,
    variables: Option<Json<&'a Variables>>,
    media_url: Option<&'a str>,
    total: i32,
    duplicates_removed: i32,
    trace_id: Uuid,
}

impl<'a> Columns<'a> {
    fn of(campaign: &'a NewCampaign, rows: usize) -> Self {
        Self {
            id: campaign.id.uuid(),
            sender: campaign.sender.digits(),
            template: &campaign.template,
            variables: (!campaign.variables.is_empty()).then_some(Json(&campaign.variables)),
            media_url: campaign.media_url.as_deref(),
            total: i32::try_from(rows).unwrap_or(i32::MAX),
            duplicates_removed: campaign.duplicates_removed,
            trace_id: campaign.trace_id.uuid(),
        }
    }

    fn parameters(&self) -> [&(dyn ToSql + Sync); 8] {
        [
            &self.id,
            &self.sender,
            &self.template,
            &self.variables,
            &self.media_url,
            &self.total,
            &self.duplicates_removed,
            &self.trace_id,
        ]
    }
}

/// The session's row is locked as by [`SENDER`], and for the same time.
const ONE_STATEMENT: &str = "
    WITH sender AS (
        SELECT phone FROM sessions WHERE phone = $2 AND wanted <> 'GONE' FOR KEY SHARE
    ), campaign AS (
        INSERT INTO campaigns (id, sender, template, variables, media_url, total,
            duplicates_removed, trace_id)
        SELECT $1, phone, $3, $4, $5, $6, $7, $8 FROM sender
        RETURNING id, sender, trace_id, created_at
    ), recipients AS (
        INSERT INTO messages (campaign_id, ordinal, recipient, variables)
        SELECT c.id, (r.place - 1)::integer, r.recipient, r.variables::jsonb
        FROM campaign c, unnest($9::text[], $10::text[])
            WITH ORDINALITY AS r (recipient, variables, place)
    ), job AS (
        INSERT INTO outbox (campaign_id, sender, trace_id)
        SELECT id, sender, trace_id FROM campaign
    )
    SELECT created_at FROM campaign";

/// A few recipients in one round trip, and without a transaction of our own; when it was stored,
/// unless the number has no session.
async fn in_one_statement(
    db: &impl GenericClient,
    campaign: &NewCampaign,
    recipients: &[u8],
) -> Result<Option<OffsetDateTime>, StoreError> {
    let rows = rows_of(recipients)?;
    let numbers: Vec<PhoneNumber> = rows.iter().map(|row| row.number.number()).collect();
    let numbers: Vec<&str> = numbers.iter().map(PhoneNumber::digits).collect();
    let variables: Vec<Option<&str>> = rows.iter().map(|row| row.variables).collect();
    let columns = Columns::of(campaign, rows.len());
    let mut parameters = columns.parameters().to_vec();
    parameters.extend([&numbers as &(dyn ToSql + Sync), &variables]);
    let statement = db.prepare_cached(ONE_STATEMENT).await?;
    let row = db.query_opt(&statement, &parameters).await?;
    Ok(row.map(|row| row.get(0)))
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
    client: &mut Object,
    campaign: &NewCampaign,
    recipients: Spool,
) -> Result<Option<OffsetDateTime>, StoreError> {
    let tx = client.transaction().await?;
    let columns = Columns::of(campaign, recipients.len());
    let statement = tx.prepare_cached(SENDER).await?;
    if tx
        .query_opt(&statement, &[&columns.sender])
        .await?
        .is_none()
    {
        return Ok(None);
    }
    let statement = tx.prepare_cached(INSERT).await?;
    let row = tx.query_one(&statement, &columns.parameters()).await?;
    copy::messages(&tx, campaign.id, recipients).await?;
    let statement = tx.prepare_cached(OUTBOX).await?;
    let ids = (columns.id, columns.trace_id);
    tx.execute(&statement, &[&ids.0, &columns.sender, &ids.1])
        .await?;
    tx.commit().await?;
    Ok(Some(row.get(0)))
}
