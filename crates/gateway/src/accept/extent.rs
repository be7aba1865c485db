//! How much a template comes to, told for nearly all recipients without looking at each variable.
//!
//! A template and its variables are each of a length that is bounded, but not what a placeholder
//! that is written thousands of times makes of them.

use models::template::{Outline, TEXT_BYTES_MAX, Template, TextError, Variables};

use super::plain::Pairs;

/// What a template comes to, whoever hears it.
#[derive(Debug)]
pub(super) struct Extent {
    outline: Outline,
    has_media: bool,
    /// Bytes without the recipient's own variables.
    bytes: usize,
    /// How often the placeholder is written that is written most often.
    repeats: usize,
    /// Whether something is said to whoever has no variables of their own.
    says: bool,
}

impl Extent {
    pub(super) fn of(template: &Template, shared: &Variables, has_media: bool) -> Self {
        let outline = Outline::of(template);
        let (mut bytes, mut repeats) = (outline.bytes(), 0);
        let mut says = has_media || !outline.is_blank();
        for (name, count) in outline.uses() {
            repeats = count.max(repeats);
            let value = shared.get(name).map_or("", String::as_str);
            bytes += value.len() * count;
            says = says || !value.trim().is_empty();
        }
        Self {
            outline,
            has_media,
            bytes,
            repeats,
            says,
        }
    }

    /// Whether these own variables surely make a message. No means that nothing is known yet.
    pub(super) fn surely_fits(&self, own: &Pairs<'_>) -> bool {
        let most = self.repeats.saturating_mul(own.bytes());
        // Own variables may be blank and take the place of what the campaign gives.
        let says = match own.len() {
            0 => self.says,
            _ => self.has_media || !self.outline.is_blank() || self.says_one_of(own),
        };
        says && self.bytes.saturating_add(most) <= TEXT_BYTES_MAX
    }

    fn says_one_of(&self, own: &Pairs<'_>) -> bool {
        self.outline.uses().any(|(name, _)| own.says(name))
    }

    /// What is wrong with the text that own variables make.
    pub(super) fn check(&self, own: &Variables, shared: &Variables) -> Result<(), TextError> {
        self.outline.check(own, shared, self.has_media)
    }
}
