//! Campaigns: accepted whole or not at all, looked at, cancelled.

use std::collections::BTreeMap;

use models::campaign::{CampaignStatus, Counts};
use models::ids::CampaignId;
use models::message::MessageStatus;
use models::phone::PhoneNumber;
use models::template::Variables;
use time::OffsetDateTime;
use tokio_postgres::Row;
use tokio_postgres::types::{Json, ToSql};
use uuid::Uuid;

use crate::column::{phone, unreadable};
use crate::standing::{flight, never_begun, sending, standing, status};
use crate::{GenericClient, StoreError};

/// Who speaks on the workers of what was asked for, counted once for all of a worker's numbers.
/// To be run by key: for a number without open campaigns the planner must not read everybody's.
macro_rules! crowds {
    () => {
        "crowds AS MATERIALIZED (
            SELECT w.worker_id, (SELECT count(*) FROM sessions o CROSS JOIN LATERAL (
                    SELECT FROM campaigns WHERE sender = o.phone AND completed_at IS NULL LIMIT 1
                ) one WHERE o.worker_id = w.worker_id) AS speakers
            FROM (SELECT DISTINCT worker_id FROM asked WHERE worker_id IS NOT NULL) w
        )"
    };
}

mod accept;
mod cancel;
mod copy;
mod prospect;
mod situation;

pub use accept::{
    Acceptance, Accepted, NewCampaign, Submitted, accept, accept_again, accept_few, has_few, recall,
};
pub use cancel::{Cancellation, cancel};
pub(crate) use cancel::{abandon_in_flight, cancel_of};
pub use prospect::Prospect;
pub use situation::{Earlier, Rest, SessionSituation, Situation, WorkerSituation, situations};

/// A campaign and where its messages stand.
#[derive(Debug, Clone)]
pub struct Campaign {
    /// Which one.
    pub id: CampaignId,
    /// Whose number it is sent from.
    pub sender: PhoneNumber,
    /// What it is doing.
    pub status: CampaignStatus,
    /// Why it was cancelled, when its user did not do it.
    pub cancel_reason: Option<String>,
    /// Where its messages stand.
    pub counts: Counts,
    /// Recipients left out because they were named before.
    pub duplicates_removed: i32,
    /// When it was accepted.
    pub created_at: OffsetDateTime,
    /// When its first message was begun.
    pub started_at: Option<OffsetDateTime>,
    /// When nothing was left to do.
    pub completed_at: Option<OffsetDateTime>,
    /// When its messages were deleted, because they were past retention.
    pub messages_purged_at: Option<OffsetDateTime>,
}

/// Which campaigns to list, and where to go on.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Only of this number.
    pub sender: Option<PhoneNumber>,
    /// Only in this state.
    pub status: Option<CampaignStatus>,
    /// Only accepted at or after this time.
    pub from: Option<OffsetDateTime>,
    /// Only accepted before this time.
    pub before: Option<OffsetDateTime>,
    /// Only older than this one.
    pub after: Option<CampaignId>,
}

macro_rules! columns {
    () => {
        concat!(
            "c.id, c.sender, c.status, c.cancel_reason, c.total, ",
            sending!(),
            " AS sending, c.sent, c.delivered, c.read, c.failed, c.cancelled, c.suppressed,
            c.unknown, c.duplicates_removed, c.created_at, c.started_at, c.completed_at,
            c.messages_purged_at"
        )
    };
}

const ONE: &str = concat!("SELECT ", columns!(), " FROM campaigns c WHERE c.id = $1");

/// A campaign.
pub async fn one(db: &impl GenericClient, id: CampaignId) -> Result<Option<Campaign>, StoreError> {
    let statement = db.prepare_cached(ONE).await?;
    let row = db.query_opt(&statement, &[&id.uuid()]).await?;
    row.as_ref().map(read).transpose()
}

// In a subquery, or the server plans anew for each list's own length.
const SOME: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM campaigns c WHERE c.id = ANY ((SELECT $1::uuid[])::uuid[])"
);

/// Those of these campaigns that there are, in no order.
pub async fn some(
    db: &impl GenericClient,
    ids: &[CampaignId],
) -> Result<Vec<Campaign>, StoreError> {
    let ids: Vec<Uuid> = ids.iter().map(|id| id.uuid()).collect();
    let statement = db.prepare_cached(SOME).await?;
    let rows = db.query(&statement, &[&ids]).await?;
    rows.iter().map(read).collect()
}

const LIST: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM campaigns c WHERE ($1::text IS NULL OR c.sender = $1)
        AND ($2::text IS NULL OR c.status = $2)
        AND ($3::timestamptz IS NULL OR c.created_at >= $3)
        AND ($4::timestamptz IS NULL OR c.created_at < $4)
        AND ($5::uuid IS NULL OR c.id < $5)
    ORDER BY c.id DESC LIMIT $6"
);

// What users ask for most: from the cursor along the index, no further than the page is long,
// however many campaigns the number has. The planner believes in a range of numbers and a long
// list, and knows no parameter; so it neither sorts all that the number has nor plans anew.
const PAGE: &str = concat!(
    "SELECT * FROM (SELECT ",
    columns!(),
    " FROM campaigns c
        WHERE (c.sender, c.id) < ((SELECT $1::text), (SELECT $2::uuid))
            AND c.sender >= (SELECT $1::text)
        ORDER BY c.sender DESC, c.id DESC LIMIT 10000) page LIMIT (SELECT $3::bigint)"
);

