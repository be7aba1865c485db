//! What makes a submitted campaign acceptable. Pure: fields go in one by one, and out comes either
//! a campaign without a fault or every fault that it has.

use std::collections::{BTreeSet, HashSet};

use models::media::Media;
use models::phone::PhoneNumber;
use models::template::{Template, Variables, is_name};
use serde_json::Value;
use serde_json::value::RawValue;
use store::campaigns::NewMessage;

use crate::extract::fields::{self, Faults, Fields};
use crate::extract::values;
use crate::problem::Problem;
use crate::settings::LimitSettings;

/// Skipped recipients that are listed; the rest is counted.
const SKIPPED_LISTED_MAX: usize = 1_000;
/// Characters of a variable's value.
const VALUE_CHARS_MAX: usize = 4_096;

/// A campaign without a fault.
#[derive(Debug)]
pub struct Submission {
    /// Whose number it is sent from.
    pub sender: PhoneNumber,
    /// What every recipient hears.
    pub template: String,
    /// The campaign's own variables.
    pub variables: Variables,
    /// A file to send.
    pub media_url: Option<String>,
    /// Who hears it, each number once, in the order given.
    pub messages: Vec<NewMessage>,
    /// Recipients named again.
    pub duplicates_removed: i32,
    /// Recipients left out because they are bad.
    pub skipped: Vec<Skipped>,
    /// How many were left out, listed or not.
    pub skipped_count: usize,
}

/// A recipient that was left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Skipped {
    /// Its place in the request, from 0.
    pub index: usize,
    /// What is wrong with it.
    pub detail: String,
}

/// A campaign while it comes in.
#[derive(Debug)]
pub struct Draft<'l> {
    limits: &'l LimitSettings,
    faults: Faults,
    sender: Option<PhoneNumber>,
    template: Option<Template>,
    variables: Variables,
    media_url: Option<String>,
    skips: bool,
    seen: HashSet<u64>,
    messages: Vec<NewMessage>,
    count: usize,
    duplicates: i32,
    skipped: Vec<Skipped>,
    skipped_count: usize,
    /// Variables that recipients without any of their own miss: said once, not once for each.
    missing_shared: BTreeSet<String>,
}

/// What the fields of a campaign's own object hold, beside its recipients.
const ON_INVALID: &[&str] = &["refuse", "skip"];

impl<'l> Draft<'l> {
    /// Reads everything but the recipients, which are left in `fields`.
    pub fn new(fields: &mut Fields<'_>, limits: &'l LimitSettings) -> Self {
        let sender = fields.phone("sender_number");
        let media_url = fields.read("media_url", |value| {
            let media = Media::parse(fields::string(value)?).map_err(|error| error.to_string())?;
            Ok(media.url.to_string())
        });
        let variables = fields.read("variables", |value| {
            variables(value, limits.variables).map_err(|faults| faults.join("; "))
        });
        let skips = fields.read("on_invalid", |value| {
            values::one_of(fields::string(value)?, ON_INVALID, |name| name)
        });
        Self {
            limits,
            faults: Faults::new(limits.errors_listed),
            sender,
            template: template(fields, media_url.is_some()),
            variables: variables.unwrap_or_default(),
            media_url,
            skips: skips == Some("skip"),
            seen: HashSet::new(),
            messages: Vec::new(),
            count: 0,
            duplicates: 0,
            skipped: Vec::new(),
            skipped_count: 0,
            missing_shared: BTreeSet::new(),
        }
    }

    /// Takes the next recipient, as it stands in the request.
    ///
    /// # Errors
    /// When there are more than may be: reading on would only cost.
    pub fn recipient(&mut self, raw: &RawValue) -> Result<(), Problem> {
        let index = self.count;
        if index >= self.limits.recipients {
            let detail = format!("has more than {} recipients", self.limits.recipients);
            return Err(Problem::fault("/recipients", detail));
        }
        self.count += 1;
        match recipient(raw, self.limits.variables) {
            Ok((number, own)) => self.keep(index, number, own),
            Err(faults) => self.reject(index, &faults),
        }
        Ok(())
    }

