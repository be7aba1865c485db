//! What a chaos run came to, as JSON and as tables.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

use anyhow::Context;
use serde::{Deserialize, Serialize};

use super::recovery::Happened;

/// One run.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Report {
    /// What repeats the script.
    pub(crate) seed: u64,
    /// How long the load ran, in seconds.
    pub(crate) load_secs: f64,
    /// Recipients that were owed a message.
    pub(crate) messages: usize,
    /// Messages by status in the ledger.
    pub(crate) by_status: BTreeMap<String, usize>,
    /// Of numbers whose worker takes our ids: messages, and UNKNOWN among them.
    pub(crate) own_ids: [usize; 2],
    /// Of the others.
    pub(crate) other_ids: [usize; 2],
    /// Violations by rule.
    pub(crate) violations: BTreeMap<String, usize>,
    /// Status answers that were judged.
    pub(crate) looks: u64,
    /// Submissions that nobody answered.
    pub(crate) unanswered: u64,
    /// Campaigns whose counters were counted anew, and the differences found.
    pub(crate) audited: [u64; 2],
    /// Every fault.
    pub(crate) faults: Vec<Happened>,
}

impl Report {
    /// Whether every promise was kept.
    pub(crate) fn is_clean(&self) -> bool {
        self.violations.values().all(|count| *count == 0)
    }

    /// Adds another run; its seed is forgotten.
    fn absorb(&mut self, other: Self) {
        self.load_secs += other.load_secs;
        self.messages += other.messages;
        self.looks += other.looks;
        self.unanswered += other.unanswered;
        for place in 0..2 {
            self.own_ids[place] += other.own_ids[place];
            self.other_ids[place] += other.other_ids[place];
            self.audited[place] += other.audited[place];
        }
        for (status, count) in other.by_status {
            *self.by_status.entry(status).or_default() += count;
        }
        for (rule, count) in other.violations {
            *self.violations.entry(rule).or_default() += count;
        }
        self.faults.extend(other.faults);
    }

    /// For people.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        let of = |rules: &[&str]| -> usize {
            let count = |rule: &&str| self.violations.get(*rule).copied().unwrap_or(0);
            rules.iter().map(count).sum()
        };
        let rows = [
            ("messages owed", self.messages.to_string()),
            ("lost", of(&["lost"]).to_string()),
            ("heard twice", of(&["doubled"]).to_string()),
            (
                "heard and denied, or invented",
                of(&["denied", "invented"]).to_string(),
            ),
            ("R1, R2, R3 broken", of(&["R1", "R2", "R3"]).to_string()),
            (
                "conservation broken",
                of(&["conservation", "audit"]).to_string(),
            ),
            ("campaigns stuck", of(&["stuck"]).to_string()),
            ("waits without a reason", of(&["unexplained"]).to_string()),
            ("other violations", of(&["answer"]).to_string()),
            ("UNKNOWN, own ids", per_million(self.own_ids)),
            ("UNKNOWN, other ids", per_million(self.other_ids)),
            ("status answers judged", self.looks.to_string()),
            ("campaigns counted anew", self.audited[0].to_string()),
            ("submissions without an answer", self.unanswered.to_string()),
        ];
        text.push_str("| what | count |\n| --- | ---: |\n");
        for (what, count) in rows {
            let _infallible = writeln!(text, "| {what} | {count} |");
        }
        for (status, count) in &self.by_status {
            let _infallible = writeln!(text, "| {status} | {count} |");
        }
        text.push('\n');
        text.push_str(&self.faults_table());
        text
    }

    fn faults_table(&self) -> String {
        let mut kinds: BTreeMap<&str, Vec<&Happened>> = BTreeMap::new();
        for fault in &self.faults {
            kinds.entry(&fault.fault).or_default().push(fault);
        }
        let mut text = String::from(
            "| fault | times | recovery median s | worst s | longest silence median s | worst s |\n\
             | --- | ---: | ---: | ---: | ---: | ---: |\n",
        );
        for (kind, faults) in kinds {
            let (recovery, worst) = spread(faults.iter().map(|fault| fault.recovery));
            let (silence, longest) = spread(faults.iter().map(|fault| fault.silence));
            let times = faults.len();
            let _infallible = writeln!(
                text,
                "| {kind} | {times} | {recovery:.2} | {worst:.2} | {silence:.2} | {longest:.2} |"
            );
        }
        text
    }
}

/// Median and worst.
fn spread(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let mut values: Vec<_> = values.collect();
    values.sort_by(f64::total_cmp);
    let at = |place: usize| values.get(place).copied().unwrap_or(0.0);
    (at(values.len() / 2), at(values.len().saturating_sub(1)))
}

fn per_million([messages, unknown]: [usize; 2]) -> String {
    let rate = (unknown * 1_000_000).checked_div(messages).unwrap_or(0);
    format!("{unknown} of {messages} ({rate} per million)")
}

/// The sum of several reports, for people.
///
/// # Errors
/// A file is no report.
pub(crate) fn merge(files: &[impl AsRef<Path>]) -> anyhow::Result<String> {
    let mut all = Report::default();
    let mut seeds = Vec::new();
    for file in files {
        let path = file.as_ref();
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("cannot read {}", path.display()))?;
        let report: Report = serde_json::from_str(&text)
            .with_context(|| format!("{} is no report", path.display()))?;
        seeds.push(report.seed.to_string());
        all.absorb(report);
    }
    let minutes = all.load_secs / 60.0;
    let seeds = seeds.join(", ");
    Ok(format!(
        "{minutes:.0} minutes of load; seeds {seeds}\n\n{}",
        all.text()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_add_up() {
        let one = Report {
            messages: 500_000,
            own_ids: [400_000, 2],
            violations: [("doubled".to_owned(), 1)].into(),
            ..Report::default()
        };
        assert!(!one.is_clean());
        let mut all = Report::default();
        assert!(all.is_clean());
        all.absorb(one.clone());
        all.absorb(one);
        let text = all.text();
        assert!(text.contains("| messages owed | 1000000 |"), "{text}");
        assert!(text.contains("| heard twice | 2 |"), "{text}");
        assert!(text.contains("4 of 800000 (5 per million)"), "{text}");
        assert_eq!(spread([3.0, 1.0, 2.0].into_iter()), (2.0, 3.0));
    }
}
