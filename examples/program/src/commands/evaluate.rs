//! `equilibria evaluate`: the metrics of a saved model on the test rows.

use std::path::PathBuf;
use std::process::ExitCode;

use equilibria_core::{Backend, Report, Scalar};
use equilibria_fusion::data::{Digest, Rows, SplitName};
use equilibria_fusion::ranks::Ranks;
use equilibria_fusion::train::{evaluate_on, Evaluation};

use crate::config::DataArgs;
use crate::device::{DeviceArgs, Work};
use crate::error::Result;
use crate::run_folder::{self, write_whole};
use crate::saved_run::SavedRun;
use crate::terminal::print_line;

/// Arguments of `evaluate`.
#[derive(clap::Args)]
pub struct Args {
    /// The run folder
    run: PathBuf,
    #[command(flatten)]
    data: DataArgs,
    #[command(flatten)]
    device: DeviceArgs,
    /// Write a table of all solves to this file, in place of what is there: equilibrium, row, status, steps, residuals
    #[arg(long, value_name = "FILE.csv")]
    report: Option<PathBuf>,
    /// Print the metrics as one JSON object on the last line
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn run(args: &Args, ranks: &dyn Ranks) -> Result<ExitCode> {
    let mut saved = SavedRun::read(&run_folder::model(&args.run)?)?;
    args.device.choose(&mut saved.experiment)?;
    let (experiment, classes) = (&mut saved.experiment, &saved.classes);
    let data = args
        .data
        .split(experiment, (SplitName::Test, classes), &args.run)?;
    let saved = &saved;
    if !args.data.is_given() {
        let digest = || Digest::of_rows(SplitName::Test, &*data);
        saved.warn_of_changes(SplitName::Test, true, digest)?;
    }
    let result = Evaluating { saved, data, ranks }.run(&saved.experiment)?;
    if !ranks.leads() {
        return Ok(ExitCode::SUCCESS);
    }
    if let Some(path) = &args.report {
        write_whole(path, solves_csv(&result.solves))?;
    }
    print_line(format_args!("test: {result}"))?;
    if args.json {
        print_line(serde_json::json!(result))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// A saved model, to be evaluated.
struct Evaluating<'a> {
    saved: &'a SavedRun,
    data: Box<dyn Rows>,
    ranks: &'a dyn Ranks,
}

impl Work for Evaluating<'_> {
    type Output = Evaluation;

    fn on<E: Scalar, D: Backend<E>>(self, device: &D) -> Result<Evaluation> {
        let Self {
            saved,
            mut data,
            ranks,
        } = self;
        saved.check_features(data.features())?;
        let (scaling, features) = (&saved.scaling, data.features());
        (saved.experiment).check_range::<E>(scaling, SplitName::Test, features, Some(&*data))?;
        let model = saved.model::<E, D>(device)?;
        data.scale(scaling)?;
        let division = saved.division(ranks, || Digest::of_rows(SplitName::Test, &*data))?;
        let result = evaluate_on(&division, &model, device, &*data);
        Ok(result.map_err(|error| saved.explain(error, &model))?)
    }
}

/// The reports of all equilibria in one table.
fn solves_csv(solves: &[(String, Report)]) -> String {
    let mut csv = String::new();
    for (name, report) in solves {
        for (index, line) in report.to_csv().lines().enumerate() {
            match (index, csv.is_empty()) {
                (0, true) => csv += &format!("equilibrium,{line}\n"),
                (0, false) => {}
                _ => csv += &format!("{name},{line}\n"),
            }
        }
    }
    csv
}
