//! One training run: from data and configuration to a run folder.

mod history;
mod rows;
mod watch;

use std::path::PathBuf;
use std::time::Instant;

use equilibria_core::{Backend, DeviceName, Scalar};
use equilibria_fusion::checkpoint::{self, Checkpoint};
use equilibria_fusion::data::{Digest, Samples};
use equilibria_fusion::progress::Progress;
use equilibria_fusion::ranks::{Division, Ranks};
use equilibria_fusion::train::{explain, inspect_on, Epoch, Evaluation, Trainer};
use equilibria_fusion::{Experiment, Model};

use crate::device::Work;
use crate::error::{Error, Result};
use crate::report::RunReport;
use crate::run_folder::{RunFolder, CHECKPOINT, MODEL};
use crate::saved_run::{used_names, RunMetadata, DIVERGED};
use crate::terminal::{self, Epochs, Verbosity};
use history::history_csv;
use rows::ScaledRows;
use watch::{Clock, Watch};

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

impl Summary {
    fn new(
        test: Evaluation,
        history: &[Epoch],
        best_epoch: usize,
        seed: u64,
        clock: &Clock,
    ) -> Self {
        let mean = |value: fn(&Epoch) -> f64| {
            history.iter().map(value).sum::<f64>() / history.len().max(1) as f64
        };
        Self {
            test,
            epochs: history.len(),
            best_epoch,
            seconds: clock.seconds(),
            seed,
            training_unconverged_fraction: mean(|epoch| epoch.unconverged_fraction),
            adjoint_unconverged_fraction: mean(|epoch| epoch.adjoint_unconverged_fraction),
        }
    }
}

/// A run on its data.
struct Training<'r, 'e> {
    run: &'r mut TrainingRun<'e>,
    data: Samples,
}

impl Work for Training<'_, '_> {
    type Output = Summary;

    fn on<E: Scalar, D: Backend<E>>(self, device: &D) -> Result<Summary> {
        self.run.on::<E, D>(device, self.data)
    }
}

/// One run, from its beginning or from where it was left.
pub struct TrainingRun<'a> {
    /// What is trained, and how.
    pub experiment: &'a Experiment,
    /// The ranks that train it together.
    pub ranks: &'a dyn Ranks,
    /// Where it is written, by the first of them.
    pub folder: Option<RunFolder>,
    /// Where it was left.
    pub saved: Option<Checkpoint>,
    /// Whether and how progress is shown.
    pub verbosity: Verbosity,
}

