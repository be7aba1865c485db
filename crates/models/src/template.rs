//! Message templates: text with `{{name}}` in it.
//!
//! A small parser of our own instead of a template engine: what users may write here is replaced
//! text and nothing else, so that a template can neither loop nor fail when it is rendered.

use std::collections::BTreeMap;
use std::fmt;

/// The variables of a campaign or of one recipient.
pub type Variables = BTreeMap<String, String>;

/// The longest template, in bytes: WhatsApp cuts texts at 65,536 characters.
pub const TEMPLATE_BYTES_MAX: usize = 65_536;
/// The longest text, in bytes, that a template becomes with its variables: as long as one may be
/// without any.
pub const TEXT_BYTES_MAX: usize = TEMPLATE_BYTES_MAX;
/// The longest name of a variable, in bytes.
const NAME_BYTES_MAX: usize = 64;

/// A template whose placeholders are all well-formed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    source: String,
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Variable(String),
}

/// Why a text is not a template. Positions count characters from 1.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// No text at all, or only white space.
    #[error("is empty; a message needs a text or a media_url")]
    Empty,
    /// Longer than [`TEMPLATE_BYTES_MAX`].
    #[error("is {0} bytes long; at most {TEMPLATE_BYTES_MAX} are sent")]
    Long(usize),
    /// `{{` without its `}}`.
    #[error("has a {{{{ at character {0} that is never closed by }}}}")]
    Unclosed(usize),
    /// What stands between the braces is not a name.
    #[error("has {{{{{name}}}}} at character {at}; a name is letters, digits, _ . or -")]
    BadName {
        /// What stands there.
        name: String,
        /// Where its braces begin.
        at: usize,
    },
}

/// A variable that neither the recipient nor the campaign gives.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the template's {{{{{name}}}}} is given neither for the recipient nor for the campaign")]
pub struct MissingVariable {
    /// The variable's name.
    pub name: String,
}

/// Why what a template becomes is no message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TextError {
    /// Longer than [`TEXT_BYTES_MAX`].
    #[error("make a text of {0} bytes; at most {TEXT_BYTES_MAX} are sent")]
    Long(usize),
    /// Nothing but white space is left.
    #[error("make an empty text; a message needs one, or a media_url")]
    Blank,
}

impl Template {
    /// Parses a template. `may_be_empty` for campaigns whose message is a media file.
    pub fn parse(source: &str, may_be_empty: bool) -> Result<Self, TemplateError> {
        if source.len() > TEMPLATE_BYTES_MAX {
            return Err(TemplateError::Long(source.len()));
        }
        if source.trim().is_empty() && !may_be_empty {
            return Err(TemplateError::Empty);
        }
        let mut parts = Vec::new();
        let mut rest = source;
        while let Some(open) = rest.find("{{") {
            let at = || source[..source.len() - rest.len() + open].chars().count() + 1;
            let inner = &rest[open + 2..];
            let close = inner
                .find("}}")
                .ok_or_else(|| TemplateError::Unclosed(at()))?;
            let name = inner[..close].trim();
            if !is_name(name) {
                return Err(TemplateError::BadName {
                    name: name.chars().take(40).collect(),
                    at: at(),
                });
            }
            if open > 0 {
                parts.push(Part::Text(rest[..open].to_owned()));
            }
            parts.push(Part::Variable(name.to_owned()));
            rest = &inner[close + 2..];
        }
        if !rest.is_empty() {
            parts.push(Part::Text(rest.to_owned()));
        }
        Ok(Self {
            source: source.to_owned(),
            parts,
        })
    }

    /// The template as its author wrote it.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The names of all placeholders, repeats included.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().filter_map(|part| match part {
            Part::Variable(name) => Some(name.as_str()),
            Part::Text(_) => None,
        })
    }

    /// The text for one recipient: its own variables go before the campaign's.
    pub fn render(&self, own: &Variables, shared: &Variables) -> Result<String, MissingVariable> {
        let mut text = String::with_capacity(self.source.len() + 16);
        for part in &self.parts {
            match part {
                Part::Text(part) => text.push_str(part),
                Part::Variable(name) => {
                    let value = own.get(name).or_else(|| shared.get(name));
                    text.push_str(value.ok_or_else(|| MissingVariable { name: name.clone() })?);
                }
            }
        }
        Ok(text)
    }

    /// What stands between the placeholders.
    pub fn texts(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().filter_map(|part| match part {
            Part::Text(text) => Some(text.as_str()),
            Part::Variable(_) => None,
        })
    }

    /// The first placeholder that neither side gives.
    pub fn missing(&self, own: &Variables, shared: &Variables) -> Option<MissingVariable> {
        self.names()
            .find(|name| !own.contains_key(*name) && !shared.contains_key(*name))
            .map(|name| MissingVariable {
                name: name.to_owned(),
            })
    }
}

