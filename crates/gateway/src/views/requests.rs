//! The bodies that clients send, as the OpenAPI document describes them. They are read field by
//! field (see `extract`), so that all faults are found at once; these types are their contract.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::schema::PhoneText;

/// A campaign to be sent.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({
    "sender_number": "42108077",
    "recipients": ["21642108101", {"number": "+216 42 108 102", "variables": {"name": "Leila"}}],
    "template": "Hello {{name}}, this is a test message!",
    "variables": {"name": "friend"},
    "media_url": null
}))]
pub struct SendRequest {
    /// The number to send from. It must have a session; that need not be WORKING yet.
    #[schema(value_type = PhoneText)]
    pub sender_number: String,
    /// Who is to hear it. Repeated numbers are sent once.
    #[schema(min_items = 1)]
    pub recipients: Vec<Recipient>,
    /// The text: at most 65,536 bytes, before and after `{{name}}` is replaced by the recipient's
    /// variable of that name, or the campaign's. May be left out when there is a media_url.
    #[schema(nullable, max_length = 65536)]
    pub template: Option<String>,
    /// The campaign's own variables.
    #[schema(nullable)]
    pub variables: Option<BTreeMap<String, VariableValue>>,
    /// A file to send, with the text as its caption: an http or https URL that the WAHA servers
    /// can reach. Sound is a voice note; those have no caption, so that with a text it is a file.
    #[schema(nullable, max_length = 2048)]
    pub media_url: Option<String>,
    /// What to do about bad recipients: refuse the whole campaign (as without this field), or skip
    /// them and report them back.
    #[schema(nullable)]
    pub on_invalid: Option<OnInvalid>,
}

/// What to do about bad recipients.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum OnInvalid {
    /// Refuse the campaign and name them all.
    Refuse,
    /// Leave them out and report them back.
    Skip,
}

/// A number, or a number with variables of its own.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(untagged)]
pub enum Recipient {
    /// Just the number.
    #[schema(value_type = PhoneText)]
    Number(String),
    /// The number and its own variables.
    Person(Person),
}

/// A recipient with variables of its own.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Person {
    /// The number.
    #[schema(value_type = PhoneText)]
    pub number: String,
    /// Its own variables; they go before the campaign's.
    #[schema(nullable)]
    pub variables: Option<BTreeMap<String, VariableValue>>,
}

/// A variable's value; everything becomes text.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(untagged)]
pub enum VariableValue {
    /// A text of at most 4,096 characters.
    Text(String),
    /// A number.
    Number(f64),
    /// True or false.
    Flag(bool),
}

/// A session to be made.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SessionRequest {
    /// The number to link, as people write it.
    #[schema(value_type = PhoneText)]
    pub phone_number: String,
}

/// Global delays to change; what is absent stays.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"MESSAGE_DELAY": 2, "SENDER_SWITCH_DELAY": 5}))]
pub struct DelaysRequest {
    /// Seconds between two messages of one sender.
    #[serde(rename = "MESSAGE_DELAY")]
    #[schema(minimum = 0, maximum = 86400, nullable)]
    pub message: Option<f64>,
    /// Seconds between messages of different senders on one worker; 0 and they do not see each
    /// other.
    #[serde(rename = "SENDER_SWITCH_DELAY")]
    #[schema(minimum = 0, maximum = 86400, nullable)]
    pub sender_switch: Option<f64>,
    /// Seconds between the end of a sender's campaign and the first message of its next.
    #[serde(rename = "CAMPAIGN_DELAY")]
    #[schema(minimum = 0, maximum = 86400, nullable)]
    pub campaign: Option<f64>,
}

/// A sender's own delays to change; the same fields are taken in the query.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"message_delay": 3, "sender_switch_delay": 7}))]
pub struct UserDelaysRequest {
    /// Whose; may stand in the query instead.
    #[schema(value_type = Option<PhoneText>)]
    pub sender_number: Option<String>,
    /// Seconds between two messages.
    #[schema(minimum = 0, maximum = 86400, nullable)]
    pub message_delay: Option<f64>,
    /// Seconds after another sender's message on the same worker.
    #[schema(minimum = 0, maximum = 86400, nullable)]
    pub sender_switch_delay: Option<f64>,
    /// Seconds between the end of a campaign and the first message of the next.
    #[schema(minimum = 0, maximum = 86400, nullable)]
    pub campaign_delay: Option<f64>,
}

/// What is to become of UNKNOWN messages.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"as": "SENT", "recipients": ["21642108101"]}))]
pub struct UnknownRequest {
    /// SENT: they were heard. FAILED: they were not, and shall not be. RESEND: they shall be said
    /// again, at the risk that somebody hears one twice.
    #[serde(rename = "as")]
    pub resolution: ResolutionView,
    /// Whose; all UNKNOWN messages of the campaign unless given.
    #[schema(value_type = Option<Vec<PhoneText>>, max_items = 10000)]
    pub recipients: Option<Vec<String>>,
}

/// What a person says of UNKNOWN messages.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum ResolutionView {
    /// They were heard.
    Sent,
    /// They were not, and shall not be.
    Failed,
    /// They shall be said again.
    Resend,
}

/// A worker to be registered.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"url": "http://waha1:3000", "api_key": "the server's WAHA_API_KEY"}))]
pub struct WorkerRequest {
    /// Where the WAHA server is.
    #[schema(max_length = 500)]
    pub url: String,
    /// Its API key. Never shown again.
    #[schema(min_length = 1, max_length = 512)]
    pub api_key: String,
    /// How many sessions may live on it; MAX_SESSIONS_PER_WORKER unless given.
    #[schema(minimum = 0, maximum = 1000000, nullable)]
    pub capacity: Option<i32>,
    /// How many of them may run at once; MAX_LIVE_SESSIONS unless given.
    #[schema(minimum = 0, maximum = 1000000, nullable)]
    pub max_live: Option<i32>,
    /// For people; its host unless given.
    #[schema(max_length = 100, nullable)]
    pub name: Option<String>,
}

/// What to change of a worker; what is absent stays.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"capacity": 20, "state": "cordoned"}))]
pub struct WorkerPatch {
    /// Where the WAHA server is.
    #[schema(max_length = 500, nullable)]
    pub url: Option<String>,
    /// Its API key.
    #[schema(min_length = 1, max_length = 512, nullable)]
    pub api_key: Option<String>,
    /// How many sessions may live on it; null follows MAX_SESSIONS_PER_WORKER again.
    #[schema(minimum = 0, maximum = 1000000, nullable)]
    pub capacity: Option<i32>,
    /// How many of them may run at once; null follows MAX_LIVE_SESSIONS again.
    #[schema(minimum = 0, maximum = 1000000, nullable)]
    pub max_live: Option<i32>,
    /// For people.
    #[schema(min_length = 1, max_length = 100, nullable)]
    pub name: Option<String>,
    /// Whether it takes sessions.
    #[schema(nullable)]
    pub state: Option<super::workers::StateView>,
}
