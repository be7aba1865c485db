//! From settings to a served API.

use std::sync::Arc;
use std::time::Duration;

use actix_web::middleware::from_fn;
use actix_web::web::Data;
use actix_web::{App, HttpServer};
use broker::{Broker, Publisher};
use chassis::{BoxError, Clock, Periodic, Process, Readiness, Shutdown, chain, probes};
use models::delays::Delays;
use secrecy::{ExposeSecret, SecretString};
use store::{Spool, Store, StoreError, delays, migrate, workers};
use tokio::sync::Notify;
use url::Url;
use waha::Waha;
use waha::webhook::SigningKey;

use crate::looks::Looks;
use crate::reports::Figures;
use crate::settings::{CapacitySettings, DelaySettings, GatewaySettings, MigrateSettings};
use crate::state::{Gateway, WahaAt};
use crate::{acks, boundary, intake, relay, routes};

/// How often to see whether the database is there.
const DATABASE_LOOK_EVERY: Duration = Duration::from_secs(2);
/// How often to measure the outbox.
const MEASURE_EVERY: Duration = Duration::from_secs(5);
/// The names of what `/readyz` speaks of.
const POSTGRESQL: &str = "postgresql";
const RABBITMQ: &str = "rabbitmq";

/// Brings the database to this version and writes the first delays, then ends.
///
/// # Errors
/// When the database cannot be reached or migrated.
pub async fn migrate(process: Process<(MigrateSettings, DelaySettings)>) -> Result<(), BoxError> {
    let (settings, first) = &process.settings;
    let url = settings.database_url.expose_secret();
    let direct = settings.direct_url.as_ref();
    let direct = direct.unwrap_or(&settings.database_url).expose_secret();
    migrate::run(direct).await?;
    let db = Store::new(url, 1)?.client().await?;
    delays::seed(&db, Delays::from(first)).await?;
    tracing::info!("the database is at version {}", migrate::needed());
    process.shutdown.request();
    Ok(())
}

/// Serves the API until shutdown.
///
/// # Errors
/// When a setting cannot be used, the address cannot be had, or the schema is another version's.
pub async fn run(process: Process<GatewaySettings>) -> Result<(), BoxError> {
    let gateway = assemble(&process)?;
    process.readiness.expect(POSTGRESQL);
    process.readiness.expect(RABBITMQ);
    keep_broker(&process, &gateway);
    prepare(&process, &gateway).await?;
    watch_database(&process, &gateway);
    relay_outbox(&process, &gateway);
    serve(&process, gateway)
}

/// The parts of a gateway, none of which is connected yet. The ack writers and the
/// intake run under the process's supervisor.
///
/// # Errors
/// When a setting cannot be used.
pub fn assemble(process: &Process<GatewaySettings>) -> Result<Gateway, BoxError> {
    let (server, _, capacity, limits) = process.settings.clone();
    server.check()?;
    if let Some(directory) = &limits.spool_directory {
        let told = |error| format!("no file can be made in SPOOL_DIRECTORY: {}", chain(&error));
        Spool::probe(directory).map_err(told)?;
    }
    let store = Store::new(
        server.database_url.expose_secret(),
        server.database_connections,
    )?;
    let name = format!("wahacast-gateway {}", process.replica.name);
    let broker = Broker::new(server.amqp_url.expose_secret(), name)?;
    let http = waha::http_client()?;
    let waha: WahaAt =
        Arc::new(move |url: &Url, key: SecretString| Waha::new(url, key, http.clone()));
    let (acks, queues) = acks::queues(server.ack_writers, limits.reports_waiting);
    for queue in queues {
        let written = acks::run(store.clone(), queue, process.shutdown.clone());
        process.supervisor.spawn("ack writer", written);
    }
    let (intake, queue) = intake::queue(&store, &process.clock);
    let stored = intake::run(queue, process.shutdown.clone());
    process.supervisor.spawn("intake", stored);
    Ok(Gateway {
        looks: Looks::new(&store, server.dead_after),
        store,
        broker,
        waha,
        acks,
        webhook_key: server.webhook_hmac_key.as_ref().map(SigningKey::new),
        reports: Figures::new(),
        intake,
        accepted: Arc::new(Notify::new()),
        clock: process.clock.clone(),
        chance: process.chance.clone(),
        started_at: process.clock.now(),
        settings: Arc::new(server),
        capacity: Arc::new(capacity),
        limits: Arc::new(limits),
    })
}

fn keep_broker(process: &Process<GatewaySettings>, gateway: &Gateway) {
    let (broker, token) = (gateway.broker.clone(), process.shutdown.token());
    process
        .supervisor
        .spawn("broker", async move { broker.keep(token).await });
    let (states, shutdown) = (gateway.broker.states(), process.shutdown.clone());
    let follow = process.readiness.clone().follow(RABBITMQ, states, shutdown);
    process.supervisor.spawn("broker watch", follow);
}

