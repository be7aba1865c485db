//! The story of one message: every transition that the ledger holds of it.

use models::ids::CampaignId;
use models::message::{MessageKey, MessageStatus};
use models::phone::PhoneNumber;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::column::unreadable;
use crate::standing::{flight, standing, steps};
use crate::{GenericClient, StoreError};

/// A message and how it came to be what it is.
#[derive(Debug, Clone)]
pub struct Story {
    /// Which one.
    pub key: MessageKey,
    /// Where it stands.
    pub status: MessageStatus,
    /// Attempts that count.
    pub attempts: i16,
    /// The WhatsApp id that it carries.
    pub message_id: Option<String>,
    /// The highest report of WhatsApp, and when it came.
    pub ack: Option<(i16, OffsetDateTime)>,
    /// Why it is not sent, as a stable word and a sentence.
    pub error: Option<(String, String)>,
    /// Its transitions, oldest first; the first is its campaign's acceptance.
    pub steps: Vec<Step>,
}

/// One transition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// When.
    pub at: OffsetDateTime,
    /// Into which status.
    pub status: MessageStatus,
    /// The worker that it was handed to.
    pub worker: Option<Uuid>,
    /// That worker's name, while it is registered.
    pub worker_name: Option<String>,
    /// The process that moved it.
    pub replica: Option<Uuid>,
    /// The lane's epoch that the process held.
    pub epoch: Option<i64>,
    /// The class of what was answered or reported.
    pub answer: Option<String>,
}

// The highest report is the receipt's, or what the message's status tells.
const MESSAGE: &str = concat!(
    "SELECT m.ordinal, ",
    standing!(),
    ", m.error_code, m.error, GREATEST(r.ack, told.ack)::smallint,
        CASE WHEN told.ack > COALESCE(r.ack, -1) THEN told.at ELSE r.ack_at END, c.created_at
    FROM campaigns c JOIN messages m ON m.campaign_id = c.id ",
    flight!(),
    " LEFT JOIN receipts r ON r.sender = c.sender
        AND r.message_id = COALESCE(m.waha_message_id, f.in_flight_message_id)
    CROSS JOIN LATERAL (
        SELECT CASE m.status WHEN 3 THEN 2 WHEN 4 THEN 3 END AS ack,
            CASE m.status WHEN 3 THEN m.delivered_at WHEN 4 THEN m.read_at END AS at
    ) told
    WHERE c.id = $1 AND m.recipient = $2"
);
const STEPS: &str = concat!(
    "SELECT s.at, s.status, s.worker_id, w.name, s.replica, s.epoch, s.answer
    FROM campaigns c JOIN messages m ON m.campaign_id = c.id ",
    flight!(),
    " CROSS JOIN LATERAL unnest(",
    steps!(),
    ") WITH ORDINALITY AS s (at, status, worker_id, replica, epoch, answer, place)
    LEFT JOIN workers w ON w.id = s.worker_id
    WHERE c.id = $1 AND m.ordinal = $2 ORDER BY s.at, s.place"
);

/// The story of a campaign's message to `recipient`; `None` when there is none. Reads the
/// campaign's messages up to that one: recipients have no index of their own.
pub async fn story(
    db: &impl GenericClient,
    campaign: CampaignId,
    recipient: &PhoneNumber,
) -> Result<Option<Story>, StoreError> {
    let statement = db.prepare_cached(MESSAGE).await?;
    let parameters: &[&(dyn tokio_postgres::types::ToSql + Sync)] =
        &[&campaign.uuid(), &recipient.digits()];
    let Some(row) = db.query_opt(&statement, parameters).await? else {
        return Ok(None);
    };
    let ordinal: i32 = row.get(0);
    let accepted = Step {
        at: row.get(8),
        status: MessageStatus::Pending,
        worker: None,
        worker_name: None,
        replica: None,
        epoch: None,
        answer: Some("campaign_accepted".to_owned()),
    };
    let statement = db.prepare_cached(STEPS).await?;
    let rows = db.query(&statement, &[&campaign.uuid(), &ordinal]).await?;
    let mut steps = vec![accepted];
    for row in &rows {
        steps.push(Step {
            at: row.get(0),
            status: status(row.get(1))?,
            worker: row.get(2),
            worker_name: row.get(3),
            replica: row.get(4),
            epoch: row.get(5),
            answer: row.get(6),
        });
    }
    Ok(Some(Story {
        key: MessageKey { campaign, ordinal },
        status: status(row.get(1))?,
        attempts: row.get(2),
        message_id: row.get(3),
        ack: row.get::<_, Option<i16>>(6).zip(row.get(7)),
        error: row
            .get::<_, Option<String>>(4)
            .map(|code| (code, row.get::<_, Option<_>>(5).unwrap_or_default())),
        steps,
    }))
}

fn status(code: i16) -> Result<MessageStatus, StoreError> {
    MessageStatus::from_code(code).ok_or_else(|| unreadable("message status", &code.to_string()))
}
