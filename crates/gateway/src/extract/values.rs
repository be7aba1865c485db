//! What single values may be, wherever they stand: in a body, a query or a path.

use std::str::FromStr;
use std::time::Duration;

use models::delays::{DELAY_MAX, delay_from_secs};
use models::phone::PhoneNumber;
use time::format_description::well_known::Rfc3339;
use time::macros::format_description;
use time::{Date, OffsetDateTime};
use url::Url;

/// PostgreSQL's texts cannot hold this character, and no message needs it.
const NUL: char = '\0';

/// How much of a wrong value is repeated.
const SHOWN_MAX: usize = 40;

/// A wrong value as it may be repeated in an answer.
pub fn shown(text: &str) -> String {
    let cut: String = text.chars().take(SHOWN_MAX).collect();
    let more = if cut.len() < text.len() { "…" } else { "" };
    format!("{cut:?}{more}")
}

/// A text of a bounded number of characters.
///
/// # Errors
/// What is wrong with it.
pub fn text(text: &str, chars_max: usize) -> Result<String, String> {
    let chars = text.chars().count();
    if chars > chars_max {
        return Err(format!(
            "has {chars} characters; at most {chars_max} are taken"
        ));
    }
    if text.contains(NUL) {
        return Err("has the character U+0000 in it".to_owned());
    }
    Ok(text.to_owned())
}

/// A phone number.
///
/// # Errors
/// What is wrong with it.
pub fn phone(text: &str) -> Result<PhoneNumber, String> {
    PhoneNumber::from_str(text).map_err(|error| format!("{} {error}", shown(text)))
}

/// A delay in seconds.
///
/// # Errors
/// What is wrong with it.
pub fn seconds(secs: f64) -> Result<Duration, String> {
    delay_from_secs(secs)
        .ok_or_else(|| format!("must be from 0 to {} seconds", DELAY_MAX.as_secs()))
}

/// One of some names.
///
/// # Errors
/// Which names there are.
pub fn one_of<T: Copy>(text: &str, all: &[T], name: fn(T) -> &'static str) -> Result<T, String> {
    let found = all.iter().copied().find(|value| name(*value) == text);
    found.ok_or_else(|| {
        let names: Vec<_> = all.iter().map(|value| name(*value)).collect();
        format!("{} is none of {}", shown(text), names.join(", "))
    })
}

/// A point in time, or the day it is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// The time itself, or the day's first.
    pub from: OffsetDateTime,
    /// The first time that lies behind it.
    pub before: OffsetDateTime,
}

/// A time (RFC 3339) or a day (2026-11-22, in UTC).
///
/// # Errors
/// What is wrong with it.
pub fn moment(text: &str) -> Result<Moment, String> {
    let day = Date::parse(text, format_description!("[year]-[month]-[day]"));
    let moment = match day {
        Ok(day) => {
            let from = day.midnight().assume_utc();
            Some((from, from.checked_add(time::Duration::DAY)))
        }
        Err(_) => OffsetDateTime::parse(text, &Rfc3339)
            .ok()
            .map(|from| (from, from.checked_add(time::Duration::MICROSECOND))),
    };
    match moment {
        Some((from, Some(before))) if (1_000..9_999).contains(&from.year()) => {
            Ok(Moment { from, before })
        }
        _ => Err(format!(
            "{} is neither a time like 2026-11-22T08:00:00Z nor a day like 2026-11-22",
            shown(text)
        )),
    }
}

/// The longest address of a worker.
const WORKER_URL_CHARS_MAX: usize = 500;

/// The address of a worker, in one spelling: no trailing slash, no query.
///
/// # Errors
/// What is wrong with it.
pub fn worker_url(text: &str) -> Result<String, String> {
    if text.chars().count() > WORKER_URL_CHARS_MAX {
        return Err(format!("has more than {WORKER_URL_CHARS_MAX} characters"));
    }
    let url = Url::parse(text.trim()).map_err(|error| format!("is not a URL: {error}"))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(format!(
            "must begin with http:// or https://, not {}:",
            url.scheme()
        ));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("must not carry a user name or password; the key has its own field".to_owned());
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err("must not carry a query or a fragment".to_owned());
    }
    Ok(url.as_str().trim_end_matches('/').to_owned())
}

/// The longest key of a worker.
const WORKER_KEY_CHARS_MAX: usize = 512;

/// A worker's key: what a header can carry.
///
/// # Errors
/// What is wrong with it; never the key.
pub fn worker_key(text: &str) -> Result<String, String> {
    match text.chars().count() {
        0 => Err("is empty".to_owned()),
        n if n > WORKER_KEY_CHARS_MAX => Err(format!(
            "has {n} characters; at most {WORKER_KEY_CHARS_MAX} are taken"
        )),
        _ if !text.bytes().all(|byte| (b' '..=b'~').contains(&byte)) => {
            Err("has a character in it that no HTTP header can carry".to_owned())
        }
        _ => Ok(text.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_have_one_spelling() {
        for (given, wanted) in [
            ("http://127.0.0.1:3000/", Ok("http://127.0.0.1:3000")),
            ("HTTP://WAHA-1:3000", Ok("http://waha-1:3000")),
            ("http://sim/w/17/", Ok("http://sim/w/17")),
            (
                "ftp://x",
                Err("must begin with http:// or https://, not ftp:"),
            ),
            ("waha1", Err("is not a URL: relative URL without a base")),
            (
                "http://a:b@x",
                Err("must not carry a user name or password; the key has its own field"),
            ),
            ("http://x?a=1", Err("must not carry a query or a fragment")),
        ] {
            let got = worker_url(given);
            assert_eq!(got.as_deref().map_err(String::as_str), wanted, "{given}");
        }
    }

    #[test]
    fn days_and_times() {
        let day = moment("2026-11-22").unwrap();
        assert_eq!(day.before - day.from, time::Duration::DAY);
        let time = moment("2026-11-22T08:00:00+01:00").unwrap();
        assert_eq!(time.from.to_offset(time::UtcOffset::UTC).hour(), 7);
        for wrong in [
            "",
            "yesterday",
            "2026-13-01",
            "0000-01-01",
            "9999-12-31",
            "-2026-01-01",
        ] {
            assert!(moment(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn texts_and_keys() {
        assert_eq!(
            text("a\0", 5).unwrap_err(),
            "has the character U+0000 in it"
        );
        assert_eq!(
            text("abcdef", 5).unwrap_err(),
            "has 6 characters; at most 5 are taken"
        );
        assert!(worker_key("é").is_err() && worker_key("").is_err() && worker_key("a b").is_ok());
        assert_eq!(shown(&"x".repeat(50)).chars().count(), 43);
        assert_eq!(phone("12a").unwrap_err(), "\"12a\" has a letter in it");
        assert!(seconds(-1.0).is_err() && seconds(86_400.0).is_ok());
    }
}
