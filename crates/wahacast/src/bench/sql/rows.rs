//! The rows that a claim and a conclusion write, by hand-written statements that look at nothing.

use anyhow::ensure;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Statement};
use uuid::Uuid;

/// By their keys, and by plans that are kept, as ours; those of an empty table are worse.
const BY_KEY: &str = "SET enable_seqscan = off; SET enable_hashjoin = off;
    SET enable_mergejoin = off; SET enable_material = off; SET enable_bitmapscan = off;
    SET jit = off; SET plan_cache_mode = force_generic_plan";

/// Of a claim: the number's row, and a receipt.
const CLAIM: [&str; 2] = [
    "UPDATE senders d SET in_flight_campaign = i.campaign, in_flight_ordinal = $2,
        in_flight_worker = $1, in_flight_replica = $1, in_flight_epoch = 1,
        in_flight_message_id = i.id, in_flight_at = now()
    FROM unnest($3::text[], $4::uuid[], $5::text[]) AS i (phone, campaign, id)
    WHERE d.phone = i.phone",
    "INSERT INTO receipts (sender, message_id, campaign_id, ordinal)
    SELECT phone, id, campaign, $2 FROM unnest($3::text[], $4::uuid[], $5::text[])
        AS i (phone, campaign, id) WHERE $1::uuid IS NOT NULL",
];

/// Of a conclusion: the message, its campaign, the number and the lane.
const CONCLUDE: [&str; 4] = [
    "UPDATE messages m SET status = 2, attempts = 1, waha_message_id = i.id, sent_at = now(),
        steps = ARRAY[ROW(now(), 1, $1, $1, 1, NULL)::message_step,
            ROW(now(), 2, $1, $1, 1, 'accepted')::message_step]
    FROM unnest($3::text[], $4::uuid[], $5::text[]) AS i (phone, campaign, id)
    WHERE m.campaign_id = i.campaign AND m.ordinal = $2",
    "UPDATE campaigns c SET sent = c.sent + 1, next_ordinal = $2 + 1,
        status = CASE WHEN c.sent + 1 < c.total THEN 'IN_PROGRESS' ELSE 'COMPLETED' END,
        started_at = COALESCE(c.started_at, now()),
        completed_at = CASE WHEN c.sent + 1 < c.total THEN c.completed_at ELSE now() END
    FROM unnest($3::text[], $4::uuid[], $5::text[]) AS i (phone, campaign, id)
    WHERE c.id = i.campaign AND $1::uuid IS NOT NULL",
    "UPDATE senders d SET in_flight_campaign = NULL, in_flight_ordinal = NULL,
        in_flight_worker = NULL, in_flight_replica = NULL, in_flight_epoch = NULL,
        in_flight_message_id = NULL, in_flight_at = NULL, last_sent_at = now(),
        sent_today = d.sent_today + 1, unacked = d.unacked + 1
    FROM unnest($3::text[], $4::uuid[], $5::text[]) AS i (phone, campaign, id)
    WHERE d.phone = i.phone AND $1::uuid IS NOT NULL AND $2 >= 0",
    "UPDATE lanes SET last_sent_at = now() WHERE worker_id = $1 AND $2 >= 0
        AND cardinality($3::text[]) + cardinality($4::uuid[]) + cardinality($5::text[]) > 0",
];

/// A group of messages, of one lane and each the same of its campaign.
#[derive(Debug, Clone)]
pub(crate) struct BareGroup {
    /// Their place.
    pub(crate) ordinal: i32,
    /// Whose they are.
    pub(crate) phones: Vec<String>,
    /// Of which campaigns.
    pub(crate) campaigns: Vec<Uuid>,
    /// By which ids.
    pub(crate) ids: Vec<String>,
}

/// Those statements, prepared on a connection of their own.
pub(crate) struct BareWrites {
    db: Client,
    worker: Uuid,
    claim: Vec<Statement>,
    conclude: Vec<Statement>,
}

impl BareWrites {
    /// Prepares them for the messages of one lane.
    pub(crate) async fn new(db: Client, worker: Uuid) -> anyhow::Result<Self> {
        db.batch_execute(BY_KEY).await?;
        let (mut claim, mut conclude) = (Vec::new(), Vec::new());
        for sql in CLAIM {
            claim.push(db.prepare(sql).await?);
        }
        for sql in CONCLUDE {
            conclude.push(db.prepare(sql).await?);
        }
        Ok(Self {
            db,
            worker,
            claim,
            conclude,
        })
    }

    /// Concludes one group and claims another in one transaction, as the sender's writer does; all
    /// of it leaves at once.
    pub(crate) async fn write(
        &self,
        before: Option<&BareGroup>,
        next: Option<&BareGroup>,
    ) -> anyhow::Result<()> {
        let parts = [(before, &self.conclude), (next, &self.claim)];
        let parts = parts
            .iter()
            .filter_map(|(group, statements)| group.map(|group| (group, *statements)));
        let writes = parts
            .flat_map(|(group, statements)| statements.iter().map(move |sql| self.run(sql, group)));
        let (begun, written, ended) = tokio::join!(
            self.db.batch_execute("BEGIN"),
            futures_util::future::join_all(writes),
            self.db.batch_execute("COMMIT"),
        );
        begun?;
        ended?;
        written.into_iter().collect()
    }

    async fn run(&self, sql: &Statement, group: &BareGroup) -> anyhow::Result<()> {
        let parameters: [&(dyn ToSql + Sync); 5] = [
            &self.worker,
            &group.ordinal,
            &group.phones,
            &group.campaigns,
            &group.ids,
        ];
        let written = self.db.execute(sql, &parameters).await?;
        ensure!(
            written == group.ids.len() as u64 || written == 1,
            "only {written} were written"
        );
        Ok(())
    }
}
