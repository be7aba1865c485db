//! What may be said of a worker: when it is registered and when it is changed.

use models::worker::WorkerState;
use secrecy::SecretString;
use serde_json::Value;

use crate::extract::body::FromFields;
use crate::extract::fields::{self, Fields};
use crate::extract::values;

/// Sessions that a worker may be said to hold; more is a typing error.
const SESSIONS_MAX: i32 = 1_000_000;
/// Characters of a worker's name.
pub(super) const NAME_CHARS_MAX: usize = 100;
/// Keys that WAHA takes for none: it makes one up and refuses ours.
const WEAK_KEYS: &[&str] = &["admin", "waha", "123", "321"];

/// A worker to be registered.
#[derive(Debug)]
pub struct Registration {
    pub(super) url: String,
    pub(super) api_key: SecretString,
    pub(super) weak_key: bool,
    pub(super) capacity: Option<i32>,
    pub(super) max_live: Option<i32>,
    pub(super) name: Option<String>,
}

impl FromFields for Registration {
    fn from_fields(fields: &mut Fields<'_>) -> Option<Self> {
        let url = fields.need("url", url);
        let api_key = fields.need("api_key", key);
        let capacity = fields.read("capacity", sessions);
        let max_live = fields.read("max_live", sessions);
        let name = fields.read("name", name);
        let api_key = api_key?;
        Some(Self {
            url: url?,
            weak_key: is_weak(&api_key),
            api_key: SecretString::from(api_key),
            capacity,
            max_live,
            name,
        })
    }
}

/// What to change of a worker.
#[derive(Debug)]
pub struct Patch {
    pub(super) url: Option<String>,
    pub(super) api_key: Option<SecretString>,
    pub(super) weak_key: bool,
    /// The outer layer: whether to change it; the inner one: to what, or back to the setting.
    pub(super) capacity: Option<Option<i32>>,
    pub(super) max_live: Option<Option<i32>>,
    pub(super) name: Option<String>,
    pub(super) state: Option<WorkerState>,
}

impl FromFields for Patch {
    fn from_fields(fields: &mut Fields<'_>) -> Option<Self> {
        let mut limit = |name: &str| {
            let reset = fields.is_null(name).then_some(None);
            fields.read(name, sessions).map(Some).or(reset)
        };
        let (capacity, max_live) = (limit("capacity"), limit("max_live"));
        let api_key = fields.read("api_key", key);
        Some(Self {
            url: fields.read("url", url),
            weak_key: api_key.as_deref().is_some_and(is_weak),
            api_key: api_key.map(SecretString::from),
            capacity,
            max_live,
            name: fields.read("name", name),
            state: fields.read("state", |value| {
                values::one_of(fields::string(value)?, WorkerState::ALL, WorkerState::name)
            }),
        })
    }
}

fn url(value: &Value) -> Result<String, String> {
    values::worker_url(fields::string(value)?)
}

fn key(value: &Value) -> Result<String, String> {
    values::worker_key(fields::string(value)?)
}

fn sessions(value: &Value) -> Result<i32, String> {
    fields::integer(value, 0..=SESSIONS_MAX)
}

fn name(value: &Value) -> Result<String, String> {
    let name = values::text(fields::string(value)?.trim(), NAME_CHARS_MAX)?;
    if name.is_empty() {
        Err("is empty".to_owned())
    } else {
        Ok(name)
    }
}

fn is_weak(key: &str) -> bool {
    let one_digit = |digit: u8| key.len() == 32 && key.bytes().all(|byte| byte == digit);
    WEAK_KEYS.contains(&key) || one_digit(b'0') || one_digit(b'1')
}
