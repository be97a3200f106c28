//! One figure: what was asked, what was measured, whether it holds. As data, so that report and plots can be made
//! anew without measuring anew.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::machine::Machine;

/// All that is known.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Results {
    pub(crate) figures: Vec<Figure>,
}

/// What one run showed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Figure {
    pub(crate) name: String,
    pub(crate) title: String,
    /// What was done.
    pub(crate) run: String,
    pub(crate) machine: Machine,
    /// Whether the numbers were those of a quick check.
    pub(crate) quick: bool,
    pub(crate) rows: Vec<Row>,
    /// What the plots show.
    pub(crate) data: Value,
}

/// One line of a figure's table.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Row {
    pub(crate) what: String,
    /// What was asked for; empty where it is for information.
    pub(crate) asked: String,
    pub(crate) measured: String,
    pub(crate) holds: Option<bool>,
}

impl Figure {
    pub(crate) fn holds(&self) -> bool {
        self.rows.iter().all(|row| row.holds.unwrap_or(true))
    }
}

impl Row {
    /// What was measured beside what was asked for.
    pub(crate) fn check(what: &str, asked: &str, measured: String, holds: bool) -> Self {
        Self { what: what.to_owned(), asked: asked.to_owned(), measured, holds: Some(holds) }
    }

    /// A count that must be nothing.
    pub(crate) fn none(what: &str, count: usize, of: usize) -> Self {
        Self::check(what, "0", format!("{count} of {of}"), count == 0 && of > 0)
    }

    /// What nobody asked for.
    pub(crate) fn note(what: &str, measured: String) -> Self {
        Self { what: what.to_owned(), asked: String::new(), measured, holds: None }
    }
}

impl Results {
    /// Takes in a figure, in the place of an older one of this name.
    pub(crate) fn put(&mut self, figure: Figure) {
        match self.figures.iter_mut().find(|known| known.name == figure.name) {
            Some(known) => *known = figure,
            None => self.figures.push(figure),
        }
    }

    pub(crate) fn figure(&self, name: &str) -> Option<&Figure> {
        self.figures.iter().find(|figure| figure.name == name)
    }
}

/// The value in the middle; of two in the middle, the upper one.
pub(crate) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}

/// The greatest of these.
pub(crate) fn most(values: &[f64]) -> f64 {
    values.iter().copied().fold(f64::NAN, f64::max)
}

/// `median 0.12, at most 0.34`.
pub(crate) fn spread(values: &[f64], unit: &str) -> String {
    format!("median {:.2}{unit}, at most {:.2}{unit}", median(values), most(values))
}
