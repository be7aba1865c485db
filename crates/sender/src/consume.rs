//! A campaign job's arrival: a wake-up that says where there is work.

use std::sync::Arc;

use broker::Disposition;
use models::job::Job;
use store::lanes::{self, Arrival};

use crate::context::Context;
use crate::table::Table;

/// Takes the job's lane or wakes its owner. The job is acknowledged once the ledger knows of it:
/// from there on a sweep finds the work even if every process dies.
pub async fn on_job(context: &Context, table: &Arc<Table>, job: Job) -> Disposition {
    let arrival = async {
        let client = context.store.client().await?;
        // Not before: a connection may have been long in coming.
        let dead_after = context.dead_after();
        lanes::arrive(&client, context.replica, &job.sender, dead_after).await
    };
    let (disposition, label) = match arrival.await {
        Ok(Arrival::Ours(tenure)) => {
            table.serve(tenure);
            table.look_at(tenure.worker, job.sender.clone());
            (Disposition::Ack, "ours")
        }
        Ok(Arrival::Woken) => (Disposition::Ack, "woken"),
        Ok(Arrival::NotPlaced) => (Disposition::Ack, "not_placed"),
        Err(error) => {
            tracing::debug!("a job was not taken yet: {error}");
            (Disposition::Requeue, "requeued")
        }
    };
    metrics::counter!("sender_jobs_total", "arrival" => label).increment(1);
    tracing::debug!(
        campaign.id = %job.campaign_id, trace.id = %job.trace_id, sender = %job.sender.masked(),
        arrival = label, "a job came"
    );
    disposition
}
