//! Makes a fault happen, and ends it.

use std::time::Duration;

use anyhow::{Context, bail};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use super::proxy::{Mode, Proxy};
use super::script::{Fault, Link, Planned, Service, Trouble};
use super::world::{World, names};
use crate::servers::rabbitmq_control;

/// How late each chunk of a slowed link is.
const LATE: Duration = Duration::from_millis(150);

/// Whom a fault hits: a process, a worker's number from 1, or a link.
#[derive(Debug, Clone)]
pub(crate) struct Hit {
    fault: Fault,
    process: String,
    worker: usize,
    pick: u64,
}

impl Hit {
    /// Chooses by the script's own chance.
    pub(crate) fn choose(planned: &Planned, workers: usize) -> Self {
        let services = [Service::Gateway, Service::Scheduler, Service::Sender];
        let all = match planned.fault {
            Fault::Kill(service) | Fault::Pause(service) => names(service),
            Fault::FenceSender | Fault::DrainSender => names(Service::Sender),
            Fault::Link(Link::Rabbitmq, _) => services.map(names).concat(),
            _ => services.map(names).concat(),
        };
        let place = |count: usize| usize::try_from(planned.pick % count.max(1) as u64).unwrap_or(0);
        Self {
            fault: planned.fault,
            process: all[place(all.len())].clone(),
            worker: 1 + place(workers),
            pick: planned.pick,
        }
    }

    /// Who was hit, for the report.
    pub(crate) fn whom(&self) -> String {
        match self.fault {
            Fault::Kill(_) | Fault::Pause(_) | Fault::FenceSender | Fault::DrainSender => {
                self.process.clone()
            }
            Fault::Link(Link::Postgresql | Link::Rabbitmq, _) => self.process.clone(),
            Fault::StopRabbitmq | Fault::KillRabbitmq | Fault::DiskAlarm => "rabbitmq".to_owned(),
            Fault::RestartPostgresql | Fault::KillPostgresql => "postgres".to_owned(),
            Fault::Link(Link::Webhooks, _) => "webhooks".to_owned(),
            _ => format!("worker {}", self.worker),
        }
    }

    /// Makes it happen.
    ///
    /// # Errors
    /// It could not be made to happen; that is a fault of the run, not of the system.
    pub(crate) async fn inject(&self, world: &World) -> anyhow::Result<()> {
        match self.fault {
            Fault::Kill(_) => world.signal(&self.process, Signal::SIGKILL),
            Fault::Pause(_) | Fault::FenceSender => world.signal(&self.process, Signal::SIGSTOP),
            Fault::DrainSender => world.stop_process(&self.process).await?,
            Fault::StopRabbitmq => world.stop_process("rabbitmq").await?,
            Fault::KillRabbitmq => world.signal("rabbitmq", Signal::SIGKILL),
            Fault::RestartPostgresql => world.stop_process("postgres").await?,
            Fault::KillPostgresql => world.signal("postgres", Signal::SIGKILL),
            Fault::DiskAlarm => {
                rabbitmq_control(&world.work, &disk_free_limit("999000000000000")).await?
            }
            Fault::Link(_, trouble) => self.link(world).set(match trouble {
                Trouble::Cut => Mode::Cut,
                Trouble::Stall => Mode::Stalled,
                Trouble::Slow => Mode::Slow(LATE),
            }),
            _ => self.lie(world).await?,
        }
        Ok(())
    }

    /// Ends it.
    ///
    /// # Errors
    /// What was broken does not come back.
    pub(crate) async fn heal(&self, world: &World) -> anyhow::Result<()> {
        match self.fault {
            Fault::Kill(_) | Fault::DrainSender => world.start_process(&self.process).await?,
            Fault::Pause(_) | Fault::FenceSender => world.signal(&self.process, Signal::SIGCONT),
            Fault::StopRabbitmq | Fault::KillRabbitmq => world.start_process("rabbitmq").await?,
            Fault::RestartPostgresql | Fault::KillPostgresql => {
                world.start_process("postgres").await?;
            }
            Fault::DiskAlarm => {
                rabbitmq_control(&world.work, &disk_free_limit("200000000")).await?
            }
            Fault::Link(..) => self.link(world).set(Mode::Open),
            Fault::TimeLock => self.forget_lies(world).await?,
            _ => {}
        }
        Ok(())
    }

