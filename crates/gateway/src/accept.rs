//! What makes a submitted campaign acceptable. Pure but for the spool: fields go in one by one,
//! and out comes either a campaign without a fault or every fault that it has.

use std::sync::Arc;

use models::ids::{CampaignId, TraceId};
use models::media::Media;
use models::phone::{PhoneKey, PhoneNumber};
use models::template::{Template, TextError, Variables};
use serde_json::Value;
use serde_json::value::RawValue;
use store::Spool;
use store::campaigns::NewCampaign;
use store::spool::default_directory;

use crate::extract::fields::{self, Faults, Fields};
use crate::extract::values;
use crate::problem::{Fault, Problem};
use crate::settings::LimitSettings;

mod extent;
mod plain;
mod recipient;
mod seen;

use extent::Extent;
use plain::Plain;
use recipient::{Wrong, recipient, variables};
use seen::Seen;

/// Skipped recipients that are listed; the rest is counted.
const SKIPPED_LISTED_MAX: usize = 1_000;

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
    pub recipients: Spool,
    /// Recipients named again.
    pub duplicates_removed: i32,
    /// Recipients left out because they are bad.
    pub left_out: LeftOut,
}

impl Submission {
    /// What is stored of it, and what is only told.
    pub fn into_parts(self, id: CampaignId, trace_id: TraceId) -> (NewCampaign, Spool, LeftOut) {
        let campaign = NewCampaign {
            id,
            sender: self.sender,
            template: self.template,
            variables: self.variables,
            media_url: self.media_url,
            duplicates_removed: self.duplicates_removed,
            trace_id,
        };
        (campaign, self.recipients, self.left_out)
    }
}

/// Recipients that were left out.
#[derive(Debug, Default)]
pub struct LeftOut {
    /// The first of them.
    pub listed: Vec<Skipped>,
    /// How many they are, listed or not.
    pub count: usize,
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
pub struct Draft {
    limits: Arc<LimitSettings>,
    faults: Faults,
    sender: Option<PhoneNumber>,
    template: Option<Template>,
    variables: Variables,
    media_url: Option<String>,
    /// The template's variables that the campaign does not give: each recipient must.
    needed: Vec<String>,
    /// What the template comes to, if it is one.
    extent: Option<Extent>,
    skips: bool,
    seen: Seen,
    recipients: Spool,
    count: usize,
    duplicates: i32,
    left_out: LeftOut,
    /// Whether recipients without any variables of their own miss those that are needed: said
    /// once, not once for each.
    missing_shared: bool,
    /// What is wrong with the text of all who have no variables of their own: said once as well.
    unsaid_shared: Option<TextError>,
    /// Holds one recipient's variables at a time.
    json: String,
}

/// What the fields of a campaign's own object hold, beside its recipients.
const ON_INVALID: &[&str] = &["refuse", "skip"];

impl Draft {
    /// Reads everything but the recipients, which are left in `fields`.
    pub fn new(fields: &mut Fields<'_>, limits: &Arc<LimitSettings>) -> Self {
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
        let template = template(fields, media_url.is_some());
        let variables = variables.unwrap_or_default();
        let extent = template
            .as_ref()
            .map(|template| Extent::of(template, &variables, media_url.is_some()));
        Self {
            faults: Faults::new(limits.errors_listed),
            sender,
            needed: needed(template.as_ref(), &variables),
            extent,
            template,
            variables,
            media_url,
            skips: skips == Some("skip"),
            seen: Seen::new(),
            recipients: spool(limits),
            count: 0,
            duplicates: 0,
            left_out: LeftOut::default(),
            missing_shared: false,
            unsaid_shared: None,
            json: String::new(),
            limits: Arc::clone(limits),
        }
    }

    /// Takes the recipient that `text` is, if it is a plain one; whether it was.
    ///
    /// # Errors
    /// When it cannot be kept.
    pub fn plain(&mut self, text: &str) -> Result<bool, Problem> {
        match plain::whole(text) {
            Some(plain) => self.take_plain(&plain),
            None => Ok(false),
        }
    }

    /// Takes the recipient that `text` begins with, if it is a plain one; how long it was.
    ///
    /// # Errors
    /// When it cannot be kept.
    pub fn plain_first(&mut self, text: &str) -> Result<Option<usize>, Problem> {
        match plain::first(text) {
            Some((plain, length)) => Ok(self.take_plain(&plain)?.then_some(length)),
            None => Ok(None),
        }
    }

    /// Whatever needs words, or more than a look, is left to [`Self::recipient`].
    fn take_plain(&mut self, plain: &Plain<'_>) -> Result<bool, Problem> {
        let own = &plain.own;
        let complete = self.needed.iter().all(|name| own.has(name));
        let fits = self.extent.as_ref().is_none_or(|it| it.surely_fits(own));
        let too_many = self.count >= self.limits.recipients || own.len() > self.limits.variables;
        if !complete || !fits || too_many {
            return Ok(false);
        }
        self.count += 1;
        self.json.clear();
        if own.len() > 0 {
            own.write(&mut self.json);
        }
        self.keep(plain.number)?;
        Ok(true)
    }