/// What a template comes to, told without saying it for each who hears it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outline {
    /// Bytes between the placeholders.
    bytes: usize,
    /// Whether they are but white space.
    blank: bool,
    /// How often each placeholder is written.
    uses: BTreeMap<String, usize>,
}

impl Outline {
    /// Of a template.
    pub fn of(template: &Template) -> Self {
        let mut uses = BTreeMap::new();
        for name in template.names() {
            *uses.entry(name.to_owned()).or_default() += 1;
        }
        Self {
            bytes: template.texts().map(str::len).sum(),
            blank: template.texts().all(|text| text.trim().is_empty()),
            uses,
        }
    }

    /// Bytes between the placeholders.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether nothing but white space stands between them.
    pub fn is_blank(&self) -> bool {
        self.blank
    }

    /// Placeholders, each with how often it is written.
    pub fn uses(&self) -> impl Iterator<Item = (&str, usize)> {
        self.uses
            .iter()
            .map(|(name, count)| (name.as_str(), *count))
    }

    /// What is wrong with the text that it becomes. `may_be_empty` for campaigns whose message is a
    /// media file. Variables that are missing count as empty.
    pub fn check(
        &self,
        own: &Variables,
        shared: &Variables,
        may_be_empty: bool,
    ) -> Result<(), TextError> {
        let (mut bytes, mut blank) = (self.bytes, self.blank && !may_be_empty);
        for (name, count) in self.uses() {
            if let Some(value) = own.get(name).or_else(|| shared.get(name)) {
                bytes = bytes.saturating_add(value.len().saturating_mul(count));
                blank = blank && value.trim().is_empty();
            }
        }
        if bytes > TEXT_BYTES_MAX {
            return Err(TextError::Long(bytes));
        }
        if blank {
            return Err(TextError::Blank);
        }
        Ok(())
    }
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.source)
    }
}

/// Whether a text can name a variable.
pub fn is_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= NAME_BYTES_MAX
        && name
            .chars()
            .all(|c| c.is_alphanumeric() || matches!(c, '_' | '.' | '-'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn variables(pairs: &[(&str, &str)]) -> Variables {
        pairs
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect()
    }

    fn check(source: &str, wanted: &str) {
        let own = variables(&[("name", "Amina"), ("code", "7")]);
        let shared = variables(&[("name", "friend"), ("shop", "Zitouna")]);
        let got = match Template::parse(source, false) {
            Ok(template) => template
                .render(&own, &shared)
                .unwrap_or_else(|e| e.to_string()),
            Err(error) => error.to_string(),
        };
        assert_eq!(got, wanted, "{source:?}");
    }

    #[test]
    fn rendering_and_refusals() {
        check(
            "Hello, this is a test message!",
            "Hello, this is a test message!",
        );
        check(
            "Hi {{name}}, {{ code }} from {{shop}}",
            "Hi Amina, 7 from Zitouna",
        );
        check("{name} stays, {{name}}", "{name} stays, Amina");
        check(
            "{{city}}",
            "the template's {{city}} is given neither for the recipient nor for the campaign",
        );
        check(
            "a {{b",
            "has a {{ at character 3 that is never closed by }}",
        );
        check(
            "ä {{b c}}",
            "has {{b c}} at character 3; a name is letters, digits, _ . or -",
        );
        check(" ", "is empty; a message needs a text or a media_url");
    }

    #[test]
    fn what_it_becomes_is_judged_as_it_would_be_said() {
        let of = |source: &str, pairs: &[(&str, &str)], media: bool| {
            let template = Template::parse(source, media).unwrap();
            let shared = variables(&[("name", "friend")]);
            Outline::of(&template).check(&variables(pairs), &shared, media)
        };
        assert_eq!(of("{{name}}", &[], false), Ok(()));
        let blank = [("name", " \n")];
        assert_eq!(of("{{name}} ", &blank, false), Err(TextError::Blank));
        assert_eq!(of("{{name}} ", &blank, true), Ok(()));
        let text = "x".repeat(TEXT_BYTES_MAX - 4);
        assert_eq!(of(&text, &[("unused", &text)], false), Ok(()));
        let source = "{{name}}{{name}}";
        let half = "x".repeat(TEXT_BYTES_MAX / 2);
        assert_eq!(of(source, &[("name", &half)], false), Ok(()));
        let more = format!("{half}x");
        let long = Err(TextError::Long(TEXT_BYTES_MAX + 2));
        assert_eq!(of(source, &[("name", &more)], false), long);
    }

    proptest! {
        #[test]
        fn parsing_never_panics_and_text_without_braces_is_kept(source in "\\PC{1,80}") {
            let parsed = Template::parse(&source, true);
            if !source.contains("{{") {
                let text = parsed.unwrap().render(&Variables::new(), &Variables::new()).unwrap();
                prop_assert_eq!(text, source);
            }
        }
    }
}
