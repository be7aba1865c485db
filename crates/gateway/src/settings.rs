//! The gateway's settings.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use chassis::config::{Fault, Faults, SettingValue};
use models::delays::Delays;
use secrecy::{ExposeSecret, SecretString};

chassis::settings! {
    /// Where the gateway listens and what it needs.
    pub struct ServerSettings {
        /// The ledger: `postgres://user:password@host:port/database`, and `?statements=unnamed`
        /// behind it where a pooler in transaction mode stands between.
        "DATABASE_URL" => database_url: SecretString;
        /// The broker: `amqp://user:password@host:port/vhost`.
        "AMQP_URL" => amqp_url: SecretString;
        /// Where the API is served. Loopback unless told otherwise, because users need no key.
        "GATEWAY_LISTEN" => listen: SocketAddr = "127.0.0.1:8000";
        /// Seconds that a connection on which nothing is asked stays open. More than clients keep
        /// theirs (Go's and reqwest's: 90): where the gateway is the first to close, a request may
        /// meet the closing and gets no answer. Behind a balancer, more than it keeps idle ones.
        "GATEWAY_KEEP_ALIVE_SECONDS" => keep_alive: Duration = 100, 1.0..=3_600.0;
        /// The key of all /api/admin calls, in the header X-Admin-API-Key: at least 16 characters,
        /// none that is easily guessed. Without it the gateway does not start.
        "ADMIN_API_KEY" => admin_api_key: AdminKey;
        /// What WAHA servers sign their webhooks with. The scheduler gives it to them; without it
        /// webhooks are only hints to look for oneself: acks prove nothing, and messages become
        /// DELIVERED only when the worker is asked about them.
        "WEBHOOK_HMAC_KEY" => webhook_hmac_key: Option<SecretString>, 16..=200_usize;
        /// Connections to the ledger.
        "GATEWAY_DATABASE_CONNECTIONS" => database_connections: usize = 16, 2..=200;
        /// Those of them that write workers' reports on messages, each the reports of numbers of
        /// its own. One keeps at most one core of PostgreSQL busy, with some 45,000 reports a
        /// second; more make groups smaller, which costs a fifth more for each report, and only
        /// help while PostgreSQL has cores to spare.
        "ACK_WRITERS" => ack_writers: usize = 1, 1..=32;
        /// Seconds without a heartbeat after which a sender replica counts as dead.
        "REPLICA_DEAD_AFTER_SECONDS" => dead_after: Duration = 10, 1.0..=600.0;
        /// Seconds that a number rests at first when WhatsApp reports that it may not start chats
        /// (errors 463 and 475) and does not say for how long; doubled each time.
        "RESTRICTED_REST_SECONDS" => restricted_rest: Duration = 3600, 1.0..=604_800.0;
        /// The longest of those rests.
        "RESTRICTED_REST_SECONDS_MAX" => restricted_rest_max: Duration = 86400, 1.0..=604_800.0;
        /// Seconds that chance adds to each message delay, at most; for estimates.
        "MESSAGE_DELAY_JITTER" => jitter_max: Duration = 15, 0.0..=3_600.0;
    }
}

impl ServerSettings {
    /// Checks what no single setting can.
    ///
    /// # Errors
    /// Requests would have no connection beside the ack writers'.
    pub fn check(&self) -> Result<(), Faults> {
        if self.ack_writers < self.database_connections {
            return Ok(());
        }
        let cause = "must be less than GATEWAY_DATABASE_CONNECTIONS: requests are answered by \
            the others";
        Err(Faults(vec![Fault::new("ACK_WRITERS", cause)]))
    }
}

chassis::settings! {
    /// The global delays of a fresh installation; afterwards those set over the API rule.
    pub struct DelaySettings {
        /// Seconds between two messages of one number. WhatsApp bans numbers that are faster than
        /// a person; 30 to 60 is what WAHA's own advice says.
        "MESSAGE_DELAY" => message: Duration = 30, 0.0..=86_400.0;
        /// Seconds between messages of different numbers on one WAHA server.
        "SENDER_SWITCH_DELAY" => sender_switch: Duration = 1, 0.0..=86_400.0;
        /// Seconds between the end of a number's campaign and the first message of its next.
        "CAMPAIGN_DELAY" => campaign: Duration = 10, 0.0..=86_400.0;
    }
}

chassis::settings! {
    /// What workers may hold unless they say otherwise.
    pub struct CapacitySettings {
        /// Sessions that may live on one worker. WAHA advises against more than 50 on NOWEB.
        "MAX_SESSIONS_PER_WORKER" => sessions_per_worker: i32 = 50, 0..=1_000_000;
        /// How many of them may run at once.
        "MAX_LIVE_SESSIONS" => live_sessions: i32 = 50, 0..=1_000_000;
    }
}

chassis::settings! {
    /// How much one request may hold.
    pub struct LimitSettings {
        /// Bytes of a JSON body of POST /api/send.
        "MAX_BODY_BYTES" => body_bytes: usize = 67_108_864, 1_024..=1_073_741_824;
        /// Bytes of an application/x-ndjson body of POST /api/send, which is never kept whole.
        "MAX_STREAM_BYTES" => stream_bytes: usize = 268_435_456, 1_024..=4_294_967_296;
        /// Bytes of a campaign's recipients that are held in memory while they come in; the rest
        /// waits in a file. A number takes 8, so that a million of them need no disk; each upload
        /// that is under way may take this much.
        "SPOOL_MEMORY_BYTES" => spool_memory_bytes: usize = 8_388_608, 1_048_576..=1_073_741_824;
        /// Where that file is made; it has no name, and goes with the process. The system's
        /// directory for temporary files when absent: name another one where that is kept in
        /// memory, and give it room for MAX_STREAM_BYTES times the uploads at once.
        "SPOOL_DIRECTORY" => spool_directory: Option<PathBuf>;
        /// Recipients of one campaign.
        "MAX_RECIPIENTS" => recipients: usize = 1_000_000, 1..=10_000_000;
        /// Variables of one campaign, and of one recipient.
        "MAX_VARIABLES" => variables: usize = 100, 0..=1_000;
        /// Reports of workers on messages that may wait to be written. More are refused with 503,
        /// and WAHA repeats them; a burst of a whole fleet is a few thousand. They are shared out
        /// among the writers by number.
        "ACK_QUEUE_MAX" => reports_waiting: usize = 10_000, 1..=1_000_000;
        /// Faults listed in one answer; the rest is counted.
        "MAX_ERRORS_LISTED" => errors_listed: usize = 1_000, 1..=100_000;
    }
}