/// Waits for the database, refuses one of another version, and brings settings and rows together.
async fn prepare(process: &Process<GatewaySettings>, gateway: &Gateway) -> Result<(), BoxError> {
    let (_, first, capacity, _) = &process.settings;
    let first = Delays::from(first);
    let agree = || agree(&gateway.store, first, capacity);
    process
        .wait_for(POSTGRESQL, agree, StoreError::is_unavailable)
        .await?;
    Ok(())
}

async fn agree(
    store: &Store,
    first: Delays,
    capacity: &CapacitySettings,
) -> Result<(), StoreError> {
    let db = store.client().await?;
    migrate::check(&db).await?;
    delays::seed(&db, first).await?;
    let (sessions, live) = (capacity.sessions_per_worker, capacity.live_sessions);
    let changed = workers::inherit(&db, sessions, live).await?;
    if changed > 0 {
        tracing::info!(changed, "{changed} workers follow changed settings");
    }
    Ok(())
}

fn watch_database(process: &Process<GatewaySettings>, gateway: &Gateway) {
    let (store, readiness) = (gateway.store.clone(), process.readiness.clone());
    let step = move || {
        let (store, readiness) = (store.clone(), readiness.clone());
        async move {
            let state = store.ping().await;
            readiness.report(POSTGRESQL, state.map_err(|error| chain(&error)));
            Ok::<(), StoreError>(())
        }
    };
    let (clock, shutdown) = (process.clock.clone(), process.shutdown.clone());
    let watch = Periodic::new("database watch", DATABASE_LOOK_EVERY, clock, shutdown).run(step);
    process.supervisor.spawn("database watch", watch);
}

fn relay_outbox(process: &Process<GatewaySettings>, gateway: &Gateway) {
    let (clock, shutdown) = (&process.clock, &process.shutdown);
    let periodic =
        |name, every| Periodic::new(name, every, Clock::clone(clock), Shutdown::clone(shutdown));
    let publisher = Arc::new(Publisher::new(gateway.broker.clone()));
    let store = gateway.store.clone();
    let waits = Clock::clone(clock);
    let step = move || {
        let (store, publisher) = (store.clone(), Arc::clone(&publisher));
        let clock = waits.clone();
        async move {
            relay::step(&store, &publisher).await?;
            clock.sleep(relay::PAUSE).await;
            Ok::<(), relay::RelayError>(())
        }
    };
    let wake = Arc::clone(&gateway.accepted);
    let loops = periodic("outbox relay", relay::LOOK_EVERY).wake_on(wake);
    process.supervisor.spawn("outbox relay", loops.run(step));
    let store = gateway.store.clone();
    let step = move || {
        let store = store.clone();
        async move { relay::measure(&store).await }
    };
    let loops = periodic("outbox measure", MEASURE_EVERY);
    process.supervisor.spawn("outbox measure", loops.run(step));
}

fn serve(process: &Process<GatewaySettings>, gateway: Gateway) -> Result<(), BoxError> {
    let listener = probes::bind(gateway.settings.listen)?;
    let address = listener.local_addr()?;
    let server = http(
        listener,
        gateway,
        &process.readiness,
        process.common.shutdown_grace,
    )?;
    let (handle, shutdown) = (server.handle(), process.shutdown.clone());
    process.supervisor.spawn("http", server);
    process.supervisor.spawn("http stop", async move {
        shutdown.requested().await;
        handle.stop(true).await;
    });
    tracing::info!(%address, "the API is served at http://{address}, its documentation at /docs");
    Ok(())
}

/// The HTTP server on a bound listener.
///
/// # Errors
/// When the listener cannot be used.
pub fn http(
    listener: std::net::TcpListener,
    gateway: Gateway,
    readiness: &Readiness,
    grace: Duration,
) -> std::io::Result<actix_web::dev::Server> {
    let keep_alive = gateway.settings.keep_alive;
    let (gateway, readiness) = (Data::new(gateway), readiness.clone());
    let server = HttpServer::new(move || {
        App::new()
            .app_data(gateway.clone())
            .configure(probes::configure(&readiness))
            .configure(routes::configure)
            .wrap(from_fn(boundary::around))
    });
    Ok(server
        .keep_alive(keep_alive)
        // Clients open connections in advance: one that has asked nothing yet is idle, not slow.
        .client_request_timeout(keep_alive)
        .disable_signals()
        .shutdown_timeout(grace.as_secs())
        .listen(listener)?
        .run())
}
