//! Lanes: taken, woken, given back, never by two at once.
//!
//! An owner is alive while its replica's heartbeat is fresh. Each take-over raises the epoch, and
//! every write of an owner carries the epoch it took the lane with: a former owner's are refused.

use std::time::Duration;

use models::ids::{ReplicaId, WorkerId};
use models::phone::PhoneNumber;

use crate::{GenericClient, StoreError};

mod facts;
mod look;

pub use facts::{LaneFacts, facts};
pub use look::{Around, Shares, adopt, around, owned, shares, woken};

/// The right to speak on a lane, for as long as the lane's epoch is this one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
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
    /// Another replica has it and will see that it was woken, or whoever adopts it will.
    Woken,
    /// The sender has no place on any worker; placing it will wake the lane.
    NotPlaced,
}

/// Whether the owner of lane `l` is absent or dead, which replica $1 may say only while it lives
/// itself and its own heartbeat is not late; $2 is how long a heartbeat stays fresh.
macro_rules! orphaned {
    () => {
        "(l.owner IS NULL
            OR EXISTS (SELECT FROM replicas r WHERE r.id = $1
                AND r.seen_at > now() - make_interval(secs => $2) / 2)
            AND NOT EXISTS (SELECT FROM replicas r WHERE r.id = l.owner
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
    ), given AS MATERIALIZED (
        SELECT l.worker_id, g.epoch, g.place - 1 AS place
        FROM unnest($2::uuid[], $3::bigint[]) WITH ORDINALITY AS g (worker_id, epoch, place)
        JOIN lanes l ON l.worker_id = g.worker_id AND l.epoch = g.epoch AND l.owner = $1
        ORDER BY l.worker_id FOR NO KEY UPDATE OF l
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
