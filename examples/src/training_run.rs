//! One training run: from data and configuration to a run folder.

use std::path::PathBuf;
use std::time::Instant;

use dfdx::prelude::Cpu;
use equilibria_core::{Backend, Scalar};
use equilibria_fusion::checkpoint::{self, Checkpoint};
use equilibria_fusion::data::{stratified_holdout, DataSet, MinMax, Split, SplitName};
use equilibria_fusion::progress::Progress;
use equilibria_fusion::train::{inspect, Epoch, Evaluation, Trainer};
use equilibria_fusion::{Dtype, Experiment, Head, Model};

use crate::error::{Error, Result};
use crate::interrupt;
use crate::report::RunReport;
use crate::run_folder::{RunFolder, CHECKPOINT, MODEL};
use crate::saved_run::RunMetadata;
use crate::terminal::{self, Epochs, Verbosity};

/// What a run achieved: `metrics.json`.
#[derive(serde::Serialize)]
pub struct Summary {
    /// On the test rows.
    #[serde(flatten)]
    pub test: Evaluation,
    /// Epochs that were run.
    pub epochs: usize,
    /// The one whose parameters were kept.
    pub best_epoch: usize,
    /// Wall time, evaluation included.
    pub seconds: f64,
    /// Seed of the run.
    pub seed: u64,
    /// Share of forward solves in training that did not converge.
    pub training_unconverged_fraction: f64,
    /// The same for adjoint solves.
    pub adjoint_unconverged_fraction: f64,
}

/// One run, from its beginning or from where it was left.
pub struct TrainingRun<'a> {
    /// What is trained, and how.
    pub experiment: &'a Experiment,
    /// Where it is written.
    pub folder: RunFolder,
    /// Where it was left.
    pub saved: Option<Checkpoint>,
    /// Whether and how progress is shown.
    pub verbosity: Verbosity,
}

