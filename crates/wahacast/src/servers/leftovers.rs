//! Stops what a killed `wahacast` has left running.
//!
//! A process id alone proves nothing: ids are reused. A note therefore also holds the boot and
//! the start time of the process, and only one that matches both is touched.

use std::fs;
use std::path::Path;
use std::time::Duration;

use nix::sys::signal::Signal;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep};

use crate::process::signal_group;

/// What a leftover may take to stop before it is killed; RabbitMQ with plugins needs 6 to 8 s.
const GRACE: Duration = Duration::from_secs(12);

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Note {
    pid: i32,
    /// Clock ticks between boot and the start of the process.
    started: u64,
    boot: String,
}

/// Writes down which processes are ours.
pub(crate) fn note(file: &Path, pids: impl Iterator<Item = i32>) -> anyhow::Result<()> {
    let notes: Vec<Note> = pids.filter_map(identify).collect();
    crate::workdir::write_private(file, &serde_json::to_string(&notes)?)
}

/// Stops every process that `file` names and that is still the same process.
/// Says how many there were.
pub(crate) async fn stop_noted(file: &Path) -> usize {
    let text = fs::read_to_string(file).unwrap_or_default();
    let notes: Vec<Note> = serde_json::from_str(&text).unwrap_or_default();
    let found: Vec<Note> = notes.into_iter().filter(is_same).collect();
    for note in &found {
        signal_group(note.pid, polite_signal(note.pid));
    }
    let started = Instant::now();
    while found.iter().any(is_same) && started.elapsed() < GRACE {
        sleep(Duration::from_millis(50)).await;
    }
    for note in found.iter().filter(|note| is_same(note)) {
        signal_group(note.pid, Signal::SIGKILL);
    }
    while found.iter().any(is_same) && started.elapsed() < 2 * GRACE {
        sleep(Duration::from_millis(50)).await;
    }
    found.len()
}

/// PostgreSQL takes SIGTERM as "when all clients have left"; SIGINT is its "now, cleanly".
fn polite_signal(pid: i32) -> Signal {
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    if name.trim() == "postgres" {
        Signal::SIGINT
    } else {
        Signal::SIGTERM
    }
}

fn is_same(note: &Note) -> bool {
    identify(note.pid).as_ref() == Some(note)
}

/// `None` when there is no such process or it has ended and only waits to be collected.
fn identify(pid: i32) -> Option<Note> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let (state, started) = state_and_start(&stat)?;
    (state != "Z").then(|| Note {
        pid,
        started,
        boot: boot.trim().to_owned(),
    })
}

/// Fields 3 and 22 of `/proc/PID/stat` (proc(5)); field 2, a name in parentheses, may hold blanks.
fn state_and_start(stat: &str) -> Option<(&str, u64)> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?;
    Some((state, fields.nth(18)?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stat_is_read_past_odd_names() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 4242 9 9";
        assert_eq!(state_and_start(stat), Some(("S", 4242)));
        assert_eq!(state_and_start("7 (x"), None);
    }

    #[test]
    fn only_the_same_process_counts() {
        let own = identify(std::process::id().try_into().unwrap()).unwrap();
        assert!(is_same(&own));
        assert!(!is_same(&Note {
            started: own.started + 1,
            ..own.clone()
        }));
        assert!(!is_same(&Note {
            boot: "another".to_owned(),
            ..own
        }));
    }

    #[tokio::test]
    async fn a_leftover_is_stopped_and_others_are_not() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("pids.json");
        let mut child = tokio::process::Command::new("sleep")
            .arg("60")
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let pid: i32 = child.id().unwrap().try_into().unwrap();
        note(&file, std::iter::once(pid)).unwrap();
        let (found, status) = tokio::join!(stop_noted(&file), child.wait());
        assert_eq!(found, 1);
        assert!(!status.unwrap().success());
        assert_eq!(stop_noted(&file).await, 0);
    }
}
