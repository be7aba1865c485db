//! Command line settings.

use clap::Parser;
use waha_sim::{Engine, GlobalHook, Options, Retries, RetryPolicy, StartError, Tier, Version};

/// Simulated WAHA servers, many in one process.
#[derive(Parser)]
#[command(name = "waha-sim")]
pub(crate) struct Cli {
    /// Port on 127.0.0.1; 0 picks a free one.
    #[arg(long, default_value_t = 0)]
    port: u16,
    /// Number of workers.
    #[arg(long, default_value_t = 1)]
    workers: usize,
    /// Gives each worker a port of its own.
    #[arg(long)]
    own_ports: bool,
    /// Worker N's key is KEY-N.
    #[arg(long, default_value = "sim-key", value_name = "KEY")]
    api_key: String,
    /// NOWEB, GOWS or WEBJS; a list is assigned round robin.
    #[arg(long, default_value = "NOWEB", value_delimiter = ',')]
    engine: Vec<String>,
    /// Version to play; a list is assigned round robin. Core before 2026.6.1 is the old one.
    #[arg(
        long = "version",
        alias = "waha-version",
        default_value = "2026.8.2",
        value_delimiter = ','
    )]
    versions: Vec<String>,
    /// Reports tier PLUS: the features of 2026.6.1 in older versions too.
    #[arg(long)]
    plus: bool,
    /// Seed of all chance.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Factor on all waits that WAHA imposes.
    #[arg(long, default_value_t = 1.0)]
    time_scale: f64,
    /// Milliseconds until a send is answered: N or MIN..MAX.
    #[arg(long, default_value = "0", value_parser = range)]
    send_delay_ms: (u64, u64),
    /// Milliseconds before each ack: N or MIN..MAX.
    #[arg(long, default_value = "100..900", value_parser = range)]
    ack_delay_ms: (u64, u64),
    /// Share of delivered messages that are read.
    #[arg(long, default_value_t = 1.0)]
    read_share: f64,
    /// Share of messages whose acks never come.
    #[arg(long, default_value_t = 0.0)]
    lost_ack_share: f64,
    /// Share of messages whose acks come twice.
    #[arg(long, default_value_t = 0.0)]
    repeated_ack_share: f64,
    /// Share of messages whose acks come out of order.
    #[arg(long, default_value_t = 0.0)]
    unordered_ack_share: f64,
    /// constant, linear or exponential.
    #[arg(long, default_value = "constant", value_parser = policy)]
    hook_retries_policy: RetryPolicy,
    /// Seconds between webhook attempts.
    #[arg(long, default_value_t = 2.0)]
    hook_retries_delay_seconds: f64,
    /// Webhook attempts after the first.
    #[arg(long, default_value_t = 15)]
    hook_retries_attempts: u32,
    /// A webhook for all sessions.
    #[arg(long)]
    hook_url: Option<String>,
    /// Events of that webhook.
    #[arg(long, default_value = "*", value_delimiter = ',')]
    hook_events: Vec<String>,
    /// HMAC key of that webhook.
    #[arg(long)]
    hook_hmac_key: Option<String>,
    /// Posts webhooks to hosts other than loopback ones too.
    #[arg(long)]
    remote_webhooks: bool,
    /// Entries kept for `heard`.
    #[arg(long, default_value_t = 2_000_000)]
    heard_capacity: usize,
    /// Messages kept per session for look-ups.
    #[arg(long, default_value_t = 1_000)]
    stored_messages: usize,
    /// Milliseconds before a restart whose stored messages it loses.
    #[arg(long, default_value_t = 0)]
    unsaved_ms: u64,
    /// Threads that serve HTTP.
    #[arg(long, default_value_t = 2)]
    http_threads: usize,
}

impl Cli {
    /// The library's form of these settings.
    pub(crate) fn into_options(self) -> Result<Options, StartError> {
        let engines: Result<Vec<Engine>, _> = self.engine.iter().map(|e| e.parse()).collect();
        let versions: Result<Vec<Version>, _> = self.versions.iter().map(|v| v.parse()).collect();
        let (events, hmac_key) = (self.hook_events, self.hook_hmac_key);
        Ok(Options {
            port: self.port,
            workers: self.workers,
            own_ports: self.own_ports,
            api_key: self.api_key,
            engines: engines?,
            versions: versions?,
            tier: if self.plus { Tier::Plus } else { Tier::Core },
            seed: self.seed,
            time_scale: self.time_scale,
            send_delay_ms: self.send_delay_ms,
            ack_delay_ms: self.ack_delay_ms,
            read_share: self.read_share,
            lost_ack_share: self.lost_ack_share,
            repeated_ack_share: self.repeated_ack_share,
            unordered_ack_share: self.unordered_ack_share,
            hook_retries: Retries {
                policy: self.hook_retries_policy,
                delay_seconds: self.hook_retries_delay_seconds,
                attempts: self.hook_retries_attempts,
            },
            global_hook: self.hook_url.map(|url| GlobalHook {
                url,
                events,
                hmac_key,
            }),
            remote_webhooks: self.remote_webhooks,
            heard_capacity: self.heard_capacity,
            stored_messages: self.stored_messages,
            unsaved_ms: self.unsaved_ms,
            http_threads: self.http_threads,
        })
    }
}

fn range(text: &str) -> Result<(u64, u64), String> {
    let number = |part: &str| {
        part.trim()
            .parse::<u64>()
            .map_err(|error| error.to_string())
    };
    let (min, max) = text.split_once("..").unwrap_or((text, text));
    let (min, max) = (number(min)?, number(max)?);
    if min > max {
        Err("the range is upside down".to_owned())
    } else {
        Ok((min, max))
    }
}

fn policy(text: &str) -> Result<RetryPolicy, String> {
    match text {
        "constant" => Ok(RetryPolicy::Constant),
        "linear" => Ok(RetryPolicy::Linear),
        "exponential" => Ok(RetryPolicy::Exponential),
        _ => Err("constant, linear or exponential".to_owned()),
    }
}
