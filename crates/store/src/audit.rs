//! The ledger counted anew: whether what is said of campaigns is what their rows say, and what is
//! said of messages is what WhatsApp reported of them.
//!
//! Everything is read in one snapshot, so that a busy ledger is no excuse; campaigns are read in
//! pages, so that memory does not grow with them.

use models::campaign::{CampaignStatus, Counts};
use models::message::MessageStatus;
use uuid::Uuid;

use crate::column::unreadable;
use crate::standing::{flight, never_begun, sending, standing, steps};
use crate::{Client, GenericClient, StoreError};

/// Campaigns read at once.
const PAGE: i64 = 500;

/// Something that is not as it must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The campaign; none where a number is at fault.
    pub campaign: Option<Uuid>,
    /// What is wrong, for people.
    pub what: String,
    /// What the ledger says.
    pub said: String,
    /// What its rows say.
    pub counted: String,
}

/// What an audit came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Audit {
    /// Campaigns looked at.
    pub campaigns: u64,
    /// Those of them whose messages are past retention: nothing is left to count.
    pub purged: u64,
    /// Their messages.
    pub messages: i64,
    /// Everything that is wrong.
    pub differences: Vec<Difference>,
}

const CAMPAIGNS: &str = concat!(
    "SELECT c.id, c.status, c.completed_at IS NOT NULL, c.total, ",
    sending!(),
    ", c.sent, c.delivered, c.read, c.failed, c.cancelled, c.suppressed, c.unknown,
        n.total, n.sending, n.sent, n.delivered, n.read, n.failed, n.cancelled, n.suppressed,
        n.unknown, n.forgotten, c.messages_purged_at IS NOT NULL
    FROM (SELECT * FROM campaigns WHERE id > $1 ORDER BY id LIMIT $2) c
    CROSS JOIN LATERAL (
        SELECT count(*) AS total,
            count(*) FILTER (WHERE m.status = 0 AND f.phone IS NOT NULL) AS sending,
            count(*) FILTER (WHERE m.status = 2) AS sent,
            count(*) FILTER (WHERE m.status = 3) AS delivered,
            count(*) FILTER (WHERE m.status = 4) AS read,
            count(*) FILTER (WHERE m.status = 5) AS failed,
            count(*) FILTER (WHERE m.status = 6 OR ",
    never_begun!(),
    " AND f.phone IS NULL) AS cancelled,
            count(*) FILTER (WHERE m.status = 7) AS suppressed,
            count(*) FILTER (WHERE m.status = 8) AS unknown,
            count(*) FILTER (WHERE m.status = 0 AND m.ordinal < c.next_ordinal
                AND f.phone IS NULL AND NOT ",
    never_begun!(),
    " AND NOT EXISTS (SELECT FROM retries r
                WHERE r.campaign_id = m.campaign_id AND r.ordinal = m.ordinal)) AS forgotten
        FROM messages m ",
    flight!(),
    " WHERE m.campaign_id = c.id
    ) n
    ORDER BY c.id"
);
const FLIGHTS: &str = "
    SELECT 'a number has a message on its way that is none of its own, or was done with',
        d.in_flight_campaign, d.in_flight_ordinal
    FROM senders d LEFT JOIN campaigns c ON c.id = d.in_flight_campaign AND c.sender = d.phone
    LEFT JOIN messages m ON m.campaign_id = c.id AND m.ordinal = d.in_flight_ordinal
    WHERE d.in_flight_campaign IS NOT NULL AND m.status IS DISTINCT FROM 0
    UNION ALL
    SELECT 'a message says itself that it is SENDING', m.campaign_id, m.ordinal
    FROM campaigns c JOIN messages m ON m.campaign_id = c.id AND m.status = 1
    UNION ALL
    SELECT 'the last step of a message is not its status', m.campaign_id, m.ordinal
    FROM campaigns c JOIN messages m ON m.campaign_id = c.id
        AND m.status <> (m.steps[cardinality(m.steps)]).status
    UNION ALL
    SELECT 'a message waits for another attempt and is not PENDING', r.campaign_id, r.ordinal
    FROM retries r JOIN messages m USING (campaign_id, ordinal) WHERE m.status <> 0
    LIMIT 1000";
