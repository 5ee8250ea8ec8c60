//! `equilibria train`: trains a model and writes a run folder.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use dfdx::prelude::Cpu;
use equilibria_core::{Backend, Scalar};
use equilibria_fusion::checkpoint::{self, Metadata};
use equilibria_fusion::data::{stratified_holdout, DataSet, MinMax};
use equilibria_fusion::train::{evaluate, Epoch, Evaluation, Trainer};
use equilibria_fusion::{Dtype, Experiment};
use indicatif::{ProgressBar, ProgressStyle};

use crate::config::{self, DataArgs};
use crate::error::{Error, Result};
use crate::run_folder::RunFolder;

/// Arguments of `train`.
#[derive(clap::Args)]
pub struct Args {
    /// The configuration, a TOML file
    config: PathBuf,
    #[command(flatten)]
    data: DataArgs,
    /// The run folder to write [default: a new one under runs/]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Replace the run folder if it exists
    #[arg(long)]
    force: bool,
    /// Seed of initialization, validation rows, batches, dropout and probes
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Change one value of the configuration, e.g. `fusion.solver.memory=4`
    #[arg(long = "set", value_name = "KEY.PATH=VALUE")]
    overrides: Vec<String>,
    /// Print the metrics as one JSON object on the last line
    #[arg(long)]
    json: bool,
}

/// What a run achieved: `metrics.json`.
#[derive(serde::Serialize)]
struct Summary {
    /// On the test rows.
    #[serde(flatten)]
    test: Evaluation,
    epochs: usize,
    best_epoch: usize,
    seconds: f64,
    seed: u64,
    training_unconverged_fraction: f64,
    adjoint_unconverged_fraction: f64,
}

/// Runs the command.
pub fn run(args: &Args) -> Result<ExitCode> {
    let mut experiment = config::read(&args.config, &args.overrides)?;
    if let Some(seed) = args.seed {
        experiment.seed = seed;
    }
    let data = args.data.load(&mut experiment)?;
    let name = args
        .config
        .file_stem()
        .map_or("run".into(), |stem| stem.to_string_lossy());
    let folder = RunFolder::prepare(args.out.as_deref(), &name, args.force)?;
    let summary = match experiment.dtype {
        Dtype::F32 => run_on::<f32, _>(&Cpu::default(), &experiment, data, &folder),
        Dtype::F64 => run_on::<f64, _>(&Cpu::default(), &experiment, data, &folder),
    };
    let place = match &summary {
        Err(_) if !folder.has("model.safetensors") => None,
        _ => Some(folder.finish()?),
    };
    let summary = summary.inspect_err(|_| {
        if let Some(place) = &place {
            eprintln!("the trained model is in {}", place.display());
        }
    })?;
    println!(
        "test: {}; {:.1} s; run folder {}",
        summary.test,
        summary.seconds,
        place.unwrap_or_default().display(),
    );
    if args.json {
        println!("{}", serde_json::json!(summary));
    }
    Ok(ExitCode::SUCCESS)
}

fn run_on<E: Scalar, D: Backend<E>>(
    device: &D,
    experiment: &Experiment,
    mut data: DataSet,
    folder: &RunFolder,
) -> Result<Summary> {
    let started = Instant::now();
    let training = &experiment.training;
    let (kept, held_out) =
        stratified_holdout(&data.train.labels, training.validation, experiment.seed);
    if training.validation > 0.0 && held_out.is_empty() {
        return Err(Error::NoValidation {
            share: training.validation,
            rows: kept.len(),
        });
    }
    let (mut rows, mut validation) = (data.train.select(&kept), data.train.select(&held_out));
    // Scaled by the rows the parameters are fitted to, and no others.
    let scaling = MinMax::fit(&rows);
    for split in [&mut rows, &mut validation, &mut data.test] {
        scaling.apply(split)?;
    }
    let columns: Vec<usize> = rows.modalities.iter().map(|table| table.columns).collect();
    let classes = data.classes.len();
    let mut model = experiment.model::<E, D>(device, &columns, classes)?;

    let bar = progress_bar(training.epochs as u64);
    let mut history: Vec<Epoch> = Vec::with_capacity(training.epochs);
    let mut trainer = Trainer {
        model: &mut model,
        device,
        classes,
        training,
        seed: experiment.seed,
    };
    let validation = (!validation.is_empty()).then_some(&validation);
    let best_epoch = trainer.run(&rows, validation, &mut |epoch| {
        bar.set_message(message(epoch));
        bar.inc(1);
        history.push(epoch.clone());
        Ok(())
    })?;
    bar.finish();
    let config = toml::to_string(experiment).map_err(|error| Error::Config {
        origin: "resolved configuration".to_owned(),
        message: error.to_string(),
    })?;
    let text = |value: serde_json::Value| value.to_string();
    let metadata = Metadata::from([
        ("config".to_owned(), text(serde_json::json!(experiment))),
        ("columns".to_owned(), text(serde_json::json!(columns))),
        ("classes".to_owned(), text(serde_json::json!(data.classes))),
        ("scaling".to_owned(), text(serde_json::json!(scaling))),
    ]);
    folder.write("config.toml", config)?;
    folder.write("model.safetensors", checkpoint::to_bytes(&model, metadata)?)?;
    folder.write("history.csv", history_csv(&history))?;

    // The model is safe by now: a test row that cannot be solved costs the metrics, not the training.
    let test = evaluate(&model, device, &data.test, classes)?;
    let mean = |value: fn(&Epoch) -> f64| {
        history.iter().map(value).sum::<f64>() / history.len().max(1) as f64
    };
    let summary = Summary {
        test,
        epochs: history.len(),
        best_epoch,
        seconds: started.elapsed().as_secs_f64(),
        seed: experiment.seed,
        training_unconverged_fraction: mean(|epoch| epoch.unconverged_fraction),
        adjoint_unconverged_fraction: mean(|epoch| epoch.adjoint_unconverged_fraction),
    };
    let metrics = format!("{:#}\n", serde_json::json!(summary));
    folder.write("metrics.json", metrics)?;
    Ok(summary)
}

fn progress_bar(epochs: u64) -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:20} {pos}/{len} {elapsed} {msg}");
    ProgressBar::new(epochs).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

fn message(epoch: &Epoch) -> String {
    let validation = (epoch.validation_accuracy).map_or_else(String::new, |accuracy| {
        format!(" validation {accuracy:.2} %")
    });
    format!(
        "loss {:.4}{validation} steps {:.1} residual {:.1e} unconverged {:.2} %",
        epoch.loss,
        epoch.solver_steps,
        epoch.residual,
        100.0 * epoch.unconverged_fraction
    )
}

fn history_csv(history: &[Epoch]) -> String {
    let optional = |value: Option<f64>| value.map_or_else(String::new, |value| value.to_string());
    let mut csv = String::from(
        "epoch,loss,rate_factor,validation_accuracy,validation_macro_f1,validation_loss,solver_steps,residual,\
         unconverged_fraction,adjoint_steps,adjoint_unconverged_fraction\n",
    );
    for e in history {
        csv.push_str(&format!(
            "{},{},{},{},{},{},{},{},{},{},{}\n",
            e.epoch,
            e.loss,
            e.rate_factor,
            optional(e.validation_accuracy),
            optional(e.validation_macro_f1),
            optional(e.validation_loss),
            e.solver_steps,
            e.residual,
            e.unconverged_fraction,
            e.adjoint_steps,
            e.adjoint_unconverged_fraction
        ));
    }
    csv
}
