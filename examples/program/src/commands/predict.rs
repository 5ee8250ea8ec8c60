//! `equilibria predict`: what a model says of samples, with or without targets.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::ValueEnum;
use equilibria_core::{Backend, Scalar, Status};
use equilibria_fusion::data::{SplitName, Table};
use equilibria_fusion::predict::{predict, Prediction};

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
    /// Write the table to this file, in place of what is there: row, prediction, probabilities of classes or labels, status, evaluations, relative residual
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
pub fn run(args: &Args) -> Result<ExitCode> {
    let mut saved = SavedRun::read(&run_folder::model(&args.run)?)?;
    args.device.choose(&mut saved.experiment)?;
    let part = match args.split {
        Rows::Test => SplitName::Test,
        Rows::Train => SplitName::Train,
    };
    let modalities = args.data.features(&mut saved.experiment, part)?;
    if !args.data.is_given() {
        saved.warn_of_changes(part, &modalities, None);
    }
    let predicting = Predicting {
        saved: &saved,
        part,
        modalities,
    };
    let prediction = predicting.run(&saved.experiment)?;
    let outcomes: Vec<RowSolve> = (0..prediction.outputs.len())
        .map(|row| RowSolve::of(&prediction, row))
        .collect();
    write_whole(&args.out, table(&saved, &prediction, &outcomes))?;
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
    modalities: Vec<Table>,
}

impl Work for Predicting<'_> {
    type Output = Prediction;

    fn on<E: Scalar, D: Backend<E>>(self, device: &D) -> Result<Prediction> {
        let Self {
            saved,
            part,
            mut modalities,
        } = self;
        saved.check_features(&modalities)?;
        (saved.experiment).check_range::<E>(&saved.scaling, part, &modalities, None)?;
        let model = saved.model::<E, D>(device)?;
        saved.scaling.scale(&mut modalities)?;
        let result = predict(&model, device, &modalities);
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

/// One line per row, counted from 1; what a model without equilibria has none of is empty.
fn table(saved: &SavedRun, prediction: &Prediction, outcomes: &[RowSolve]) -> String {
    let (head, classes) = (saved.head(), &saved.classes);
    let line = |cells: Vec<String>| cells.iter().map(|cell| quoted(cell)).collect::<Vec<_>>();
    let mut csv = format!(
        "row,{},status,evaluations,relative_residual\n",
        line(head.columns(classes)).join(",")
    );
    for (row, (outputs, outcome)) in prediction.outputs.iter().zip(outcomes).enumerate() {
        let cells = line(head.predict(outputs, classes)).join(",");
        let outcome = match outcome.status {
            Some(status) => format!(
                "{status},{},{}",
                outcome.evaluations, outcome.relative_residual
            ),
            None => ",,".to_owned(),
        };
        csv += &format!("{},{cells},{outcome}\n", row + 1);
    }
    csv
}

/// A cell, in quotes where commas or quotes would break it (RFC 4180).
fn quoted(text: &str) -> String {
    if text.contains([',', '"']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text.to_owned()
    }
}