    fn link<'a>(&self, world: &'a World) -> &'a Proxy {
        let own = &world.links[&self.process];
        match self.fault {
            Fault::Link(Link::Postgresql, _) => &own.postgresql,
            Fault::Link(Link::Rabbitmq, _) => &own.rabbitmq,
            Fault::Link(Link::Worker, _) => &world.worker_links[self.worker - 1],
            _ => &world.webhooks,
        }
    }

    async fn lie(&self, world: &World) -> anyhow::Result<()> {
        let lies = match self.fault {
            Fault::RestartWorker => vec![json!({"kind": "restart", "millis": 1_500})],
            Fault::DropLink => vec![json!({"kind": "drop_link"})],
            Fault::LogOut => return self.log_out(world).await,
            Fault::TimeLock => vec![json!({"kind": "error_463", "millis": 4_000})],
            Fault::ServerErrors => vec![
                json!({"kind": "error_500_timed_out", "count": 2, "delivered": true}),
                json!({"kind": "error_500_timed_out", "count": 2, "delivered": false}),
                json!({"kind": "connection_closed", "count": 1}),
            ],
            Fault::LostAnswers => vec![json!({"kind": "lost_answer", "count": 3})],
            Fault::SlowAnswers => {
                vec![json!({"kind": "slow_answer", "count": 4, "millis": 2_500})]
            }
            Fault::MissingAcks => vec![json!({"kind": "missing_ack", "count": 6})],
            _ => vec![
                json!({"kind": "repeated_ack", "count": 6}),
                json!({"kind": "unordered_ack", "count": 6}),
            ],
        };
        for lie in lies {
            control(
                world,
                self.worker,
                reqwest::Method::POST,
                "fault",
                Some(lie),
            )
            .await?;
        }
        Ok(())
    }

    /// The phone unlinks one of the worker's sessions, if it has any.
    async fn log_out(&self, world: &World) -> anyhow::Result<()> {
        let worker = &world.workers[self.worker - 1];
        let client = reqwest::Client::new();
        let list: Value = client
            .get(format!("{}/api/sessions", worker.url))
            .header("X-Api-Key", &worker.api_key)
            .send()
            .await?
            .json()
            .await?;
        let working = list.as_array().context("a worker's sessions are no list")?;
        let working: Vec<_> = working
            .iter()
            .filter(|session| session["status"] == "WORKING")
            .collect();
        if working.is_empty() {
            return Ok(());
        }
        let place = usize::try_from(self.pick >> 8).unwrap_or(0) % working.len();
        let body = json!({"session": working[place]["name"]});
        control(
            world,
            self.worker,
            reqwest::Method::POST,
            "unlink",
            Some(body),
        )
        .await
    }

    /// Ends the lies of a worker that do not end by themselves; with them go those of the base.
    async fn forget_lies(&self, world: &World) -> anyhow::Result<()> {
        control(world, self.worker, reqwest::Method::DELETE, "fault", None).await?;
        base_lies_of(world, self.worker).await
    }
}

fn disk_free_limit(limit: &str) -> [String; 2] {
    ["set_disk_free_limit".to_owned(), limit.to_owned()]
}

/// The lies that are always on.
///
/// # Errors
/// A simulated worker does not take them.
pub(crate) async fn base_lies(world: &World) -> anyhow::Result<()> {
    for worker in 1..=world.workers.len() {
        base_lies_of(world, worker).await?;
    }
    Ok(())
}

async fn base_lies_of(world: &World, worker: usize) -> anyhow::Result<()> {
    for lie in [
        json!({"kind": "lost_answer", "probability": 0.003}),
        json!({"kind": "error_500_timed_out", "probability": 0.002, "delivered": true}),
        json!({"kind": "error_500_timed_out", "probability": 0.002, "delivered": false}),
        json!({"kind": "slow_answer", "probability": 0.005, "millis": 1_200}),
    ] {
        control(world, worker, reqwest::Method::POST, "fault", Some(lie)).await?;
    }
    Ok(())
}

/// Speaks to a simulated worker's control interface, past all proxies.
pub(crate) async fn control(
    world: &World,
    worker: usize,
    method: reqwest::Method,
    call: &str,
    body: Option<Value>,
) -> anyhow::Result<()> {
    let url = format!("{}/{call}", world.workers[worker - 1].control);
    let mut request = reqwest::Client::new().request(method, url);
    if let Some(body) = body {
        request = request.json(&body);
    }
    let answer = request.send().await?;
    if !answer.status().is_success() {
        bail!("{call} at worker {worker}: {}", answer.text().await?);
    }
    Ok(())
}
