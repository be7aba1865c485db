//! Reading the roster: who has something to say, and what nobody settled.

use std::sync::Arc;
use std::time::Duration;

use models::ids::ReplicaId;
use models::phone::PhoneNumber;
use policy::lane::Moment;
use store::StoreError;
use store::lanes::{self, Tenure};
use store::{Store, roster};

use super::{Ending, Event, LaneTask, RETRY_AFTER};

/// When a roster was asked for; what it says is at least as new.
#[derive(Clone, Copy)]
pub(super) struct Asked {
    /// By the count of changes here.
    pub(super) step: u64,
    /// By the clock.
    pub(super) at: Moment,
}

/// What the ledger says of a lane.
pub(super) struct Roster {
    /// `None`: the lane is not ours any more.
    pub(super) wake: Option<i64>,
    pub(super) speakers: Vec<roster::Speaker>,
}

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
        let (step, line) = (self.speakers.step(), Arc::clone(&self.line));
        self.events.push(Box::pin(async move {
            let context = &line.context;
            context.clock.sleep(pause).await;
            let at = context.moments.now();
            let roster = read(&context.store, context.replica, line.tenure, only.as_ref()).await;
            Event::Loaded {
                only,
                asked: Asked { step, at },
                roster,
            }
        }));
    }

    pub(super) fn loaded(
        &mut self,
        only: Option<PhoneNumber>,
        asked: Asked,
        roster: Result<Roster, StoreError>,
    ) {
        self.loading &= only.is_some();
        match roster {
            Ok(Roster { wake: None, .. }) => {
                self.line.leaving.request();
                self.ending = Some(Ending::Lost);
            }
            Ok(roster) => self.merge(only.as_ref(), asked, roster),
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

    pub(super) fn merge(&mut self, only: Option<&PhoneNumber>, asked: Asked, roster: Roster) {
        if only.is_none() {
            self.wake_seen = roster.wake;
        }
        let merged = self.speakers.merge(only, asked.step, roster.speakers);
        for speaker in merged.gone {
            self.lane.forget(speaker);
        }
        for speaker in merged.changed {
            self.retime(speaker);
        }
        for (speaker, found) in merged.to_settle {
            self.settle(speaker, found, asked.at);
        }
    }

    /// Finds out what became of a message that was claimed and never concluded.
    fn settle(&mut self, speaker: u32, found: roster::Speaker, asked_at: Moment) {
        let Some(in_flight) = found.in_flight.clone() else {
            return;
        };
        // Claimed by us and never sent, unless we know better: then only its conclusion was lost.
        // In the same tenure another task of ours may have been here before, and the database's
        // clock may have stepped back over a former one's claim.
        let tenure = self.line.tenure;
        let ours = in_flight.worker == tenure.worker
            && in_flight.epoch == Some(tenure.epoch)
            && claimed_since(self.taken_at, asked_at, in_flight.claimed_ago)
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

/// Whether what was claimed `claimed_ago` before the ledger answered a question of `asked_at` was
/// claimed after `taken_at`. The answer may have been long on its way: the age is of the question,
/// lest a predecessor's claim looks like one of ours.
fn claimed_since(taken_at: Moment, asked_at: Moment, claimed_ago: Duration) -> bool {
    claimed_ago < asked_at.saturating_sub(taken_at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_predecessors_claim_is_never_taken_for_ours() {
        let secs = Duration::from_secs;
        assert!(claimed_since(secs(100), secs(110), secs(9)));
        assert!(!claimed_since(secs(100), secs(110), secs(10)));
        assert!(
            !claimed_since(secs(100), secs(100), secs(8)),
            "whenever that is read"
        );
    }
}
