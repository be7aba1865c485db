//! Runs every check over the repository, and compares what programs write with what is there.
//!
//! `UPDATE_DOCS=1 cargo test -p tidy` adopts a change of settings, error codes or statements.
#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

mod generated;
mod keys;

use std::path::{Path, PathBuf};

use tidy::{Fault, Tree, arrows, docs, manifest, metrics, source, words};

fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).unwrap().to_owned()
}

#[track_caller]
fn check(check: fn(&Tree) -> Vec<Fault>) {
    let tree = Tree::read(&root()).unwrap();
    assert!(
        tree.has("crates/tidy/src/lib.rs"),
        "this is not the repository"
    );
    let faults: Vec<_> = check(&tree).iter().map(ToString::to_string).collect();
    assert!(
        faults.is_empty(),
        "{} faults:\n{}",
        faults.len(),
        faults.join("\n")
    );
}

#[test]
fn crates_know_only_whom_they_may() {
    check(arrows::arrows);
}

#[test]
fn the_version_is_that_of_the_newest_changes() {
    let read = |name: &str| std::fs::read_to_string(root().join(name)).unwrap();
    let (manifest, changes) = (read("Cargo.toml"), read("CHANGELOG.md"));
    let of = |text: &str, before: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(before));
        line.unwrap().trim_matches('"').to_owned()
    };
    assert_eq!(of(&manifest, "version = "), of(&changes, "## "));
}

#[test]
fn versions_and_lints_are_the_workspaces() {
    check(manifest::workspace);
}

#[test]
fn calls_that_hide_time_and_tasks_are_banned() {
    check(manifest::bans);
}

#[test]
fn the_image_is_built_by_our_compiler() {
    check(manifest::compiler);
}

#[test]
fn files_and_lines_are_short() {
    check(source::sizes);
}

#[test]
fn every_file_says_what_it_is_for() {
    check(source::heads);
}

#[test]
fn every_file_belongs_to_a_module() {
    check(source::modules);
}

#[test]
fn nothing_is_unfinished_or_hushed_up() {
    check(words::nowhere);
}

#[test]
fn sql_stays_in_the_store() {
    check(words::sql);
}

#[test]
fn queues_are_named_in_one_place() {
    check(words::queues);
}

#[test]
fn links_lead_somewhere() {
    check(docs::links);
}

#[test]
fn paths_in_documents_exist() {
    check(docs::paths);
}

#[test]
fn the_code_map_is_whole() {
    check(docs::map);
}

#[test]
fn make_targets_in_documents_exist() {
    check(docs::targets);
}

#[test]
fn the_compose_file_takes_what_the_example_explains() {
    check(docs::variables);
}

#[test]
fn metrics_are_documented() {
    check(metrics::documented);
}