// Written apart from the statement that applies receipts, so as not to share its mistakes. A
// message may have had several ids: that WhatsApp took one of them proves that it was said; that
// it refused one, or a worker made it, says nothing of the others. What is SENDING waits for its
// conclusion.
const CONTRADICTED: &str = "
    SELECT m.campaign_id, m.ordinal, m.status, r.ack, r.message_id
    FROM receipts r JOIN messages m USING (campaign_id, ordinal)
    WHERE CASE m.status
        WHEN 0 THEN NOT EXISTS (SELECT FROM senders d WHERE d.phone = r.sender
                AND d.in_flight_campaign = m.campaign_id AND d.in_flight_ordinal = m.ordinal)
            AND (r.ack >= 1 OR r.ack = 0 AND r.message_id = m.waha_message_id)
        WHEN 2 THEN r.ack >= 2 OR r.ack = -1 AND r.message_id = m.waha_message_id
        WHEN 3 THEN r.ack >= 3
        WHEN 5 THEN r.ack >= 1
        WHEN 6 THEN r.ack >= 1 OR r.ack = 0 AND r.message_id = m.waha_message_id
        WHEN 8 THEN r.ack >= 1 OR r.message_id = m.waha_message_id AND r.ack IS NOT NULL
        ELSE false END
    LIMIT 1000";

/// Counts everything anew.
///
/// # Errors
/// When the ledger does not answer.
pub async fn audit(client: &mut Client) -> Result<Audit, StoreError> {
    let tx = client.snapshot().await?;
    let mut audit = Audit::default();
    let mut after = Uuid::nil();
    loop {
        let rows = tx.query(CAMPAIGNS, &[&after, &PAGE]).await?;
        let Some(last) = rows.last() else { break };
        after = last.get(0);
        for row in &rows {
            let counted = counted(row)?;
            audit.campaigns += 1;
            audit.purged += u64::from(counted.purged);
            audit.messages += counted.rows.total;
            audit.differences.extend(differences(&counted));
        }
    }
    for row in tx.query(FLIGHTS, &[]).await? {
        audit.differences.push(Difference {
            campaign: row.get(1),
            what: row.get(0),
            said: format!("message {}", row.get::<_, i32>(2)),
            counted: String::new(),
        });
    }
    for row in tx.query(CONTRADICTED, &[]).await? {
        audit.differences.push(contradicted(&row)?);
    }
    tx.commit().await?;
    Ok(audit)
}

fn contradicted(row: &tokio_postgres::Row) -> Result<Difference, StoreError> {
    let (ordinal, ack): (i32, i16) = (row.get(1), row.get(3));
    let id: &str = row.get(4);
    Ok(Difference {
        campaign: row.get(0),
        what: "a message is not what WhatsApp reported of it".to_owned(),
        said: format!("message {ordinal} is {}", status(row.get(2))?.name()),
        counted: format!("ack {ack} of {id}"),
    })
}

fn status(code: i16) -> Result<MessageStatus, StoreError> {
    MessageStatus::from_code(code).ok_or_else(|| unreadable("message status", &code.to_string()))
}

/// A campaign as it says that it is, and as its rows are.
#[derive(Debug, Clone, Copy)]
struct Counted {
    id: Uuid,
    status: CampaignStatus,
    completed: bool,
    says: Counts,
    rows: Counts,
    /// PENDING, passed by the cursor, and waiting for nothing: it would never be sent.
    forgotten: i64,
    /// Its rows are gone, or about to be, because they are past retention.
    purged: bool,
}

fn counted(row: &tokio_postgres::Row) -> Result<Counted, StoreError> {
    let status: &str = row.get(1);
    let says = |column: usize| i64::from(row.get::<_, i32>(column));
    let rows = |column: usize| row.get::<_, i64>(column);
    Ok(Counted {
        id: row.get(0),
        status: CampaignStatus::from_name(status)
            .ok_or_else(|| unreadable("campaign status", status))?,
        completed: row.get(2),
        says: counts(says, 3),
        rows: counts(rows, 12),
        forgotten: row.get(21),
        purged: row.get(22),
    })
}

fn counts(of: impl Fn(usize) -> i64, first: usize) -> Counts {
    Counts {
        total: of(first),
        sending: of(first + 1),
        sent: of(first + 2),
        delivered: of(first + 3),
        read: of(first + 4),
        failed: of(first + 5),
        cancelled: of(first + 6),
        suppressed: of(first + 7),
        unknown: of(first + 8),
    }
}

/// Pure: what of one campaign is not as it must be.
fn differences(campaign: &Counted) -> Vec<Difference> {
    let mut found = Vec::new();
    let mut note = |what: &str, said: String, counted: String| {
        found.push(Difference {
            campaign: Some(campaign.id),
            what: what.to_owned(),
            said,
            counted,
        });
    };
    let rows = if campaign.purged {
        &campaign.says
    } else {
        &campaign.rows
    };
    for (what, said, counted) in counters(&campaign.says, rows) {
        if said != counted {
            note(what, said.to_string(), counted.to_string());
        }
    }
    if campaign.forgotten > 0 {
        let counted = campaign.forgotten.to_string();
        note("messages that nothing would ever send", "0".into(), counted);
    }
    let left = rows.pending() + rows.sending;
    let over = if campaign.status == CampaignStatus::Cancelled {
        rows.pending() == 0
    } else {
        left == 0
    };
    if campaign.completed != over {
        let said = if campaign.completed {
            "over"
        } else {
            "going on"
        };
        note("the end", said.into(), format!("{left} left to send"));
    }
    if campaign.completed != campaign.status.is_final() {
        note(
            "the status",
            campaign.status.to_string(),
            campaign.completed.to_string(),
        );
    }
    let errors = rows.failed + rows.unknown > 0;
    let wrong = match campaign.status {
        CampaignStatus::Completed => errors,
        CampaignStatus::CompletedWithErrors => !errors,
        _ => false,
    };
    if wrong {
        let counted = format!("{} failed, {} unknown", rows.failed, rows.unknown);
        note("the status", campaign.status.to_string(), counted);
    }
    found
}

