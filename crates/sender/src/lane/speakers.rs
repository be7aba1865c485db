//! The senders of a lane: what each has to say, and what its own pace depends on.

mod opened;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use models::delays::{DelayOverrides, Delays};
use models::ids::{CampaignId, TraceId};
use models::media::Media;
use models::message::MessageKey;
use models::phone::PhoneNumber;
use models::template::{Template, Variables};
use policy::lane::{Moment, Pace, ready_at};
use store::ledger::Outcome;
use store::roster;

use crate::flight::{Flight, Written};
use crate::moments::Moments;

/// All senders of a lane that have something to say or to settle.
pub(super) struct Speakers {
    moments: Moments,
    by_phone: HashMap<PhoneNumber, u32>,
    speakers: BTreeMap<u32, Speaker>,
    next: u32,
    /// Grows with each change here, so that a roster read before a change does not undo it.
    step: u64,
}

struct Speaker {
    phone: PhoneNumber,
    generation: i32,
    waha_name: String,
    delays: DelayOverrides,
    pace: Pace,
    resting_until: Option<Moment>,
    /// Not before: the ledger refused its last claim, or its lane was parked until then.
    held_until: Option<Moment>,
    rests: u32,
    campaign: Option<Campaign>,
    busy: Busy,
    /// The last message of it that left: whatever the ledger says, it must not leave again.
    said: Option<MessageKey>,
    /// Must be read again as soon as it is free.
    stale: bool,
    changed_at: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Busy {
    Free,
    Speaking,
    Settling,
}

/// A campaign being sent.
struct Campaign {
    id: CampaignId,
    template: Arc<Template>,
    variables: Arc<Variables>,
    media: Option<Arc<Media>>,
    trace_id: TraceId,
    begun: bool,
    retry: Option<(i32, Moment)>,
    next_ordinal: Option<i32>,
}

/// What a roster changed.
#[derive(Default)]
pub(super) struct Merged {
    pub(super) changed: Vec<u32>,
    pub(super) gone: Vec<u32>,
    pub(super) to_settle: Vec<(u32, roster::Speaker)>,
}

impl Speakers {
    pub(super) fn new(moments: Moments) -> Self {
        let (by_phone, speakers) = (HashMap::new(), BTreeMap::new());
        Self {
            moments,
            by_phone,
            speakers,
            next: 0,
            step: 0,
        }
    }

    pub(super) fn step(&self) -> u64 {
        self.step
    }

    pub(super) fn all(&self) -> Vec<u32> {
        self.speakers.keys().copied().collect()
    }

    pub(super) fn any_to_settle(&self) -> bool {
        self.speakers
            .values()
            .any(|speaker| speaker.busy != Busy::Free)
    }

    pub(super) fn rests(&self, speaker: u32) -> u32 {
        self.speakers
            .get(&speaker)
            .map_or(0, |speaker| speaker.rests)
    }

    /// Whether a message is the last one that left for a sender here.
    pub(super) fn was_said(&self, speaker: u32, key: MessageKey) -> bool {
        self.speakers
            .get(&speaker)
            .is_some_and(|speaker| speaker.said == Some(key))
    }

    /// When a sender may speak as far as its own rules go, and the delays in force for it; `None`
    /// when it has nothing to say now.
    pub(super) fn ready(&self, speaker: u32, global: &Delays) -> Option<(Moment, Delays)> {
        let speaker = self.speakers.get(&speaker)?;
        let campaign = speaker.sayable()?;
        let (_, due) = campaign.next()?;
        let delays = speaker.delays.over(*global);
        let pace = Pace {
            first_of_campaign: !campaign.begun,
            not_before: [due, speaker.resting_until, speaker.held_until]
                .into_iter()
                .max()?,
            ..speaker.pace
        };
        Some((ready_at(&pace, &delays), delays))
    }

    /// A sender begins to speak; `None` when it has nothing to say after all.
    pub(super) fn begin(&mut self, speaker: u32) -> Option<Flight> {
        let speaker = self.speakers.get_mut(&speaker)?;
        let campaign = speaker.sayable()?;
        let (ordinal, _) = campaign.next()?;
        let flight = Flight {
            phone: speaker.phone.clone(),
            generation: speaker.generation,
            waha_name: speaker.waha_name.clone(),
            key: MessageKey {
                campaign: campaign.id,
                ordinal,
            },
            template: Arc::clone(&campaign.template),
            shared: Arc::clone(&campaign.variables),
            media: campaign.media.clone(),
            trace_id: campaign.trace_id,
        };
        self.step += 1;
        speaker.changed_at = self.step;
        speaker.busy = Busy::Speaking;
        Some(flight)
    }

