//! Reading the roster: who has something to say, and what nobody settled.

use std::sync::Arc;
use std::time::Duration;

use models::ids::ReplicaId;
use models::phone::PhoneNumber;
use store::StoreError;
use store::lanes::{self, Tenure};
use store::{Store, roster};

use super::{Ending, Event, LaneTask, RETRY_AFTER, Roster};

impl LaneTask {
    /// Reads the whole roster; once more afterwards if it is being read already.
    pub(super) fn load(&mut self) {
        if self.loading {
            self.load_again = true;
            return;
        }
        self.read(None, Duration::ZERO);
    }

    /// Reads the whole roster after a pause.
    pub(super) fn load_later(&mut self) {
        if !self.loading {
            self.read(None, RETRY_AFTER);
        }
    }

    /// Reads what one sender has to say.
    pub(super) fn load_one(&mut self, phone: PhoneNumber) {
        self.read(Some(phone), Duration::ZERO);
    }

    fn read(&mut self, only: Option<PhoneNumber>, pause: Duration) {
        self.loading |= only.is_none();
        let (asked_at, line) = (self.speakers.step(), Arc::clone(&self.line));
        self.events.push(Box::pin(async move {
            let context = &line.context;
            context.clock.sleep(pause).await;
            let roster = read(&context.store, context.replica, line.tenure, only.as_ref()).await;
            Event::Loaded {
                only,
                asked_at,
                roster,
            }
        }));
    }

    pub(super) fn loaded(
        &mut self,
        only: Option<PhoneNumber>,
        asked_at: u64,
        roster: Result<Roster, StoreError>,
    ) {
        self.loading &= only.is_some();
        match roster {
            Ok(Roster { wake: None, .. }) => {
                self.line.leaving.request();
                self.ending = Some(Ending::Lost);
            }
            Ok(roster) => self.merge(only.as_ref(), asked_at, roster),
            Err(error) => {
                tracing::debug!("a roster was not read, trying again: {error}");
                match only {
                    Some(_) => self.read(only, RETRY_AFTER),
                    None => self.load_again = true,
                }
            }
        }
        if only_full_again(&mut self.load_again, self.loading) {
            self.load_later();
        }
    }

    fn merge(&mut self, only: Option<&PhoneNumber>, asked_at: u64, roster: Roster) {
        if only.is_none() {
            self.wake_seen = roster.wake;
        }
        let merged = self.speakers.merge(only, asked_at, roster.speakers);
        for speaker in merged.gone {
            self.lane.forget(speaker);
        }
        for speaker in merged.changed {
            self.retime(speaker);
        }
        for (speaker, found) in merged.to_settle {
            self.settle(speaker, found);
        }
    }

    /// Finds out what became of a message that was claimed and never concluded.
    fn settle(&mut self, speaker: u32, found: roster::Speaker) {
        let Some(in_flight) = found.in_flight.clone() else {
            return;
        };
        let held_for = self
            .line
            .context
            .moments
            .now()
            .saturating_sub(self.taken_at);
        // Claimed by us and never sent, unless we know better: then only its conclusion was lost.
        let ours = in_flight.worker == self.line.tenure.worker
            && in_flight.claimed_ago < held_for
            && !self.speakers.was_said(speaker, in_flight.key);
        tracing::info!(
            campaign.id = %in_flight.key.campaign, ordinal = in_flight.key.ordinal,
            sender = %found.phone.masked(), "settling a message that was on its way"
        );
        let line = Arc::clone(&self.line);
        self.events.push(Box::pin(async move {
            Event::concluded(speaker, line.settle(&found, &in_flight, ours).await)
        }));
    }
}

fn only_full_again(again: &mut bool, loading: bool) -> bool {
    !loading && std::mem::take(again)
}

/// The wake number first: what changes after it was read raises it, so nothing falls between.
async fn read(
    store: &Store,
    replica: ReplicaId,
    tenure: Tenure,
    only: Option<&PhoneNumber>,
) -> Result<Roster, StoreError> {
    let client = store.client().await?;
    let wake = lanes::wake(&client, replica, tenure).await?;
    let speakers = match only {
        _ if wake.is_none() => Vec::new(),
        Some(phone) => roster::one(&client, tenure.worker, phone)
            .await?
            .into_iter()
            .collect(),
        None => roster::all(&client, tenure.worker).await?,
    };
    Ok(Roster { wake, speakers })
}