fn counters(says: &Counts, rows: &Counts) -> [(&'static str, i64, i64); 9] {
    [
        ("total", says.total, rows.total),
        ("sending", says.sending, rows.sending),
        ("sent", says.sent, rows.sent),
        ("delivered", says.delivered, rows.delivered),
        ("read", says.read, rows.read),
        ("failed", says.failed, rows.failed),
        ("cancelled", says.cancelled, rows.cancelled),
        ("suppressed", says.suppressed, rows.suppressed),
        ("unknown", says.unknown, rows.unknown),
    ]
}

/// One message as the ledger holds it, for whoever compares it with what was heard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// Its campaign.
    pub campaign: Uuid,
    /// The number that says it.
    pub sender: String,
    /// Who is to hear it.
    pub recipient: String,
    /// Its status, by [`MessageStatus::name`].
    pub status: &'static str,
    /// The WhatsApp id that it carries.
    pub message_id: Option<String>,
    /// Why it is not sent.
    pub error_code: Option<String>,
    /// Its transitions in short: `STATUS answer epoch`.
    pub steps: Vec<String>,
}

const HELD: &str = concat!(
    "SELECT m.campaign_id, c.sender, m.recipient, m.error_code, ",
    standing!(),
    ", ARRAY(SELECT concat_ws(' ', to_char(s.at, 'HH24:MI:SS.MS'), s.status, s.answer,
            'epoch ' || s.epoch) FROM unnest(",
    steps!(),
    ") s ORDER BY s.at)
    FROM campaigns c JOIN messages m ON m.campaign_id = c.id ",
    flight!(),
    " WHERE c.id = $1 ORDER BY m.ordinal"
);
const IDS: &str = "SELECT id, sender, status FROM campaigns WHERE id > $1 ORDER BY id LIMIT $2";

/// Campaigns behind `after`, oldest first: id, sender and status.
///
/// # Errors
/// When the ledger does not answer.
pub async fn campaigns(
    db: &impl GenericClient,
    after: Uuid,
) -> Result<Vec<(Uuid, String, String)>, StoreError> {
    let rows = db.query(IDS, &[&after, &PAGE]).await?;
    Ok(rows
        .iter()
        .map(|row| (row.get(0), row.get(1), row.get(2)))
        .collect())
}

/// All messages of a campaign.
///
/// # Errors
/// When the ledger does not answer.
pub async fn held(db: &impl GenericClient, campaign: Uuid) -> Result<Vec<Held>, StoreError> {
    let rows = db.query(HELD, &[&campaign]).await?;
    let held = rows.iter().map(|row| {
        Ok(Held {
            campaign: row.get(0),
            sender: row.get(1),
            recipient: row.get(2),
            status: status(row.get(4))?.name(),
            message_id: row.get(6),
            error_code: row.get(3),
            steps: row.get(7),
        })
    });
    held.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sound() -> Counted {
        let counts = Counts {
            total: 10,
            sending: 1,
            sent: 4,
            failed: 1,
            ..Counts::default()
        };
        Counted {
            id: Uuid::nil(),
            status: CampaignStatus::InProgress,
            completed: false,
            says: counts,
            rows: counts,
            forgotten: 0,
            purged: false,
        }
    }

    #[test]
    fn whatever_is_falsified_is_found() {
        assert_eq!(differences(&sound()), []);
        let falsify: [fn(&mut Counted); 7] = [
            |c| c.says.sent += 1,
            |c| c.rows.total -= 1,
            |c| c.says.unknown += 1,
            |c| c.forgotten = 1,
            |c| c.completed = true,
            |c| c.status = CampaignStatus::Completed,
            |c| {
                c.rows.sending = 0;
                c.rows.sent = 9;
                c.says = c.rows;
            },
        ];
        for (place, falsify) in falsify.iter().enumerate() {
            let mut campaign = sound();
            falsify(&mut campaign);
            assert!(!differences(&campaign).is_empty(), "falsification {place}");
        }
    }
}
