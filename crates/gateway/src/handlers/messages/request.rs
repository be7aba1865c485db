//! What a person may say of UNKNOWN messages.

use models::phone::PhoneNumber;
use serde_json::Value;
use store::unknown::Resolution;

use crate::extract::body::FromFields;
use crate::extract::fields::{self, Fields};
use crate::extract::values;

/// Recipients that one call may name; without any it settles all of the campaign.
const RECIPIENTS_MAX: usize = 10_000;

/// What is to become of which messages.
#[derive(Debug)]
pub struct Settlement {
    pub(super) resolution: Resolution,
    pub(super) recipients: Option<Vec<PhoneNumber>>,
}

impl FromFields for Settlement {
    // A number as people write it takes a few dozen bytes.
    const BODY_MAX: usize = 1_024 * 1_024;

    fn from_fields(fields: &mut Fields<'_>) -> Option<Self> {
        let resolution = fields.need("as", |value| {
            let all = &[Resolution::Sent, Resolution::Failed, Resolution::Resend];
            values::one_of(fields::string(value)?, all, Resolution::name)
        });
        let recipients = fields.read("recipients", recipients);
        Some(Self {
            resolution: resolution?,
            recipients,
        })
    }
}

fn recipients(value: &Value) -> Result<Vec<PhoneNumber>, String> {
    let Some(list) = value.as_array() else {
        return Err(format!(
            "must be an array of numbers, not {}",
            fields::kind(value)
        ));
    };
    if list.len() > RECIPIENTS_MAX {
        return Err(format!(
            "names {} recipients; at most {RECIPIENTS_MAX} at once, or leave it out for all",
            list.len()
        ));
    }
    let phone = |(place, value)| {
        fields::phone(value).map_err(|cause| format!("{cause} (at place {place})"))
    };
    list.iter().enumerate().map(phone).collect()
}
