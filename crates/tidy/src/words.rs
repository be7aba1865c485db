//! Words that do not belong where they stand: switched-off lints, unfinished work, SQL outside
//! `store`, queue names outside `broker`.

use crate::{Fault, File, Tree, source};

/// Each word that may stand in no Rust file, and why. Written in two halves, so that this file
/// does not find itself.
const NOWHERE: &[(&str, &str)] = &[
    (
        concat!("#[al", "low("),
        "switch a lint off with #[expect(…, reason = …)], which ends when it is not needed",
    ),
    (
        concat!("#![al", "low("),
        "switch a lint off with #[expect(…, reason = …)], which ends when it is not needed",
    ),
    (concat!("TO", "DO"), "finish it, or write an issue"),
    (concat!("FIX", "ME"), "finish it, or write an issue"),
    (concat!("to", "do!("), "finish it"),
    (concat!("unimple", "mented!("), "finish it"),
    (concat!("#[ig", "nore"), "a test runs, or it is deleted"),
];

/// SQL as it stands in string literals; comments are not looked at.
const SQL: &[&str] = &[
    concat!("SEL", "ECT "),
    concat!("INSERT", " INTO "),
    concat!("DELETE", " FROM "),
    concat!("CREATE", " TABLE "),
    concat!("TRUN", "CATE "),
];
/// Where SQL belongs: the ledger, what makes databases for tests and for `wahacast up`, and the
/// bare statements that the ledger's figures stand beside.
const SPEAKERS: &[&str] = &[
    "crates/store/",
    "crates/testkit/",
    "crates/wahacast/src/bench/",
    "crates/wahacast/src/servers/postgres.rs",
];

/// Part of every queue's name, as it stands in a string literal.
const QUEUE: &str = concat!("\"campaign", ".");
/// Where queues are named.
const TOPOLOGY: &str = "crates/broker/src/topology.rs";

/// Words that may stand in no Rust file.
pub fn nowhere(tree: &Tree) -> Vec<Fault> {
    let mut faults = Vec::new();
    for file in tree.rust() {
        for (number, line) in (1..).zip(file.text.lines()) {
            let found = NOWHERE.iter().find(|(word, _)| line.contains(word));
            if let Some((word, instead)) = found {
                faults.push(Fault::new(&file.path, number, format!("{word}: {instead}")));
            }
        }
    }
    faults
}

/// SQL outside `store`.
pub fn sql(tree: &Tree) -> Vec<Fault> {
    let others = |file: &&File| {
        let belongs = SPEAKERS.iter().any(|path| file.path.starts_with(path));
        !file.is_test() && !belongs
    };
    let what = "speaks SQL; that belongs to crates/store";
    find(tree.rust().filter(others), SQL, what)
}

/// Queue names outside `broker::topology`.
pub fn queues(tree: &Tree) -> Vec<Fault> {
    let others = |file: &&File| !file.is_test() && file.path != TOPOLOGY;
    let what = "names a queue; use broker::topology";
    find(tree.rust().filter(others), &[QUEUE], what)
}

fn find<'a>(files: impl Iterator<Item = &'a File>, words: &[&str], what: &str) -> Vec<Fault> {
    let mut faults = Vec::new();
    for file in files {
        for (number, line) in source::code(file) {
            let comment = line.trim_start().starts_with("//");
            if !comment && words.iter().any(|word| line.contains(word)) {
                faults.push(Fault::new(&file.path, number, what));
            }
        }
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_is_found() {
        for (word, _) in NOWHERE {
            let tree = Tree::sample(&[("a.rs", &format!("//! A.\n{word}"))]);
            assert_eq!(nowhere(&tree)[0].line, 2, "{word}");
        }
        let fine = Tree::sample(&[("a.rs", "//! Allowed, to do it.\n#[expect(dead_code)]\n")]);
        assert_eq!(nowhere(&fine), []);
    }

    #[test]
    fn sql_is_found_outside_store_and_tests() {
        let text = format!("//! A.\n// {0}x\nconst A: &str = \"{0}x\";\n", SQL[0]);
        let tree = Tree::sample(&[
            ("crates/store/src/a.rs", &text),
            ("crates/gateway/src/a.rs", &text),
            ("crates/gateway/tests/it/a.rs", &text),
        ]);
        assert_eq!(
            sql(&tree),
            [Fault::new(
                "crates/gateway/src/a.rs",
                3,
                "speaks SQL; that belongs to crates/store"
            )]
        );
    }

    #[test]
    fn queue_names_are_found() {
        let text = format!("//! A.\nconst A: &str = {QUEUE}jobs\";\n");
        let tree = Tree::sample(&[(TOPOLOGY, &text), ("crates/sender/src/a.rs", &text)]);
        assert_eq!(queues(&tree).len(), 1);
    }
}