/// Campaigns, newest first; at most 10,000.
pub async fn list(
    db: &impl GenericClient,
    filter: &Filter,
    limit: i64,
) -> Result<Vec<Campaign>, StoreError> {
    if let Filter {
        sender: Some(sender),
        status: None,
        from: None,
        before: None,
        after,
    } = filter
    {
        let after = after.map_or(Uuid::max(), CampaignId::uuid);
        let statement = db.prepare_cached(PAGE).await?;
        let page: &[&(dyn ToSql + Sync)] = &[&sender.digits(), &after, &limit];
        return db.query(&statement, page).await?.iter().map(read).collect();
    }
    let statement = db.prepare_cached(LIST).await?;
    let parameters: &[&(dyn ToSql + Sync)] = &[
        &filter.sender.as_ref().map(PhoneNumber::digits),
        &filter.status.map(CampaignStatus::name),
        &filter.from,
        &filter.before,
        &filter.after.map(CampaignId::uuid),
        &limit,
    ];
    let rows = db.query(&statement, parameters).await?;
    rows.iter().map(read).collect()
}

/// One message of a campaign, with what is needed to say its text.
#[derive(Debug, Clone)]
pub struct Message {
    /// Its place in the campaign, from 0.
    pub ordinal: i32,
    /// Who hears it.
    pub recipient: PhoneNumber,
    /// Where it stands.
    pub status: MessageStatus,
    /// How often it was begun.
    pub attempts: i16,
    /// The recipient's own variables.
    pub variables: Variables,
    /// WhatsApp's id for it.
    pub waha_message_id: Option<String>,
    /// What went wrong, as a word.
    pub error_code: Option<String>,
    /// What went wrong, for people.
    pub error: Option<String>,
    /// When a worker accepted it.
    pub sent_at: Option<OffsetDateTime>,
    /// When it was on the recipient's phone.
    pub delivered_at: Option<OffsetDateTime>,
    /// When it was read.
    pub read_at: Option<OffsetDateTime>,
}

const MESSAGES: &str = concat!(
    "SELECT m.ordinal, m.recipient, ",
    standing!(),
    ", m.variables, m.error_code, m.error, m.sent_at, m.delivered_at, m.read_at
    FROM campaigns c JOIN messages m ON m.campaign_id = c.id ",
    flight!(),
    // What is written narrows it down before the number is looked up for each of a million.
    " WHERE c.id = $1 AND m.ordinal > $2 AND ($3::smallint IS NULL OR CASE WHEN ",
    never_begun!(),
    " THEN $3 = 6 ELSE m.status = CASE WHEN $3 = 1 THEN 0 ELSE $3 END END)
        AND ($3 IS NULL OR ",
    status!(),
    " = $3)
    ORDER BY m.ordinal LIMIT $4"
);

/// A campaign's messages in their order, behind the ordinal `after` (-1 for the first page), of
/// one status or of all.
pub async fn messages(
    db: &impl GenericClient,
    id: CampaignId,
    status: Option<MessageStatus>,
    after: i32,
    limit: i64,
) -> Result<Vec<Message>, StoreError> {
    let statement = db.prepare_cached(MESSAGES).await?;
    let status = status.map(MessageStatus::code);
    let rows = db
        .query(&statement, &[&id.uuid(), &after, &status, &limit])
        .await?;
    rows.iter().map(message).collect()
}

const TEXT: &str = "SELECT template, variables FROM campaigns WHERE id = $1";

/// A campaign's template and its own variables.
pub async fn text(
    db: &impl GenericClient,
    id: CampaignId,
) -> Result<Option<(String, Variables)>, StoreError> {
    let statement = db.prepare_cached(TEXT).await?;
    let row = db.query_opt(&statement, &[&id.uuid()]).await?;
    Ok(row.map(|row| (row.get(0), variables(&row, 1))))
}

fn status(name: &str) -> Result<CampaignStatus, StoreError> {
    CampaignStatus::from_name(name).ok_or_else(|| unreadable("campaign status", name))
}

fn variables(row: &Row, column: usize) -> Variables {
    let variables: Option<Json<BTreeMap<String, String>>> = row.get(column);
    variables.map(|Json(found)| found).unwrap_or_default()
}

pub(crate) fn read(row: &Row) -> Result<Campaign, StoreError> {
    let count = |column: usize| i64::from(row.get::<_, i32>(column));
    Ok(Campaign {
        id: CampaignId::new(row.get(0)),
        sender: phone(row.get(1))?,
        status: status(row.get(2))?,
        cancel_reason: row.get(3),
        counts: Counts {
            total: count(4),
            sending: count(5),
            sent: count(6),
            delivered: count(7),
            read: count(8),
            failed: count(9),
            cancelled: count(10),
            suppressed: count(11),
            unknown: count(12),
        },
        duplicates_removed: row.get(13),
        created_at: row.get(14),
        started_at: row.get(15),
        completed_at: row.get(16),
        messages_purged_at: row.get(17),
    })
}

fn message(row: &Row) -> Result<Message, StoreError> {
    let code: i16 = row.get(2);
    Ok(Message {
        ordinal: row.get(0),
        recipient: phone(row.get(1))?,
        status: MessageStatus::from_code(code)
            .ok_or_else(|| unreadable("message status", &code.to_string()))?,
        attempts: row.get(3),
        variables: variables(row, 5),
        waha_message_id: row.get(4),
        error_code: row.get(6),
        error: row.get(7),
        sent_at: row.get(8),
        delivered_at: row.get(9),
        read_at: row.get(10),
    })
}
