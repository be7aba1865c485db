//! Documents that must not lie: links, paths, make targets, variables.

use std::collections::BTreeSet;

use crate::{Fault, File, Tree, manifest};

/// Folders whose mention in backticks is a promise that the path exists.
const PROMISES: &[&str] = &["crates/", "docs/", "deploy/"];

fn documents(tree: &Tree) -> impl Iterator<Item = &File> {
    tree.files.iter().filter(|file| file.path.ends_with(".md"))
}

/// The parts of a line between `open` and `close`.
fn between<'a>(line: &'a str, open: &'a str, close: &'a str) -> impl Iterator<Item = &'a str> {
    let rests = line.split(open).skip(1);
    rests.filter_map(move |rest| Some(rest.split_once(close)?.0))
}

/// Links to files and headings that are not there.
pub fn links(tree: &Tree) -> Vec<Fault> {
    let mut faults = Vec::new();
    for file in documents(tree) {
        for (number, line) in (1..).zip(file.text.lines()) {
            for target in between(line, "](", ")") {
                if !target.contains("://") && !resolves(tree, file, target) {
                    let what = format!("links to {target}, which is not there");
                    faults.push(Fault::new(&file.path, number, what));
                }
            }
        }
    }
    faults
}

fn resolves(tree: &Tree, from: &File, target: &str) -> bool {
    let (path, heading) = target.split_once('#').unwrap_or((target, ""));
    let path = match path {
        "" => from.path.clone(),
        path => join(&from.path, path),
    };
    let has_heading = || {
        let lines = tree.text(&path).unwrap_or_default().lines();
        let mut headings = lines.filter(|line| line.starts_with('#'));
        headings.any(|line| anchor(line) == heading)
    };
    tree.has(&path) && (heading.is_empty() || has_heading())
}

/// The path of `target` as seen from the file `from`.
fn join(from: &str, target: &str) -> String {
    let mut parts: Vec<_> = from.split('/').collect();
    parts.pop();
    for part in target.split('/') {
        match part {
            "." | "" => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join("/")
}

/// A heading's anchor, as code hosts make it.
fn anchor(heading: &str) -> String {
    let heading = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = heading
        .chars()
        .filter(|c| c.is_alphanumeric() || [' ', '-', '_'].contains(c));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

/// Paths in backticks that are not there.
pub fn paths(tree: &Tree) -> Vec<Fault> {
    let mut faults = Vec::new();
    for file in documents(tree) {
        for (number, line) in (1..).zip(file.text.lines()) {
            for path in line.split('`').skip(1).step_by(2) {
                let plain = !path.contains(['*', '<', '{', ' ', '…']);
                let promise = PROMISES.iter().any(|folder| path.starts_with(folder));
                if plain && promise && !tree.has(path) {
                    let what = format!("names {path}, which is not there");
                    faults.push(Fault::new(&file.path, number, what));
                }
            }
        }
    }
    faults
}

/// Crates that the code map leaves out.
pub fn map(tree: &Tree) -> Vec<Fault> {
    let document = "docs/ARCHITECTURE.md";
    let text = tree.text(document).unwrap_or_default();
    let crates = manifest::crates(tree).map(|(krate, ..)| krate);
    let missing = crates.filter(|krate| !text.contains(&format!("| `crates/{krate}` |")));
    let fault = |krate| {
        Fault::new(
            document,
            0,
            format!("the code map leaves out crates/{krate}"),
        )
    };
    missing.map(fault).collect()
}

/// `make` targets that documents name and the Makefile does not have.
pub fn targets(tree: &Tree) -> Vec<Fault> {
    let makefile = tree.text("Makefile").unwrap_or_default();
    let has = |target: &str| {
        let rule = format!("{target}:");
        makefile.lines().any(|line| line.starts_with(&rule))
    };
    let mut faults = Vec::new();
    for file in documents(tree) {
        for (number, line) in (1..).zip(file.text.lines()) {
            let quoted = line.split('`').skip(1).step_by(2);
            for words in quoted.chain(Some(line)) {
                let target = words
                    .strip_prefix("make ")
                    .and_then(|rest| rest.split_whitespace().next());
                // Only a line that is nothing but a command counts outside backticks.
                let is_command = words != line || line.split_whitespace().count() == 2;
                if let Some(target) = target.filter(|target| is_command && !has(target)) {
                    let what = format!("`make {target}` is not in the Makefile");
                    faults.push(Fault::new(&file.path, number, what));
                }
            }
        }
    }
    faults
}

/// Variables that the compose file takes and `.env.example` does not explain.
pub fn variables(tree: &Tree) -> Vec<Fault> {
    let (compose, example) = ("docker-compose.yml", ".env.example");
    let explained = tree.text(example).unwrap_or_default().lines();
    let explained: BTreeSet<_> = explained
        .filter_map(|line| Some(line.trim_start_matches("# ").split_once('=')?.0))
        .collect();
    let mut faults = Vec::new();
    let text = tree.text(compose).unwrap_or_default();
    for (number, line) in (1..).zip(text.lines()) {
        for inside in between(line, "${", "}") {
            let name = inside.split([':', '?', '-']).next().unwrap_or(inside);
            if !explained.contains(name) {
                let what = format!("takes {name}, which {example} does not have");
                faults.push(Fault::new(compose, number, what));
            }
        }
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(check: fn(&Tree) -> Vec<Fault>, files: &[(&str, &str)]) -> Vec<String> {
        let faults = check(&Tree::sample(files));
        faults.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn dead_links_are_found() {
        let text = "# A\n[b](b.md) [c](../README.md#what-it-is) [d](https://x.test/)\n\
            [e](gone.md) [f](#a) [g](b.md#no)\n";
        let files = [
            ("README.md", "## What it is\n"),
            ("docs/a.md", text),
            ("docs/b.md", ""),
        ];
        let dead = [
            "docs/a.md:3: links to gone.md, which is not there",
            "docs/a.md:3: links to b.md#no, which is not there",
        ];
        assert_eq!(found(links, &files), dead);
    }

    #[test]
    fn dead_paths_are_found() {
        let text = "`crates/a/src/lib.rs` `crates/a` `crates/b` `crates/*/src` `other/b`\n";
        let files = [("crates/a/src/lib.rs", ""), ("README.md", text)];
        assert_eq!(
            found(paths, &files),
            ["README.md:1: names crates/b, which is not there"]
        );
    }

    #[test]
    fn a_crate_without_a_place_is_found() {
        let files = [
            ("crates/a/Cargo.toml", ""),
            ("crates/b/Cargo.toml", ""),
            ("docs/ARCHITECTURE.md", "| `crates/a` | what it is |\n"),
        ];
        let missing = ["docs/ARCHITECTURE.md: the code map leaves out crates/b"];
        assert_eq!(found(map, &files), missing);
    }

    #[test]
    fn missing_targets_are_found() {
        let text = "Type `make demo` or `make gone`; make sure.\nmake test\nmake it so\n";
        let files = [("Makefile", "demo:\n\tx\n"), ("README.md", text)];
        let missing = [
            "README.md:1: `make gone` is not in the Makefile",
            "README.md:2: `make test` is not in the Makefile",
        ];
        assert_eq!(found(targets, &files), missing);
    }

    #[test]
    fn unexplained_variables_are_found() {
        let files = [
            (
                "docker-compose.yml",
                "a: ${A:?set it}\nb: ${B:-1}\nc: ${C}\n",
            ),
            (".env.example", "A=\n# B=1\n"),
        ];
        let unexplained = ["docker-compose.yml:3: takes C, which .env.example does not have"];
        assert_eq!(found(variables, &files), unexplained);
    }
}
