//! What a setting can be, and how it is read.

use std::fmt::Display;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use url::Url;

/// A type that a setting can have. Services implement it for enums of their own.
pub trait SettingValue: Sized {
    /// What a person may write, for example `whole number`.
    const KIND: &'static str;
    /// Whether absence is a value.
    const OPTIONAL: bool = false;
    /// Whether the value must not be shown.
    const SECRET: bool = false;

    /// Reads a text that is not blank (a default may be empty).
    ///
    /// # Errors
    /// What is wrong, as the end of a sentence that begins with the key; no secrets.
    fn parse(text: &str) -> Result<Self, String>;

    /// The value when neither the environment nor a default gives one.
    fn absent() -> Option<Self> {
        None
    }
}

/// A value that a range can bound.
pub trait Within<R> {
    /// # Errors
    /// What the bounds are, when the value lies outside.
    fn within(&self, bounds: &R) -> Result<(), String>;
}

fn bounded<T: PartialOrd + Display>(
    value: &T,
    bounds: &RangeInclusive<T>,
    of: &str,
) -> Result<(), String> {
    if bounds.contains(value) {
        return Ok(());
    }
    Err(format!(
        "{of} must be from {} to {}, not {value}",
        bounds.start(),
        bounds.end()
    ))
}

macro_rules! from_str_value {
    ($kind:literal: $($ty:ty),+) => {$(
        impl SettingValue for $ty {
            const KIND: &'static str = $kind;

            fn parse(text: &str) -> Result<Self, String> {
                <$ty>::from_str(text)
                    .map_err(|cause| format!("{text:?} is not a {}: {cause}", $kind))
            }
        }
    )+};
}
macro_rules! bounded_value {
    ($($ty:ty),+) => {$(
        impl Within<RangeInclusive<$ty>> for $ty {
            fn within(&self, bounds: &RangeInclusive<$ty>) -> Result<(), String> {
                bounded(self, bounds, "it")
            }
        }
    )+};
}
from_str_value!("whole number": u8, u16, u32, u64, usize, i16, i32, i64);
from_str_value!("address with a port": SocketAddr);
bounded_value!(u8, u16, u32, u64, usize, i16, i32, i64, f64);

impl SettingValue for f64 {
    const KIND: &'static str = "number";

    fn parse(text: &str) -> Result<Self, String> {
        let number = text.parse::<f64>().ok().filter(|number| number.is_finite());
        number.ok_or_else(|| format!("{text:?} is not a number"))
    }
}

/// Seconds, whole or with a fraction.
impl SettingValue for Duration {
    const KIND: &'static str = "number of seconds";

    fn parse(text: &str) -> Result<Self, String> {
        let seconds = text.parse::<f64>().ok();
        let duration = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        duration.ok_or_else(|| format!("{text:?} is not a number of seconds"))
    }
}

impl Within<RangeInclusive<f64>> for Duration {
    fn within(&self, bounds: &RangeInclusive<f64>) -> Result<(), String> {
        bounded(&self.as_secs_f64(), bounds, "the seconds")
    }
}

impl SettingValue for bool {
    const KIND: &'static str = "true or false";

    fn parse(text: &str) -> Result<Self, String> {
        match text.to_ascii_lowercase().as_str() {
            "true" | "1" | "yes" | "on" => Ok(true),
            "false" | "0" | "no" | "off" => Ok(false),
            _ => Err(format!("{text:?} is neither true nor false")),
        }
    }
}

impl SettingValue for String {
    const KIND: &'static str = "text";

    fn parse(text: &str) -> Result<Self, String> {
        Ok(text.to_owned())
    }
}

impl Within<RangeInclusive<usize>> for String {
    fn within(&self, bounds: &RangeInclusive<usize>) -> Result<(), String> {
        bounded(&self.chars().count(), bounds, "the number of characters")
    }
}

impl SettingValue for SecretString {
    const KIND: &'static str = "secret text";
    const SECRET: bool = true;

    fn parse(text: &str) -> Result<Self, String> {
        Ok(Self::from(text))
    }
}

impl Within<RangeInclusive<usize>> for SecretString {
    fn within(&self, bounds: &RangeInclusive<usize>) -> Result<(), String> {
        bounded(
            &self.expose_secret().chars().count(),
            bounds,
            "the number of characters",
        )
    }
}

impl SettingValue for PathBuf {
    const KIND: &'static str = "path";

    fn parse(text: &str) -> Result<Self, String> {
        Ok(Self::from(text))
    }
}

/// The text is not repeated in a fault: a URL may carry a password.
impl SettingValue for Url {
    const KIND: &'static str = "URL";

    fn parse(text: &str) -> Result<Self, String> {
        Self::parse(text).map_err(|cause| format!("is not a URL: {cause}"))
    }
}

impl<T: SettingValue> SettingValue for Option<T> {
    const KIND: &'static str = T::KIND;
    const OPTIONAL: bool = true;
    const SECRET: bool = T::SECRET;

    fn parse(text: &str) -> Result<Self, String> {
        T::parse(text).map(Some)
    }

    fn absent() -> Option<Self> {
        Some(None)
    }
}

impl<R, T: Within<R>> Within<R> for Option<T> {
    fn within(&self, bounds: &R) -> Result<(), String> {
        self.as_ref().map_or(Ok(()), |value| value.within(bounds))
    }
}

/// Values separated by commas; blanks around them and empty ones are dropped.
impl<T: SettingValue> SettingValue for Vec<T> {
    const KIND: &'static str = "list separated by commas";
    const SECRET: bool = T::SECRET;

    fn parse(text: &str) -> Result<Self, String> {
        text.split(',')
            .map(str::trim)
            .filter(|part| !part.is_empty())
            .map(T::parse)
            .collect()
    }
}
