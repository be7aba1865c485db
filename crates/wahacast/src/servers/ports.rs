//! Chooses free ports on 127.0.0.1.

use std::collections::{BTreeMap, BTreeSet};
use std::net::TcpListener;

use anyhow::Context;
use rand::Rng;

use crate::workdir::WorkDir;

/// Below Linux's range for outgoing connections (32768 and up), so that a server that is stopped
/// and started again cannot find its port taken by somebody's connection.
const RANGE: std::ops::Range<u16> = 15_000..32_000;
/// More tries than this without a free port means that something else is wrong.
const TRIES: u32 = 200;

/// One free port per purpose: the one of the last start where still free, else a fresh one.
pub(crate) fn choose(work: &WorkDir, purposes: &[&str]) -> anyhow::Result<BTreeMap<String, u16>> {
    let mut kept = work.ports();
    let mut chosen = BTreeMap::new();
    for purpose in purposes {
        let taken: BTreeSet<u16> = chosen.values().copied().collect();
        let old = kept.get(*purpose).copied();
        let port = old
            .filter(|port| !taken.contains(port) && is_free(*port))
            .map_or_else(|| fresh(&taken), Ok)?;
        chosen.insert((*purpose).to_owned(), port);
    }
    kept.extend(chosen.clone());
    work.keep_ports(&kept)?;
    Ok(chosen)
}

/// Whether something could listen there now.
pub(crate) fn is_free(port: u16) -> bool {
    TcpListener::bind(("127.0.0.1", port)).is_ok()
}

fn fresh(taken: &BTreeSet<u16>) -> anyhow::Result<u16> {
    let mut random = rand::rng();
    (0..TRIES)
        .map(|_| random.random_range(RANGE))
        .find(|port| !taken.contains(port) && is_free(*port))
        .context("found no free port on 127.0.0.1")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_distinct_kept_and_given_up_when_taken() {
        let dir = tempfile::tempdir().unwrap();
        let work = WorkDir::open(dir.path()).unwrap();
        let first = choose(&work, &["a", "b"]).unwrap();
        assert_ne!(first["a"], first["b"]);
        assert_eq!(choose(&work, &["a", "b"]).unwrap(), first);
        let _taken = TcpListener::bind(("127.0.0.1", first["a"])).unwrap();
        let second = choose(&work, &["a", "b"]).unwrap();
        assert_ne!(second["a"], first["a"]);
        assert_eq!(second["b"], first["b"]);
        assert!(second.values().all(|port| RANGE.contains(port)));
    }
}
