//! The scores of all runs of a study.

use std::fmt::Write;
use std::path::Path;

use equilibria_fusion::Head;
use serde_json::Value;

use super::statistics::{deviation, mean};
use crate::error::{Error, Result};
use crate::report::StudyRow;

/// One number that is compared.
struct Column {
    heading: String,
    /// Its key in `metrics.json`.
    key: &'static str,
    /// What it is multiplied with.
    factor: f64,
    /// Digits behind the point.
    decimals: usize,
}

/// What is compared of every run, whatever its head: heading, key and factor.
const SOLVES: [(&str, &str, f64); 3] = [
    ("evaluations", "mean_solver_steps", 1.0),
    ("unconverged %", "unconverged_fraction", 100.0),
    ("seconds", "seconds", 1.0),
];

/// The metrics of all heads, in their order, then evaluations of the solver per sample on test rows, and seconds.
pub struct Columns(Vec<Column>);

impl Columns {
    /// Those of the variants of a study.
    pub fn new<'h>(heads: impl IntoIterator<Item = &'h dyn Head>) -> Self {
        let mut columns: Vec<Column> = Vec::new();
        for metric in heads.into_iter().flat_map(|head| head.metrics()) {
            if columns.iter().all(|column| column.key != metric.key) {
                columns.push(Column {
                    heading: metric.heading(" "),
                    key: metric.key,
                    factor: 1.0,
                    decimals: if metric.percent { 2 } else { 3 },
                });
            }
        }
        columns.extend(SOLVES.map(|(heading, key, factor)| Column {
            heading: heading.to_owned(),
            key,
            factor,
            decimals: 2,
        }));
        Self(columns)
    }

    /// The headings.
    pub fn names(&self) -> Vec<&str> {
        self.0.iter().map(|column| &*column.heading).collect()
    }

    /// The numbers of a run folder with such a head; NaN for the metrics of other heads, and where one is not defined.
    pub fn read(&self, run: &Path, head: &dyn Head) -> Result<Vec<f64>> {
        let path = run.join("metrics.json");
        let text = std::fs::read_to_string(&path).map_err(Error::io(&path))?;
        let damaged = |message: String| Error::Config {
            origin: path.display().to_string(),
            message: format!("{message}; remove the run folder to run it again"),
        };
        let metrics: Value =
            serde_json::from_str(&text).map_err(|error| damaged(error.to_string()))?;
        let number = |column: &Column| {
            let solves = SOLVES.iter().any(|(_, key, _)| *key == column.key);
            let owned = head.metrics().iter().any(|metric| metric.key == column.key);
            match metrics.get(column.key) {
                None if solves || owned => Err(damaged(format!("no `{}`", column.key))),
                value => {
                    let value = value.and_then(Value::as_f64);
                    Ok(value.map_or(f64::NAN, |value| column.factor * value))
                }
            }
        };
        self.0.iter().map(number).collect()
    }
}

/// One variant.
pub struct Row {
    /// Its name.
    pub variant: String,
    /// Seed and numbers of every run.
    pub runs: Vec<(u64, Vec<f64>)>,
}

impl Row {
    /// One number of every run.
    pub fn column(&self, index: usize) -> Vec<f64> {
        self.runs
            .iter()
            .map(|(_, numbers)| numbers[index])
            .collect()
    }
}

/// All variants.
pub struct Table {
    /// What is compared.
    pub columns: Columns,
    /// In the order of the plan.
    pub rows: Vec<Row>,
}

impl Table {
    /// One line per run; what is not defined is empty.
    pub fn to_csv(&self) -> String {
        let mut csv = format!("variant,seed,{}\n", self.columns.names().join(","));
        for row in &self.rows {
            for (seed, numbers) in &row.runs {
                let cell = |number: &f64| match number.is_nan() {
                    true => String::new(),
                    false => number.to_string(),
                };
                let cells: Vec<String> = numbers.iter().map(cell).collect();
                let _ = writeln!(csv, "{},{seed},{}", row.variant, cells.join(","));
            }
        }
        csv
    }

    /// The numbers of every run, by variant and score.
    pub fn page_rows(&self) -> Vec<StudyRow> {
        let count = self.columns.names().len();
        let rows = self.rows.iter().map(|row| StudyRow {
            name: row.variant.clone(),
            values: (0..count).map(|k| row.column(k)).collect(),
        });
        rows.collect()
    }

    /// Mean ± standard deviation over the seeds of the runs that have a value; a single one has no deviation.
    pub fn to_text(&self) -> String {
        let width = self.rows.iter().map(|row| row.variant.chars().count());
        let width = width.max().unwrap_or(0).max(7);
        let mut text = format!("{:width$}", "variant");
        for name in self.columns.names() {
            let _ = write!(text, "  {name:>14}");
        }
        for row in &self.rows {
            let _ = write!(text, "\n{:width$}", row.variant);
            for (index, column) in self.columns.0.iter().enumerate() {
                let mut values = row.column(index);
                values.retain(|value| !value.is_nan());
                let cell = match values[..] {
                    [] => "–".to_owned(),
                    [value] => format!("{value:.*}", column.decimals),
                    _ => {
                        let (mean, deviation) = (mean(&values), deviation(&values));
                        format!(
                            "{mean:.*} ± {deviation:.*}",
                            column.decimals, column.decimals
                        )
                    }
                };
                let _ = write!(text, "  {cell:>14}");
            }
        }
        text
    }
}
