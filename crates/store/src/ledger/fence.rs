//! What holds a group of writes to its lanes: they and its numbers are locked before anything else,
//! and a row whose lane has moved on is not written.

use std::collections::BTreeSet;

use models::ids::ReplicaId;
use tokio_postgres::types::ToSql;

use super::{Claim, Conclusion};
use crate::client::Statement;
use crate::{Client, GenericClient, StoreError};

// Before anything else, and in a statement of its own: what follows reads what was there once all
// rows were locked. A report that came in between would otherwise be looked past by the conclusion
// that was waiting for it; and conclusions and claims, each locking their own, would meet others
// in a circle.
pub(super) const LOCK: &str = "
    WITH fence AS MATERIALIZED (
        SELECT 1 FROM lanes
        WHERE owner = $1 AND worker_id = ANY ($2) ORDER BY worker_id FOR NO KEY UPDATE
    ), held AS MATERIALIZED (
        SELECT 1 FROM senders
        WHERE phone = ANY ($3) AND (SELECT count(*) FROM fence) > 0
        ORDER BY phone FOR NO KEY UPDATE
    )
    SELECT count(*) FROM held";

/// Whether a row's lane is still ours. Asked once a statement and looked up for each row: a join
/// would go to the lane for each, and the planner might begin with the lanes.
macro_rules! ours {
    () => {
        "((i.worker_id, i.epoch) IN (SELECT worker_id, epoch FROM lanes
            WHERE owner = $1 AND worker_id = ANY ($2))) IS TRUE"
    };
}
pub(super) use ours;

/// Locks all lanes of a group that are ours, and its numbers if there are any.
pub(super) async fn lock(
    db: &Client,
    statement: &Statement,
    replica: ReplicaId,
    (conclusions, claims): (&[Conclusion], &[Claim]),
) -> Result<(), StoreError> {
    let concluded = conclusions.iter().map(|c| (c.tenure, &c.phone));
    let all = concluded.chain(claims.iter().map(|c| (c.tenure, &c.phone)));
    let (lanes, phones): (BTreeSet<_>, BTreeSet<_>) = all
        .map(|(tenure, phone)| (tenure.worker.uuid(), phone.digits()))
        .unzip();
    let (lanes, phones) = (Vec::from_iter(lanes), Vec::from_iter(phones));
    let parameters: &[&(dyn ToSql + Sync)] = &[&replica.uuid(), &lanes, &phones];
    db.execute(statement, parameters).await?;
    Ok(())
}
