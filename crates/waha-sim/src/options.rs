//! Settings of a simulator.

use std::time::Duration;

use crate::profile::{Engine, Tier, Version};

/// How a webhook is tried again (contract section 10.2).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Retries {
    /// How the pause grows.
    pub policy: RetryPolicy,
    /// The unit of the pause in seconds, before `time_scale`.
    pub delay_seconds: f64,
    /// Tries after the first one.
    pub attempts: u32,
}

impl Default for Retries {
    fn default() -> Self {
        Self {
            policy: RetryPolicy::Constant,
            delay_seconds: 2.0,
            attempts: 15,
        }
    }
}

/// How the pause between webhook tries grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetryPolicy {
    /// Always the unit.
    Constant,
    /// The n-th pause is n units.
    Linear,
    /// The n-th pause is 2^n units and up to a fifth more.
    Exponential,
}

/// A webhook for all sessions of all workers, as `WHATSAPP_HOOK_URL` and its friends set it.
#[derive(Clone)]
pub struct GlobalHook {
    /// Where events are posted.
    pub url: String,
    /// Event names; `*` for all.
    pub events: Vec<String>,
    /// Key of the HMAC, if bodies are to be signed.
    pub hmac_key: Option<String>,
}

/// Settings of a simulator. `Options::default()` is one NOWEB worker of version 2026.8.2 on a
/// free port with unscaled waits.
#[derive(Clone)]
pub struct Options {
    /// TCP port on 127.0.0.1; 0 picks a free one.
    pub port: u16,
    /// Number of workers, at least 1.
    pub workers: usize,
    /// Gives each worker a free port of its own as its base URL, besides `/w/N` on `port`.
    pub own_ports: bool,
    /// Worker N's API key is this text, a dash, and N.
    pub api_key: String,
    /// Engines, assigned to workers round robin; not empty.
    pub engines: Vec<Engine>,
    /// Versions, assigned to workers round robin; not empty.
    pub versions: Vec<Version>,
    /// Tier that every worker reports.
    pub tier: Tier,
    /// Seed of all chance.
    pub seed: u64,
    /// Factor on every wait that WAHA imposes: 5 s and 10 s before a 422, QR life, link steps,
    /// stop and restart, lifecycle lock, webhook retry pauses. Not on the two ranges below.
    pub time_scale: f64,
    /// How long a send takes to be answered, in milliseconds, from and to.
    pub send_delay_ms: (u64, u64),
    /// Pause before each ack, in milliseconds, from and to.
    pub ack_delay_ms: (u64, u64),
    /// Share of delivered messages that are read, 0 to 1.
    pub read_share: f64,
    /// Share of messages that never get an ack though they arrived, 0 to 1.
    pub lost_ack_share: f64,
    /// Share of messages whose acks come twice, 0 to 1.
    pub repeated_ack_share: f64,
    /// Share of messages whose acks come out of order, 0 to 1.
    pub unordered_ack_share: f64,
    /// Retries of webhooks that do not name their own.
    pub hook_retries: Retries,
    /// A webhook for all sessions.
    pub global_hook: Option<GlobalHook>,
    /// Posts webhooks to hosts other than loopback ones too.
    pub remote_webhooks: bool,
    /// Entries kept for `GET /control/heard`; the oldest go first.
    pub heard_capacity: usize,
    /// Messages kept per session for look-ups; the oldest go first.
    pub stored_messages: usize,
    /// A restart loses the stored messages of so many milliseconds before it: an engine writes its
    /// store after it has told WhatsApp.
    pub unsaved_ms: u64,
    /// Threads that serve HTTP, at least 1.
    pub http_threads: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            port: 0,
            workers: 1,
            own_ports: false,
            api_key: "sim-key".to_owned(),
            engines: vec![Engine::Noweb],
            versions: vec![Version::new(2026, 8, 2)],
            tier: Tier::Core,
            seed: 1,
            time_scale: 1.0,
            send_delay_ms: (0, 0),
            ack_delay_ms: (100, 900),
            read_share: 1.0,
            lost_ack_share: 0.0,
            repeated_ack_share: 0.0,
            unordered_ack_share: 0.0,
            hook_retries: Retries::default(),
            global_hook: None,
            remote_webhooks: false,
            heard_capacity: 2_000_000,
            stored_messages: 1_000,
            unsaved_ms: 0,
            http_threads: 1,
        }
    }
}

impl Options {
    /// A wait of `millis` at scale 1, as this simulator waits it.
    pub(crate) fn wait(&self, millis: u64) -> Duration {
        Duration::from_millis(millis).mul_f64(self.time_scale.max(0.0))
    }
}
