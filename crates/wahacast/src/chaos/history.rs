//! What a chaos run leaves to be judged: what was heard, and what the ledger says of it.

use std::collections::BTreeMap;

use anyhow::Context;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use store::Store;
use store::audit::{self, Held};
use time::OffsetDateTime;
use uuid::Uuid;

use super::world::World;

/// Entries in one answer of the simulator.
const PAGE: usize = 10_000;

/// One message that the simulated WhatsApp delivered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Heard {
    /// The worker's number, from 1.
    pub(crate) worker: usize,
    /// The number that said it.
    pub(crate) session: String,
    /// The recipient's chat.
    pub(crate) chat: String,
    /// The id it was said by.
    pub(crate) message_id: String,
    /// When it arrived, by the wall clock.
    #[serde(with = "time::serde::rfc3339")]
    pub(crate) arrived_at: OffsetDateTime,
    /// The same on the simulator's monotonic clock.
    pub(crate) arrived_mono_ns: u64,
    /// When its answer was handed back; never where the connection was lost.
    pub(crate) answered_mono_ns: Option<u64>,
}

impl Heard {
    /// The recipient's digits.
    pub(crate) fn recipient(&self) -> &str {
        self.chat.split('@').next().unwrap_or_default()
    }
}

/// A run's evidence.
#[derive(Debug, Default)]
pub(crate) struct History {
    /// In order of arrival.
    pub(crate) heard: Vec<Heard>,
    /// By recipient; every recipient of a run is a different one.
    pub(crate) held: BTreeMap<String, Held>,
    /// Status by campaign.
    pub(crate) campaigns: BTreeMap<Uuid, String>,
    /// Whether a number's worker lets us choose ids.
    pub(crate) own_ids: BTreeMap<String, bool>,
}

impl History {
    /// Collects it from the simulator and the ledger, past all proxies.
    ///
    /// # Errors
    /// One of them does not answer.
    pub(crate) async fn collect(world: &World) -> anyhow::Result<Self> {
        let heard = heard(world).await?;
        let store = Store::new(&world.database, 2)?;
        let db = store.client().await?;
        let (mut held, mut campaigns) = (BTreeMap::new(), BTreeMap::new());
        let mut after = Uuid::nil();
        loop {
            let page = audit::campaigns(&db, after).await?;
            let Some((last, ..)) = page.last() else { break };
            after = *last;
            for (id, _, status) in page {
                for message in audit::held(&db, id).await? {
                    held.insert(message.recipient.clone(), message);
                }
                campaigns.insert(id, status);
            }
        }
        let own_ids = heard
            .iter()
            .map(|one| (one.session.clone(), has_own_ids(one.worker)))
            .collect();
        Ok(Self {
            heard,
            held,
            campaigns,
            own_ids,
        })
    }

    /// Everything that is known of one recipient's message, for a person.
    pub(crate) fn story(&self, recipient: &str) -> String {
        let mut lines = vec![format!("recipient {recipient}")];
        match self.held.get(recipient) {
            None => lines.push("  the ledger does not know it".to_owned()),
            Some(held) => {
                lines.push(format!(
                    "  campaign {} of {}: {} {} id {}",
                    held.campaign,
                    held.sender,
                    held.status,
                    held.error_code.as_deref().unwrap_or(""),
                    held.message_id.as_deref().unwrap_or("none"),
                ));
                lines.extend(held.steps.iter().map(|step| format!("    {step}")));
            }
        }
        for one in self.heard.iter().filter(|one| one.recipient() == recipient) {
            lines.push(format!(
                "  heard at {} on worker {} by id {}, answered: {}",
                one.arrived_at,
                one.worker,
                one.message_id,
                one.answered_mono_ns.is_some()
            ));
        }
        lines.join("\n")
    }
}

/// Whether a worker of the fleet takes ids of ours: every fourth does not.
pub(crate) const fn has_own_ids(worker: usize) -> bool {
    !worker.is_multiple_of(4)
}

/// Everything heard so far.
///
/// # Errors
/// The simulator does not answer.
pub(crate) async fn heard(world: &World) -> anyhow::Result<Vec<Heard>> {
    let first = world.workers.first().context("there is no fleet")?;
    let base = first
        .control
        .rsplit_once('/')
        .context("no control interface")?
        .0;
    let (client, mut all, mut after) = (reqwest::Client::new(), Vec::new(), 0);
    loop {
        let url = format!("{base}/heard?after={after}&limit={PAGE}");
        let mut answer: Value = client.get(url).send().await?.json().await?;
        let page: Vec<Heard> = serde_json::from_value(answer["messages"].take())?;
        let next = answer["next"].as_u64().context("a page has no next")?;
        all.extend(page);
        if next == after {
            break;
        }
        after = next;
    }
    all.sort_by_key(|one: &Heard| one.arrived_mono_ns);
    Ok(all)
}
