//! The simulated WAHA workers, and their registration with the gateway.

use std::time::Duration;

use anyhow::{Context, bail};
use nix::sys::signal::Signal;
use serde::Deserialize;
use serde_json::json;

use super::services::{Ground, words};
use super::{Plan, RunFacts, Settings, SimWorker};
use crate::process::{Program, Ready, announcement};
use crate::servers::ports;
use crate::supervise::{Crew, Handle};

/// Registering asks the worker who it is; an old one may take seconds over that.
const REGISTER_WITHIN: Duration = Duration::from_secs(30);

#[derive(Deserialize)]
struct Announcement {
    workers: Vec<SimWorker>,
}

/// Puts the simulator under supervision, not started yet; `None` when none is planned.
///
/// Port and keys are the same at every start, so registered workers stay true.
pub(crate) fn plan(
    ground: &Ground,
    plan: &Plan,
    settings: &Settings,
    crew: &Crew,
) -> anyhow::Result<Option<(Handle, Program)>> {
    if plan.sim_workers == 0 {
        return Ok(None);
    }
    let port = ports::choose(&ground.work, &["waha-sim"])?["waha-sim"];
    let mut arguments = words(&format!("--port {port} --workers {}", plan.sim_workers));
    arguments.extend([
        "--api-key".into(),
        ground.work.secret("WAHA_SIM_API_KEY")?.into(),
    ]);
    arguments.extend(words(&settings.get("WAHA_SIM_ARGS").unwrap_or_default()));
    let program = Program {
        role: "waha-sim",
        replica: None,
        executable: ground.binary("waha-sim")?,
        arguments,
        inherits: true,
        environment: settings.for_children(),
        account: None,
        directory: ground.work.path().to_owned(),
        log: ground.work.log("waha-sim"),
        ready: Ready::Announcement,
        ready_within: Duration::from_secs(60),
        stop: Signal::SIGTERM,
        grace: Duration::from_secs(5),
    };
    Ok(Some((crew.add(program.clone()), program)))
}

/// Starts the simulator and learns its workers.
pub(crate) async fn start(planned: Option<(Handle, Program)>) -> anyhow::Result<Vec<SimWorker>> {
    let Some((handle, program)) = planned else {
        return Ok(Vec::new());
    };
    handle.start().await?;
    let said = announcement(&program.log).context("waha-sim has not said where its workers are")?;
    let said: Announcement = serde_json::from_value(said)
        .context("waha-sim has said something else than where its workers are")?;
    Ok(said.workers)
}

/// Registers every simulated worker; one that is registered already is left as it is.
pub(super) async fn register(facts: &RunFacts) -> anyhow::Result<()> {
    let client = reqwest::Client::builder()
        .timeout(REGISTER_WITHIN)
        .build()?;
    for worker in &facts.workers {
        let answer = client
            .post(format!("{}/api/admin/workers", facts.gateway))
            .header("X-Admin-API-Key", &facts.admin_api_key)
            .json(&json!({"url": worker.url, "api_key": worker.api_key}))
            .send()
            .await
            .with_context(|| format!("cannot register the worker {}", worker.url))?;
        let status = answer.status();
        if !status.is_success() && status != reqwest::StatusCode::CONFLICT {
            let problem = answer.text().await.unwrap_or_default();
            bail!(
                "the gateway refused the worker {} ({status}): {problem}",
                worker.url
            );
        }
    }
    Ok(())
}
