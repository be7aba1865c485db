//! From settings to running loops, and back.

use std::sync::Arc;
use std::time::Duration;

use broker::{Broker, Publisher};
use chassis::{BoxError, Clock, Periodic, Process, Shutdown, chain};
use models::ids::ReplicaId;
use secrecy::ExposeSecret;
use store::{Store, StoreError, replicas};
use tokio::sync::Notify;

use crate::fleet::{Fleet, Hands};
use crate::settings::SchedulerSettings;
use crate::{ask, check, place, reconcile, remove, storage, sweep};

/// Placing is also done when a slot is freed, and by whoever asks for a session.
const PLACE_EVERY: Duration = Duration::from_secs(1);
/// How late a worker's check, or a lane that wants an owner, is noticed.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Removals have waited before; a few seconds more do not matter.
const REMOVE_EVERY: Duration = Duration::from_secs(5);
/// How often open campaigns are looked through for those that nobody serves.
const CAMPAIGNS_EVERY: Duration = Duration::from_secs(10);
/// Messages without an ack have waited for minutes before somebody is asked about them.
const ASK_EVERY: Duration = Duration::from_secs(1);
/// How often old receipts are forgotten.
const PRUNE_EVERY: Duration = Duration::from_secs(60);
/// Months are made long before they begin, and dropped whole days after their end.
const MONTHS_EVERY: Duration = Duration::from_secs(600);
/// Removals at once.
const REMOVALS_IN_FLIGHT_MAX: u32 = 8;

/// Starts a scheduler replica's loops and serves until shutdown.
///
/// # Errors
/// When the settings are of no use, or the database has another schema.
pub async fn start(process: Process<SchedulerSettings>) -> Result<(), BoxError> {
    let settings = process.settings.clone();
    process.readiness.expect("postgresql");
    process.readiness.expect("rabbitmq");
    process.serve_probes()?;
    let url = settings.database_url.expose_secret();
    let store = Store::new(url, settings.database_connections)?;
    let amqp_url = settings.amqp_url.expose_secret();
    let broker = Broker::new(amqp_url, process.replica.name.clone())?;
    let schema_fits = || async { store::migrate::check(&store.client().await?).await };
    if !process
        .wait_for("postgresql", schema_fits, StoreError::is_unavailable)
        .await?
    {
        return Ok(());
    }
    let fleet = Arc::new(Fleet {
        publisher: Publisher::new(broker.clone()),
        http: waha::http_client()?,
        clock: process.clock.clone(),
        chance: process.chance.clone(),
        supervisor: process.supervisor.clone(),
        room: Arc::new(Notify::new()),
        due: Arc::new(Notify::new()),
        store,
        broker: broker.clone(),
        settings,
    });
    let supervisor = &process.supervisor;
    supervisor.spawn("broker", keep(broker.clone(), process.shutdown.clone()));
    let (readiness, shutdown) = (process.readiness.clone(), process.shutdown.clone());
    supervisor.spawn(
        "broker watch",
        readiness.follow("rabbitmq", broker.states(), shutdown),
    );
    supervisor.spawn("heartbeat", heartbeat(&process, Arc::clone(&fleet)));
    loops(&fleet, &process.clock, &process.shutdown);
    process.shutdown.requested().await;
    Ok(())
}

