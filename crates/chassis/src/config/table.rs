//! The table of settings as people read it. A test compares the files in the tree with this.

use crate::config::SettingDoc;

impl SettingDoc {
    /// The lines of the reason, without surrounding blanks.
    pub fn lines(&self) -> impl Iterator<Item = &'static str> {
        self.reason.lines().map(str::trim)
    }

    /// What happens when nothing is written: the default, or its absence in words.
    fn otherwise(&self) -> &'static str {
        match self.default {
            Some("") | None if !self.required => "none",
            Some(default) => default,
            None => "required",
        }
    }
}

/// One paragraph a setting as `.env.example` has it: the reason, what may be written, the default.
#[must_use]
pub fn env_example(docs: &[SettingDoc]) -> String {
    let mut text = String::new();
    for doc in docs {
        for line in doc.lines() {
            text += &format!("# {line}\n");
        }
        let required = if doc.required { ", required" } else { "" };
        let bounds = doc
            .bounds
            .map(|bounds| format!(" in {bounds}"))
            .unwrap_or_default();
        text += &format!("# ({}{bounds}{required})\n", doc.kind);
        text += &format!("{}={}\n\n", doc.key, doc.default.unwrap_or_default());
    }
    text
}

/// A Markdown table with one row a setting.
#[must_use]
pub fn markdown(docs: &[SettingDoc]) -> String {
    let mut text = String::from("| setting | default | what for |\n| --- | --- | --- |\n");
    for doc in docs {
        let reason = doc
            .lines()
            .collect::<Vec<_>>()
            .join(" ")
            .replace('|', "\\|");
        text += &format!("| `{}` | `{}` | {reason} |\n", doc.key, doc.otherwise());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    crate::settings! {
        struct Three {
            /// Turns: few | many.
            /// Second line.
            "TURN" => _turn: u32 = 30, 1..=100;
            /// Must be given.
            "URL" => _url: String;
            /// May be given.
            "NAME" => _name: Option<String>;
        }
    }

    #[test]
    fn the_example_can_be_read_back_and_explains_itself() {
        let text = env_example(Three::SETTINGS);
        let turn = "# Turns: few | many.\n# Second line.\n# (whole number in 1..=100)\nTURN=30\n\n";
        assert!(text.starts_with(turn), "{text}");
        assert!(text.contains("# (text, required)\nURL=\n"), "{text}");
        assert!(text.contains("# (text)\nNAME=\n"), "{text}");
    }

    #[test]
    fn the_table_has_one_row_a_setting() {
        let text = markdown(Three::SETTINGS);
        assert!(
            text.contains("| `TURN` | `30` | Turns: few \\| many. Second line. |"),
            "{text}"
        );
        assert!(text.contains("| `URL` | `required` |"), "{text}");
        assert!(text.contains("| `NAME` | `none` |"), "{text}");
    }
}
