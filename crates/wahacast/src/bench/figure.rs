//! Figures: medians of rounds, and the limit that each stands beside. Pure.

use serde::Serialize;

/// What a figure is held against.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Target {
    /// The ratio to the limit, or the figure where there is no limit, must not be less.
    AtLeast(f64),
    /// The same must not be more.
    AtMost(f64),
    /// Shown for people; nothing is promised.
    Shown,
}

/// One line of the table.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Row {
    /// The bench, and which of its figures.
    pub(crate) name: String,
    /// What the figure counts.
    pub(crate) unit: &'static str,
    /// Median over the rounds.
    pub(crate) figure: f64,
    /// Median of the limit, measured between the same rounds.
    pub(crate) limit: Option<f64>,
    /// Median of the rounds' ratios.
    pub(crate) ratio: Option<f64>,
    /// What it is held against.
    pub(crate) target: Target,
    /// Largest less smallest round, over the median, of what is judged.
    pub(crate) spread: f64,
    /// What else there is to say.
    pub(crate) note: String,
}

/// Rounds of a figure and, between them, of its limit.
#[derive(Debug, Clone, Default)]
pub(crate) struct Rounds {
    /// One a round.
    pub(crate) figure: Vec<f64>,
    /// One a round.
    pub(crate) limit: Vec<f64>,
}

impl Rounds {
    /// Adds a round.
    pub(crate) fn push(&mut self, figure: f64, limit: f64) {
        self.figure.push(figure);
        self.limit.push(limit);
    }

    /// The line of the table. The ratio is taken within each round, because a noisy machine moves
    /// both of a pair.
    pub(crate) fn row(&self, name: impl Into<String>, unit: &'static str, target: Target) -> Row {
        let pairs = self.figure.iter().zip(&self.limit);
        let ratios: Vec<f64> = pairs.map(|(figure, limit)| figure / limit).collect();
        Row {
            name: name.into(),
            unit,
            figure: median(&self.figure),
            limit: Some(median(&self.limit)),
            ratio: Some(median(&ratios)),
            target,
            spread: spread(&ratios),
            note: String::new(),
        }
    }
}

impl Row {
    /// A figure that stands alone, by its rounds.
    pub(crate) fn alone(
        name: impl Into<String>,
        unit: &'static str,
        rounds: &[f64],
        target: Target,
    ) -> Self {
        Self {
            name: name.into(),
            unit,
            figure: median(rounds),
            limit: None,
            ratio: None,
            target,
            spread: spread(rounds),
            note: String::new(),
        }
    }

    /// The same with a note.
    pub(crate) fn noted(mut self, note: impl Into<String>) -> Self {
        self.note = note.into();
        self
    }

    /// Whether the target holds; `None` where there is none.
    pub(crate) fn holds(&self) -> Option<bool> {
        let judged = self.ratio.unwrap_or(self.figure);
        match self.target {
            Target::AtLeast(least) => Some(judged >= least),
            Target::AtMost(most) => Some(judged <= most),
            Target::Shown => None,
        }
    }
}

/// The middle one; of an even number the mean of the two in the middle; 0 of nothing.
pub(crate) fn median(values: &[f64]) -> f64 {
    let sorted = sorted(values);
    match sorted.len() {
        0 => 0.0,
        n if n % 2 == 1 => sorted[n / 2],
        n => f64::midpoint(sorted[n / 2 - 1], sorted[n / 2]),
    }
}

/// The value that a share of all are not above; 0 of nothing.
pub(crate) fn quantile(values: &[f64], share: f64) -> f64 {
    let sorted = sorted(values);
    let place = (sorted.len() as f64 * share).ceil() as usize;
    let place = place.clamp(1, sorted.len().max(1));
    sorted.get(place - 1).copied().unwrap_or_default()
}

fn spread(values: &[f64]) -> f64 {
    let sorted = sorted(values);
    let (Some(least), Some(most)) = (sorted.first(), sorted.last()) else {
        return 0.0;
    };
    let middle = median(values);
    if middle == 0.0 {
        0.0
    } else {
        (most - least) / middle
    }
}

fn sorted(values: &[f64]) -> Vec<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_and_quantiles() {
        assert_eq!(median(&[]), 0.0);
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), 2.5);
        let hundred: Vec<f64> = (1..=100).rev().map(f64::from).collect();
        assert_eq!(quantile(&hundred, 0.99), 99.0);
        assert_eq!(quantile(&hundred, 1.0), 100.0);
        assert_eq!(quantile(&[7.0], 0.5), 7.0);
        assert_eq!(quantile(&[], 0.5), 0.0);
    }

    #[test]
    fn the_ratio_is_of_pairs_not_of_medians() {
        let mut rounds = Rounds::default();
        // The machine halves its speed in the middle; the pairs do not notice.
        for speed in [1.0, 1.0, 0.5, 0.25, 0.25] {
            rounds.push(60.0 * speed, 100.0 * speed);
        }
        let row = rounds.row("send", "messages/s", Target::AtLeast(0.5));
        assert_eq!((row.ratio, row.spread), (Some(0.6), 0.0));
        assert_eq!(row.holds(), Some(true));
        let row = rounds.row("send", "messages/s", Target::AtLeast(0.61));
        assert_eq!(row.holds(), Some(false));
    }

    #[test]
    fn a_figure_alone_is_judged_by_itself() {
        let row = Row::alone("pace", "ms", &[40.0, 60.0, 50.0], Target::AtMost(50.0));
        assert_eq!((row.figure, row.holds()), (50.0, Some(true)));
        assert_eq!(row.spread, 0.4);
        assert_eq!(Row::alone("a", "b", &[1.0], Target::Shown).holds(), None);
    }
}
