//! What a worker says about itself (contract section 4).

use serde_json::{Value, json};

use crate::answer::{Answer, Failure};
use crate::control;
use crate::sim::Cx;

/// Version, engine and tier, as `/api/version` and every webhook envelope show them.
pub(crate) fn version(cx: &Cx) -> Value {
    let profile = cx.profile();
    let mut version = json!({
        "version": profile.version.to_string(),
        "engine": profile.engine.name(),
        "tier": profile.tier.name(),
        "browser": null,
    });
    if profile.ancient() {
        version["browser"] = json!("/usr/bin/chromium");
    } else {
        version["platform"] = json!("linux/x64");
        version["worker"] = json!({"id": cx.worker().id()});
    }
    version
}

pub(crate) fn status(cx: &Cx) -> Answer {
    let started = cx.lock().started_at;
    let uptime = cx.sim.clock.millis() - started;
    let worker = json!({"id": cx.worker().id()});
    Answer::Json(
        200,
        json!({"startTimestamp": started, "uptime": uptime, "worker": worker}),
    )
}

/// The variables, the API key in clear among them.
pub(crate) fn environment(cx: &Cx) -> Answer {
    let mut variables = json!({
        "WAHA_WORKER_ID": cx.worker().id(),
        "WHATSAPP_DEFAULT_ENGINE": cx.profile().engine.name(),
        "WHATSAPP_API_PORT": "3000",
    });
    let name = if cx.profile().key_enforced() {
        "WAHA_API_KEY"
    } else {
        "WHATSAPP_API_KEY"
    };
    variables[name] = json!(cx.worker().api_key);
    Answer::Json(200, variables)
}

pub(crate) fn health(cx: &Cx) -> Result<Answer, Failure> {
    if !cx.profile().many_sessions() {
        return Err(plus_only());
    }
    let space =
        json!({"sessionsFiles.space": {"status": "up"}, "mediaFiles.space": {"status": "up"}});
    let report = json!({"status": "ok", "info": space, "error": {}, "details": space});
    Ok(Answer::Json(200, report))
}

/// The worker exits about a second later; its container brings it up again.
pub(crate) fn stop(cx: &Cx) -> Answer {
    cx.later(cx.wait(1_000), |cx| control::restart(cx, None));
    Answer::Json(201, json!({"stopping": true}))
}

pub(crate) fn plus_only() -> Failure {
    Failure::nest(
        422,
        "The feature is available only in Plus version for 'WHATSAPP HTTP API'. \
         Check this out: https://waha.devlike.pro/",
    )
}
