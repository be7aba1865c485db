//! The ledger as its statements leave it: each function here is one of them, all or nothing.

use std::collections::BTreeMap;

use models::message::MessageStatus as S;
use policy::receipt::{merge, status_after};

/// Milliseconds since the world began.
pub(crate) type Ms = u64;
/// Campaign and ordinal.
pub(crate) type Key = (usize, usize);

#[derive(Debug, Clone)]
pub(crate) struct Message {
    pub(crate) status: S,
    pub(crate) attempts: i16,
    pub(crate) id: Option<u64>,
}

#[derive(Debug, Clone)]
pub(crate) struct Campaign {
    pub(crate) sender: usize,
    pub(crate) messages: Vec<Message>,
    /// By status, kept in the statements that move messages.
    pub(crate) counters: BTreeMap<S, i64>,
    pub(crate) next_ordinal: usize,
    pub(crate) begun: bool,
    pub(crate) done: bool,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct InFlight {
    pub(crate) key: Key,
    pub(crate) at: Ms,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Sender {
    pub(crate) worker: usize,
    pub(crate) in_flight: Option<InFlight>,
    pub(crate) last_sent: Option<Ms>,
    pub(crate) campaign_ended: Option<Ms>,
    pub(crate) resting_until: Ms,
    pub(crate) rests: u32,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct LaneRow {
    pub(crate) owner: Option<usize>,
    pub(crate) epoch: u64,
    pub(crate) last_sent: Option<Ms>,
}

/// The right to write: replica, worker, epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tenure {
    pub(crate) replica: usize,
    pub(crate) worker: usize,
    pub(crate) epoch: u64,
}

/// Where a message goes from SENDING.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Outcome {
    pub(crate) status: S,
    pub(crate) id: Option<u64>,
    pub(crate) retry_in: Ms,
    pub(crate) number_rests: bool,
    pub(crate) tried: bool,
}

/// A granted claim.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Claimed {
    pub(crate) id: Option<u64>,
    pub(crate) attempts: i16,
}

#[derive(Debug, Default)]
pub(crate) struct Ledger {
    pub(crate) lanes: Vec<LaneRow>,
    pub(crate) senders: Vec<Sender>,
    pub(crate) campaigns: Vec<Campaign>,
    pub(crate) retries: BTreeMap<Key, Ms>,
    /// By sender and id: whose it is, and the highest report.
    pub(crate) receipts: BTreeMap<(usize, u64), (Option<Key>, Option<i16>)>,
    pub(crate) seen: Vec<Ms>,
    pub(crate) away_until: Ms,
    /// Nobody checks epochs.
    pub(crate) unfenced: bool,
    /// Every conclusion is counted twice.
    pub(crate) counts_twice: bool,
    /// What is PENDING again is not noted anywhere.
    pub(crate) forgets_retries: bool,
    /// For the story.
    pub(crate) log: Vec<(Ms, String)>,
    /// Whether the counters were right after every statement.
    pub(crate) breach: Option<String>,
}

impl Ledger {
    pub(crate) fn owns(&self, tenure: Tenure) -> bool {
        let lane = &self.lanes[tenure.worker];
        self.unfenced || lane.owner == Some(tenure.replica) && lane.epoch == tenure.epoch
    }

    fn message(&mut self, key: Key) -> &mut Message {
        &mut self.campaigns[key.0].messages[key.1]
    }

    /// Moves a message and its counters in one statement.
    fn go(&mut self, now: Ms, key: Key, to: S, why: &str) {
        let from = self.message(key).status;
        self.message(key).status = to;
        let campaign = &mut self.campaigns[key.0];
        *campaign.counters.entry(from).or_default() -= 1;
        *campaign.counters.entry(to).or_default() += 1 + i64::from(self.counts_twice);
        self.log
            .push((now, format!("{key:?} {from} -> {to} ({why})")));
        self.conserve(key.0);
    }

    fn conserve(&mut self, campaign: usize) {
        let of = &self.campaigns[campaign];
        let total: i64 = of.counters.values().sum();
        let right = of.counters.iter().all(|(status, count)| {
            let rows = of
                .messages
                .iter()
                .filter(|message| message.status == *status);
            rows.count() as i64 == *count
        });
        if !right || total != of.messages.len() as i64 {
            self.breach = Some(format!("campaign {campaign} counts {:?}", of.counters));
        }
    }

    /// A lane whose owner is nobody, or dead, is another's by a new epoch.
    pub(crate) fn take(&mut self, now: Ms, replica: usize, worker: usize, dead: Ms) -> Option<u64> {
        let lane = &mut self.lanes[worker];
        let alive = lane
            .owner
            .is_some_and(|owner| self.seen[owner] + dead > now);
        if alive {
            return None;
        }
        lane.owner = Some(replica);
        lane.epoch += 1;
        self.log.push((
            now,
            format!("lane {worker} is replica {replica}'s, epoch {}", lane.epoch),
        ));
        Some(lane.epoch)
    }

