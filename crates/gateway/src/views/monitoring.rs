//! Figures on the wire.

use std::collections::BTreeMap;

use serde::Serialize;
use store::figures::{Figures, States};
use store::senders::SenderTotals;
use time::OffsetDateTime;
use time::serde::rfc3339;
use utoipa::ToSchema;
use uuid::Uuid;

use super::campaigns::CampaignView;

/// How things stand, for everybody or for one sender.
#[derive(Debug, Serialize, ToSchema)]
pub struct MetricsView {
    /// Sessions that can send.
    pub active_sessions: i64,
    /// Messages that workers accepted since midnight, UTC.
    pub messages_sent_today: i64,
    /// Messages not begun, of campaigns that are not done.
    pub current_queue_size: i64,
    /// Seconds since this gateway started.
    pub server_uptime: i64,
    /// Campaigns.
    pub total_campaigns: i64,
    /// Numbers ever used.
    pub total_users: i64,
    /// Sessions.
    pub total_sessions: i64,
    /// Sessions that no worker has room for.
    pub queued_sessions: i64,
    /// Campaigns that are not done.
    pub open_campaigns: i64,
    /// Workers.
    pub total_workers: i64,
    /// Workers whose last check succeeded.
    pub healthy_workers: i64,
    /// Sender replicas that are alive.
    pub sender_replicas: i64,
    /// Campaign jobs that RabbitMQ has not confirmed.
    pub outbox_jobs: i64,
}

impl MetricsView {
    /// The figures of a process that has been up for `uptime`.
    pub fn new(figures: &Figures, uptime: time::Duration) -> Self {
        Self {
            active_sessions: figures.active_sessions,
            messages_sent_today: figures.messages_sent_today,
            current_queue_size: figures.queue_size,
            server_uptime: uptime.whole_seconds().max(0),
            total_campaigns: figures.total_campaigns,
            total_users: figures.total_users,
            total_sessions: figures.total_sessions,
            queued_sessions: figures.queued_sessions,
            open_campaigns: figures.open_campaigns,
            total_workers: figures.total_workers,
            healthy_workers: figures.healthy_workers,
            sender_replicas: figures.sender_replicas,
            outbox_jobs: figures.outbox,
        }
    }
}

/// A number that campaigns are sent from.
#[derive(Debug, Serialize, ToSchema)]
pub struct UserView {
    /// The number.
    pub phone_number: String,
    /// Campaigns ever submitted for it.
    pub total_campaigns: i64,
    /// Messages of all of them.
    pub total_messages: i64,
    /// Messages that a worker accepted.
    pub sent_messages: i64,
    /// Messages refused for good.
    pub failed_messages: i64,
    /// Whether its session can send right now.
    pub active_session: bool,
    /// When it last sent anything.
    #[serde(with = "rfc3339::option")]
    #[schema(required, nullable)]
    pub last_active: Option<OffsetDateTime>,
    /// When its newest campaign was submitted.
    #[serde(with = "rfc3339::option")]
    #[schema(required, nullable)]
    pub last_campaign: Option<OffsetDateTime>,
    /// That campaign.
    #[schema(required, nullable)]
    pub last_campaign_id: Option<Uuid>,
}

impl From<SenderTotals> for UserView {
    fn from(totals: SenderTotals) -> Self {
        Self {
            phone_number: totals.phone.to_string(),
            total_campaigns: totals.campaigns,
            total_messages: totals.messages,
            sent_messages: totals.sent,
            failed_messages: totals.failed,
            active_session: totals.working,
            last_active: totals.last_sent_at,
            last_campaign: totals.last_campaign.map(|(_, at)| at),
            last_campaign_id: totals.last_campaign.map(|(id, _)| id.uuid()),
        }
    }
}

/// All campaigns at a glance.
#[derive(Debug, Serialize, ToSchema)]
pub struct CampaignsOverview {
    /// How many campaigns are in each status.
    #[schema(example = json!({"PENDING": 1, "COMPLETED": 12}))]
    pub campaign_status: BTreeMap<String, i64>,
    /// How many messages are in each status.
    #[schema(example = json!({"PENDING": 40, "SENT": 1200}))]
    pub message_status: BTreeMap<String, i64>,
    /// The newest campaigns.
    pub recent_campaigns: Vec<CampaignView>,
    /// When this was read.
    #[serde(with = "rfc3339")]
    pub last_refresh: OffsetDateTime,
}

impl CampaignsOverview {
    /// The overview at `now`.
    pub fn new(states: &States, recent: Vec<CampaignView>, now: OffsetDateTime) -> Self {
        let campaigns = states.campaigns.iter();
        let messages = states.messages.iter();
        Self {
            campaign_status: campaigns.map(|(s, n)| (s.name().to_owned(), *n)).collect(),
            message_status: messages.map(|(s, n)| (s.name().to_owned(), *n)).collect(),
            recent_campaigns: recent,
            last_refresh: now,
        }
    }
}
