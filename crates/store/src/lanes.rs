//! Lanes: taken, woken, given back, never by two at once.
//!
//! An owner is alive while its replica's heartbeat is fresh. Each take-over raises the epoch, and
//! every write of an owner carries the epoch it took the lane with: a former owner's are refused.

use std::time::Duration;

use models::ids::{ReplicaId, WorkerId};
use models::phone::PhoneNumber;

use crate::column::seconds;
use crate::{GenericClient, StoreError};

/// The right to speak on a lane, for as long as the lane's epoch is this one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tenure {
    /// The lane.
    pub worker: WorkerId,
    /// The fence.
    pub epoch: i64,
}

/// What came of a job's arrival.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrival {
    /// The lane is ours: it was already, or was free, or its owner dead.
    Ours(Tenure),
    /// Another living replica has it and will see that it was woken.
    Woken,
    /// The sender has no place on any worker; placing it will wake the lane.
    NotPlaced,
}

/// Whether the owner of lane `l` is absent or dead; $2 is how long a heartbeat stays fresh.
macro_rules! orphaned {
    () => {
        "(l.owner IS NULL OR NOT EXISTS (SELECT FROM replicas r WHERE r.id = l.owner
            AND r.seen_at > now() - make_interval(secs => $2)))"
    };
}

const ARRIVE: &str = concat!(
    "
    WITH place AS (
        SELECT worker_id FROM sessions
        WHERE phone = $3 AND worker_id IS NOT NULL AND wanted <> 'GONE'
    ), old AS MATERIALIZED (
        SELECT l.worker_id, ",
    orphaned!(),
    " AS orphaned
        FROM lanes l JOIN place USING (worker_id) FOR NO KEY UPDATE OF l
    )
    UPDATE lanes l SET
        wake = l.wake + 1,
        owner = CASE WHEN old.orphaned THEN $1 ELSE l.owner END,
        epoch = l.epoch + old.orphaned::integer,
        calls = CASE WHEN old.orphaned THEN 0 ELSE l.calls END
    FROM old WHERE l.worker_id = old.worker_id
    RETURNING l.worker_id, l.epoch, l.owner = $1"
);

/// A job for `sender` has come: takes its lane if nobody living has it, else wakes the owner.
pub async fn arrive(
    db: &impl GenericClient,
    replica: ReplicaId,
    sender: &PhoneNumber,
    dead_after: Duration,
) -> Result<Arrival, StoreError> {
    let statement = db.prepare_cached(ARRIVE).await?;
    let parameters: &[&(dyn tokio_postgres::types::ToSql + Sync)] =
        &[&replica.uuid(), &dead_after.as_secs_f64(), &sender.digits()];
    let Some(row) = db.query_opt(&statement, parameters).await? else {
        return Ok(Arrival::NotPlaced);
    };
    let tenure = Tenure {
        worker: WorkerId::new(row.get(0)),
        epoch: row.get(1),
    };
    Ok(if row.get(2) {
        Arrival::Ours(tenure)
    } else {
        Arrival::Woken
    })
}

/// What an owner finds when it looks at its lanes.
#[derive(Debug, Clone, Default)]
pub struct Watch {
    /// Every lane that is ours, with its wake number; lanes handed to us among them.
    pub lanes: Vec<(Tenure, i64)>,
    /// The version of the global delays.
    pub settings_version: i64,
    /// Living sender replicas that are not retiring, this one included.
    pub replicas: i64,
    /// Lanes owned by any of them.
    pub lanes_owned: i64,
}

const OWN: &str = "SELECT worker_id, epoch, wake FROM lanes WHERE owner = $1 ORDER BY worker_id";
const AROUND: &str = "
    WITH alive AS (
        SELECT id FROM replicas
        WHERE service = 'sender' AND NOT retiring
            AND seen_at > now() - make_interval(secs => $1)
    )
    SELECT COALESCE((SELECT version FROM settings), 0),
        (SELECT count(*) FROM alive),
        (SELECT count(*) FROM lanes WHERE owner IN (SELECT id FROM alive))";

/// One look at all lanes of a replica: two queries, however many lanes there are.
pub async fn watch(
    db: &impl GenericClient,
    replica: ReplicaId,
    dead_after: Duration,
) -> Result<Watch, StoreError> {
    let (own, around) = (
        db.prepare_cached(OWN).await?,
        db.prepare_cached(AROUND).await?,
    );
    let lanes = db.query(&own, &[&replica.uuid()]).await?;
    let row = db.query_one(&around, &[&dead_after.as_secs_f64()]).await?;
    let lanes = lanes.iter().map(|row| {
        let tenure = Tenure {
            worker: WorkerId::new(row.get(0)),
            epoch: row.get(1),
        };
        (tenure, row.get(2))
    });
    Ok(Watch {
        lanes: lanes.collect(),
        settings_version: row.get(0),
        replicas: row.get(1),
        lanes_owned: row.get(2),
    })
}

const WAKE: &str = "SELECT wake FROM lanes WHERE worker_id = $1 AND epoch = $2 AND owner = $3";

/// A lane's wake number; `None` when it is no longer ours.
pub async fn wake(
    db: &impl GenericClient,
    replica: ReplicaId,
    tenure: Tenure,
) -> Result<Option<i64>, StoreError> {
    let statement = db.prepare_cached(WAKE).await?;
    let parameters: &[&(dyn tokio_postgres::types::ToSql + Sync)] =
        &[&tenure.worker.uuid(), &tenure.epoch, &replica.uuid()];
    Ok(db
        .query_opt(&statement, parameters)
        .await?
        .map(|row| row.get(0)))
}

