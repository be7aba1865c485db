//! What a lane writes down for others to read, and goes on whether or not it was written.

use std::sync::Arc;

use store::{StoreError, lanes, roster};

use super::{Event, LaneTask};
use crate::flight::Flight;

impl LaneTask {
    /// The worker refuses: nobody pays, and the lane waits. Noted where people look for reasons.
    pub(super) fn back_off(&mut self, rest: std::time::Duration, code: &'static str, detail: &str) {
        let until = self.line.context.moments.now() + rest;
        if self.rests == 0 {
            tracing::warn!(worker.id = %self.line.tenure.worker, code, "a lane rests: {detail}");
        }
        self.resting_until = self.resting_until.max(Some(until));
        self.rests = self.rests.saturating_add(1);
        let (line, reason) = (Arc::clone(&self.line), detail.replace('\0', ""));
        self.note(async move {
            let client = line.context.store.client().await?;
            lanes::rest(&client, line.context.replica, line.tenure, rest, &reason).await
        });
    }

    /// The scheduler shall look at a session that is not what we thought.
    pub(super) fn doubt(&mut self, flight: &Flight) {
        let (line, flight) = (Arc::clone(&self.line), flight.clone());
        self.note(async move {
            let client = line.context.store.client().await?;
            roster::doubt(&client, &flight.phone, flight.generation).await
        });
    }

    /// Runs a write that only informs: its failure costs nothing but the information.
    fn note(&mut self, write: impl Future<Output = Result<(), StoreError>> + Send + 'static) {
        self.events.push(Box::pin(async move {
            if let Err(error) = write.await {
                tracing::debug!("a note was not written: {error}");
            }
            Event::Noted
        }));
    }
}
