//! What columns hold, read and written the same way everywhere.

use std::time::Duration;

use models::phone::PhoneNumber;
use models::session::SessionStatus;

use crate::StoreError;

/// Seconds from the database as a duration; what lies in the past, or is nonsense, as zero.
pub(crate) fn seconds(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or_default()
}

/// Whole milliseconds as a column holds them; more than it can hold as the most it can.
pub(crate) fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// Whole milliseconds from a column; fewer than none as none.
pub(crate) fn duration(millis: i64) -> Duration {
    Duration::from_millis(u64::try_from(millis).unwrap_or_default())
}

/// A number. One that does not parse is never shown.
pub(crate) fn phone(text: &str) -> Result<PhoneNumber, StoreError> {
    text.parse()
        .map_err(|_| unreadable("phone number", "(not shown)"))
}

/// What a session was seen doing.
pub(crate) fn session_status(name: &str) -> Result<SessionStatus, StoreError> {
    SessionStatus::from_name(name).ok_or_else(|| unreadable("session status", name))
}

/// A value that this version does not know.
pub(crate) fn unreadable(what: &'static str, value: &str) -> StoreError {
    StoreError::Unreadable {
        what,
        value: value.to_owned(),
    }
}
