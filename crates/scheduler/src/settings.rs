//! The scheduler's settings.

use std::time::Duration;

use secrecy::SecretString;
use url::Url;

const DAY: Duration = Duration::from_secs(86_400);

chassis::settings! {
    /// What a scheduler replica must know.
    pub struct SchedulerSettings {
        /// The ledger: `postgres://user:password@host:port/database`, and `?statements=unnamed`
        /// behind it where a pooler in transaction mode stands between.
        "DATABASE_URL" => database_url: SecretString;
        /// The broker: `amqp://user:password@host:port/vhost`.
        "AMQP_URL" => amqp_url: SecretString;
        /// The gateway as the workers reach it; they post what becomes of sessions and
        /// messages below it.
        "WEBHOOK_BASE_URL" => webhook_base_url: Url;
        /// The key that workers sign their webhooks with; the gateway must have the same.
        "WEBHOOK_HMAC_KEY" => webhook_hmac_key: SecretString, 16..=200_usize;
        /// Seconds between two checks of a worker that has sessions; an empty one is checked a
        /// quarter as often. News come by webhook; this finds those that were lost.
        "WORKER_CHECK_SECONDS" => worker_check_every: Duration = 15, 0.1..=600.0;
        /// Seconds between two looks for sessions that are due. Each is one short query.
        "SESSION_LOOK_SECONDS" => session_look_every: Duration = 0.25, 0.05..=10.0;
        /// Sessions that a replica creates, starts or stops at once. WAHA needs seconds for each,
        /// and its processor for the first of them.
        "SESSIONS_IN_FLIGHT_MAX" => sessions_in_flight_max: u32 = 32, 1..=1_000;
        /// Workers that a replica checks at once.
        "CHECKS_IN_FLIGHT_MAX" => checks_in_flight_max: u32 = 32, 1..=1_000;
        /// Seconds between a replica's heartbeats.
        "HEARTBEAT_SECONDS" => heartbeat_every: Duration = 2, 0.1..=60.0;
        /// Seconds without a heartbeat after which a replica counts as dead and its lanes are
        /// taken over. At least four heartbeats, so that one that is lost does no harm; must be
        /// the same for all services.
        "REPLICA_DEAD_AFTER_SECONDS" => dead_after: Duration = 10, 1.0..=600.0;
        /// Seconds without an ack after which a worker is asked about a message. WhatsApp's servers
        /// report within seconds; what takes longer was probably lost on its way to us.
        "ASK_AFTER_SECONDS" => ask_after: Duration = 120, 1.0..=86_400.0;
        /// Messages that a replica asks workers about at once.
        "ASKS_IN_FLIGHT_MAX" => asks_in_flight_max: u32 = 16, 1..=1_000;
        /// Days for which WhatsApp's reports on a message are kept; a later one proves nothing any
        /// more. People read messages weeks late.
        "RECEIPTS_KEEP_DAYS" => receipts_keep_days: u32 = 30, 1..=3_650;
        /// Days after which messages are deleted, a UTC month at a time; 0 keeps them for ever,
        /// because nothing is deleted that nobody asked to delete. A month goes when all of its
        /// campaigns have ended that long ago; their totals stay.
        "RETENTION_DAYS" => retention_days: u32 = 0, 0..=36_500;
        /// Seconds that a number rests at first when WhatsApp keeps it from starting chats (errors
        /// 463 and 475) and does not say for how long; doubled each time.
        "RESTRICTED_REST_SECONDS" => restricted_rest: Duration = 3600, 1.0..=604_800.0;
        /// The longest of those rests, which grow with each restriction in a row. An ack that comes
        /// when a rest is over ends the row.
        "RESTRICTED_REST_SECONDS_MAX" => restricted_rest_max: Duration = 86400, 1.0..=604_800.0;
        /// Connections to the ledger; none is held while a worker is asked.
        "SCHEDULER_DATABASE_CONNECTIONS" => database_connections: usize = 8, 2..=100;
    }
}

impl SchedulerSettings {
    /// How long receipts are kept.
    pub fn receipts_keep(&self) -> Duration {
        DAY * self.receipts_keep_days
    }

    /// How long messages are kept; `None`: for ever.
    pub fn retention(&self) -> Option<Duration> {
        (self.retention_days > 0).then(|| DAY * self.retention_days)
    }
}
