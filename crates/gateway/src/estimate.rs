//! From what surrounds a campaign to what it waits for and when it may be done.

use std::time::Duration;

use models::campaign::CampaignStatus;
use policy::estimate::{Load, finish_at};
use policy::waiting::{self, Facts, SessionFacts, WorkerFacts};
use store::campaigns::{Campaign, Prospect, Rest, SessionSituation, Situation};
use time::OffsetDateTime;

use crate::state::Gateway;
use crate::views::campaigns::Outlook;

/// What the processes around a campaign know.
#[derive(Debug, Clone, Copy)]
pub struct Around {
    /// What chance adds to each message delay, at most.
    pub jitter_max: Duration,
    /// Whether the broker can be used.
    pub broker_up: bool,
}

impl Around {
    /// What this process knows now.
    pub fn of(gateway: &Gateway) -> Self {
        Self {
            jitter_max: gateway.settings.jitter_max,
            broker_up: gateway.broker.state().is_ok(),
        }
    }
}

/// The outlook of a campaign that is over: whatever surrounds it, nothing comes any more. Pure.
pub fn ended(campaign: &Campaign) -> Outlook {
    Outlook {
        waiting: waiting::ended(campaign.status, campaign.cancel_reason.as_deref()),
        finish_at: None,
    }
}

/// The outlook of a campaign that is not. Pure: time comes with the situation.
pub fn outlook(campaign: &Campaign, situation: &Situation, around: Around) -> Outlook {
    let earlier = situation.earlier;
    let worker = situation
        .session
        .as_ref()
        .and_then(|session| session.worker.as_ref());
    let load = Load {
        messages: campaign.counts.pending() + campaign.counts.sending,
        messages_before: earlier.map_or(0, |earlier| earlier.messages),
        campaigns_before: earlier.map_or(0, |earlier| earlier.campaigns),
        speakers: worker.map_or(1, |worker| worker.speakers),
        jitter_max: around.jitter_max,
    };
    let start = paced_until(campaign, situation).unwrap_or(situation.now);
    Outlook {
        waiting: waiting::waiting(&facts(campaign, situation, around), situation.now),
        finish_at: Some(finish_at(
            start.max(situation.now),
            &load,
            &situation.delays,
        )),
    }
}

/// When a campaign that was just accepted may be done, if that can be said. Pure.
pub fn first_estimate(
    campaign: &Campaign,
    prospect: &Prospect,
    around: Around,
) -> Option<OffsetDateTime> {
    let load = Load {
        messages: campaign.counts.pending(),
        messages_before: prospect.messages_before,
        campaigns_before: prospect.campaigns_before?,
        speakers: prospect.speakers.max(1),
        jitter_max: around.jitter_max,
    };
    let delays = prospect.delays;
    let message = prospect.last_sent_at.map(|at| at + delays.message);
    let ended = prospect.campaign_ended_at.map(|at| at + delays.campaign);
    let start = message.max(ended).unwrap_or(prospect.now);
    Some(finish_at(start.max(prospect.now), &load, &delays))
}

/// The earliest moment that the sender's own delays allow.
fn paced_until(campaign: &Campaign, situation: &Situation) -> Option<OffsetDateTime> {
    let delays = situation.delays;
    let message = situation.last_sent_at.map(|at| at + delays.message);
    let begins = campaign.status == CampaignStatus::Pending;
    let campaign = situation.campaign_ended_at.filter(|_| begins);
    message.max(campaign.map(|at| at + delays.campaign))
}

fn facts<'a>(campaign: &'a Campaign, situation: &'a Situation, around: Around) -> Facts<'a> {
    Facts {
        status: campaign.status,
        cancel_reason: campaign.cancel_reason.as_deref(),
        session: situation.session.as_ref().map(session),
        sender_rest: situation.rest.as_ref().map(rest),
        earlier: situation.earlier.map(|earlier| earlier.first),
        retry_at: situation.retry_at,
        paced_until: paced_until(campaign, situation),
        jitter_max: around.jitter_max,
        others: situation.session.as_ref().map_or(0, others),
        in_flight_at: situation.in_flight_at,
        replicas_alive: situation.replicas_alive,
        broker_up: around.broker_up,
    }
}

/// Other numbers with open campaigns on a session's worker.
fn others(session: &SessionSituation) -> i64 {
    let speakers = session.worker.as_ref().map(|worker| worker.speakers);
    speakers.map_or(0, |speakers| speakers.saturating_sub(1).max(0))
}

fn session(session: &SessionSituation) -> SessionFacts<'_> {
    SessionFacts {
        status: session.status,
        wanted: session.wanted,
        reason: session.reason.as_deref(),
        due_at: session.due_at,
        queue_place: session.queue_place,
        worker: session.worker.as_ref().map(|worker| WorkerFacts {
            name: &worker.name,
            health: worker.health,
            health_reason: worker.health_reason.as_deref(),
            check_at: worker.check_at,
            rest: worker.rest.as_ref().map(rest),
        }),
    }
}

fn rest(rest: &Rest) -> (OffsetDateTime, &str) {
    (rest.until, &rest.reason)
}