impl TrainingRun<'_> {
    /// Trains, evaluates, and moves the run folder, if there is one, to its place, which is returned.
    pub fn complete(mut self, data: Samples) -> Result<(Summary, Option<PathBuf>)> {
        let experiment = self.experiment;
        let training = Training {
            run: &mut self,
            data,
        };
        let summary = training.run(experiment);
        // Warnings are counted run by run.
        log::logger().flush();
        let Some(folder) = self.folder else {
            return summary.map(|summary| (summary, None));
        };
        if matches!(summary, Err(Error::Interrupted { .. })) || !folder.has(MODEL) {
            if matches!(summary, Err(Error::Io { .. })) && folder.is_kept() {
                let run = folder.target().display();
                terminal::say(&format!(
                    "the run is kept as of its last checkpoint: once files can be written again, `equilibria train --resume {run}` goes on"
                ));
            }
            return summary.map(|summary| (summary, Some(folder.target().to_owned())));
        }
        let place = folder.finish()?;
        let summary = summary.inspect_err(|_| {
            terminal::say(&format!("the trained model is in {}", place.display()));
        })?;
        Ok((summary, Some(place)))
    }

    fn on<E: Scalar, D: Backend<E>>(&mut self, device: &D, mut data: Samples) -> Result<Summary> {
        let started = Instant::now();
        let (experiment, digest) = (self.experiment, data.digest()?);
        require_same(self.ranks, experiment, &digest)?;
        let names = used_names(experiment)?;
        let rows = ScaledRows::new::<E>(experiment, &mut data)?;
        let columns = rows.columns();
        let mut model = experiment.model::<E, D>(device, &columns, data.classes.len())?;
        let mut progress = match &self.saved {
            Some(saved) => Progress::resume(saved, &mut model, &experiment.training)?,
            None => Progress::new(&experiment.training)?,
        };
        let metadata = RunMetadata {
            experiment,
            columns: &columns,
            classes: &data.classes,
            scaling: &rows.scaling,
            digest: &digest,
            names: &names,
        };
        let clock = Clock {
            earlier: progress.seconds,
            started,
        };
        let best_epoch = self.train(
            device,
            &rows,
            (&mut model, &mut progress),
            &metadata,
            &clock,
        )?;
        let history = &progress.history;
        let folder = self.folder.as_ref();
        let config = folder.map(|folder| write_model(folder, &model, history, &metadata));
        let config = config.transpose()?;

        // The model is safe by now: a test row that cannot be solved costs the metrics, not the training.
        let division = Division {
            ranks: self.ranks,
            reproducible: experiment.training.reproducible,
        };
        let test = inspect_on(&division, &model, device, &*data.test)
            .map_err(|error| explain(error, &model, "test rows", DIVERGED))?;
        let summary = Summary::new(test, history, best_epoch, experiment.seed, &clock);
        if let (Some(folder), Some(config)) = (&self.folder, &config) {
            let told = (&config[..], &data, std::any::type_name::<D>());
            self.write_results(folder, &summary, history, told)?;
        }
        Ok(summary)
    }

    /// Trains to the end, or until the run is interrupted; returns the epoch whose parameters are kept.
    fn train<E: Scalar, D: Backend<E>>(
        &mut self,
        device: &D,
        rows: &ScaledRows,
        (model, progress): (&mut Model<E, D>, &mut Progress<E>),
        metadata: &RunMetadata<'_>,
        clock: &Clock,
    ) -> Result<usize> {
        if let (Some(folder), None) = (&self.folder, &self.saved) {
            let snapshot = progress.snapshot(model, metadata.with(&*model.head));
            folder.write(CHECKPOINT, snapshot.into_bytes()?)?;
        }
        let training = &self.experiment.training;
        let mut trainer = Trainer {
            model,
            device,
            training,
            seed: self.experiment.seed,
        };
        let mut watch = Watch {
            shown: Epochs::new(training.epochs, progress.history.len(), self.verbosity),
            ranks: self.ranks,
            folder: self.folder.as_mut(),
            metadata,
            clock,
        };
        let validation = rows.validation.as_deref();
        trainer.run_on(
            self.ranks,
            &*rows.fitted,
            validation,
            progress,
            &mut |model, progress| watch.see(model, progress),
        )
    }

    /// Writes metrics and report. The latter tells of configuration, data and type of the device as well.
    fn write_results(
        &self,
        folder: &RunFolder,
        summary: &Summary,
        history: &[Epoch],
        (config, data, device): (&str, &Samples, &'static str),
    ) -> Result<()> {
        let metrics = format!("{:#}\n", serde_json::json!(summary));
        folder.write("metrics.json", metrics)?;
        let all: Vec<usize> = (0..data.test.len()).collect();
        let report = RunReport {
            targets: &data.test.targets(&all)?,
            folder: folder.target(),
            experiment: self.experiment,
            config,
            data,
            device,
            history,
            best_epoch: summary.best_epoch,
            seconds: summary.seconds,
            test: &summary.test,
        };
        folder.write("report.html", report.page())
    }
}

/// Makes sure that all ranks train the same on the same. Each may have a device of its own.
pub fn require_same(ranks: &dyn Ranks, experiment: &Experiment, digest: &Digest) -> Result<()> {
    if !ranks.are_several() {
        return Ok(());
    }
    let text = without_device(experiment);
    let remedy = "give every rank the same file and the same options";
    ranks.require_same(text.as_bytes(), "its configuration", remedy)?;
    let text = serde_json::json!(digest).to_string();
    let remedy = "put the same data on every machine";
    ranks.require_same(text.as_bytes(), "its data", remedy)?;
    Ok(())
}

/// All of a configuration but the device.
fn without_device(experiment: &Experiment) -> String {
    let device = DeviceName::default();
    let experiment = Experiment {
        device,
        ..experiment.clone()
    };
    serde_json::json!(experiment).to_string()
}

/// Writes the model, its history and its configuration, which is returned as it was written.
fn write_model<E: Scalar, D: Backend<E>>(
    folder: &RunFolder,
    model: &Model<E, D>,
    history: &[Epoch],
    metadata: &RunMetadata<'_>,
) -> Result<String> {
    let config = toml::to_string(metadata.experiment).map_err(|error| Error::Config {
        origin: "resolved configuration".to_owned(),
        message: error.to_string(),
    })?;
    folder.write("config.toml", &config)?;
    let csv = history_csv(&*metadata.experiment.head, history);
    folder.write("history.csv", csv)?;
    let bytes = checkpoint::to_bytes(model, metadata.with(&*model.head))?;
    folder.write(MODEL, bytes)?;
    Ok(config)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_may_have_devices_of_their_own_and_nothing_else() {
        let told = |number, batch| {
            let mut experiment: Experiment = serde_json::from_value(serde_json::json!({
                "data": { "type": "generated-movies", "train": 4, "test": 4 },
                "backbone": { "type": "encoder" },
                "fusion": { "type": "concat" },
                "head": { "type": "multi-label" },
                "training": { "batch": batch },
            }))
            .expect("a configuration");
            experiment.device = DeviceName::Cuda(number);
            without_device(&experiment)
        };
        assert_eq!(told(0, 16), told(1, 16));
        assert_ne!(told(0, 16), told(0, 17));
    }
}