/// Everything the gateway needs.
pub type GatewaySettings = (
    ServerSettings,
    DelaySettings,
    CapacitySettings,
    LimitSettings,
);

chassis::settings! {
    /// What `migrate` needs.
    pub struct MigrateSettings {
        /// The ledger: `postgres://user:password@host:port/database`.
        "DATABASE_URL" => database_url: SecretString;
        /// The ledger past the pooler, where `DATABASE_URL` leads through one: `migrate` needs a
        /// connection of its own.
        "DATABASE_DIRECT_URL" => direct_url: Option<SecretString>;
    }
}

impl From<&DelaySettings> for Delays {
    fn from(settings: &DelaySettings) -> Self {
        Self {
            message: settings.message,
            sender_switch: settings.sender_switch,
            campaign: settings.campaign,
        }
    }
}

/// The admin key. Invariant: at least [`KEY_CHARS_MIN`] characters, and not one that anybody
/// would try first.
#[derive(Debug, Clone)]
pub struct AdminKey(SecretString);

/// The fewest characters of the admin key.
pub const KEY_CHARS_MIN: usize = 16;
/// What people write when they mean to write a key later.
const WORDS: &[&str] = &[
    "admin",
    "password",
    "secret",
    "changeme",
    "change-me",
    "change_me",
    "default",
    "example",
    "123456",
    "qwerty",
    "test",
    "key",
    "your",
    "api",
    "waha",
    "wahacast",
    "super",
    "my",
    "the",
];
/// Fewer different characters than this are a pattern, not a key.
const DISTINCT_MIN: usize = 6;

impl AdminKey {
    /// The bytes to compare with.
    pub fn bytes(&self) -> &[u8] {
        self.0.expose_secret().as_bytes()
    }
}

impl SettingValue for AdminKey {
    const KIND: &'static str = "secret text of at least 16 characters";
    const SECRET: bool = true;

    fn parse(text: &str) -> Result<Self, String> {
        let chars = text.chars().count();
        if chars < KEY_CHARS_MIN {
            return Err(format!(
                "has {chars} characters; it needs at least {KEY_CHARS_MIN}, \
                 for example from `openssl rand -hex 24`"
            ));
        }
        let distinct = text
            .chars()
            .collect::<std::collections::BTreeSet<_>>()
            .len();
        if distinct < DISTINCT_MIN || made_of_words(text) {
            return Err("is easily guessed; take one from `openssl rand -hex 24`".to_owned());
        }
        Ok(Self(SecretString::from(text)))
    }
}

/// Whether nothing is left of a key when the usual words, digits and separators are taken out.
fn made_of_words(text: &str) -> bool {
    let mut rest = text.to_lowercase();
    let mut words = WORDS.to_vec();
    words.sort_by_key(|word| std::cmp::Reverse(word.len()));
    for word in words {
        rest = rest.replace(word, "");
    }
    rest.chars().filter(|c| c.is_alphabetic()).count() < 3 && rest.len() < text.len()
}

#[cfg(test)]
mod tests {
    use chassis::config::{Settings, Source};

    use super::*;

    #[test]
    fn requests_keep_connections_beside_the_ack_writers() {
        let check = |writers| {
            let urls = [("DATABASE_URL", "postgres://a"), ("AMQP_URL", "amqp://a")];
            let given = [
                ("ADMIN_API_KEY", "b7f0c2d94e1a88c35d6e"),
                ("GATEWAY_DATABASE_CONNECTIONS", "4"),
                ("ACK_WRITERS", writers),
            ];
            let source = Source::from_pairs(urls.into_iter().chain(given));
            ServerSettings::from_source(&source).unwrap().check()
        };
        assert!(check("3").is_ok());
        let told = check("4").unwrap_err().to_string();
        assert!(told.contains("ACK_WRITERS"), "{told}");
    }

    #[test]
    fn weak_keys_are_refused_with_the_cause_and_without_the_key() {
        for (key, cause) in [
            ("short", "has 5 characters"),
            ("aaaaaaaaaaaaaaaaaaaa", "easily guessed"),
            ("00000000000000000000000000000000", "easily guessed"),
            ("admin-admin-admin-admin", "easily guessed"),
            ("my-secret-admin-api-key", "easily guessed"),
            ("changeme-changeme-123456", "easily guessed"),
        ] {
            let fault = AdminKey::parse(key).unwrap_err();
            assert!(fault.contains(cause), "{key}: {fault}");
            assert!(!fault.contains(key));
        }
        for key in [
            "b7f0c2d94e1a88c35d6e",
            "correct horse battery staple",
            "kQ9#x2Lm!vR4tZ8w",
        ] {
            assert!(AdminKey::parse(key).is_ok(), "{key}");
        }
        assert!(
            !format!("{:?}", AdminKey::parse("b7f0c2d94e1a88c35d6e").unwrap()).contains("b7f0")
        );
    }
}
