//! The campaign job: what travels over the broker.

use serde::{Deserialize, Serialize};

use crate::ids::{CampaignId, TraceId};
use crate::phone::PhoneNumber;

/// A wake-up that says where there is work. Losing one, or getting one twice or late, changes
/// nothing but latency: the ledger is the truth and a sweep makes lost ones anew.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job {
    /// A campaign with messages to send.
    pub campaign_id: CampaignId,
    /// Its sender, whose session says which worker's lane the work is on.
    pub sender: PhoneNumber,
    /// Of the request that made the campaign.
    pub trace_id: TraceId,
}
