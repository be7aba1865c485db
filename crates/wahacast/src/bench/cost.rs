//! What processes use: CPU time and memory, from `/proc`.

use std::collections::BTreeMap;
use std::fs;

use super::stage::Stage;

/// Ticks a second of `/proc/PID/stat`; fixed in Linux's interface to programs.
const TICKS: f64 = 100.0;

/// The role of this process.
const LOAD: &str = "load";

/// CPU seconds used so far, by role.
#[derive(Debug, Clone, Default)]
pub(crate) struct Cpu(BTreeMap<String, f64>);

impl Cpu {
    /// Of every process of a stage, where what one has started counts as its own, and of this one,
    /// which makes the load.
    pub(crate) fn of(stage: &Stage) -> Self {
        let all = processes();
        let mut used: BTreeMap<String, f64> = BTreeMap::new();
        for (role, pid) in stage.processes() {
            *used.entry(role).or_default() += tree(&all, pid);
        }
        let own = i32::try_from(std::process::id()).ok();
        let own = own.and_then(|pid| all.get(&pid));
        used.insert(LOAD.to_owned(), own.map_or(0.0, |(_, seconds)| *seconds));
        Self(used)
    }

    /// Seconds by role since `earlier`.
    pub(crate) fn since(&self, earlier: &Self) -> BTreeMap<String, f64> {
        let before = |role: &String| earlier.0.get(role).copied().unwrap_or_default();
        let used = self.0.iter();
        used.map(|(role, now)| (role.clone(), now - before(role)))
            .collect()
    }
}

/// Adds what one span used to what others did.
pub(crate) fn add(sum: &mut BTreeMap<String, f64>, span: &BTreeMap<String, f64>) {
    for (role, seconds) in span {
        *sum.entry(role.clone()).or_default() += seconds;
    }
}

/// CPU microseconds a unit, by role, as one line.
pub(crate) fn per_unit(used: &BTreeMap<String, f64>, units: f64) -> String {
    let micros = |seconds: &f64| seconds * 1e6 / units;
    let parts = used.iter().filter(|(_, seconds)| micros(seconds) >= 0.05);
    let parts: Vec<_> = parts
        .map(|(role, seconds)| format!("{role} {:.1}", micros(seconds)))
        .collect();
    format!("CPU us each: {}", parts.join(", "))
}

/// Resident memory of a process in bytes.
pub(crate) fn memory(pid: i32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|rest| rest.split_whitespace().next());
    kib.and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0) * 1024
}

/// Process ids with their parents and the CPU seconds of each and of its ended children.
fn processes() -> BTreeMap<i32, (i32, f64)> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let found = pids.filter_map(|pid: i32| {
        let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        Some((pid, stat(&text)?))
    });
    found.collect()
}

/// Parent and CPU seconds of a line of `/proc/PID/stat`; the name may hold anything but the last
/// parenthesis.
fn stat(text: &str) -> Option<(i32, f64)> {
    let (_, rest) = text.rsplit_once(')')?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let parent = fields.get(1)?.parse().ok()?;
    let ticks: f64 = fields
        .get(11..15)?
        .iter()
        .filter_map(|t| t.parse::<f64>().ok())
        .sum();
    Some((parent, ticks / TICKS))
}

fn tree(all: &BTreeMap<i32, (i32, f64)>, root: i32) -> f64 {
    let own = all.get(&root).map_or(0.0, |(_, seconds)| *seconds);
    let children = all.iter().filter(|(_, (parent, _))| *parent == root);
    own + children.map(|(pid, _)| tree(all, *pid)).sum::<f64>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_stat_is_read_whatever_the_name() {
        let text = "42 (a) b) S 7 42 42 0 -1 4194560 1 0 0 0 150 50 20 30 20 0 1 0 1 1";
        assert_eq!(stat(text), Some((7, 2.5)));
        assert_eq!(stat("nonsense"), None);
    }

    #[test]
    fn children_count_as_their_parents() {
        let all = BTreeMap::from([(1, (0, 1.0)), (2, (1, 2.0)), (3, (2, 4.0)), (4, (0, 8.0))]);
        assert_eq!(tree(&all, 1), 7.0);
    }

    #[test]
    fn this_process_has_memory() {
        let own = i32::try_from(std::process::id()).unwrap();
        assert!(memory(own) > 100_000);
    }
}
