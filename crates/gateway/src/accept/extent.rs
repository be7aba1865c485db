//! How much a template comes to, told for nearly all recipients without saying their texts.
//!
//! A template and its variables are each of a length that is bounded, but not what a placeholder
//! that is written thousands of times makes of them.

use models::template::{TEXT_BYTES_MAX, Template, Variables};

/// What a template comes to, whoever hears it.
#[derive(Debug, Default)]
pub(super) struct Extent {
    /// Bytes without the recipient's own variables.
    bytes: usize,
    /// How often the placeholder is written that is written most often.
    repeats: usize,
    /// Whether something is said however blank the variables are.
    never_blank: bool,
}

impl Extent {
    pub(super) fn of(template: &Template, shared: &Variables, has_media: bool) -> Self {
        let mut names: Vec<&str> = template.names().collect();
        names.sort_unstable();
        let given = names.iter().filter_map(|name| shared.get(*name));
        let text = template.texts().map(str::len).sum::<usize>();
        Self {
            bytes: text + given.map(String::len).sum::<usize>(),
            repeats: names
                .chunk_by(|a, b| a == b)
                .map(<[_]>::len)
                .max()
                .unwrap_or_default(),
            never_blank: has_media || template.texts().any(|text| !text.trim().is_empty()),
        }
    }

    /// Whether own variables of so many bytes, which say something or not, surely make a message.
    /// No means that nothing is known yet.
    pub(super) fn surely_fits(&self, own_bytes: usize, says: bool) -> bool {
        let most = self.repeats.saturating_mul(own_bytes);
        (self.never_blank || says) && self.bytes.saturating_add(most) <= TEXT_BYTES_MAX
    }
}
