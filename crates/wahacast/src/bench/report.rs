//! What a run says: a table for people, `bench.json` for programs, a plot for each curve.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::anyhow;
use plotters::prelude::*;
use serde::Serialize;

use super::figure::{Row, Target};
use crate::workdir::write_private;

/// How a cost moves with a size.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Curve {
    /// File name and title.
    pub(crate) name: &'static str,
    /// What grows.
    pub(crate) size: &'static str,
    /// What it costs.
    pub(crate) cost: &'static str,
    /// By label: sizes and costs.
    pub(crate) lines: Vec<(String, Vec<(f64, f64)>)>,
}

/// All that was measured.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Report {
    /// The machine and the build, as far as figures depend on them.
    pub(crate) machine: Vec<(String, String)>,
    /// The table.
    pub(crate) rows: Vec<Row>,
    /// The plots.
    pub(crate) curves: Vec<Curve>,
    /// Benches that could not be measured, and why.
    pub(crate) failed: Vec<(String, String)>,
}

impl Report {
    /// Writes all of it into `dir`.
    ///
    /// # Errors
    /// A file cannot be written, or a curve cannot be drawn.
    pub(crate) fn keep(&self, dir: &Path) -> anyhow::Result<()> {
        write_private(
            &dir.join("bench.json"),
            &serde_json::to_string_pretty(self)?,
        )?;
        for curve in &self.curves {
            draw(curve, &dir.join(format!("{}.svg", curve.name)))
                .map_err(|cause| anyhow!("{} cannot be drawn: {cause}", curve.name))?;
        }
        Ok(())
    }

    /// The table.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        let head = ["figure", "", "limit", "ratio", "target", "spread"];
        let line = |name: &str, cells: [&str; 6]| {
            let [figure, unit, limit, ratio, target, spread] = cells;
            format!(
                "{name:<34} {figure:>11} {unit:<13} {limit:>11} {ratio:>6} {target:>9} {spread:>7}"
            )
        };
        let _in_memory = writeln!(text, "{}", line("bench", head));
        for row in &self.rows {
            let limit = row.limit.map(number).unwrap_or_default();
            let ratio = row.ratio.map(|r| format!("{r:.2}")).unwrap_or_default();
            let cells = [
                &number(row.figure),
                row.unit,
                &limit,
                &ratio,
                &target(row),
                &format!("{:.0} %", 100.0 * row.spread),
            ];
            let _in_memory = writeln!(text, "{}", line(&row.name, cells).trim_end());
            if !row.note.is_empty() {
                let _in_memory = writeln!(text, "    {}", row.note);
            }
        }
        for (name, why) in &self.failed {
            let _in_memory = writeln!(text, "{name}: not measured: {why}");
        }
        text
    }
}

fn target(row: &Row) -> String {
    let mark = match row.holds() {
        Some(true) => "ok ",
        Some(false) => "MISSED ",
        None => "",
    };
    match row.target {
        Target::AtLeast(least) => format!("{mark}>= {least}"),
        Target::AtMost(most) => format!("{mark}<= {most}"),
        Target::Shown => String::new(),
    }
}

/// Three digits that matter, thousands apart.
fn number(value: f64) -> String {
    let digits = match value.abs() {
        v if v >= 100.0 => 0,
        v if v >= 10.0 => 1,
        _ => 3,
    };
    let text = format!("{value:.digits$}");
    let (whole, rest) = text.split_once('.').unwrap_or((&text, ""));
    let grouped = grouped(whole);
    if rest.is_empty() {
        grouped
    } else {
        format!("{grouped}.{rest}")
    }
}

/// How many there are of something, thousands apart.
pub(crate) fn count(many: usize) -> String {
    grouped(&many.to_string())
}

fn grouped(whole: &str) -> String {
    let mut grouped = String::new();
    for (place, digit) in whole.chars().enumerate() {
        if place > 0 && (whole.len() - place).is_multiple_of(3) && digit.is_ascii_digit() {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// A plot with a logarithmic axis of sizes: what does not grow is level.
fn draw(curve: &Curve, path: &PathBuf) -> Result<(), Box<dyn std::error::Error>> {
    let points = || curve.lines.iter().flat_map(|(_, points)| points);
    let least = points().map(|(size, _)| *size).fold(f64::MAX, f64::min);
    let most = points().map(|(size, _)| *size).fold(1.0, f64::max);
    let top = points().map(|(_, cost)| *cost).fold(0.0, f64::max);
    let root = SVGBackend::new(path, (720, 440)).into_drawing_area();
    root.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&root)
        .caption(curve.name, ("sans-serif", 20))
        .margin(12)
        .x_label_area_size(40)
        .y_label_area_size(64)
        .build_cartesian_2d((least.max(1.0)..most * 1.1).log_scale(), 0.0..top * 1.2)?;
    chart
        .configure_mesh()
        .x_desc(curve.size)
        .y_desc(curve.cost)
        .draw()?;
    for (place, (label, points)) in curve.lines.iter().enumerate() {
        let color = Palette99::pick(place).to_rgba();
        chart
            .draw_series(
                LineSeries::new(points.iter().copied(), color.stroke_width(2)).point_size(3),
            )?
            .label(label)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], color));
    }
    chart
        .configure_series_labels()
        .background_style(WHITE)
        .border_style(BLACK)
        .draw()?;
    root.present()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_at_a_glance() {
        let texts = [0.0123, 9.5, 12.34, 999.6, 1_234_567.0].map(number);
        assert_eq!(texts, ["0.012", "9.500", "12.3", "1,000", "1,234,567"]);
        assert_eq!([92, 100_000_000].map(count), ["92", "100,000,000"]);
    }

    #[test]
    fn a_report_is_kept_with_its_plots() {
        let dir = tempfile::tempdir().unwrap();
        let report = Report {
            rows: vec![Row::alone(
                "send",
                "messages/s",
                &[1.0],
                Target::AtLeast(2.0),
            )],
            curves: vec![Curve {
                name: "place",
                size: "workers",
                cost: "ms",
                lines: vec![("p99".to_owned(), vec![(1e3, 0.4), (1e6, 0.5)])],
            }],
            ..Report::default()
        };
        report.keep(dir.path()).unwrap();
        assert!(report.text().contains("MISSED >= 2"), "{}", report.text());
        let plot = std::fs::read_to_string(dir.path().join("place.svg")).unwrap();
        assert!(plot.contains("workers"), "{plot}");
        let json = std::fs::read_to_string(dir.path().join("bench.json")).unwrap();
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(json["rows"][0]["name"], "send");
    }
}
