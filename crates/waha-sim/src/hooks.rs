//! Webhooks: reading their configuration, and the sender (contract section 10).

use std::sync::Arc;
use std::time::Duration;

use actix_web::web::Bytes;
use hmac::{Hmac, Mac};
use serde_json::Value;
use sha2::Sha512;
use tracing::debug;

use crate::options::{GlobalHook, Retries, RetryPolicy};
use crate::sim::Cx;

/// Every event name that a configuration may list.
pub(crate) const EVENTS: [&str; 30] = [
    "session.status",
    "message",
    "message.reaction",
    "message.any",
    "message.ack",
    "message.ack.group",
    "message.waiting",
    "message.revoked",
    "message.edited",
    "state.change",
    "group.join",
    "group.leave",
    "group.v2.join",
    "group.v2.leave",
    "group.v2.update",
    "group.v2.participants",
    "presence.update",
    "poll.vote",
    "poll.vote.failed",
    "chat.archive",
    "call.received",
    "call.accepted",
    "call.rejected",
    "label.upsert",
    "label.deleted",
    "label.chat.added",
    "label.chat.deleted",
    "event.response",
    "event.response.failed",
    "engine.event",
];

/// One configured receiver.
pub(crate) struct Hook {
    url: String,
    events: Vec<String>,
    hmac_key: Option<String>,
    retries: Retries,
    headers: Vec<(String, String)>,
}

impl Hook {
    pub(crate) fn global(hook: &GlobalHook, retries: Retries) -> Self {
        Self {
            url: hook.url.clone(),
            events: hook.events.clone(),
            hmac_key: hook.hmac_key.clone(),
            retries,
            headers: Vec::new(),
        }
    }

    /// The receivers that a session's `config` names; what is malformed is left out, because
    /// `config::check` has refused it before.
    pub(crate) fn of_config(config: &Value, default: Retries) -> Vec<Arc<Self>> {
        let list = config["webhooks"]
            .as_array()
            .map(Vec::as_slice)
            .unwrap_or_default();
        list.iter()
            .filter_map(|hook| Self::of_value(hook, default))
            .map(Arc::new)
            .collect()
    }

    fn of_value(hook: &Value, default: Retries) -> Option<Self> {
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let events = hook["events"].as_array()?.iter().filter_map(text).collect();
        let headers = hook["customHeaders"]
            .as_array()
            .map(Vec::as_slice)
            .unwrap_or_default();
        let header = |entry: &Value| Some((text(&entry["name"])?, text(&entry["value"])?));
        let retries = &hook["retries"];
        Some(Self {
            url: text(&hook["url"])?,
            events,
            hmac_key: text(&hook["hmac"]["key"]).filter(|key| !key.is_empty()),
            retries: Retries {
                policy: match retries["policy"].as_str() {
                    Some("linear") => RetryPolicy::Linear,
                    Some("exponential") => RetryPolicy::Exponential,
                    Some(_) => RetryPolicy::Constant,
                    None => default.policy,
                },
                delay_seconds: retries["delaySeconds"]
                    .as_f64()
                    .unwrap_or(default.delay_seconds),
                attempts: retries["attempts"]
                    .as_u64()
                    .map_or(default.attempts, |n| u32::try_from(n).unwrap_or(u32::MAX)),
            },
            headers: headers.iter().filter_map(header).collect(),
        })
    }

    pub(crate) fn wants(&self, event: &str) -> bool {
        let kept_from_all = matches!(event, "state.change" | "engine.event");
        self.events
            .iter()
            .any(|name| name == event || (name == "*" && !kept_from_all))
    }
}

/// The pause before retry `n` (from 1) in seconds at scale 1; `jitter` is 0 to 1.
pub(crate) fn retry_pause(retries: &Retries, n: u32, jitter: f64) -> f64 {
    match retries.policy {
        RetryPolicy::Constant => retries.delay_seconds,
        RetryPolicy::Linear => retries.delay_seconds * f64::from(n),
        RetryPolicy::Exponential => {
            retries.delay_seconds * 2f64.powi(n.min(60) as i32) * (1.0 + 0.2 * jitter)
        }
    }
}

