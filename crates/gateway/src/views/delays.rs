//! Delays on the wire, in seconds.

use models::delays::{DelayOverrides, Delays};
use models::phone::PhoneNumber;
use serde::Serialize;
use utoipa::ToSchema;

/// The global delays.
#[derive(Debug, Serialize, ToSchema)]
#[schema(example = json!({
    "MESSAGE_DELAY": 2.0, "SENDER_SWITCH_DELAY": 5.0, "CAMPAIGN_DELAY": 0.0
}))]
pub struct DelaysView {
    /// Seconds between two messages of one sender.
    #[serde(rename = "MESSAGE_DELAY")]
    pub message: f64,
    /// Seconds between messages of different senders on one worker.
    #[serde(rename = "SENDER_SWITCH_DELAY")]
    pub sender_switch: f64,
    /// Seconds between the end of a sender's campaign and the first message of its next.
    #[serde(rename = "CAMPAIGN_DELAY")]
    pub campaign: f64,
}

impl From<Delays> for DelaysView {
    fn from(delays: Delays) -> Self {
        Self {
            message: delays.message.as_secs_f64(),
            sender_switch: delays.sender_switch.as_secs_f64(),
            campaign: delays.campaign.as_secs_f64(),
        }
    }
}

/// The delays in force for one sender.
#[derive(Debug, Serialize, ToSchema)]
pub struct UserDelaysView {
    /// Whose.
    pub sender_number: String,
    /// Seconds between two of its messages.
    pub message_delay: f64,
    /// Seconds after another sender's message on the same worker.
    pub sender_switch_delay: f64,
    /// Seconds between the end of its campaign and the first message of its next.
    pub campaign_delay: f64,
    /// Which of them are the global ones.
    pub inherited: InheritedView,
}

/// Which delays are the global ones.
#[derive(Debug, Serialize, ToSchema)]
pub struct InheritedView {
    /// Of `message_delay`.
    pub message_delay: bool,
    /// Of `sender_switch_delay`.
    pub sender_switch_delay: bool,
    /// Of `campaign_delay`.
    pub campaign_delay: bool,
}

impl UserDelaysView {
    /// A sender's own delays over the global ones.
    pub fn new(phone: &PhoneNumber, own: DelayOverrides, global: Delays) -> Self {
        let in_force = own.over(global);
        Self {
            sender_number: phone.to_string(),
            message_delay: in_force.message.as_secs_f64(),
            sender_switch_delay: in_force.sender_switch.as_secs_f64(),
            campaign_delay: in_force.campaign.as_secs_f64(),
            inherited: InheritedView {
                message_delay: own.message.is_none(),
                sender_switch_delay: own.sender_switch.is_none(),
                campaign_delay: own.campaign.is_none(),
            },
        }
    }
}
