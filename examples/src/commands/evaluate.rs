//! `equilibria evaluate`: the metrics of a saved model on the test rows.

use std::path::PathBuf;
use std::process::ExitCode;

use dfdx::prelude::Cpu;
use equilibria_core::{Backend, Report, Scalar};
use equilibria_fusion::checkpoint::{Checkpoint, CheckpointError};
use equilibria_fusion::data::{DataSet, MinMax};
use equilibria_fusion::train::{evaluate, Evaluation};
use equilibria_fusion::{Dtype, Experiment};

use crate::config::{self, DataArgs};
use crate::error::{Error, Result};
use crate::run_folder::write_whole;

/// Arguments of `evaluate`.
#[derive(clap::Args)]
pub struct Args {
    /// The run folder
    run: PathBuf,
    #[command(flatten)]
    data: DataArgs,
    /// Write a table of all solves to this file: equilibrium, row, status, steps, residuals
    #[arg(long, value_name = "FILE.csv")]
    report: Option<PathBuf>,
    /// Print the metrics as one JSON object on the last line
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn run(args: &Args) -> Result<ExitCode> {
    let path = args.run.join("model.safetensors");
    let saved = Checkpoint::read(&path)?;
    let origin = path.display().to_string();
    let config = metadata::<serde_json::Value>(&saved, "config", &origin)?;
    let mut experiment = config::parse(&config, &origin)?;
    let data = args.data.load(&mut experiment)?;
    let result = match experiment.dtype {
        Dtype::F32 => run_on::<f32, _>(&Cpu::default(), &experiment, &saved, &origin, data)?,
        Dtype::F64 => run_on::<f64, _>(&Cpu::default(), &experiment, &saved, &origin, data)?,
    };
    if let Some(path) = &args.report {
        write_whole(path, &solves_csv(&result.solves))?;
    }
    println!("test: {result}");
    if args.json {
        println!("{}", serde_json::json!(result));
    }
    Ok(ExitCode::SUCCESS)
}

fn run_on<E: Scalar, D: Backend<E>>(
    device: &D,
    experiment: &Experiment,
    saved: &Checkpoint,
    origin: &str,
    mut data: DataSet,
) -> Result<Evaluation> {
    let columns: Vec<usize> = metadata(saved, "columns", origin)?;
    let classes: Vec<String> = metadata(saved, "classes", origin)?;
    let found: Vec<usize> = data
        .test
        .modalities
        .iter()
        .map(|table| table.columns)
        .collect();
    if found != columns || data.classes != classes {
        return Err(Error::DataMismatch {
            what: origin.to_owned(),
            expected: format!(
                "features {columns:?} and the classes {}",
                classes.join(", ")
            ),
            got: format!(
                "features {found:?} and the classes {}",
                data.classes.join(", ")
            ),
        });
    }
    let mut model = experiment.model::<E, D>(device, &columns, classes.len())?;
    saved.load(&mut model)?;
    metadata::<MinMax>(saved, "scaling", origin)?.apply(&mut data.test)?;
    Ok(evaluate(&model, device, &data.test, classes.len())?)
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

fn metadata<T: serde::de::DeserializeOwned>(
    saved: &Checkpoint,
    key: &str,
    origin: &str,
) -> Result<T> {
    let damaged = |message: String| CheckpointError::Damaged {
        path: origin.to_owned(),
        message,
    };
    let text = saved.metadata.get(key);
    let text = text.ok_or_else(|| damaged(format!("no metadata `{key}`")))?;
    let value = serde_json::from_str(text);
    Ok(value.map_err(|error| damaged(format!("metadata `{key}`: {error}")))?)
}