/// Lower-case hex HMAC-SHA512 of `body`.
pub(crate) fn sign(key: &str, body: &[u8]) -> String {
    // HMAC takes keys of any length, so the error cannot happen; an empty text would show it.
    let Ok(mut mac) = Hmac::<Sha512>::new_from_slice(key.as_bytes()) else {
        return String::new();
    };
    mac.update(body);
    mac.finalize()
        .into_bytes()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// One event on its way to one receiver.
pub(crate) struct Delivery {
    pub(crate) hook: Arc<Hook>,
    pub(crate) body: Bytes,
    pub(crate) timestamp: i64,
    /// 17 characters, the same on every retry.
    pub(crate) request_id: String,
    /// Seeded chance for the exponential policy, 0 to 1.
    pub(crate) jitter: f64,
}

/// Starts a delivery: from memory, in no order with others, retried on any error, 4xx too.
pub(crate) fn deliver(cx: &Cx, delivery: Delivery) {
    let cx = cx.clone();
    cx.sim
        .runtime
        .clone()
        .spawn(async move { run(&cx, delivery).await });
}

async fn run(cx: &Cx, delivery: Delivery) {
    let retries = delivery.hook.retries;
    let attempts = if cx.profile().signed_hooks() {
        retries.attempts
    } else {
        0
    };
    if !cx.sim.options.remote_webhooks && !is_loopback(&delivery.hook.url) {
        debug!(
            event = "webhook.skipped",
            "webhook not posted: its host is not a loopback one"
        );
        return;
    }
    let boot = cx.lock().boot;
    for n in 0..=attempts {
        let asked = match post(cx, &delivery).await {
            Ok(()) => return,
            Err(retry_after) => retry_after.unwrap_or_default(),
        };
        if n == attempts {
            break;
        }
        let pause = retry_pause(&retries, n + 1, delivery.jitter).clamp(0.0, 1e6);
        let pause = Duration::from_secs_f64(pause).mul_f64(cx.sim.options.time_scale);
        tokio::time::sleep(pause.max(asked)).await;
        // Memory only: a restart of the worker loses what it had not delivered.
        if cx.sim.is_stopped() || cx.lock().boot != boot {
            return;
        }
    }
    debug!(
        worker = cx.worker().number,
        "webhook given up after its last attempt"
    );
}

/// One attempt; the error carries what Retry-After asked for.
async fn post(cx: &Cx, delivery: &Delivery) -> Result<(), Option<Duration>> {
    let hook = &delivery.hook;
    let mut request = cx
        .sim
        .http
        .post(&hook.url)
        .header("Content-Type", "application/json")
        .header("User-Agent", format!("WAHA/{}", cx.profile().version))
        .body(delivery.body.clone());
    if cx.profile().signed_hooks() {
        request = request
            .header("X-Webhook-Request-Id", &delivery.request_id)
            .header("X-Webhook-Timestamp", delivery.timestamp.to_string());
        for (name, value) in &hook.headers {
            request = request.header(name, value);
        }
        if let Some(key) = &hook.hmac_key {
            request = request
                .header("X-Webhook-Hmac", sign(key, &delivery.body))
                .header("X-Webhook-Hmac-Algorithm", "sha512");
        }
    }
    let Ok(_permit) = cx.sim.posts.acquire().await else {
        return Err(None);
    };
    let answer = request.send().await.map_err(|_| None)?;
    if answer.status().is_success() {
        return Ok(());
    }
    let asked = answer
        .headers()
        .get("Retry-After")
        .and_then(|value| value.to_str().ok());
    Err(asked
        .and_then(|text| text.parse().ok())
        .map(Duration::from_secs))
}

/// Whether a URL's host is this machine's loopback: the only hosts that are ever called.
pub(crate) fn is_loopback(url: &str) -> bool {
    let Ok(url) = reqwest::Url::parse(url) else {
        return false;
    };
    let Some(host) = url.host_str() else {
        return false;
    };
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost"
        || bare
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn pauses_grow_as_their_policy_says() {
        let retries = |policy| Retries {
            policy,
            delay_seconds: 2.0,
            attempts: 15,
        };
        let table = [
            (RetryPolicy::Constant, 7, 0.0, 2.0),
            (RetryPolicy::Linear, 3, 0.0, 6.0),
            (RetryPolicy::Exponential, 3, 0.0, 16.0),
            (RetryPolicy::Exponential, 1, 1.0, 4.8),
        ];
        for (policy, n, jitter, pause) in table {
            let got = retry_pause(&retries(policy), n, jitter);
            assert!((got - pause).abs() < 1e-9, "{policy:?} {n}: {got}");
        }
    }

    #[test]
    fn configuration_is_read_with_defaults() {
        let config = json!({"webhooks": [
            {"url": "http://127.0.0.1:1/", "events": ["*"], "hmac": {"key": "k"},
             "retries": {"policy": "linear", "delaySeconds": 1, "attempts": 2},
             "customHeaders": [{"name": "X-My", "value": "v"}]},
            {"url": "http://127.0.0.1:2/", "events": ["message.ack"]},
        ]});
        let hooks = Hook::of_config(&config, Retries::default());
        assert_eq!(hooks[0].retries.policy, RetryPolicy::Linear);
        assert_eq!(
            (hooks[0].retries.attempts, hooks[1].retries.attempts),
            (2, 15)
        );
        assert!(hooks[0].wants("message.any") && !hooks[0].wants("engine.event"));
        assert!(hooks[1].wants("message.ack") && !hooks[1].wants("message"));
    }

    #[test]
    fn hmac_is_the_published_vector() {
        let expected = "164b7a7bfcf819e2e395fbe73b56e0a387bd64222e831fd610270cd7ea250554\
                        9758bf75c05a994a6d034f65f8f0e6fdcaeab1a34d4a6b4b636e070a38bce737";
        assert_eq!(sign("Jefe", b"what do ya want for nothing?"), expected);
    }

    #[test]
    fn only_loopback_hosts_are_called() {
        let table = [
            ("http://127.0.0.1:80/x", true),
            ("http://localhost/x", true),
            ("http://[::1]:9/x", true),
            ("http://10.0.0.1/x", false),
            ("http://127.0.0.1.example.org/x", false),
            ("nonsense", false),
        ];
        for (url, loopback) in table {
            assert_eq!(is_loopback(url), loopback, "{url}");
        }
    }
}