    /// A claim came to nothing; returns whom to read again.
    pub(super) fn not_claimed(
        &mut self,
        speaker: u32,
        refused: bool,
        not_before: Moment,
    ) -> Option<PhoneNumber> {
        self.step += 1;
        let speaker = self.speakers.get_mut(&speaker)?;
        speaker.changed_at = self.step;
        speaker.busy = Busy::Free;
        speaker.held_until = Some(not_before);
        speaker.stale = false;
        if refused {
            // What we believed of it is wrong: it says nothing until it was read again.
            speaker.campaign = None;
        }
        Some(speaker.phone.clone())
    }

    /// A request was answered or given up on.
    pub(super) fn answered(
        &mut self,
        speaker: u32,
        key: MessageKey,
        at: Option<Moment>,
        jitter: Duration,
    ) {
        if let Some(speaker) = self.speakers.get_mut(&speaker) {
            speaker.said = at.map(|_| key).or(speaker.said);
            speaker.pace.last_answer = at.max(speaker.pace.last_answer);
            speaker.pace.jitter = jitter;
        }
    }

    /// What became of a message is written down; returns whom to read again.
    pub(super) fn concluded(
        &mut self,
        speaker: u32,
        written: Option<Written>,
        outcome: &Outcome,
    ) -> Option<PhoneNumber> {
        self.step += 1;
        let now = self.moments.now();
        let speaker = self.speakers.get_mut(&speaker)?;
        speaker.changed_at = self.step;
        let settled = std::mem::replace(&mut speaker.busy, Busy::Free) == Busy::Settling;
        speaker.held_until = None;
        if settled {
            // Whenever it was said, it was no later than now.
            speaker.pace.last_answer = Some(now);
        }
        let ended = written.is_none_or(|written| written.concluded.campaign.is_final());
        let rested = written.is_some_and(|written| written.rested);
        if ended {
            speaker.pace.campaign_ended = Some(now);
        }
        speaker.note(outcome, now);
        let stale = std::mem::take(&mut speaker.stale);
        if settled || ended || rested || stale {
            speaker.campaign = None;
        }
        let next = speaker.campaign.as_ref().and_then(Campaign::next);
        next.is_none().then(|| speaker.phone.clone())
    }

    /// Takes over what a roster says, except of senders that moved on since it was asked for.
    pub(super) fn merge(
        &mut self,
        only: Option<&PhoneNumber>,
        asked_at: u64,
        roster: Vec<roster::Speaker>,
    ) -> Merged {
        let mut merged = Merged::default();
        let mut listed = HashSet::with_capacity(roster.len());
        for found in roster {
            listed.insert(found.phone.clone());
            self.merge_one(found, asked_at, &mut merged);
        }
        let missing = |speaker: &Speaker| {
            only.is_none_or(|only| *only == speaker.phone) && !listed.contains(&speaker.phone)
        };
        let gone = self.speakers.iter().filter(|(_, speaker)| {
            missing(speaker) && speaker.busy == Busy::Free && speaker.changed_at <= asked_at
        });
        merged.gone = gone.map(|(number, _)| *number).collect();
        for number in &merged.gone {
            if let Some(speaker) = self.speakers.remove(number) {
                self.by_phone.remove(&speaker.phone);
            }
        }
        merged
    }

    fn merge_one(&mut self, found: roster::Speaker, asked_at: u64, merged: &mut Merged) {
        let number = match self.by_phone.get(&found.phone) {
            Some(number) => *number,
            None => self.add(&found),
        };
        let Some(speaker) = self.speakers.get_mut(&number) else {
            return;
        };
        if speaker.busy != Busy::Free || speaker.changed_at > asked_at {
            speaker.stale = true;
            return;
        }
        speaker.update(&found, &self.moments);
        if found.in_flight.is_some() {
            speaker.busy = Busy::Settling;
            merged.to_settle.push((number, found));
        }
        merged.changed.push(number);
    }

