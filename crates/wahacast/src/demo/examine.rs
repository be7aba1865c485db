//! What is left when the walk is over: the gateway's books against what the phones heard.

use std::time::Duration;

use anyhow::{bail, ensure};

use super::api::text;
use super::checks::{self, Gaps};
use super::fleet::Heard;
use super::walk::{Campaign, Walk};
use super::{MESSAGE_DELAY, SWITCH_DELAY};

/// What the summary tells of one campaign.
#[derive(Debug, Clone)]
pub(super) struct Outcome {
    /// Whose it was.
    pub(super) sender: String,
    /// The number of the worker that spoke.
    pub(super) worker: u64,
    /// Its final status.
    pub(super) status: String,
    /// Messages ordered; the gateway says of each that it was sent.
    pub(super) messages: usize,
    /// Messages that the simulated phones heard.
    pub(super) heard: usize,
}

/// What the whole walk has shown.
#[derive(Debug, Clone)]
pub(super) struct Report {
    /// One per campaign.
    pub(super) outcomes: Vec<Outcome>,
    /// One per pacing rule.
    pub(super) gaps: [Gaps; 2],
}

impl Walk {
    /// Compares the gateway's books with what the simulated phones heard.
    pub(super) async fn examine(&self, campaigns: &[Campaign]) -> anyhow::Result<Report> {
        let mut outcomes = Vec::new();
        let heard = self.fleet.heard().await?;
        for campaign in campaigns {
            checks::heard_once(&heard, &campaign.sender, &campaign.recipients)?;
            outcomes.push(self.outcome(campaign, &heard).await?);
        }
        if let Some(odd) = heard
            .iter()
            .find(|heard| !heard.text.starts_with("Hello friend "))
        {
            bail!("a template was not filled in: {:?}", odd.text);
        }
        let seconds = Duration::from_secs_f64;
        let gaps = checks::gaps(&heard, seconds(MESSAGE_DELAY), seconds(SWITCH_DELAY));
        gaps.iter().try_for_each(Gaps::kept)?;
        Ok(Report { outcomes, gaps })
    }

    /// None of a campaign's messages may have gone wrong in the gateway's books.
    async fn outcome(&self, campaign: &Campaign, heard: &[Heard]) -> anyhow::Result<Outcome> {
        let path = format!("/api/status/{}?details=true&limit=1000", campaign.id);
        let status = self.api.get(&path).await?;
        let messages = status["messages"].as_array().map_or(&[][..], Vec::as_slice);
        let total = campaign.recipients.len();
        ensure!(
            messages.len() == total,
            "{} messages are listed, not {total}",
            messages.len()
        );
        for message in messages {
            let state = text(message, "status")?;
            ensure!(
                ["SENT", "DELIVERED", "READ"].contains(&state),
                "a message of {} is {state}: {message}",
                campaign.sender
            );
        }
        let own = || {
            heard
                .iter()
                .filter(|heard| heard.session == campaign.sender)
        };
        Ok(Outcome {
            sender: campaign.sender.clone(),
            worker: own().next().map_or(0, |heard| heard.worker),
            status: text(&status, "status")?.to_owned(),
            messages: total,
            heard: own().count(),
        })
    }
}