impl TrainingRun<'_> {
    /// Trains, evaluates, and moves the run folder to its place, which is returned.
    pub fn complete(mut self, data: DataSet) -> Result<(Summary, PathBuf)> {
        let summary = match self.experiment.dtype {
            Dtype::F32 => self.on::<f32, _>(&Cpu::default(), data),
            Dtype::F64 => self.on::<f64, _>(&Cpu::default(), data),
        };
        // Warnings are counted run by run.
        log::logger().flush();
        if matches!(summary, Err(Error::Interrupted { .. })) || !self.folder.has(MODEL) {
            return summary.map(|summary| (summary, self.folder.target().to_owned()));
        }
        let place = self.folder.finish()?;
        let summary = summary.inspect_err(|_| {
            terminal::say(&format!("the trained model is in {}", place.display()));
        })?;
        Ok((summary, place))
    }

    fn on<E: Scalar, D: Backend<E>>(&mut self, device: &D, mut data: DataSet) -> Result<Summary> {
        let started = Instant::now();
        let (experiment, training) = (self.experiment, &self.experiment.training);
        let digest = data.digest();
        let (kept, held_out) = stratified_holdout(
            &data.train.targets.strata(),
            training.validation,
            experiment.seed,
        );
        if training.validation > 0.0 && held_out.is_empty() {
            return Err(Error::NoValidation {
                share: training.validation,
                rows: kept.len(),
            });
        }
        let (mut rows, mut validation) = (data.train.select(&kept), data.train.select(&held_out));
        // Scaled by the rows the parameters are fitted to, and no others.
        let scaling = MinMax::fit(&rows);
        for part in SplitName::BOTH {
            let Split {
                modalities,
                targets,
            } = data.split(part);
            experiment.check_range::<E>(&scaling, part, modalities, Some(targets))?;
        }
        for split in [&mut rows, &mut validation, &mut data.test] {
            scaling.apply(split)?;
        }
        let columns: Vec<usize> = rows.modalities.iter().map(|table| table.columns).collect();
        let mut model = experiment.model::<E, D>(device, &columns, data.classes.len())?;
        let mut progress = match &self.saved {
            Some(saved) => Progress::resume(saved, &mut model, training)?,
            None => Progress::new(training)?,
        };
        let run = RunMetadata {
            experiment,
            columns: &columns,
            classes: &data.classes,
            scaling: &scaling,
            digest: &digest,
        };
        let metadata = |model: &Model<E, D>| run.with(&*model.head);
        let earlier = progress.seconds;
        if self.saved.is_none() {
            let snapshot = progress.snapshot(&model, metadata(&model));
            self.folder.write(CHECKPOINT, snapshot.into_bytes()?)?;
        }

        let epochs = Epochs::new(training.epochs, progress.history.len(), self.verbosity);
        let mut trainer = Trainer {
            model: &mut model,
            device,
            training,
            seed: experiment.seed,
        };
        let validation = (!validation.is_empty()).then_some(&validation);
        let folder = &mut self.folder;
        let mut observe = |model: &Model<E, D>, progress: &mut Progress<E>| {
            progress.seconds = earlier + started.elapsed().as_secs_f64();
            let Some(last) = progress.history.last() else {
                return Ok(());
            };
            epochs.show(
                last.epoch,
                message(&*experiment.head, last, epochs.is_detailed()),
            );
            let (epoch, stop) = (last.epoch, interrupt::asked());
            let due = training.checkpoint > 0 && epoch % training.checkpoint == 0;
            if (due || stop) && epoch < training.epochs {
                let snapshot = progress.snapshot(model, metadata(model));
                folder.write_behind(CHECKPOINT, || Ok(snapshot.into_bytes()?))?;
                folder.keep();
            }
            if stop && epoch < training.epochs {
                folder.wait()?;
                return Err(Error::Interrupted {
                    epoch,
                    path: folder.target().to_owned(),
                });
            }
            Ok(())
        };
        let best_epoch = trainer.run(&rows, validation, &mut progress, &mut observe)?;
        drop(epochs);
        let config = toml::to_string(experiment).map_err(|error| Error::Config {
            origin: "resolved configuration".to_owned(),
            message: error.to_string(),
        })?;
        let history = &progress.history;
        folder.write("config.toml", &config)?;
        folder.write("history.csv", history_csv(&*experiment.head, history))?;
        let bytes = checkpoint::to_bytes(&model, metadata(&model))?;
        folder.write(MODEL, bytes)?;

        // The model is safe by now: a test row that cannot be solved costs the metrics, not the training.
        let test = inspect(&model, device, &data.test)?;
        let mean = |value: fn(&Epoch) -> f64| {
            history.iter().map(value).sum::<f64>() / history.len().max(1) as f64
        };
        let summary = Summary {
            test,
            epochs: history.len(),
            best_epoch,
            seconds: earlier + started.elapsed().as_secs_f64(),
            seed: experiment.seed,
            training_unconverged_fraction: mean(|epoch| epoch.unconverged_fraction),
            adjoint_unconverged_fraction: mean(|epoch| epoch.adjoint_unconverged_fraction),
        };
        let metrics = format!("{:#}\n", serde_json::json!(summary));
        folder.write("metrics.json", metrics)?;
        let report = RunReport {
            folder: folder.target(),
            experiment,
            config: &config,
            data: &data,
            device: std::any::type_name::<D>(),
            history,
            best_epoch,
            seconds: summary.seconds,
            test: &summary.test,
        };
        folder.write("report.html", report.page())?;
        Ok(summary)
    }
}

/// The most important numbers first: a narrow terminal cuts the others off.
fn message(head: &dyn Head, epoch: &Epoch, detailed: bool) -> String {
    let first = head.tracked().next().zip(epoch.validation.first());
    let validation = match (first, epoch.validation_loss) {
        (Some((metric, &value)), Some(_)) => format!(" validation {}", metric.show(value)),
        _ => String::new(),
    };
    let mut text = format!(
        "loss {:.4}{validation} unconverged {:.2} % steps {:.1} residual {:.1e}",
        epoch.loss,
        100.0 * epoch.unconverged_fraction,
        epoch.solver_steps,
        epoch.residual
    );
    if detailed {
        text += &format!(
            ", adjoint unconverged {:.2} % steps {:.1} residual {:.1e}",
            100.0 * epoch.adjoint_unconverged_fraction,
            epoch.adjoint_steps,
            epoch.adjoint_residual,
        );
    }
    text
}

/// One line per epoch; what there is none of is empty.
fn history_csv(head: &dyn Head, history: &[Epoch]) -> String {
    let mut csv = Epoch::columns(head).join(",") + "\n";
    for epoch in history {
        let cells = epoch.row().into_iter().map(|number| match number.is_nan() {
            true => String::new(),
            false => number.to_string(),
        });
        csv += &(cells.collect::<Vec<_>>().join(",") + "\n");
    }
    csv
}
