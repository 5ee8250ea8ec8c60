//! `equilibria predict`: what a model says of samples, with or without targets.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::ValueEnum;
use equilibria_core::{Backend, Scalar, Status};
use equilibria_fusion::data::{Digest, Features, SplitName};
use equilibria_fusion::predict::{predict_on, Prediction};
use equilibria_fusion::ranks::Ranks;
use serde_json::Value;

use crate::config::DataArgs;
use crate::device::{DeviceArgs, Work};
use crate::error::Result;
use crate::run_folder::{self, write_whole};
use crate::saved_run::SavedRun;
use crate::terminal::print_line;

/// Arguments of `predict`.
#[derive(clap::Args)]
pub struct Args {
    /// The run folder
    run: PathBuf,
    #[command(flatten)]
    data: DataArgs,
    #[command(flatten)]
    device: DeviceArgs,
    /// The rows to predict; a folder needs no other files than theirs, and nothing to predict
    #[arg(long, value_enum, default_value_t = Rows::Test)]
    split: Rows,
    /// Write the table to this file, in place of what is there: row, prediction, probabilities of classes or labels, status, evaluations, relative residual; a name that ends in .json gets a list of JSON objects
    #[arg(long, value_name = "FILE.csv")]
    out: PathBuf,
}

/// A split, as named on the command line.
#[derive(Clone, Copy, ValueEnum)]
enum Rows {
    /// The test rows
    Test,
    /// The training rows
    Train,
}

/// Runs the command.
pub fn run(args: &Args, ranks: &dyn Ranks) -> Result<ExitCode> {
    let mut saved = SavedRun::read(&run_folder::model(&args.run)?)?;
    args.device.choose(&mut saved.experiment)?;
    let part = match args.split {
        Rows::Test => SplitName::Test,
        Rows::Train => SplitName::Train,
    };
    let modalities = args.data.features(&mut saved.experiment, part, &args.out)?;
    if !args.data.is_given() {
        let digest = || Digest::of_features(part, &*modalities);
        saved.warn_of_changes(part, false, digest)?;
    }
    let predicting = Predicting {
        saved: &saved,
        part,
        modalities,
        ranks,
    };
    let prediction = predicting.run(&saved.experiment)?;
    if !ranks.leads() {
        return Ok(ExitCode::SUCCESS);
    }
    let outcomes: Vec<RowSolve> = (0..prediction.outputs.len())
        .map(|row| RowSolve::of(&prediction, row))
        .collect();
    let lines = Lines::new(&saved, &prediction, &outcomes);
    let json = args
        .out
        .extension()
        .is_some_and(|ending| ending.eq_ignore_ascii_case("json"));
    let text = if json {
        lines.to_json()
    } else {
        lines.to_csv()
    };
    write_whole(&args.out, text)?;
    let unsolved =
        |outcome: &&RowSolve| matches!(outcome.status, Some(status) if status != Status::Converged);
    print_line(format_args!(
        "{} rows, {} of them not converged; {}",
        outcomes.len(),
        outcomes.iter().filter(unsolved).count(),
        args.out.display()
    ))?;
    Ok(ExitCode::SUCCESS)
}

/// Rows to be predicted by a saved model.
struct Predicting<'a> {
    saved: &'a SavedRun,
    part: SplitName,
    modalities: Box<dyn Features>,
    ranks: &'a dyn Ranks,
}

impl Work for Predicting<'_> {
    type Output = Prediction;

    fn on<E: Scalar, D: Backend<E>>(self, device: &D) -> Result<Prediction> {
        let Self {
            saved,
            part,
            mut modalities,
            ranks,
        } = self;
        saved.check_features(&*modalities)?;
        (saved.experiment).check_range::<E>(&saved.scaling, part, &*modalities, None)?;
        let model = saved.model::<E, D>(device)?;
        modalities.scale(&saved.scaling)?;
        let division = saved.division(ranks, || Digest::of_features(part, &*modalities))?;
        let result = predict_on(&division, &model, device, &*modalities);
        Ok(result.map_err(|error| saved.explain(error, &model))?)
    }
}

/// How the equilibria of one row were found.
struct RowSolve {
    /// `converged` if all have; else of the one among the others with the largest relative residual. `None` if the model
    /// has no equilibria.
    status: Option<Status>,
    /// Evaluations and products, summed over equilibria.
    evaluations: usize,
    /// The largest.
    relative_residual: f64,
}

impl RowSolve {
    fn of(prediction: &Prediction, row: usize) -> Self {
        let solves = prediction.solves_of(row);
        let worst = solves.worst();
        let unconverged = solves.worst_unconverged();
        Self {
            status: unconverged.or(worst).map(|(_, solve)| solve.status),
            evaluations: solves.evaluations(),
            relative_residual: worst.map_or(0.0, |(_, solve)| solve.relative_residual),
        }
    }
}

/// What is written: a line per row, or several for what a head says several things of. Rows are counted from 1.
struct Lines {
    /// Whether names are predicted.
    named: bool,
    columns: Vec<String>,
    lines: Vec<Vec<String>>,
}

impl Lines {
    /// What a model without equilibria has none of is empty.
    fn new(saved: &SavedRun, prediction: &Prediction, outcomes: &[RowSolve]) -> Self {
        let (head, classes) = (saved.head(), &saved.classes);
        let behind = ["status", "evaluations", "relative_residual"].map(str::to_owned);
        let mut lines = Vec::new();
        for (row, (outputs, outcome)) in prediction.outputs.iter().zip(outcomes).enumerate() {
            let solved = match outcome.status {
                Some(status) => [
                    status.to_string(),
                    outcome.evaluations.to_string(),
                    outcome.relative_residual.to_string(),
                ],
                None => [const { String::new() }; 3],
            };
            for cells in head.predict(outputs, classes) {
                lines.push([&[(row + 1).to_string()], &cells[..], &solved].concat());
            }
        }
        Self {
            named: !classes.is_empty(),
            columns: [&["row".to_owned()], &head.columns(classes)[..], &behind].concat(),
            lines,
        }
    }

    fn to_csv(&self) -> String {
        let line = |cells: &Vec<String>| {
            let cells: Vec<String> = cells.iter().map(|cell| quoted(cell)).collect();
            cells.join(",") + "\n"
        };
        std::iter::once(&self.columns)
            .chain(&self.lines)
            .map(line)
            .collect()
    }

    /// A list with a table for each line; numbers are numbers, and what there is none of is null.
    fn to_json(&self) -> String {
        let value = |(name, cell): (&String, &String)| {
            let said = name == "predicted";
            let number = match said && self.named {
                true => None,
                false => cell.parse().ok().map(Value::Number),
            };
            let value = match number {
                Some(number) => number,
                None if cell.is_empty() && !said => Value::Null,
                None => Value::String(cell.clone()),
            };
            (name.clone(), value)
        };
        let line = |cells: &Vec<String>| {
            let entries = self.columns.iter().zip(cells).map(value);
            Value::Object(entries.collect())
        };
        let lines: Vec<Value> = self.lines.iter().map(line).collect();
        format!("{:#}\n", Value::Array(lines))
    }
}

/// A cell, in quotes where commas or quotes would break it (RFC 4180).
fn quoted(text: &str) -> String {
    if text.contains([',', '"']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text.to_owned()
    }
}
