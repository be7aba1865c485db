//! Which crate may know which. Dev-dependencies are free.

use crate::{Fault, Tree, manifest};

const SERVICE: &[&str] = &["models", "policy", "store", "broker", "waha", "chassis"];

/// Every crate and those of ours that it may depend on. The adapters (store, broker, waha) know
/// neither each other nor policy; nothing but services joins them.
pub const ARROWS: &[(&str, &[&str])] = &[
    ("models", &[]),
    ("policy", &["models"]),
    ("chassis", &[]),
    ("store", &["models"]),
    ("broker", &["models"]),
    ("waha", &["models"]),
    ("gateway", SERVICE),
    ("scheduler", SERVICE),
    ("sender", SERVICE),
    // Shares no type with the client that it tests.
    ("waha-sim", &[]),
    // Drives the deployed binaries from outside; store, to audit the ledger.
    ("wahacast", &["models", "store"]),
    ("testkit", &["store"]),
    ("costs", &["models", "policy", "waha"]),
    ("tidy", &[]),
];

/// Arrows that the table does not have, and crates that it does not know.
pub fn arrows(tree: &Tree) -> Vec<Fault> {
    let mut faults = Vec::new();
    for (krate, path, text) in manifest::crates(tree) {
        let Some((_, allowed)) = ARROWS.iter().find(|(name, _)| *name == krate) else {
            faults.push(Fault::new(
                path,
                0,
                "say in tidy::arrows what it may depend on",
            ));
            continue;
        };
        for section in ["[dependencies]", "[build-dependencies]"] {
            for dependency in manifest::dependencies(text, section) {
                let name = dependency.name;
                let ours = ARROWS.iter().any(|(krate, _)| *krate == name);
                if ours && !allowed.contains(&name) {
                    let what = format!("{krate} must not know {name}");
                    faults.push(Fault::new(path, dependency.line, what));
                }
            }
        }
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_arrow_is_found() {
        let store = "[dependencies]\nmodels.workspace = true\npolicy.workspace = true\n\
            [dev-dependencies]\nwaha.workspace = true\n";
        let sender = "[dependencies]\npolicy.workspace = true\nserde.workspace = true\n";
        let tree = Tree::sample(&[
            ("crates/store/Cargo.toml", store),
            ("crates/sender/Cargo.toml", sender),
            ("crates/newcomer/Cargo.toml", ""),
        ]);
        let found: Vec<_> = arrows(&tree).iter().map(ToString::to_string).collect();
        assert_eq!(
            found,
            [
                "crates/store/Cargo.toml:3: store must not know policy",
                "crates/newcomer/Cargo.toml: say in tidy::arrows what it may depend on",
            ]
        );
    }

    #[test]
    fn the_table_has_no_circle() {
        for (krate, allowed) in ARROWS {
            for other in *allowed {
                let back = ARROWS.iter().find(|(name, _)| name == other);
                assert!(
                    back.is_some_and(|(_, names)| !names.contains(krate)),
                    "{krate}"
                );
            }
        }
    }
}