    fn add(&mut self, found: &roster::Speaker) -> u32 {
        let number = self.next;
        self.next += 1;
        let speaker = Speaker {
            phone: found.phone.clone(),
            generation: found.generation,
            waha_name: found.waha_name.clone(),
            delays: found.delays,
            pace: Pace::default(),
            resting_until: None,
            held_until: None,
            rests: 0,
            campaign: None,
            busy: Busy::Free,
            said: None,
            stale: false,
            changed_at: 0,
        };
        self.by_phone.insert(found.phone.clone(), number);
        self.speakers.insert(number, speaker);
        number
    }
}

impl Speaker {
    /// The campaign that it may say something of now.
    fn sayable(&self) -> Option<&Campaign> {
        self.campaign.as_ref().filter(|_| self.busy == Busy::Free)
    }

    fn update(&mut self, found: &roster::Speaker, moments: &Moments) {
        self.generation = found.generation;
        self.waha_name.clone_from(&found.waha_name);
        self.delays = found.delays;
        let ago = |ago: Option<Duration>| ago.map(|ago| moments.ago(ago));
        // The ledger's times are of the write, a little later than ours; neither may be undercut.
        self.pace.last_answer = self.pace.last_answer.max(ago(found.last_sent_ago));
        self.pace.campaign_ended = self.pace.campaign_ended.max(ago(found.campaign_ended_ago));
        self.resting_until = found.resting_for.map(|rest| moments.now() + rest);
        self.rests = u32::try_from(found.rests).unwrap_or_default();
        self.stale = false;
        self.campaign = found.campaign.as_ref().and_then(|open| {
            let same = self
                .campaign
                .take()
                .filter(|campaign| campaign.id == open.id);
            Campaign::read(open, same, moments)
        });
    }

    fn note(&mut self, outcome: &Outcome, now: Moment) {
        let Some(campaign) = &mut self.campaign else {
            return;
        };
        campaign.begun = true;
        let spoken = campaign.next().map(|(ordinal, _)| ordinal);
        match outcome {
            Outcome::Again {
                retry_in,
                number_rests,
                ..
            } => {
                let until = now + *retry_in;
                if campaign.retry.is_none() {
                    campaign.next_ordinal = campaign.next_ordinal.map(|ordinal| ordinal + 1);
                }
                campaign.retry = spoken.map(|ordinal| (ordinal, until));
                if *number_rests {
                    self.resting_until = Some(until);
                    self.rests = self.rests.saturating_add(1);
                }
            }
            Outcome::Sent { .. } | Outcome::Failed(_) | Outcome::Unknown(_) => {
                if campaign.retry.take().is_none() {
                    campaign.next_ordinal = campaign.next_ordinal.map(|ordinal| ordinal + 1);
                }
                self.resting_until = None;
                self.rests = 0;
            }
        }
    }
}

impl Campaign {
    /// `same` is what we already hold of this campaign: its texts never change.
    fn read(open: &roster::OpenCampaign, same: Option<Self>, moments: &Moments) -> Option<Self> {
        let retry = open
            .retry
            .map(|(ordinal, due_in)| (ordinal, moments.now() + due_in));
        if let Some(same) = same {
            return Some(Self {
                retry,
                next_ordinal: open.next_ordinal,
                begun: open.begun,
                ..same
            });
        }
        let media = open.media_url.as_deref().map(Media::parse).transpose();
        match (Template::parse(&open.template, true), media) {
            (Ok(template), Ok(media)) => Some(Self {
                id: open.id,
                template: Arc::new(template),
                variables: Arc::new(open.variables.clone()),
                media: media.map(Arc::new),
                trace_id: open.trace_id,
                begun: open.begun,
                retry,
                next_ordinal: open.next_ordinal,
            }),
            (Err(error), _) => unreadable(open.id, &error),
            (_, Err(error)) => unreadable(open.id, &error),
        }
    }

    /// The message to say next and when it may be retried, if it is a retry. One that waits for
    /// another attempt goes before those not begun: recipients are served in their order.
    fn next(&self) -> Option<(i32, Option<Moment>)> {
        match self.retry {
            Some((ordinal, due)) => Some((ordinal, Some(due))),
            None => self.next_ordinal.map(|ordinal| (ordinal, None)),
        }
    }
}

/// The gateway takes nothing that does not parse, so this is a newer version's campaign.
fn unreadable(campaign: CampaignId, error: &dyn std::fmt::Display) -> Option<Campaign> {
    tracing::error!(campaign.id = %campaign, "a campaign cannot be read by this version: {error}");
    None
}
