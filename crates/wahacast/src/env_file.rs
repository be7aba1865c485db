//! Reads `.env` files: `NAME=value` lines, `#` comments, single and double quotes.

use std::collections::BTreeMap;

use anyhow::bail;

/// The settings of an `.env` text; a later line wins over an earlier one.
pub(crate) fn parse(text: &str) -> anyhow::Result<BTreeMap<String, String>> {
    let mut settings = BTreeMap::new();
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let line = line.strip_prefix("export ").unwrap_or(line);
        let Some((name, raw)) = line.split_once('=') else {
            bail!("line {number} is not NAME=value");
        };
        let name = name.trim();
        if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
            bail!("line {number}: a setting's name is letters, digits and underscores");
        }
        let Some(value) = value(raw.trim()) else {
            bail!("line {number}: the quote of {name} is not closed");
        };
        settings.insert(name.to_owned(), value);
    }
    Ok(settings)
}

/// What stands after the `=`, without quotes and trailing comment; `None` for an open quote.
fn value(raw: &str) -> Option<String> {
    for quote in ['"', '\''] {
        if let Some(rest) = raw.strip_prefix(quote) {
            return rest.split_once(quote).map(|(inside, _)| inside.to_owned());
        }
    }
    let bare = raw.split_once(" #").map_or(raw, |(before, _)| before);
    Some(if bare.starts_with('#') {
        String::new()
    } else {
        bare.trim_end().to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_become_settings() {
        let table = [
            ("A=1", "A", "1"),
            ("  export A = 1  ", "A", "1"),
            ("A=\"two words # kept\" # dropped", "A", "two words # kept"),
            ("A='x=y'", "A", "x=y"),
            ("A=amqp://u:p@h:1/%2f # why", "A", "amqp://u:p@h:1/%2f"),
            ("A=a#b", "A", "a#b"),
            ("A=", "A", ""),
            ("A= # nothing", "A", ""),
            ("# B=1\nA=1\nA=2", "A", "2"),
        ];
        for (text, name, expected) in table {
            let parsed = parse(text).unwrap();
            assert_eq!(
                parsed.get(name).map(String::as_str),
                Some(expected),
                "{text}"
            );
            assert_eq!(parsed.len(), 1, "{text}");
        }
    }

    #[test]
    fn faults_name_their_line() {
        for (text, part) in [
            ("A=1\nnonsense", "line 2"),
            ("A=\"x", "quote"),
            ("a b=1", "name"),
        ] {
            let fault = parse(text).unwrap_err().to_string();
            assert!(fault.contains(part), "{text}: {fault}");
        }
    }
}
