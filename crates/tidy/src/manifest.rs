//! What the manifests say, read as far as the checks need it.

use crate::{Fault, Tree};

/// One line of a section of dependencies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dependency<'a> {
    /// Its line, from 1.
    pub line: usize,
    /// The crate.
    pub name: &'a str,
    /// What stands after the name.
    pub rest: &'a str,
}

/// The dependencies in one section of a manifest, such as `[dependencies]`.
pub fn dependencies<'a>(text: &'a str, section: &str) -> Vec<Dependency<'a>> {
    let mut found = Vec::new();
    let mut inside = false;
    for (line, content) in (1..).zip(text.lines()) {
        let content = content.trim();
        if content.starts_with('[') {
            inside = content == section;
        } else if inside && !content.is_empty() && !content.starts_with('#') {
            let end = content.find(['.', ' ', '=']).unwrap_or(content.len());
            let (name, rest) = content.split_at(end);
            found.push(Dependency { line, name, rest });
        }
    }
    found
}

/// The manifests of the crates: crate, path, text.
pub fn crates(tree: &Tree) -> impl Iterator<Item = (&str, &str, &str)> {
    tree.files.iter().filter_map(|file| {
        let krate = file
            .path
            .strip_prefix("crates/")?
            .strip_suffix("/Cargo.toml")?;
        Some((krate, file.path.as_str(), file.text.as_str()))
    })
}

/// Versions outside the workspace's table, and crates that the workspace's lints do not govern.
pub fn workspace(tree: &Tree) -> Vec<Fault> {
    let mut faults = Vec::new();
    for (_, path, text) in crates(tree) {
        if !text.contains("[lints]\nworkspace = true") {
            faults.push(Fault::new(
                path,
                0,
                "is not governed by the workspace's lints",
            ));
        }
        for section in [
            "[dependencies]",
            "[dev-dependencies]",
            "[build-dependencies]",
        ] {
            let own = dependencies(text, section);
            let own = own
                .iter()
                .filter(|one| !one.rest.contains("workspace = true"));
            faults.extend(own.map(|Dependency { line, name, .. }| {
                let what = format!("the version of {name} belongs to [workspace.dependencies]");
                Fault::new(path, *line, what)
            }));
        }
    }
    faults
}

/// What every clippy.toml of ours must ban, for the sake of testable time and owned tasks.
pub const BANS: &[&str] = &[
    "tokio::spawn",
    "tokio::time::sleep",
    "std::time::Instant::now",
    "std::time::SystemTime::now",
    "time::OffsetDateTime::now_utc",
    "std::env::var",
    "rand::rng",
];
/// Crates with a clippy.toml of their own: processes and tests around the product, not in it.
const EXEMPT: &[&str] = &["waha-sim", "wahacast", "testkit"];

/// Calls that clippy.toml does not ban, and crates that slip out of its reach.
pub fn bans(tree: &Tree) -> Vec<Fault> {
    let clippy = tree.text("clippy.toml").unwrap_or_default();
    let open = BANS
        .iter()
        .filter(|call| !clippy.contains(&format!("\"{call}\"")));
    let mut faults: Vec<_> = open
        .map(|call| Fault::new("clippy.toml", 0, format!("does not ban {call}")))
        .collect();
    for file in &tree.files {
        let exempt = file.krate().is_some_and(|krate| EXEMPT.contains(&krate));
        if file.path != "clippy.toml" && file.path.ends_with("clippy.toml") && !exempt {
            faults.push(Fault::new(
                &file.path,
                0,
                "the bans of the root govern this crate",
            ));
        }
    }
    faults
}

/// The image must be built by the compiler that the toolchain file names.
pub fn compiler(tree: &Tree) -> Vec<Fault> {
    let toolchain = tree.text("rust-toolchain.toml").unwrap_or_default();
    let channel = toolchain
        .lines()
        .find_map(|line| line.strip_prefix("channel = "));
    let channel = channel.unwrap_or_default().trim_matches('"');
    let image = format!("rust:{channel}-");
    let dockerfile = "deploy/Dockerfile";
    if tree
        .text(dockerfile)
        .is_some_and(|text| text.contains(&image))
    {
        Vec::new()
    } else {
        let what = format!("does not build with {image}*, the compiler of rust-toolchain.toml");
        vec![Fault::new(dockerfile, 0, what)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "[lints]\nworkspace = true\n[dependencies]\n# why\nserde.workspace = true\n\
        store = { workspace = true }\n[dev-dependencies]\nproptest.workspace = true\n";

    #[test]
    fn a_manifest_is_read() {
        let names = |section| {
            let found = dependencies(GOOD, section);
            found.iter().map(|one| one.name).collect::<Vec<_>>()
        };
        assert_eq!(names("[dependencies]"), ["serde", "store"]);
        assert_eq!(names("[dev-dependencies]"), ["proptest"]);
    }

    #[test]
    fn own_versions_and_own_lints_are_found() {
        let bad = "[dependencies]\nserde = \"1\"\n";
        let tree = Tree::sample(&[("crates/a/Cargo.toml", GOOD), ("crates/b/Cargo.toml", bad)]);
        assert_eq!(workspace(&tree).len(), 2);
    }

    #[test]
    fn open_doors_are_found() {
        let all: String = BANS.iter().map(|call| format!("\"{call}\"\n")).collect();
        let tree = Tree::sample(&[("clippy.toml", &all), ("crates/waha-sim/clippy.toml", "")]);
        assert_eq!(bans(&tree), []);
        let less = all.replace("\"rand::rng\"", "");
        let tree = Tree::sample(&[("clippy.toml", &less), ("crates/sender/clippy.toml", "")]);
        assert_eq!(bans(&tree).len(), 2);
    }

    #[test]
    fn another_compiler_is_found() {
        let toolchain = ("rust-toolchain.toml", "[toolchain]\nchannel = \"1.95.0\"\n");
        let same = ("deploy/Dockerfile", "FROM rust:1.95.0-slim AS build\n");
        assert_eq!(compiler(&Tree::sample(&[toolchain, same])), []);
        let other = ("deploy/Dockerfile", "FROM rust:1.94.0-slim AS build\n");
        assert_eq!(compiler(&Tree::sample(&[toolchain, other])).len(), 1);
    }
}
