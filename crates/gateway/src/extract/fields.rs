//! The fields of a JSON object, read one by one, with all faults kept.
//!
//! A body is never deserialized as a whole: the first fault would hide the others. Values stay
//! raw, borrowed from the body, until they are asked for.

use std::collections::BTreeMap;
use std::time::Duration;

use models::phone::PhoneNumber;
use serde_json::Value;
use serde_json::value::RawValue;

use super::values;
use crate::problem::{Fault, Kind, Problem};

/// Faults, listed up to a bound and counted beyond it.
#[derive(Debug, Clone)]
pub struct Faults {
    listed: Vec<Fault>,
    listed_max: usize,
    beyond: usize,
}

impl Faults {
    /// None yet; lists at most `listed_max`.
    pub fn new(listed_max: usize) -> Self {
        Self {
            listed: Vec::new(),
            listed_max,
            beyond: 0,
        }
    }

    /// Adds one.
    pub fn push(&mut self, pointer: impl Into<String>, detail: impl Into<String>) {
        if self.listed.len() < self.listed_max {
            self.listed.push(Fault::new(pointer, detail));
        } else {
            self.beyond += 1;
        }
    }

    /// Keeps a fault and passes a value on.
    pub fn keep<T>(&mut self, pointer: impl Into<String>, value: Result<T, String>) -> Option<T> {
        value.map_err(|detail| self.push(pointer, detail)).ok()
    }

    /// How many there are, listed or not.
    pub fn count(&self) -> usize {
        self.listed.len() + self.beyond
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.listed.is_empty()
    }

    /// A refusal with all of them, unless there is none.
    ///
    /// # Errors
    /// That refusal.
    pub fn refuse(mut self) -> Result<(), Problem> {
        if self.beyond > 0 {
            let detail = format!("{} more faults are not listed", self.beyond);
            self.listed.push(Fault::new("", detail));
        }
        if self.listed.is_empty() {
            Ok(())
        } else {
            Err(Problem::invalid(self.listed))
        }
    }
}

/// Faults of a small body that are listed; more would say nothing new.
const LISTED_MAX: usize = 100;

/// Fields that a later version will take: said apart from misspelt ones.
const LATER: &[&str] = &["scheduled_at", "idempotency_key"];

/// The fields of one JSON object.
#[derive(Debug)]
pub struct Fields<'a> {
    values: BTreeMap<String, &'a RawValue>,
    prefix: String,
    /// What is wrong so far.
    pub faults: Faults,
}

impl<'a> Fields<'a> {
    /// Reads the outer layer of a body.
    ///
    /// # Errors
    /// When it is not JSON, or not an object.
    pub fn parse(body: &'a [u8]) -> Result<Self, Problem> {
        let malformed = |error: serde_json::Error| {
            Problem::new(
                Kind::MalformedJson,
                format!("the body is not JSON: {error}"),
            )
        };
        let whole: &RawValue = serde_json::from_slice(body).map_err(malformed)?;
        Self::of(whole, String::new()).map_err(|detail| Problem::fault("", detail))
    }

    /// Reads the outer layer of a value inside a body, found at `prefix`.
    ///
    /// # Errors
    /// When it is not an object.
    pub fn of(value: &'a RawValue, prefix: String) -> Result<Self, String> {
        if !value.get().starts_with('{') {
            return Err("must be a JSON object".to_owned());
        }
        let values = serde_json::from_str(value.get())
            .map_err(|error| format!("cannot be read: {error}"))?;
        Ok(Self {
            values,
            prefix,
            faults: Faults::new(LISTED_MAX),
        })
    }

    /// The pointer of a field.
    pub fn pointer(&self, name: &str) -> String {
        let escaped = name.replace('~', "~0").replace('/', "~1");
        format!("{}/{escaped}", self.prefix)
    }

    /// Takes a field as it stands; `null` stands for one that is absent.
    pub fn raw(&mut self, name: &str) -> Option<&'a RawValue> {
        self.values
            .remove(name)
            .filter(|value| value.get() != "null")
    }

    /// Whether a field is there and `null`; it stays to be taken.
    pub fn is_null(&self, name: &str) -> bool {
        self.values
            .get(name)
            .is_some_and(|value| value.get() == "null")
    }

    /// Takes a field and reads it; what is wrong with it is kept.
    pub fn read<T>(
        &mut self,
        name: &str,
        read: impl FnOnce(&Value) -> Result<T, String>,
    ) -> Option<T> {
        let raw = self.raw(name)?;
        let value = serde_json::from_str(raw.get())
            .map_err(|error| format!("cannot be read: {error}"))
            .and_then(|value| read(&value));
        let pointer = self.pointer(name);
        self.faults.keep(pointer, value)
    }

    /// The same for a field that must be there.
    pub fn need<T>(
        &mut self,
        name: &str,
        read: impl FnOnce(&Value) -> Result<T, String>,
    ) -> Option<T> {
        if self
            .values
            .get(name)
            .is_none_or(|value| value.get() == "null")
        {
            self.values.remove(name);
            let pointer = self.pointer(name);
            self.faults.push(pointer, "is missing");
            return None;
        }
        self.read(name, read)
    }

    /// A phone number that must be there.
    pub fn phone(&mut self, name: &str) -> Option<PhoneNumber> {
        self.need(name, phone)
    }

    /// A delay in seconds.
    pub fn seconds(&mut self, name: &str) -> Option<Duration> {
        self.read(name, seconds)
    }

    /// Ends the reading: fields that nobody took are faults too.
    ///
    /// # Errors
    /// Everything that is wrong.
    pub fn finish(mut self) -> Result<(), Problem> {
        for name in std::mem::take(&mut self.values).into_keys() {
            let detail = if LATER.contains(&name.as_str()) {
                "is not supported yet"
            } else {
                "is not a field of this request"
            };
            let pointer = self.pointer(&name.chars().take(80).collect::<String>());
            self.faults.push(pointer, detail);
        }
        self.faults.refuse()
    }
}

