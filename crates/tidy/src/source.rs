//! The shape of Rust files: sizes, heads, and that every file belongs to somebody.

use crate::{Fault, File, Tree};

/// Longest file, tests not counted.
const FILE_LINES_MAX: usize = 400;
/// Longest `main.rs`: it only boots.
const MAIN_LINES_MAX: usize = 60;
/// Longest line.
const COLUMNS_MAX: usize = 100;

/// The lines of a file that are not tests, with their numbers: what `#[cfg(test)]` governs is
/// left out, up to the brace that closes it.
pub fn code(file: &File) -> Vec<(usize, &str)> {
    let mut lines = Vec::new();
    let mut inside = None;
    for (number, line) in (1..).zip(file.text.lines()) {
        let indent = line.len() - line.trim_start().len();
        match inside {
            None if line.trim() == "#[cfg(test)]" => inside = Some(indent),
            None => lines.push((number, line)),
            Some(at) if indent == at && ends_item(line) => inside = None,
            Some(_) => {}
        }
    }
    lines
}

fn ends_item(line: &str) -> bool {
    let line = line.trim();
    line == "}" || line.ends_with(';')
}

/// Files and lines that are too long.
pub fn sizes(tree: &Tree) -> Vec<Fault> {
    let mut faults = Vec::new();
    for file in tree.rust() {
        let code = code(file);
        let lines = code.len();
        let max = if file.path.ends_with("/main.rs") && !file.is_test() {
            MAIN_LINES_MAX
        } else {
            FILE_LINES_MAX
        };
        if lines > max && !file.is_test() {
            let what = format!("has {lines} lines without its tests; at most {max}");
            faults.push(Fault::new(&file.path, 0, what));
        }
        let is_code = |number| code.iter().any(|(known, _)| *known == number);
        for (number, line) in (1..).zip(file.text.lines()) {
            let columns = line.chars().count();
            // Tests hold recordings, which cannot be broken without changing them.
            let recording = line.contains('"') && (file.is_test() || !is_code(number));
            if columns > COLUMNS_MAX && !recording {
                let what = format!("has {columns} columns; at most {COLUMNS_MAX}");
                faults.push(Fault::new(&file.path, number, what));
            }
        }
    }
    faults
}

/// Files whose first line does not say what they are for.
pub fn heads(tree: &Tree) -> Vec<Fault> {
    let says = |text: &str| text.starts_with("//! ") || text.starts_with("#![doc = include_str!");
    let headless = tree.rust().filter(|file| !says(&file.text));
    let fault = |file: &File| Fault::new(&file.path, 1, "say in a `//!` comment what it is for");
    headless.map(fault).collect()
}

/// `mod.rs`, files that no module declares, and more than one test binary in a crate.
pub fn modules(tree: &Tree) -> Vec<Fault> {
    let mut faults = Vec::new();
    for file in tree.rust() {
        let Some((folder, name)) = file.path.rsplit_once('/') else {
            continue;
        };
        if name == "mod.rs" {
            let what = "modules are `foo.rs` beside `foo/`, without mod.rs";
            faults.push(Fault::new(&file.path, 0, what));
        } else if folder.ends_with("/tests") {
            let what = "integration tests are one binary a crate: tests/it";
            faults.push(Fault::new(&file.path, 0, what));
        } else if !is_root(folder, name) && !is_declared(tree, folder, name) {
            let what = "belongs to no module; declare or delete it";
            faults.push(Fault::new(&file.path, 0, what));
        }
    }
    faults
}

/// Roots need no declaration.
fn is_root(folder: &str, name: &str) -> bool {
    let is_folder = |end: &str| folder.ends_with(end);
    let binary = name == "lib.rs" || name == "main.rs";
    (binary && (is_folder("/src") || is_folder("/tests/it")))
        || is_folder("/examples")
        || is_folder("/benches")
        || is_folder("/src/bin")
        || name == "build.rs"
}

fn is_declared(tree: &Tree, folder: &str, name: &str) -> bool {
    let declaration = format!("mod {};", name.trim_end_matches(".rs"));
    let parents = [
        format!("{folder}.rs"),
        format!("{folder}/lib.rs"),
        format!("{folder}/main.rs"),
    ];
    let mut texts = parents.iter().filter_map(|parent| tree.text(parent));
    texts.any(|text| text.lines().any(|line| line.trim().ends_with(&declaration)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tests_are_not_code() {
        let text = "//! X.\nfn a() {}\n#[cfg(test)]\nmod tests {\n    fn b() {\n    }\n}\nfn c() {}\n\
            #[cfg(test)]\nmod more;\nfn d() {}\n";
        let file = File::sample("crates/x/src/a.rs", text);
        let kept: Vec<_> = code(&file).into_iter().map(|(number, _)| number).collect();
        assert_eq!(kept, [1, 2, 8, 11]);
    }

    #[test]
    fn what_is_too_long_is_found() {
        let long = format!("//! X.\n{}", "// y\n".repeat(400));
        let tests = format!(
            "//! X.\n#[cfg(test)]\nmod tests {{\n{}}}\n",
            "//\n".repeat(500)
        );
        let wide = format!("//! X.\nlet _ = {};\n", "a".repeat(100));
        let tree = Tree::sample(&[
            ("crates/x/src/long.rs", &long),
            ("crates/x/src/main.rs", &"//! X.\n".repeat(61)),
            ("crates/x/src/tested.rs", &tests),
            ("crates/x/src/wide.rs", &wide),
            ("crates/x/tests/it/main.rs", &long),
        ]);
        let found: Vec<_> = sizes(&tree).iter().map(ToString::to_string).collect();
        assert_eq!(
            found,
            [
                "crates/x/src/long.rs: has 401 lines without its tests; at most 400",
                "crates/x/src/main.rs: has 61 lines without its tests; at most 60",
                "crates/x/src/wide.rs:2: has 109 columns; at most 100",
            ]
        );
    }

    #[test]
    fn a_file_without_a_head_is_found() {
        let tree = Tree::sample(&[
            ("a.rs", "//! For a.\n"),
            ("b.rs", "#![doc = include_str!(\"b.md\")]\n"),
            ("c.rs", "use std::fs;\n"),
        ]);
        assert_eq!(heads(&tree).len(), 1);
    }

    #[test]
    fn strays_are_found() {
        let tree = Tree::sample(&[
            ("crates/x/src/lib.rs", "pub mod a;\n"),
            ("crates/x/src/a.rs", "pub(crate) mod b;\n"),
            ("crates/x/src/a/b.rs", ""),
            ("crates/x/src/a/c.rs", ""),
            ("crates/x/src/d/mod.rs", ""),
            ("crates/x/tests/other.rs", ""),
            ("crates/x/tests/it/main.rs", "mod e;\n"),
            ("crates/x/tests/it/e.rs", ""),
        ]);
        let found: Vec<_> = modules(&tree).into_iter().map(|fault| fault.path).collect();
        let strays = [
            "crates/x/src/a/c.rs",
            "crates/x/src/d/mod.rs",
            "crates/x/tests/other.rs",
        ];
        assert_eq!(found, strays);
    }
}