    pub(crate) fn claim(
        &mut self,
        now: Ms,
        tenure: Tenure,
        key: Key,
        id: Option<u64>,
    ) -> Option<Claimed> {
        let sender = self.campaigns[key.0].sender;
        let free = self.senders[sender].in_flight.is_none();
        let pending = self.message(key).status == S::Pending;
        if !self.owns(tenure) || !free || !pending || self.campaigns[key.0].done {
            return None;
        }
        self.go(now, key, S::Sending, "claimed");
        let message = self.message(key);
        message.attempts += 1;
        message.id = message.id.or(id);
        let claimed = Claimed {
            id: message.id,
            attempts: message.attempts,
        };
        if let Some(id) = claimed.id.filter(|_| id.is_some()) {
            let known = self.receipts.entry((sender, id)).or_default();
            known.0 = Some(key);
        }
        let campaign = &mut self.campaigns[key.0];
        campaign.begun = true;
        campaign.next_ordinal = campaign.next_ordinal.max(key.1 + 1);
        self.senders[sender].in_flight = Some(InFlight { key, at: now });
        self.retries.remove(&key);
        Some(claimed)
    }

    /// False when the lane has moved on, or the message has.
    pub(crate) fn conclude(&mut self, now: Ms, tenure: Tenure, key: Key, out: Outcome) -> bool {
        if !self.owns(tenure) || self.message(key).status != S::Sending {
            return false;
        }
        self.go(now, key, out.status, "concluded");
        let message = self.message(key);
        message.id = out.id.or(message.id);
        if out.status == S::Pending {
            message.attempts -= i16::from(!out.tried);
            if !self.forgets_retries {
                self.retries.insert(key, now + out.retry_in);
            }
        }
        let id = self.message(key).id;
        let number = self.campaigns[key.0].sender;
        let sender = &mut self.senders[number];
        sender.in_flight = None;
        sender.last_sent = Some(now);
        sender.resting_until = if out.number_rests {
            now + out.retry_in
        } else {
            0
        };
        sender.rests = if out.number_rests {
            sender.rests + 1
        } else {
            0
        };
        self.lanes[tenure.worker].last_sent = Some(now);
        self.finish(now, key.0);
        if let Some(id) = id {
            let known = self.receipts.entry((number, id)).or_default();
            known.0 = known.0.or(Some(key));
            self.apply(now, number, id);
        }
        true
    }

    fn finish(&mut self, now: Ms, campaign: usize) {
        let of = &mut self.campaigns[campaign];
        let left = of
            .messages
            .iter()
            .any(|m| matches!(m.status, S::Pending | S::Sending));
        if !left && !of.done {
            of.done = true;
            self.senders[of.sender].campaign_ended = Some(now);
        }
    }

    /// WhatsApp reports on an id.
    pub(crate) fn report(&mut self, now: Ms, sender: usize, id: u64, ack: i16) {
        let known = self.receipts.entry((sender, id)).or_default();
        known.1 = Some(merge(known.1, ack));
        self.apply(now, sender, id);
    }

    fn apply(&mut self, now: Ms, sender: usize, id: u64) {
        let Some((Some(key), Some(ack))) = self.receipts.get(&(sender, id)).copied() else {
            return;
        };
        let message = self.message(key).clone();
        let Some(to) = status_after(message.status, ack) else {
            return;
        };
        if ack < 0 && message.id != Some(id) {
            return;
        }
        self.go(now, key, to, "reported");
        self.retries.remove(&key);
        self.finish(now, key.0);
    }

    pub(crate) fn ack(&self, sender: usize, id: u64) -> Option<i16> {
        self.receipts.get(&(sender, id)).and_then(|known| known.1)
    }

    /// What a sender is to say next and not before when; whether it is its campaign's first.
    pub(crate) fn next(&self, sender: usize) -> Option<(Key, Ms, bool)> {
        let mut open = self.campaigns.iter().enumerate();
        let (number, campaign) = open.find(|(_, c)| c.sender == sender && !c.done)?;
        let retry = self.retries.range((number, 0)..(number + 1, 0)).next();
        if let Some((key, due)) = retry {
            return Some((*key, *due, !campaign.begun));
        }
        let fresh = (campaign.next_ordinal..campaign.messages.len())
            .find(|ordinal| campaign.messages[*ordinal].status == S::Pending)?;
        Some(((number, fresh), 0, !campaign.begun))
    }
}
