//! What a supervisor asks a process: is it alive, is it ready, how is it doing.

use std::collections::BTreeMap;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use actix_web::web::{Data, ServiceConfig, get};
use actix_web::{App, HttpResponse, HttpServer};
use serde::Serialize;
use tokio::net::TcpSocket;
use tokio::sync::watch;

use crate::Shutdown;

/// How long an idle connection stays open, asked on before or not: longer than clients keep theirs
/// (Go's and reqwest's: 90 s), so that no question of theirs meets the closing.
const KEEP_ALIVE: Duration = Duration::from_secs(100);

/// What this process needs and whether it has it. Clones share it. Whoever watches a dependency
/// reports; the probe only reads, so it costs a dependency nothing and never blocks.
#[derive(Debug, Clone, Default)]
pub struct Readiness {
    states: Arc<Mutex<BTreeMap<&'static str, Result<(), String>>>>,
}

/// A dependency that is not there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Missing {
    /// Its name, for example `postgresql`.
    pub dependency: &'static str,
    /// Why it counts as missing; no secrets.
    pub reason: String,
}

#[derive(Serialize)]
struct Answer {
    ready: bool,
    missing: Vec<Missing>,
}

impl Readiness {
    /// Needs nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Declares a need before its first report, so the process is not ready until that comes.
    pub fn expect(&self, dependency: &'static str) {
        let mut states = self.states.lock().unwrap_or_else(PoisonError::into_inner);
        states
            .entry(dependency)
            .or_insert_with(|| Err("not reached yet".to_owned()));
    }

    /// Says how a dependency is. A change is logged, once.
    pub fn report(&self, dependency: &'static str, state: Result<(), String>) {
        let mut states = self.states.lock().unwrap_or_else(PoisonError::into_inner);
        let before = states.insert(dependency, state.clone());
        drop(states);
        let was_there = before.as_ref().is_none_or(Result::is_ok);
        match &state {
            Err(reason) if was_there => {
                tracing::warn!(dependency, "{dependency} is missing: {reason}");
            }
            Ok(()) if !was_there => tracing::info!(dependency, "{dependency} is there"),
            _ => {}
        }
    }

    /// Reports a dependency's state whenever it changes, until `shutdown` or nobody tells any more.
    pub async fn follow(
        self,
        dependency: &'static str,
        mut states: watch::Receiver<Result<(), String>>,
        shutdown: Shutdown,
    ) {
        loop {
            let state = states.borrow_and_update().clone();
            self.report(dependency, state);
            tokio::select! {
                changed = states.changed() => if changed.is_err() { return },
                () = shutdown.requested() => return,
            }
        }
    }

    /// Every dependency that is not there, by name.
    #[must_use]
    pub fn missing(&self) -> Vec<Missing> {
        let states = self.states.lock().unwrap_or_else(PoisonError::into_inner);
        let missing = states.iter().filter_map(|(dependency, state)| {
            let reason = state.as_ref().err()?.clone();
            Some(Missing { dependency, reason })
        });
        missing.collect()
    }
}

/// Mounts `/livez`, `/readyz` and `/metrics`:
/// `App::new().configure(probes::configure(&readiness))`.
pub fn configure(readiness: &Readiness) -> impl FnOnce(&mut ServiceConfig) + use<> {
    let readiness = Data::new(readiness.clone());
    move |app| {
        app.app_data(readiness)
            .route("/livez", get().to(livez))
            .route("/readyz", get().to(readyz))
            .route("/metrics", get().to(metrics));
    }
}

async fn livez() -> HttpResponse {
    HttpResponse::Ok()
        .content_type("text/plain; charset=utf-8")
        .body("alive\n")
}

async fn readyz(readiness: Data<Readiness>) -> HttpResponse {
    let missing = readiness.missing();
    let ready = missing.is_empty();
    let mut answer = if ready {
        HttpResponse::Ok()
    } else {
        HttpResponse::ServiceUnavailable()
    };
    answer.json(Answer { ready, missing })
}

async fn metrics() -> HttpResponse {
    let form = "text/plain; version=0.0.4; charset=utf-8";
    HttpResponse::Ok()
        .content_type(form)
        .body(crate::metrics::render())
}