/// Starts the loops that do a replica's work.
pub fn loops(fleet: &Arc<Fleet>, clock: &Clock, shutdown: &Shutdown) {
    let (supervisor, settings) = (&fleet.supervisor, &fleet.settings);
    let periodic = |name, every| Periodic::new(name, every, clock.clone(), shutdown.clone());

    let place = periodic("place", PLACE_EVERY).wake_on(Arc::clone(&fleet.room));
    let own = Arc::clone(fleet);
    supervisor.spawn("place", async move {
        place.run(|| place::place_once(&own)).await;
    });

    let looks = periodic("reconcile", settings.session_look_every);
    let looks = looks.wake_on(Arc::clone(&fleet.due));
    let hands = Hands::new("session", settings.sessions_in_flight_max, supervisor);
    let own = Arc::clone(fleet);
    supervisor.spawn("reconcile", async move {
        looks.run(|| reconcile::reconcile_due(&own, &hands)).await;
    });

    let checks = periodic("check", LOOK_EVERY.min(settings.worker_check_every));
    let hands = Hands::new("worker check", settings.checks_in_flight_max, supervisor);
    let own = Arc::clone(fleet);
    supervisor.spawn("check", async move {
        checks.run(|| check::check_due(&own, &hands)).await;
    });

    let removals = periodic("remove", REMOVE_EVERY);
    let hands = Hands::new("removal", REMOVALS_IN_FLIGHT_MAX, supervisor);
    let own = Arc::clone(fleet);
    supervisor.spawn("remove", async move {
        removals.run(|| remove::remove_due(&own, &hands)).await;
    });

    let asks = periodic("ask", ASK_EVERY);
    let hands = Hands::new("question", settings.asks_in_flight_max, supervisor);
    let own = Arc::clone(fleet);
    supervisor.spawn("ask", async move {
        asks.run(|| ask::ask_due(&own, &hands)).await;
    });

    sweeps(fleet, clock, shutdown);
}

/// Starts the loops that look after what is in the ledger.
fn sweeps(fleet: &Arc<Fleet>, clock: &Clock, shutdown: &Shutdown) {
    let supervisor = &fleet.supervisor;
    let periodic = |name, every| Periodic::new(name, every, clock.clone(), shutdown.clone());

    let receipts = periodic("prune receipts", PRUNE_EVERY);
    let own = Arc::clone(fleet);
    supervisor.spawn("prune receipts", async move {
        receipts.run(|| sweep::receipts_once(&own)).await;
    });

    let lanes = periodic("sweep lanes", LOOK_EVERY);
    let own = Arc::clone(fleet);
    supervisor.spawn("sweep lanes", async move {
        lanes.run(|| sweep::lanes_once(&own)).await;
    });

    let campaigns = periodic("sweep campaigns", CAMPAIGNS_EVERY);
    let own = Arc::clone(fleet);
    supervisor.spawn("sweep campaigns", async move {
        campaigns.run(|| sweep::campaigns_once(&own)).await;
    });

    let months = periodic("make months", MONTHS_EVERY);
    let own = Arc::clone(fleet);
    supervisor.spawn("make months", async move {
        months.run(|| storage::months_once(&own)).await;
    });

    let retention = periodic("retention", MONTHS_EVERY);
    let own = Arc::clone(fleet);
    supervisor.spawn("retention", async move {
        retention.run(|| storage::retention_once(&own)).await;
    });
}

/// Beats until shutdown, then says good-bye.
fn heartbeat(
    process: &Process<SchedulerSettings>,
    fleet: Arc<Fleet>,
) -> impl Future<Output = ()> + Send + use<> {
    let (id, name) = (
        ReplicaId::new(process.replica.id),
        process.replica.name.clone(),
    );
    let readiness = process.readiness.clone();
    let every = fleet.settings.heartbeat_every;
    let beats = Periodic::new(
        "heartbeat",
        every,
        process.clock.clone(),
        process.shutdown.clone(),
    )
    .keeping_pace();
    async move {
        let beat = async || {
            let beat = async {
                let db = fleet.store.client().await?;
                replicas::beat(&db, id, "scheduler", &name).await
            };
            let beat = beat.await;
            let state = beat.as_ref().map(drop).map_err(|error| chain(error));
            readiness.report("postgresql", state);
            beat
        };
        beats.run(beat).await;
        if let Ok(db) = fleet.store.client().await
            && let Err(error) = replicas::leave(&db, id).await
        {
            tracing::debug!("could not say good-bye: {error}");
        }
    }
}

async fn keep(broker: Broker, shutdown: Shutdown) {
    broker.keep(shutdown.token()).await;
}
