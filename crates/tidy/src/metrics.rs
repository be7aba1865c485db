//! Metrics: what the code records and what the documentation lists must be the same.

use std::collections::BTreeSet;

use crate::{Fault, Tree, source};

const MACROS: &[&str] = &["counter!(", "gauge!(", "histogram!("];
/// Where metrics are listed, one table row each: `` | `name` | … ``.
const DOCUMENT: &str = "docs/OPERATIONS.md";
/// What a metric's name begins with: the process that records it, or the table that it is about
/// when any process may record it.
const SERVICES: &[&str] = &["gateway_", "scheduler_", "sender_", "outbox_"];

/// The names of the metrics that the code records: name, path, line.
pub fn recorded(tree: &Tree) -> Vec<(String, &str, usize)> {
    let mut found = Vec::new();
    let files = tree
        .rust()
        .filter(|file| !file.is_test() && file.krate() != Some("tidy"));
    for file in files {
        let lines = source::code(file);
        for (at, (number, line)) in lines.iter().enumerate() {
            let Some(rest) = MACROS.iter().find_map(|name| line.split_once(name)) else {
                continue;
            };
            // The name stands in this line or, when the call is broken, in the next.
            let next = lines.get(at + 1).map_or("", |(_, next)| next);
            let inside = if rest.1.trim().is_empty() {
                next
            } else {
                rest.1
            };
            if let Some(name) = inside
                .trim()
                .strip_prefix('"')
                .and_then(|name| name.split('"').next())
            {
                found.push((name.to_owned(), file.path.as_str(), *number));
            }
        }
    }
    found
}

/// Metrics that are recorded and not documented, documented and not recorded, or badly named.
pub fn documented(tree: &Tree) -> Vec<Fault> {
    let text = tree.text(DOCUMENT).unwrap_or_default();
    let is_metric = |name: &&str| SERVICES.iter().any(|service| name.starts_with(service));
    let rows = text
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split('`').next());
    let listed: BTreeSet<_> = rows.filter(is_metric).collect();
    let recorded = recorded(tree);
    let mut faults = Vec::new();
    for (name, path, line) in &recorded {
        if !is_metric(&name.as_str()) {
            let what = format!("{name} does not begin with its service's name");
            faults.push(Fault::new(path, *line, what));
        } else if !listed.contains(name.as_str()) {
            let what = format!("{name} is not in the table of {DOCUMENT}");
            faults.push(Fault::new(path, *line, what));
        }
    }
    for name in listed {
        if !recorded.iter().any(|(other, ..)| other == name) {
            faults.push(Fault::new(
                DOCUMENT,
                0,
                format!("{name} is recorded nowhere"),
            ));
        }
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_sides_must_agree() {
        let code = "//! A.\nmetrics::counter!(\"sender_a_total\", \"b\" => c).increment(1);\n\
            gauge!(\n    \"sender_b\"\n).set(1.0);\nhistogram!(\"other\").record(1.0);\n";
        let table =
            "| metric | kind |\n| --- | --- |\n| `sender_b` | gauge |\n| `sender_c` | gauge |\n";
        let tree = Tree::sample(&[("crates/sender/src/a.rs", code), (DOCUMENT, table)]);
        let found: Vec<_> = documented(&tree).iter().map(ToString::to_string).collect();
        assert_eq!(
            found,
            [
                "crates/sender/src/a.rs:2: sender_a_total is not in the table of docs/OPERATIONS.md",
                "crates/sender/src/a.rs:6: other does not begin with its service's name",
                "docs/OPERATIONS.md: sender_c is recorded nowhere",
            ]
        );
    }
}
