//! From settings to running tasks, and back.

use std::sync::Arc;
use std::time::Duration;

use broker::{Broker, Consumer};
use chassis::{BoxError, Periodic, Process, Shutdown, chain};
use models::delays::Delays;
use models::ids::ReplicaId;
use models::job::Job;
use secrecy::ExposeSecret;
use store::{Store, StoreError};
use tokio::sync::{Semaphore, watch};

use crate::consume;
use crate::context::Context;
use crate::lease::{self, Lease};
use crate::moments::Moments;
use crate::settings::SenderSettings;
use crate::table::Table;
use crate::writer::{self, Writer};

/// What the drain leaves of the grace for handing lanes over and stopping.
const HAND_OVER_TIME: Duration = Duration::from_secs(3);

/// Starts a sender replica's tasks and serves until shutdown; then gives its lanes away.
pub async fn start(process: Process<SenderSettings>) -> Result<(), BoxError> {
    let settings = &process.settings;
    settings.check()?;
    process.readiness.expect("postgresql");
    process.readiness.expect("rabbitmq");
    process.serve_probes()?;
    let url = settings.database_url.expose_secret();
    let store = Store::new(url, settings.database_connections)?;
    let broker = Broker::new(
        settings.amqp_url.expose_secret(),
        process.replica.name.clone(),
    )?;
    let schema_fits = || async { store::migrate::check(&store.client().await?).await };
    if !process
        .wait_for("postgresql", schema_fits, StoreError::is_unavailable)
        .await?
    {
        return Ok(());
    }
    let (writer, queues) = writer::queues(settings.ledger_writers as usize);
    let (delays, delays_seen) = watch::channel(Delays::default());
    let context = Arc::new(context(&process, (store.clone(), writer), delays_seen)?);
    let table = Table::new(Arc::clone(&context), process.supervisor.clone(), delays);
    // The heartbeat and the writer outlive the wish to stop: lanes are finished with them.
    let finished = Shutdown::new();
    let supervisor = &process.supervisor;
    let clocks = (process.clock.clone(), process.chance.clone());
    for queue in queues {
        let (store, clocks) = (store.clone(), clocks.clone());
        let written = writer::run(store, context.replica, queue, clocks, finished.clone());
        supervisor.spawn("writer", written);
    }
    supervisor.spawn(
        "heartbeat",
        heartbeat(&process, Arc::clone(&context), finished.clone())?,
    );
    read_global_delays(&process, &table).await;
    supervisor.spawn("broker", keep(broker.clone(), process.shutdown.clone()));
    let (readiness, shutdown) = (process.readiness.clone(), process.shutdown.clone());
    supervisor.spawn(
        "broker watch",
        readiness.follow("rabbitmq", broker.states(), shutdown),
    );
    supervisor.spawn(
        "jobs",
        take_jobs(broker, Arc::clone(&context), Arc::clone(&table), &process),
    );
    watch_lanes(&process, &context, &table).await;
    let grace = process.common.shutdown_grace.saturating_sub(HAND_OVER_TIME);
    if let Err(error) = table.drain(grace).await {
        tracing::warn!("lanes were not handed over; others adopt them in a while: {error}");
    }
    finished.request();
    Ok(())
}

/// What every lane of this replica shares.
fn context(
    process: &Process<SenderSettings>,
    (store, writer): (Store, Writer),
    delays: watch::Receiver<Delays>,
) -> Result<Context, BoxError> {
    Ok(Context {
        replica: ReplicaId::new(process.replica.id),
        rests: process.settings.rests(),
        store,
        writer,
        lease: Arc::new(Lease::default()),
        moments: Moments::new(process.clock.clone()),
        clock: process.clock.clone(),
        chance: process.chance.clone(),
        delays,
        http: waha::http_client()?,
        sends: Semaphore::new(process.settings.sends_in_flight_max as usize),
        settings: process.settings.clone(),
    })
}

/// Looks at all lanes again and again, until shutdown.
async fn watch_lanes(process: &Process<SenderSettings>, context: &Context, table: &Arc<Table>) {
    let every = context.settings.watch_every;
    let (clock, shutdown) = (process.clock.clone(), process.shutdown.clone());
    let looks = Periodic::new("lane watch", every, clock, shutdown);
    let looks = looks.wake_on(table.look_now());
    looks.run(|| async { table.look().await }).await;
}

/// Nothing may be said before the delays are known.
async fn read_global_delays(process: &Process<SenderSettings>, table: &Arc<Table>) {
    while !process.shutdown.is_requested() && !table.knows_delays() {
        if let Err(error) = table.look().await {
            tracing::warn!("the global delays cannot be read yet: {error}");
        }
        if !table.knows_delays() {
            process.clock.sleep(Duration::from_secs(1)).await;
        }
    }
}

/// Beats until the lanes are finished with, then says good-bye: a beat after it would make the
/// replica look alive. It has a connection of its own: those that wait for somebody's lock must not
/// make a living replica look dead.
fn heartbeat(
    process: &Process<SenderSettings>,
    context: Arc<Context>,
    finished: Shutdown,
) -> Result<impl Future<Output = ()> + Send + use<>, StoreError> {
    let store = Store::new(process.settings.database_url.expose_secret(), 1)?;
    let (name, readiness) = (process.replica.name.clone(), process.readiness.clone());
    let every = context.settings.heartbeat_every;
    let beats = Periodic::new("heartbeat", every, process.clock.clone(), finished).keeping_pace();
    Ok(async move {
        let beat = async || {
            let lease = (&*context.lease, context.settings.dead_after);
            let replica = (context.replica, name.as_str());
            let beat = lease::beat(&store, replica, lease, &context.moments).await;
            let state = beat.as_ref().map(drop).map_err(|error| chain(&**error));
            readiness.report("postgresql", state);
            beat
        };
        beats.run(beat).await;
        if let Err(error) = lease::leave(&store, context.replica).await {
            tracing::debug!("could not say good-bye: {error}");
        }
    })
}

async fn keep(broker: Broker, shutdown: Shutdown) {
    broker.keep(shutdown.token()).await;
}

fn take_jobs(
    broker: Broker,
    context: Arc<Context>,
    table: Arc<Table>,
    process: &Process<SenderSettings>,
) -> impl Future<Output = ()> + Send + use<> {
    let shutdown = process.shutdown.clone();
    async move {
        let consumer = Consumer::new(broker, context.settings.job_prefetch);
        let handle = move |job: Job| {
            let (context, table) = (Arc::clone(&context), Arc::clone(&table));
            async move { consume::on_job(&context, &table, job).await }
        };
        consumer.run(shutdown.token(), handle).await;
    }
}
