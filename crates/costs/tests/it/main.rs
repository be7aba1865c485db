//! Holds the instruction counts of the hot pure functions against bounds.
//!
//! Counts do not depend on how busy the machine is, so a bound can be narrow: what is measured
//! and about an eighth. After a change that is worth its cost, run
//! `cargo test -p costs -- --nocapture` and put the printed count, with that head-room, below.
#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};

/// At most so many instructions a round, on x86-64 with this workspace's dev profile.
const BOUNDS: &[(&str, u64)] = &[
    ("lane_alone", 4_300),
    ("lane_100_waiting", 11_200),
    ("lane_10000_waiting", 14_000),
    ("lane_100_idle", 4_400),
    ("lane_10000_idle", 4_700),
    ("placement_100", 11_000),
    ("judge_accepted", 280),
    ("judge_refused", 460),
    ("answer_accepted", 6_200),
    ("answer_refused", 9_800),
    ("template", 1_600),
    ("phone", 1_450),
    ("webhook_ack", 54_000),
    ("webhook_plain_ack", 12_500),
    ("send_body", 5_300),
];

/// What is counted, as callgrind names it.
const REGION: &str = "costs::costs_measured_region";

/// The counts are of this instruction set; another one has others.
const BOUNDED: bool = cfg!(target_arch = "x86_64");

/// Counts every case once, in one run of valgrind.
fn counted() -> BTreeMap<String, u64> {
    let dir = tempfile::tempdir().unwrap();
    let run = Command::new("valgrind")
        .args(["--tool=callgrind", "--collect-atstart=no"])
        // One dump a case: it ends with its region.
        .arg(format!("--toggle-collect={REGION}"))
        .arg(format!("--dump-after={REGION}"))
        .arg(format!("--callgrind-out-file={}", dir.path().join("out").display()))
        .arg(env!("CARGO_BIN_EXE_costs"))
        .stdin(Stdio::null())
        .output();
    let run = run.unwrap_or_else(|cause| {
        panic!(
            "valgrind cannot be run ({cause}): `make test` installs it where it may, otherwise \
             `apt-get install valgrind` as root"
        )
    });
    let said = String::from_utf8_lossy(&run.stderr);
    assert!(
        run.status.success(),
        "valgrind failed ({}): {said}",
        run.status
    );
    let listed = String::from_utf8(run.stdout).unwrap();
    let per_round = (1..).zip(listed.lines()).map(|(number, line)| {
        let (name, rounds) = line.split_once(' ').unwrap();
        let total = total(&dir.path().join(format!("out.{number}")));
        (name.to_owned(), total / rounds.parse::<u64>().unwrap())
    });
    per_round.collect()
}

/// The instructions of one dump.
fn total(dump: &Path) -> u64 {
    let text = std::fs::read_to_string(dump);
    let text = text.unwrap_or_else(|cause| panic!("callgrind did not find {REGION}: {cause}"));
    let total = text.lines().find_map(|line| line.strip_prefix("totals: "));
    total.unwrap().trim().parse().unwrap()
}

#[test]
fn hot_functions_cost_no_more_than_they_did() {
    let counts = counted();
    let mut faults = Vec::new();
    for (name, count) in &counts {
        println!("{name:20} {count:>9} instructions a round");
        let bound = BOUNDS.iter().find(|(known, _)| known == name);
        match bound {
            None => faults.push(format!("{name} has no bound")),
            Some((_, bound)) if BOUNDED && count > bound => {
                faults.push(format!(
                    "{name} costs {count} instructions, at most {bound} are allowed"
                ));
            }
            Some(_) => {}
        }
    }
    let gone = BOUNDS
        .iter()
        .filter(|(name, _)| !counts.contains_key(*name));
    faults.extend(gone.map(|(name, _)| format!("{name} is bounded and not measured")));
    // Others on the lane, whether they wait or have nothing to say, cost nothing but deeper trees.
    for (few, many) in [
        ("lane_alone", "lane_10000_idle"),
        ("lane_100_waiting", "lane_10000_waiting"),
    ] {
        let (few, many) = (counts[few], counts[many]);
        if many > few + few / 2 {
            faults.push(format!("10,000 speakers make {few} instructions {many}"));
        }
    }
    assert!(
        faults.is_empty(),
        "{faults:#?}\nhow to measure anew stands in the head of this file"
    );
}
