#![doc = include_str!("../README.md")]

mod about;
mod answer;
mod bodies;
mod chatting;
mod config;
mod control;
mod events;
mod fault;
mod heard;
mod hooks;
mod lifecycle;
mod limits;
mod media;
mod options;
mod pairing;
mod profile;
mod rng;
mod route;
mod send;
mod server;
mod session;
mod sim;
mod status;
mod store;
mod wait;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use actix_web::dev::ServerHandle;

pub use crate::options::{GlobalHook, Options, Retries, RetryPolicy};
pub use crate::profile::{Engine, Tier, Version};

/// Why a simulator did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Not of the form `YYYY.M.BUILD`.
    #[error("`{0}` is not a WAHA version such as 2026.8.2")]
    Version(String),
    /// None of NOWEB, GOWS, WEBJS.
    #[error("`{0}` is not an engine: NOWEB, GOWS or WEBJS")]
    Engine(String),
    /// A list that must name something is empty.
    #[error("at least one engine and one version are needed")]
    Nothing,
    /// A port could not be opened.
    #[error("could not listen on 127.0.0.1:{port}")]
    Listen {
        /// The port asked for; 0 for any.
        port: u16,
        /// What the system said.
        #[source]
        cause: std::io::Error,
    },
    /// The client that posts webhooks could not be made.
    #[error("could not make the HTTP client")]
    Client(#[source] reqwest::Error),
}

/// A running simulator. It goes on until [`Running::stop`] or the end of the process.
pub struct Running {
    sim: Arc<sim::Sim>,
    handle: ServerHandle,
    port: u16,
    /// Own ports by worker number less one; empty when workers share the port.
    own_ports: Vec<u16>,
}

impl Running {
    /// The port that serves all workers and the control API.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// How many workers there are.
    pub fn workers(&self) -> usize {
        self.sim.workers.len()
    }

    /// The base URL of worker `number`, from 1, without a trailing slash.
    pub fn worker_url(&self, number: usize) -> String {
        match number
            .checked_sub(1)
            .and_then(|index| self.own_ports.get(index))
        {
            Some(port) => format!("http://127.0.0.1:{port}"),
            None => format!("http://127.0.0.1:{}/w/{number}", self.port),
        }
    }

    /// The API key of worker `number`; empty when there is no such worker.
    pub fn api_key(&self, number: usize) -> String {
        let worker = number
            .checked_sub(1)
            .and_then(|index| self.sim.workers.get(index));
        worker
            .map(|worker| worker.api_key.clone())
            .unwrap_or_default()
    }

    /// The base URL of worker `number`'s control API.
    pub fn control_url(&self, number: usize) -> String {
        format!("http://127.0.0.1:{}/control/{number}", self.port)
    }

    /// The URL of what all workers' recipients heard: `?after=SEQ&limit=N`.
    pub fn heard_url(&self) -> String {
        format!("http://127.0.0.1:{}/control/heard", self.port)
    }

    /// Closes all connections at once; timers and webhooks end with their next step.
    pub async fn stop(self) {
        self.sim.stopped.store(true, Ordering::Relaxed);
        for worker in &self.sim.workers {
            server::close(worker).await;
        }
        self.handle.stop(false).await;
    }
}

/// Starts a simulator on 127.0.0.1. Call it within a tokio runtime that outlives it: timers and
/// webhooks run there, HTTP on threads of its own.
///
/// # Errors
/// When a port is taken or no engine or version is given.
pub async fn start(options: Options) -> Result<Running, StartError> {
    if options.engines.is_empty() || options.versions.is_empty() {
        return Err(StartError::Nothing);
    }
    let (listener, port) = server::listen(options.port)?;
    let own_count = if options.own_ports {
        options.workers.max(1)
    } else {
        0
    };
    let own: Vec<_> = (0..own_count)
        .map(|_| server::listen(0))
        .collect::<Result<_, _>>()?;
    let own_ports: Vec<u16> = own.iter().map(|(_, port)| *port).collect();
    let client = reqwest::Client::builder()
        .pool_max_idle_per_host(256)
        .build();
    let client = client.map_err(StartError::Client)?;
    let threads = options.http_threads.max(1);
    let sim = Arc::new(sim::Sim::new(options, &own_ports, client));
    let handle = server::open(&sim, listener, threads)?;
    for (worker, (listener, _)) in sim.workers.iter().zip(own) {
        *worker.server.lock().await = Some(server::open(&sim, listener, 1)?);
    }
    Ok(Running {
        sim,
        handle,
        port,
        own_ports,
    })
}
