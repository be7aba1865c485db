//! The closing summary: what became of every campaign, and how the pace was kept.

use std::fmt::Write;
use std::time::Duration;

use super::examine::Report;

/// Two small tables.
pub(super) fn text(report: &Report) -> String {
    let mut text =
        String::from("\n  campaigns\n    sender        worker  messages  heard  status\n");
    for outcome in &report.outcomes {
        let _infallible = writeln!(
            text,
            "    {:<12}  {:>6}  {:>8}  {:>5}  {}",
            outcome.sender, outcome.worker, outcome.messages, outcome.heard, outcome.status
        );
    }
    text.push_str(
        "\n  pace, on the simulator's clock from arrival to arrival\n    \
         between two messages of   configured  smallest    median  gaps\n",
    );
    for gaps in &report.gaps {
        let _infallible = writeln!(
            text,
            "    {:<24}  {:>10}  {:>8}  {:>8}  {:>4}",
            gaps.rule,
            shown(Some(gaps.configured)),
            shown(gaps.smallest()),
            shown(gaps.median()),
            gaps.measured.len()
        );
    }
    text.push_str("\n  every recipient heard exactly one message; no gap was too short\n");
    text
}

fn shown(gap: Option<Duration>) -> String {
    gap.map_or_else(
        || "none".to_owned(),
        |gap| format!("{:.3} s", gap.as_secs_f64()),
    )
}
