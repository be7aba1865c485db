//! What is seen of the walk: its steps, and one bar per campaign while it is delivered.

use std::io::IsTerminal;
use std::time::Duration;

use anyhow::bail;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use super::api::{Api, count, text, until};
use super::walk::Campaign;

/// Far more than the pace needs; a campaign that takes longer is stuck.
const FINISHED_WITHIN: Duration = Duration::from_secs(90);

/// A step of the guide, by its number there.
pub(super) fn step(number: &str, what: &str) {
    println!("{number:>4}  {what}");
}

/// What came of a step.
pub(super) fn note(what: &str) {
    println!("        {what}");
}

/// Watches `campaigns` until all of them are COMPLETED.
///
/// # Errors
/// One ends in another status or not at all.
pub(super) async fn watch(api: &Api, campaigns: &[Campaign]) -> anyhow::Result<()> {
    let screen = MultiProgress::new();
    let bars: Vec<Bar> = campaigns
        .iter()
        .map(|campaign| Bar::new(&screen, campaign))
        .collect::<anyhow::Result<_>>()?;
    until(
        "the campaigns were to be completed",
        FINISHED_WITHIN,
        async || {
            let mut all_done = true;
            for (campaign, bar) in campaigns.iter().zip(&bars) {
                all_done &= bar.look(api, campaign).await?;
            }
            Ok(all_done.then_some(()))
        },
    )
    .await?;
    for bar in &bars {
        bar.bar.finish();
    }
    Ok(())
}

struct Bar {
    bar: ProgressBar,
    /// Without a terminal the bar is not drawn; then the end of each campaign is a line.
    plain: bool,
}

impl Bar {
    fn new(screen: &MultiProgress, campaign: &Campaign) -> anyhow::Result<Self> {
        let style = "     {prefix:>12} {bar:40} {pos:>3}/{len} {msg}";
        let bar = ProgressBar::new(campaign.recipients.len() as u64)
            .with_style(ProgressStyle::with_template(style)?)
            .with_prefix(campaign.sender.clone());
        Ok(Self {
            bar: screen.add(bar),
            plain: !std::io::stderr().is_terminal(),
        })
    }

    /// Whether the campaign is completed.
    async fn look(&self, api: &Api, campaign: &Campaign) -> anyhow::Result<bool> {
        if self.bar.is_finished() {
            return Ok(true);
        }
        let status = api.get(&format!("/api/status/{}", campaign.id)).await?;
        let (total, pending) = (
            count(&status, "total_messages")?,
            count(&status, "pending_messages")?,
        );
        let state = text(&status, "status")?;
        self.bar.set_position(total.saturating_sub(pending));
        self.bar.set_message(state.to_owned());
        match state {
            "PENDING" | "IN_PROGRESS" => Ok(false),
            "COMPLETED" => {
                self.bar.finish();
                if self.plain {
                    println!("     {:>12} {total}/{total} {state}", campaign.sender);
                }
                Ok(true)
            }
            other => bail!(
                "the campaign of {} became {other}: {status}",
                campaign.sender
            ),
        }
    }
}