    /// Takes the next recipient, as it stands in the request.
    ///
    /// # Errors
    /// When there are more than may be, because reading on would only cost; or when it cannot be
    /// kept.
    pub fn recipient(&mut self, raw: &RawValue) -> Result<(), Problem> {
        let index = self.count;
        if index >= self.limits.recipients {
            let detail = format!("has more than {} recipients", self.limits.recipients);
            return Err(Problem::fault("/recipients", detail));
        }
        self.count += 1;
        let (number, own) = match recipient(raw, self.limits.variables) {
            Ok(read) => read,
            Err(faults) => {
                self.reject(index, &faults);
                return Ok(());
            }
        };
        let wrong = self.missing(own.as_ref());
        if let Some(faults) = wrong.or_else(|| self.unsaid(own.as_ref())) {
            self.reject(index, &faults);
            return Ok(());
        }
        self.json.clear();
        if let Some(json) = own.and_then(|own| serde_json::to_string(&own).ok()) {
            self.json = json;
        }
        self.keep(number.key())
    }

    /// Keeps a recipient whose variables are in `json`, unless the number was named before. Of a
    /// campaign that is refused already nobody is kept.
    fn keep(&mut self, number: PhoneKey) -> Result<(), Problem> {
        if self.is_refused() {
            return Ok(());
        }
        if !self.seen.insert(number) {
            self.duplicates = self.duplicates.saturating_add(1);
            return Ok(());
        }
        let own = Some(self.json.as_str()).filter(|json| !json.is_empty());
        Ok(self.recipients.push(number, own)?)
    }

    fn is_refused(&self) -> bool {
        let own = self.sender.is_none() || self.template.is_none();
        let shared = self.missing_shared || self.unsaid_shared.is_some();
        own || shared || !self.faults.is_empty()
    }

    fn reject(&mut self, index: usize, faults: &Wrong) {
        if !self.skips {
            for (place, detail) in faults {
                self.faults
                    .push(format!("/recipients/{index}{place}"), detail);
            }
            return;
        }
        self.left_out.count += 1;
        if self.left_out.listed.len() < SKIPPED_LISTED_MAX {
            let details: Vec<_> = faults.iter().map(|(_, detail)| detail.as_str()).collect();
            let detail = details.join("; ");
            self.left_out.listed.push(Skipped { index, detail });
        }
    }

    /// What is wrong with a recipient that misses variables. Without any of its own it misses
    /// what all of its kind miss, which is said once: then nothing is listed here.
    fn missing(&mut self, own: Option<&Variables>) -> Option<Wrong> {
        let missing = |name: &&String| own.is_none_or(|own| !own.contains_key(*name));
        let details: Vec<_> = self
            .needed
            .iter()
            .filter(missing)
            .map(|name| missing_words(name))
            .collect();
        if details.is_empty() {
            return None;
        }
        if own.is_none() && !self.skips {
            self.missing_shared = true;
            return Some(Vec::new());
        }
        Some(vec![("/variables".to_owned(), details.join("; "))])
    }

    /// What is wrong with a recipient's text. As for what is missing, that of whoever has no
    /// variables of his own is said once.
    fn unsaid(&mut self, own: Option<&Variables>) -> Option<Wrong> {
        let none = Variables::new();
        let checked = self
            .extent
            .as_ref()?
            .check(own.unwrap_or(&none), &self.variables);
        let error = checked.err()?;
        if own.is_none() && !self.skips {
            self.unsaid_shared = Some(error);
            return Some(Vec::new());
        }
        Some(vec![("/variables".to_owned(), error.to_string())])
    }

    /// Ends the reading: a campaign, or every fault of it, those of its own fields first.
    ///
    /// # Errors
    /// Everything that is wrong.
    pub fn finish(mut self, mut all: Vec<Fault>) -> Result<Submission, Problem> {
        if self.count == 0 {
            self.faults.push("/recipients", "has nobody in it");
        } else if self.left_out.count == self.count {
            self.faults
                .push("/recipients", "has nobody left in it: every entry is bad");
        }
        if self.missing_shared {
            for name in &self.needed {
                self.faults.push("/variables", missing_words(name));
            }
        }
        if let Some(error) = &self.unsaid_shared {
            self.faults.push("/variables", error.to_string());
        }
        all.extend(faults_of(self.faults.refuse()));
        match (self.sender, self.template) {
            (Some(sender), Some(template)) if all.is_empty() => Ok(Submission {
                sender,
                template: template.source().to_owned(),
                variables: self.variables,
                media_url: self.media_url,
                recipients: self.recipients,
                duplicates_removed: self.duplicates,
                left_out: self.left_out,
            }),
            _ => Err(Problem::invalid(all)),
        }
    }
}

/// The faults of a refusal.
pub fn faults_of(read: Result<(), Problem>) -> Vec<Fault> {
    read.err().map(|problem| problem.errors).unwrap_or_default()
}

/// Where recipients wait until all are there.
fn spool(limits: &LimitSettings) -> Spool {
    let directory = limits.spool_directory.clone();
    let directory = directory.unwrap_or_else(default_directory);
    Spool::new(limits.spool_memory_bytes, &directory)
}

/// The template's variables that the campaign does not give, each once.
fn needed(template: Option<&Template>, given: &Variables) -> Vec<String> {
    let names = template.into_iter().flat_map(Template::names);
    let mut names: Vec<_> = names
        .filter(|name| !given.contains_key(*name))
        .map(str::to_owned)
        .collect();
    names.sort_unstable();
    names.dedup();
    names
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

#[cfg(test)]
mod tests;