const RELEASE: &str = "
    UPDATE lanes SET owner = NULL, served = wake
    WHERE worker_id = $1 AND epoch = $2 AND owner = $3 AND wake = $4";

/// Gives a lane back that has nothing to say, unless it was woken since `wake` was read: then it
/// stays ours and there is something to look at. Returns whether it was given back.
pub async fn release(
    db: &impl GenericClient,
    replica: ReplicaId,
    tenure: Tenure,
    wake: i64,
) -> Result<bool, StoreError> {
    let statement = db.prepare_cached(RELEASE).await?;
    let parameters: &[&(dyn tokio_postgres::types::ToSql + Sync)] =
        &[&tenure.worker.uuid(), &tenure.epoch, &replica.uuid(), &wake];
    Ok(db.execute(&statement, parameters).await? > 0)
}

const HAND_OVER: &str = "
    WITH target AS (
        SELECT r.id, row_number() OVER (ORDER BY count(l.worker_id), r.id) - 1 AS place,
            count(*) OVER () AS targets
        FROM replicas r LEFT JOIN lanes l ON l.owner = r.id
        WHERE r.service = 'sender' AND NOT r.retiring AND r.id <> $1
            AND r.seen_at > now() - make_interval(secs => $4)
        GROUP BY r.id
    ), given AS (
        SELECT worker_id, epoch, place - 1 AS place
        FROM unnest($2::uuid[], $3::bigint[]) WITH ORDINALITY AS g (worker_id, epoch, place)
    )
    UPDATE lanes l SET
        owner = (SELECT t.id FROM target t WHERE t.place = g.place % t.targets),
        epoch = l.epoch + 1, wake = l.wake + 1, call_at = now(), calls = 0
    FROM given g
    WHERE l.worker_id = g.worker_id AND l.epoch = g.epoch AND l.owner = $1";

/// Hands lanes that still have something to say to the other living replicas, least loaded first;
/// to nobody when there is none, and then the sweep calls for an owner. Returns how many went.
pub async fn hand_over(
    db: &impl GenericClient,
    replica: ReplicaId,
    tenures: &[Tenure],
    dead_after: Duration,
) -> Result<u64, StoreError> {
    let statement = db.prepare_cached(HAND_OVER).await?;
    let workers: Vec<_> = tenures.iter().map(|tenure| tenure.worker.uuid()).collect();
    let epochs: Vec<_> = tenures.iter().map(|tenure| tenure.epoch).collect();
    let parameters: &[&(dyn tokio_postgres::types::ToSql + Sync)] = &[
        &replica.uuid(),
        &workers,
        &epochs,
        &dead_after.as_secs_f64(),
    ];
    Ok(db.execute(&statement, parameters).await?)
}

const REST: &str = "
    UPDATE lanes SET resting_until = now() + make_interval(secs => $4), rest_reason = $5
    WHERE worker_id = $1 AND epoch = $2 AND owner = $3";

/// Notes that a lane backs off because its worker refuses, and why.
pub async fn rest(
    db: &impl GenericClient,
    replica: ReplicaId,
    tenure: Tenure,
    rest: Duration,
    reason: &str,
) -> Result<(), StoreError> {
    let statement = db.prepare_cached(REST).await?;
    let parameters: &[&(dyn tokio_postgres::types::ToSql + Sync)] = &[
        &tenure.worker.uuid(),
        &tenure.epoch,
        &replica.uuid(),
        &rest.as_secs_f64(),
        &reason,
    ];
    db.execute(&statement, parameters).await?;
    Ok(())
}

/// What the new owner of a lane needs to know of its worker and of its past.
#[derive(Debug, Clone)]
pub struct LaneFacts {
    /// Where the worker is.
    pub url: String,
    /// Its key. Never to be logged.
    pub api_key: String,
    /// Whether it lets us choose the ids of messages.
    pub own_message_ids: bool,
    /// How long ago the lane's last request was answered; `None` if there never was one.
    pub last_sent_ago: Option<Duration>,
    /// How much longer the lane backs off.
    pub resting_for: Option<Duration>,
    /// Whether the lane has a message in flight, so that its last gap cannot be proved.
    pub in_flight: bool,
}

const FACTS: &str = "
    SELECT w.url, w.api_key,
        EXTRACT(EPOCH FROM now() - l.last_sent_at)::float8,
        EXTRACT(EPOCH FROM l.resting_until - now())::float8,
        EXISTS (SELECT FROM sessions s JOIN senders d ON d.phone = s.phone
            WHERE s.worker_id = l.worker_id AND d.in_flight_campaign IS NOT NULL),
        w.own_message_ids
    FROM lanes l JOIN workers w ON w.id = l.worker_id
    WHERE l.worker_id = $1 AND l.epoch = $2";

/// The facts about a lane we own; `None` when it is no longer ours.
pub async fn facts(
    db: &impl GenericClient,
    tenure: Tenure,
) -> Result<Option<LaneFacts>, StoreError> {
    let statement = db.prepare_cached(FACTS).await?;
    let row = db
        .query_opt(&statement, &[&tenure.worker.uuid(), &tenure.epoch])
        .await?;
    Ok(row.map(|row| LaneFacts {
        url: row.get(0),
        api_key: row.get(1),
        last_sent_ago: row.get::<_, Option<f64>>(2).map(seconds),
        resting_for: row
            .get::<_, Option<f64>>(3)
            .map(seconds)
            .filter(|rest| !rest.is_zero()),
        in_flight: row.get(4),
        own_message_ids: row.get(5),
    }))
}