/// What kind of value it is, for faults.
pub fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

/// A string.
///
/// # Errors
/// What it is instead.
pub fn string(value: &Value) -> Result<&str, String> {
    value
        .as_str()
        .ok_or_else(|| format!("must be a string, not {}", kind(value)))
}

/// A phone number, which must be a string.
///
/// # Errors
/// What is wrong with it.
pub fn phone(value: &Value) -> Result<PhoneNumber, String> {
    match value {
        Value::Number(number) => Err(format!(
            "is a JSON number; write it as a string, \"{number}\", so that no digit is lost"
        )),
        other => values::phone(string(other)?),
    }
}

/// A delay in seconds.
///
/// # Errors
/// What is wrong with it.
pub fn seconds(value: &Value) -> Result<Duration, String> {
    let secs = value
        .as_f64()
        .ok_or_else(|| format!("must be a number, not {}", kind(value)))?;
    values::seconds(secs)
}

/// A whole number within bounds.
///
/// # Errors
/// What is wrong with it.
pub fn integer(value: &Value, bounds: std::ops::RangeInclusive<i32>) -> Result<i32, String> {
    let whole = value.as_i64().and_then(|number| i32::try_from(number).ok());
    whole
        .filter(|number| bounds.contains(number))
        .ok_or_else(|| {
            format!(
                "must be a whole number from {} to {}",
                bounds.start(),
                bounds.end()
            )
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(body: &str, read: impl FnOnce(&mut Fields<'_>)) -> Vec<String> {
        let mut fields = Fields::parse(body.as_bytes()).unwrap();
        read(&mut fields);
        let problem = fields.finish().err();
        let errors = problem.map(|problem| problem.errors).unwrap_or_default();
        errors
            .iter()
            .map(|fault| format!("{}: {}", fault.pointer, fault.detail))
            .collect()
    }

    #[test]
    fn all_faults_at_once() {
        let found = faults(
            r#"{"phone_number": 42108077, "delay": "2", "scheduled_at": "x", "a/b": 1}"#,
            |fields| {
                fields.phone("phone_number");
                fields.seconds("delay");
                fields.need("name", |value| string(value).map(str::to_owned));
            },
        );
        assert_eq!(
            found,
            [
                "/phone_number: is a JSON number; write it as a string, \"42108077\", \
                 so that no digit is lost",
                "/delay: must be a number, not a string",
                "/name: is missing",
                "/a~1b: is not a field of this request",
                "/scheduled_at: is not supported yet",
            ]
        );
    }

    #[test]
    fn null_is_absent() {
        assert_eq!(
            faults(r#"{"a": null}"#, |f| assert!(f.seconds("a").is_none())),
            [""; 0]
        );
        assert_eq!(
            faults(r#"{"a": null}"#, |f| {
                f.phone("a");
            }),
            ["/a: is missing"]
        );
    }

    #[test]
    fn not_json_and_not_an_object() {
        let kind = |body: &[u8]| Fields::parse(body).map(|_| ()).unwrap_err().kind;
        for body in [&b""[..], b"{", b"{\"a\":}", b"nul", b"\xff", b"{} {}"] {
            assert_eq!(kind(body), Kind::MalformedJson, "{body:?}");
        }
        for body in [&b"[]"[..], b"null", b"1", b"\"x\""] {
            assert_eq!(kind(body), Kind::Invalid, "{body:?}");
        }
    }

    #[test]
    fn unreadable_values_are_faults() {
        for body in [
            r#"{"a": 1e999}"#,
            r#"{"a": "\ud800"}"#,
            &format!(r#"{{"a": {}{}}}"#, "[".repeat(300), "]".repeat(300)),
        ] {
            let found = faults(body, |fields| {
                fields.seconds("a");
            });
            assert!(found[0].starts_with("/a: cannot be read"), "{found:?}");
        }
    }

    #[test]
    fn faults_beyond_the_bound_are_counted() {
        let mut faults = Faults::new(2);
        for n in 0..5 {
            faults.push(format!("/{n}"), "x");
        }
        let errors = faults.refuse().unwrap_err().errors;
        assert_eq!(errors.len(), 3);
        assert_eq!(errors[2].detail, "3 more faults are not listed");
    }
}