    fn keep(&mut self, index: usize, number: PhoneNumber, own: Option<Variables>) {
        let missing = self.missing(own.as_ref());
        if !missing.is_empty() && own.is_none() && !self.skips {
            self.missing_shared.extend(missing);
            return;
        }
        if !missing.is_empty() {
            let detail = missing
                .iter()
                .map(|name| missing_words(name))
                .collect::<Vec<_>>();
            return self.reject(index, &[("/variables".to_owned(), detail.join("; "))]);
        }
        if !self.seen.insert(key(&number)) {
            self.duplicates = self.duplicates.saturating_add(1);
            return;
        }
        let variables = own.and_then(|own| serde_json::to_string(&own).ok());
        self.messages.push(NewMessage {
            recipient: number,
            variables: variables.map(String::into_boxed_str),
        });
    }

    fn reject(&mut self, index: usize, faults: &[(String, String)]) {
        if !self.skips {
            for (place, detail) in faults {
                self.faults
                    .push(format!("/recipients/{index}{place}"), detail);
            }
            return;
        }
        self.skipped_count += 1;
        if self.skipped.len() < SKIPPED_LISTED_MAX {
            let details: Vec<_> = faults.iter().map(|(_, detail)| detail.as_str()).collect();
            let detail = details.join("; ");
            self.skipped.push(Skipped { index, detail });
        }
    }

    /// The template's variables that neither the recipient nor the campaign gives.
    fn missing(&self, own: Option<&Variables>) -> BTreeSet<String> {
        let template = self.template.iter();
        let names = template.flat_map(Template::names).filter(|name| {
            !self.variables.contains_key(*name) && !own.is_some_and(|own| own.contains_key(*name))
        });
        names.map(str::to_owned).collect()
    }

    /// Ends the reading: a campaign, or every fault of it, those of `fields` first.
    ///
    /// # Errors
    /// Everything that is wrong.
    pub fn finish(mut self, fields: Fields<'_>) -> Result<Submission, Problem> {
        if self.count == 0 {
            self.faults.push("/recipients", "has nobody in it");
        } else if self.messages.is_empty() && self.skips {
            self.faults
                .push("/recipients", "has nobody left in it: every entry is bad");
        }
        for name in &self.missing_shared {
            self.faults.push("/variables", missing_words(name));
        }
        let own = fields
            .finish()
            .err()
            .map(|problem| problem.errors)
            .unwrap_or_default();
        let mut all = own;
        all.extend(
            self.faults
                .refuse()
                .err()
                .map(|problem| problem.errors)
                .unwrap_or_default(),
        );
        match (self.sender, self.template) {
            (Some(sender), Some(template)) if all.is_empty() => Ok(Submission {
                sender,
                template: template.source().to_owned(),
                variables: self.variables,
                media_url: self.media_url,
                messages: self.messages,
                duplicates_removed: self.duplicates,
                skipped: self.skipped,
                skipped_count: self.skipped_count,
            }),
            _ => Err(Problem::invalid(all)),
        }
    }
}

fn missing_words(name: &str) -> String {
    format!("the template's {{{{{name}}}}} is given neither for the recipient nor for the campaign")
}

fn template(fields: &mut Fields<'_>, has_media: bool) -> Option<Template> {
    let read = |value: &Value| {
        let text = fields::string(value)?;
        let text = values::text(text, models::template::TEMPLATE_BYTES_MAX)?;
        Template::parse(&text, has_media).map_err(|error| error.to_string())
    };
    if has_media {
        let before = fields.faults.count();
        let found = fields.read("template", read);
        let unharmed = fields.faults.count() == before;
        return found.or_else(|| Template::parse("", true).ok().filter(|_| unharmed));
    }
    fields.need("template", read)
}

/// Faults of one recipient: where inside it, and what.
type Wrong = Vec<(String, String)>;

/// One recipient: a number, or an object of a number and its variables.
fn recipient(
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
fn variables(value: &Value, count_max: usize) -> Result<Variables, Vec<String>> {
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

/// A number's digits as one integer; the leading one keeps leading zeros apart.
fn key(number: &PhoneNumber) -> u64 {
    number
        .digits()
        .bytes()
        .fold(1, |key, digit| key * 10 + u64::from(digit - b'0'))
}

#[cfg(test)]
mod tests;
