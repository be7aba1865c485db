//! The heartbeats by which replicas know of each other.
//!
//! A replica is alive while its row is fresh by the database's clock, so that no two machines'
//! clocks are ever compared.

use std::time::Duration;

use models::ids::ReplicaId;

use crate::{GenericClient, StoreError};

const BEAT: &str = "
    INSERT INTO replicas (id, service, name) VALUES ($1, $2, $3)
    ON CONFLICT (id) DO UPDATE SET seen_at = now()";

/// Says that a replica is alive.
pub async fn beat(
    db: &impl GenericClient,
    id: ReplicaId,
    service: &str,
    name: &str,
) -> Result<(), StoreError> {
    let statement = db.prepare_cached(BEAT).await?;
    db.execute(&statement, &[&id.uuid(), &service, &name])
        .await?;
    Ok(())
}

const RETIRE: &str = "UPDATE replicas SET retiring = true WHERE id = $1";

/// Says that a replica is ending: it still holds its lanes, and takes no more.
pub async fn retire(db: &impl GenericClient, id: ReplicaId) -> Result<(), StoreError> {
    let statement = db.prepare_cached(RETIRE).await?;
    db.execute(&statement, &[&id.uuid()]).await?;
    Ok(())
}

// While lanes are its own, its row is what they are found by.
const LEAVE: &str = "
    DELETE FROM replicas WHERE id = $1 AND NOT EXISTS (SELECT FROM lanes WHERE owner = $1)";

/// Says that a replica has ended, so that nobody waits for its heartbeat to grow old. One that
/// could not hand its lanes over is waited for.
pub async fn leave(db: &impl GenericClient, id: ReplicaId) -> Result<(), StoreError> {
    let statement = db.prepare_cached(LEAVE).await?;
    db.execute(&statement, &[&id.uuid()]).await?;
    Ok(())
}

const FORGET: &str = "
    DELETE FROM replicas WHERE seen_at < now() - make_interval(secs => $1)
        AND NOT EXISTS (SELECT FROM lanes WHERE lanes.owner = replicas.id)";

/// Drops the rows of replicas that ended without a word, once nothing of theirs is left that its
/// finder must know to be a dead one's; returns how many.
pub async fn forget_unseen(
    db: &impl GenericClient,
    unseen_for: Duration,
) -> Result<u64, StoreError> {
    let statement = db.prepare_cached(FORGET).await?;
    Ok(db.execute(&statement, &[&unseen_for.as_secs_f64()]).await?)
}
