//! One recipient, read with care: every form that is taken, and every fault of the others.

use models::phone::PhoneNumber;
use models::template::{Variables, is_name};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::extract::fields::{self, Fields};
use crate::extract::values;

/// Characters of a variable's value.
pub(super) const VALUE_CHARS_MAX: usize = 4_096;

/// Faults of one recipient: where inside it, and what.
pub(super) type Wrong = Vec<(String, String)>;

/// One recipient: a number, or an object of a number and its variables.
pub(super) fn recipient(
    raw: &RawValue,
    variables_max: usize,
) -> Result<(PhoneNumber, Option<Variables>), Wrong> {
    let here = |detail: String| vec![(String::new(), detail)];
    if !raw.get().starts_with('{') {
        let value: Value = serde_json::from_str(raw.get())
            .map_err(|error| here(format!("cannot be read: {error}")))?;
        let number = match &value {
            Value::String(_) | Value::Number(_) => fields::phone(&value).map_err(here)?,
            other => {
                let kind = fields::kind(other);
                return Err(here(format!(
                    "must be a number in a string, or an object with a number, not {kind}"
                )));
            }
        };
        return Ok((number, None));
    }
    let mut fields = Fields::of(raw, String::new()).map_err(here)?;
    let number = fields.phone("number");
    let own = fields.read("variables", |value| {
        variables(value, variables_max).map_err(|faults| faults.join("; "))
    });
    match (number, fields.finish()) {
        (Some(number), Ok(())) => Ok((number, own.filter(|own| !own.is_empty()))),
        (_, finished) => {
            let errors = finished
                .err()
                .map(|problem| problem.errors)
                .unwrap_or_default();
            Err(errors
                .into_iter()
                .map(|fault| (fault.pointer, fault.detail))
                .collect())
        }
    }
}

/// Variables: names with texts, numbers, true or false; everything becomes text.
pub(super) fn variables(value: &Value, count_max: usize) -> Result<Variables, Vec<String>> {
    let Value::Object(entries) = value else {
        return Err(vec![format!(
            "must be an object of names and values, not {}",
            fields::kind(value)
        )]);
    };
    if entries.len() > count_max {
        return Err(vec![format!(
            "has {} entries; at most {count_max} are taken",
            entries.len()
        )]);
    }
    let mut found = Variables::new();
    let mut faults = Vec::new();
    for (name, value) in entries {
        match variable(name, value) {
            Ok(text) => {
                found.insert(name.clone(), text);
            }
            Err(detail) => faults.push(format!("{} {detail}", values::shown(name))),
        }
    }
    if faults.is_empty() {
        Ok(found)
    } else {
        Err(faults)
    }
}

fn variable(name: &str, value: &Value) -> Result<String, String> {
    if !is_name(name) {
        return Err("is no name; a name is letters, digits, _ . or -".to_owned());
    }
    match value {
        Value::String(text) => values::text(text, VALUE_CHARS_MAX),
        Value::Number(number) => Ok(number.to_string()),
        Value::Bool(flag) => Ok(flag.to_string()),
        other => Err(format!(
            "must be a text, a number, true or false, not {}",
            fields::kind(other)
        )),
    }
}
