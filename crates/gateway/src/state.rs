//! What all handlers share.

use std::sync::Arc;

use broker::Broker;
use chassis::{Chance, Clock};
use secrecy::SecretString;
use store::Store;
use time::OffsetDateTime;
use tokio::sync::Notify;
use url::Url;
use waha::Waha;
use waha::webhook::SigningKey;

use crate::acks::AckWriter;
use crate::intake::Intake;
use crate::looks::Looks;
use crate::reports::Figures;
use crate::settings::{CapacitySettings, LimitSettings, ServerSettings};

/// Makes a handle on a WAHA server from its address and key.
pub type WahaAt = Arc<dyn Fn(&Url, SecretString) -> Waha + Send + Sync>;

/// The gateway's parts. Cheap to clone.
#[derive(Clone)]
pub struct Gateway {
    /// The ledger.
    pub store: Store,
    /// The broker, to say whether it is there.
    pub broker: Broker,
    /// WAHA servers.
    pub waha: WahaAt,
    /// Writes down what workers report of messages.
    pub acks: AckWriter,
    /// What workers sign their reports with.
    pub webhook_key: Option<SigningKey>,
    /// What is counted of those reports.
    pub reports: Figures,
    /// Stores campaigns.
    pub intake: Intake,
    /// Looks at single campaigns.
    pub looks: Looks,
    /// Wakes the outbox relay.
    pub accepted: Arc<Notify>,
    /// The machine's clocks.
    pub clock: Clock,
    /// The machine's randomness.
    pub chance: Chance,
    /// When this process started.
    pub started_at: OffsetDateTime,
    /// Its settings.
    pub settings: Arc<ServerSettings>,
    /// What workers may hold unless they say otherwise.
    pub capacity: Arc<CapacitySettings>,
    /// How much one request may hold.
    pub limits: Arc<LimitSettings>,
}

impl Gateway {
    /// A handle on the WAHA server of a row. An address that is not a URL cannot be in the ledger;
    /// were it, the first call would fail like one to a server that is not there.
    pub fn waha_at(&self, url: &str, api_key: SecretString) -> Option<Waha> {
        Url::parse(url).ok().map(|url| (self.waha)(&url, api_key))
    }
}
