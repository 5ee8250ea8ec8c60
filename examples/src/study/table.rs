//! The scores of all runs of a study.

use std::fmt::Write;
use std::path::Path;

use serde::Deserialize;

use super::statistics::{deviation, mean};
use crate::error::{Error, Result};
use crate::report::StudyRow;

/// What is compared: `metrics.json` of a run.
#[derive(Debug, Clone, Deserialize)]
pub struct Scores {
    accuracy: f64,
    weighted_f1: f64,
    macro_f1: f64,
    mean_solver_steps: f64,
    unconverged_fraction: f64,
    seconds: f64,
}

impl Scores {
    /// Headings of [`numbers`](Self::numbers).
    pub const NAMES: [&'static str; 6] = [
        "accuracy %",
        "weighted F1 %",
        "macro F1 %",
        "evaluations",
        "unconverged %",
        "seconds",
    ];

    /// Reads those of a run folder.
    pub fn read(run: &Path) -> Result<Self> {
        let path = run.join("metrics.json");
        let text = std::fs::read_to_string(&path).map_err(Error::io(&path))?;
        serde_json::from_str(&text).map_err(|error| Error::Config {
            origin: path.display().to_string(),
            message: format!("{error}; remove the run folder to run it again"),
        })
    }

    /// All numbers; evaluations are those of the solver per sample, on test rows.
    pub fn numbers(&self) -> [f64; 6] {
        [
            self.accuracy,
            self.weighted_f1,
            self.macro_f1,
            self.mean_solver_steps,
            100.0 * self.unconverged_fraction,
            self.seconds,
        ]
    }
}

/// One variant.
pub struct Row {
    /// Its name.
    pub variant: String,
    /// Seed and scores of every run.
    pub runs: Vec<(u64, Scores)>,
}

impl Row {
    /// One score of every run.
    pub fn column(&self, index: usize) -> Vec<f64> {
        self.runs
            .iter()
            .map(|(_, scores)| scores.numbers()[index])
            .collect()
    }
}

/// All variants.
#[derive(Default)]
pub struct Table {
    /// In the order of the plan.
    pub rows: Vec<Row>,
}

impl Table {
    /// One line per run.
    pub fn to_csv(&self) -> String {
        let mut csv = format!("variant,seed,{}\n", Scores::NAMES.join(","));
        for row in &self.rows {
            for (seed, scores) in &row.runs {
                let numbers = scores.numbers().map(|number| number.to_string());
                let _ = writeln!(csv, "{},{seed},{}", row.variant, numbers.join(","));
            }
        }
        csv
    }

    /// The numbers of every run, by variant and score.
    pub fn page_rows(&self) -> Vec<StudyRow> {
        let columns = |row: &Row| (0..Scores::NAMES.len()).map(|k| row.column(k)).collect();
        let rows = self.rows.iter().map(|row| StudyRow {
            name: row.variant.clone(),
            values: columns(row),
        });
        rows.collect()
    }

    /// Mean ± standard deviation over the seeds.
    pub fn to_text(&self) -> String {
        let width = self.rows.iter().map(|row| row.variant.chars().count());
        let width = width.max().unwrap_or(0).max(7);
        let mut text = format!("{:width$}", "variant");
        for name in Scores::NAMES {
            let _ = write!(text, "  {name:>14}");
        }
        for row in &self.rows {
            let _ = write!(text, "\n{:width$}", row.variant);
            for index in 0..Scores::NAMES.len() {
                let values = row.column(index);
                let cell = format!("{:.2} ± {:.2}", mean(&values), deviation(&values));
                let _ = write!(text, "  {cell:>14}");
            }
        }
        text
    }
}
