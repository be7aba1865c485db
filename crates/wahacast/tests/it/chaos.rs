//! The short form of `make chaos`: one fixed seed, two minutes of load, every kind of fault once.
//! What is promised and how it is judged stands in `docs/EVIDENCE.md`.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::system::one_at_a_time;

/// Repeats the script: `wahacast chaos --seed 1 --minutes 2`.
const SEED: &str = "1";
/// Kinds of faults that a script has.
const KINDS: usize = 34;
/// Less would mean that the faults had nothing to hit.
const MESSAGES_MIN: u64 = 2_000;
/// Start, load, up to five minutes for every campaign to end, and stop.
const ENDED_WITHIN: Duration = Duration::from_secs(600);

#[tokio::test(flavor = "multi_thread")]
async fn every_promise_is_kept_under_two_minutes_of_chaos() {
    let _turn = one_at_a_time().await;
    // The servers run as users of their own, who must be able to pass.
    let open = fs::Permissions::from_mode(0o755);
    let made = tempfile::Builder::new()
        .prefix("wahacast-chaos-")
        .permissions(open)
        .tempdir();
    let mut dir = made.unwrap();
    let log = fs::File::create(dir.path().join("chaos.log")).unwrap();
    let mut chaos = Command::new(env!("CARGO_BIN_EXE_wahacast"))
        .args(["chaos", "--seed", SEED, "--minutes", "2", "--dir"])
        .arg(dir.path())
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .spawn()
        .unwrap();
    let began = Instant::now();
    let status = loop {
        if let Some(status) = chaos.try_wait().unwrap() {
            break Some(status);
        }
        if began.elapsed() > ENDED_WITHIN {
            let pid = Pid::from_raw(i32::try_from(chaos.id()).unwrap());
            kill(pid, Signal::SIGTERM).unwrap();
            chaos.wait().unwrap();
            break None;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    };
    let said = fs::read_to_string(dir.path().join("chaos.log")).unwrap();
    println!("{said}");
    if !status.is_some_and(|status| status.success()) {
        dir.disable_cleanup(true);
        panic!(
            "chaos ended with {status:?}; everything of this run stays in {}\n\
             to repeat: wahacast chaos --seed {SEED} --minutes 2",
            dir.path().display()
        );
    }
    let report = fs::read_to_string(dir.path().join("report.json")).unwrap();
    let report: Value = serde_json::from_str(&report).unwrap();
    assert!(report["messages"].as_u64() >= Some(MESSAGES_MIN), "{said}");
    let mut kinds: BTreeMap<&str, usize> = BTreeMap::new();
    for fault in report["faults"].as_array().unwrap() {
        *kinds.entry(fault["fault"].as_str().unwrap()).or_default() += 1;
    }
    assert_eq!(kinds.len(), KINDS, "{kinds:?}");
}