/// Binds `listen`, within a tokio runtime. Port 0 takes any free one; ask the listener which.
///
/// As many connections as the system lets (`net.core.somaxconn`) may wait to be accepted: a fleet
/// comes back all at once after an outage, and one that finds no room tries again only a second
/// later. The standard library asks for 128.
///
/// # Errors
/// When the address cannot be had; the message names it.
pub fn bind(listen: SocketAddr) -> io::Result<TcpListener> {
    try_bind(listen).map_err(|cause| {
        io::Error::new(cause.kind(), format!("cannot listen on {listen}: {cause}"))
    })
}

fn try_bind(listen: SocketAddr) -> io::Result<TcpListener> {
    let socket = match listen {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    // Who starts again must not wait for the former's last connections to be forgotten.
    socket.set_reuseaddr(true)?;
    socket.bind(listen)?;
    socket.listen(u32::MAX)?.into_std()
}

/// Serves the three routes and nothing else until `shutdown`.
///
/// # Errors
/// When the listener cannot be used.
pub async fn serve(
    listener: TcpListener,
    readiness: Readiness,
    shutdown: Shutdown,
) -> io::Result<()> {
    let server = HttpServer::new(move || App::new().configure(configure(&readiness)))
        .workers(1)
        .keep_alive(KEEP_ALIVE)
        .client_request_timeout(KEEP_ALIVE)
        .disable_signals()
        .shutdown_timeout(1)
        .listen(listener)?
        .run();
    let handle = server.handle();
    let stop = async {
        shutdown.requested().await;
        handle.stop(true).await;
    };
    let (served, ()) = tokio::join!(server, stop);
    served
}

#[cfg(test)]
mod tests {
    use actix_web::http::StatusCode;
    use actix_web::test;

    use super::*;

    async fn ask(readiness: &Readiness, path: &str) -> (StatusCode, String) {
        let app = test::init_service(App::new().configure(configure(readiness))).await;
        let answer =
            test::call_service(&app, test::TestRequest::get().uri(path).to_request()).await;
        let status = answer.status();
        let body = test::read_body(answer).await;
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    #[actix_web::test]
    async fn readiness_names_what_is_missing() {
        let readiness = Readiness::new();
        readiness.expect("rabbitmq");
        readiness.report("postgresql", Err("connection refused".to_owned()));
        let (status, body) = ask(&readiness, "/readyz").await;
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(
            body,
            r#"{"ready":false,"missing":[{"dependency":"postgresql","reason":"connection refused"},{"dependency":"rabbitmq","reason":"not reached yet"}]}"#
        );
        readiness.report("postgresql", Ok(()));
        readiness.report("rabbitmq", Ok(()));
        let (status, body) = ask(&readiness, "/readyz").await;
        assert_eq!(
            (status, body.as_str()),
            (StatusCode::OK, r#"{"ready":true,"missing":[]}"#)
        );
    }

    #[actix_web::test]
    async fn alive_and_measured() {
        let readiness = Readiness::new();
        assert_eq!(ask(&readiness, "/livez").await.0, StatusCode::OK);
        assert_eq!(ask(&readiness, "/metrics").await.0, StatusCode::OK);
    }

    #[tokio::test]
    async fn a_fleet_that_comes_back_at_once_finds_room() {
        let listener = bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = listener.local_addr().unwrap();
        // Nobody accepts any of them.
        let mut waiting = Vec::new();
        for n in 0..500 {
            let connect = tokio::net::TcpStream::connect(address);
            let connected = tokio::time::timeout(Duration::from_secs(20), connect).await;
            let connected = connected.unwrap_or_else(|_| panic!("no room after {n}"));
            waiting.push(connected.unwrap());
        }
    }

    #[tokio::test]
    async fn serves_until_asked_to_stop() {
        let listener = bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let taken = listener.local_addr().unwrap();
        assert!(
            bind(taken)
                .unwrap_err()
                .to_string()
                .contains(&taken.to_string())
        );
        let shutdown = Shutdown::new();
        let stopper = shutdown.clone();
        let serving = serve(listener, Readiness::new(), shutdown);
        let (served, ()) = tokio::join!(serving, async move { stopper.request() });
        served.unwrap();
    }
}
