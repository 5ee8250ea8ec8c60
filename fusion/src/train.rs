//! Training and evaluation of a model on a data set.

use equilibria_core::seed::mix;
use equilibria_core::{Backend, Error, Matrix, Parameters, Report, Result, Scalar};
use serde::Serialize;

use crate::data::{batches, Split};
use crate::experiment::Training;
use crate::layers::optimizer::{clip_norm, gradient_norm};
use crate::metrics::{ConfusionMatrix, Metrics};
use crate::model::Model;
use crate::pass::{Differentiated, Gate, Labels, Pass};
use crate::predict::{self, argmax, scores};
use crate::progress::{Best, Progress};

/// What happened in one epoch: one row of `history.csv`.
#[derive(Debug, Clone, Serialize)]
pub struct Epoch {
    /// Number of the epoch, from 1.
    pub epoch: usize,
    /// Mean training loss, with all auxiliary terms.
    pub loss: f64,
    /// Learning-rate factor of the schedule.
    pub rate_factor: f64,
    /// Validation accuracy in percent; `None` without validation rows.
    pub validation_accuracy: Option<f64>,
    /// Validation macro F1 in percent; `None` without validation rows.
    pub validation_macro_f1: Option<f64>,
    /// Validation loss (cross-entropy); `None` without validation rows.
    pub validation_loss: Option<f64>,
    /// Forward solver steps per sample, mean over equilibria.
    pub solver_steps: f64,
    /// Largest relative residual of the forward solves.
    pub residual: f64,
    /// Share of forward solves that did not converge.
    pub unconverged_fraction: f64,
    /// Adjoint solver steps per sample, mean over equilibria.
    pub adjoint_steps: f64,
    /// Largest relative residual of the adjoint solves; 0 for a backward strategy that solves nothing.
    pub adjoint_residual: f64,
    /// Share of adjoint solves that did not converge.
    pub adjoint_unconverged_fraction: f64,
}

impl Epoch {
    /// Names of the numbers of [`row`](Self::row).
    pub const COLUMNS: [&'static str; 12] = [
        "epoch",
        "loss",
        "rate_factor",
        "validation_accuracy",
        "validation_macro_f1",
        "validation_loss",
        "solver_steps",
        "residual",
        "unconverged_fraction",
        "adjoint_steps",
        "adjoint_residual",
        "adjoint_unconverged_fraction",
    ];

    /// All numbers; NaN for those there are none of.
    pub fn row(&self) -> [f64; 12] {
        let known = |number: Option<f64>| number.unwrap_or(f64::NAN);
        [
            self.epoch as f64,
            self.loss,
            self.rate_factor,
            known(self.validation_accuracy),
            known(self.validation_macro_f1),
            known(self.validation_loss),
            self.solver_steps,
            self.residual,
            self.unconverged_fraction,
            self.adjoint_steps,
            self.adjoint_residual,
            self.adjoint_unconverged_fraction,
        ]
    }

    /// The reverse of [`row`](Self::row).
    pub fn from_row(row: [f64; 12]) -> Self {
        let known = |number: f64| Some(number).filter(|number| !number.is_nan());
        Self {
            epoch: row[0] as usize,
            loss: row[1],
            rate_factor: row[2],
            validation_accuracy: known(row[3]),
            validation_macro_f1: known(row[4]),
            validation_loss: known(row[5]),
            solver_steps: row[6],
            residual: row[7],
            unconverged_fraction: row[8],
            adjoint_steps: row[9],
            adjoint_residual: row[10],
            adjoint_unconverged_fraction: row[11],
        }
    }
}

/// A model's performance on some rows.
#[derive(Debug, Clone, Serialize)]
pub struct Evaluation {
    /// Accuracy and F1 scores, in percent.
    #[serde(flatten)]
    pub metrics: Metrics,
    /// Cross-entropy, mean over rows.
    pub loss: f64,
    /// Forward solver steps per sample, mean over equilibria.
    pub mean_solver_steps: f64,
    /// Share of forward solves that did not converge.
    pub unconverged_fraction: f64,
    /// How often each class was taken for which; the source of the metrics.
    #[serde(skip)]
    pub confusion: ConfusionMatrix,
    /// The equilibria by name, and how the forward solve of every row went. Traces, where there are any, are those of the
    /// first 256 rows: enough to see how solves go, and no more the more rows there are.
    #[serde(skip)]
    pub solves: Vec<(String, Report)>,
    /// How the fusion weighs the modalities; of [`inspect`] only, and empty for a fusion without gates.
    #[serde(skip)]
    pub gates: Vec<Gate>,
}

impl std::fmt::Display for Evaluation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "accuracy {:.2} %, weighted F1 {:.2} %, macro F1 {:.2} %; {:.1} solver steps, {:.2} % unconverged",
            self.metrics.accuracy,
            self.metrics.weighted_f1,
            self.metrics.macro_f1,
            self.mean_solver_steps,
            100.0 * self.unconverged_fraction
        )
    }
}

/// Sums over the solves of many passes.
#[derive(Default)]
struct Tally {
    solves: usize,
    steps: usize,
    unconverged: usize,
    residual: f64,
}

impl Tally {
    fn add(&mut self, report: &Report) {
        self.solves += report.samples.len();
        self.steps += report.evaluations();
        self.unconverged += report.unconverged();
        let worst = report
            .worst()
            .map_or(0.0, |(_, sample)| sample.relative_residual);
        self.residual = self.residual.max(worst);
    }

    fn mean_steps(&self) -> f64 {
        self.steps as f64 / self.solves.max(1) as f64
    }

    fn unconverged_fraction(&self) -> f64 {
        self.unconverged as f64 / self.solves.max(1) as f64
    }
}

/// The rows of a split as tensors, one per modality.
pub fn tensors<E: Scalar, D: Backend<E>>(device: &D, split: &Split) -> Result<Vec<Matrix<E, D>>> {
    predict::tensors(device, &split.modalities)
}

/// Evaluates a model on all rows of a split.
pub fn evaluate<E: Scalar, D: Backend<E>>(
    model: &Model<E, D>,
    device: &D,
    split: &Split,
    classes: usize,
) -> Result<Evaluation> {
    evaluate_in(Pass::evaluation, model, device, split, classes)
}

/// [`evaluate`] for a reader: solves have [traces](equilibria_core::SampleReport::trace), and gates are measured. The
/// metrics are the same.
pub fn inspect<E: Scalar, D: Backend<E>>(
    model: &Model<E, D>,
    device: &D,
    split: &Split,
    classes: usize,
) -> Result<Evaluation> {
    evaluate_in(Pass::inspection, model, device, split, classes)
}

fn evaluate_in<E: Scalar, D: Backend<E>>(
    new_pass: fn() -> Pass<E, D>,
    model: &Model<E, D>,
    device: &D,
    split: &Split,
    classes: usize,
) -> Result<Evaluation> {
    let (mut predictions, mut loss) = (Vec::new(), 0.0);
    let mut gates: Vec<Gate> = Vec::new();
    let solves = scores(
        new_pass,
        model,
        device,
        &split.modalities,
        |rows, scores, pass| {
            let labels = Labels::new(device, &split.labels[rows.clone()], classes)?;
            let share = rows.len() as f64 / split.len() as f64;
            gates.resize(pass.gates.len(), Gate::default());
            for (mean, gate) in gates.iter_mut().zip(&pass.gates) {
                mean.magnitude += share * gate.magnitude;
                mean.weight = gate.weight;
            }
            predictions.extend(scores.as_vec().chunks(classes).map(argmax));
            let entropy = pass.run(scores, |scores| labels.cross_entropy(scores));
            loss += entropy.as_vec()[0].wide() * rows.len() as f64;
            Ok(())
        },
    )?;
    let mut tally = Tally::default();
    solves.iter().for_each(|(_, report)| tally.add(report));
    let confusion =
        ConfusionMatrix::new(&predictions, &split.labels, classes).map_err(|error| {
            Error::Parse {
                what: "predictions".to_owned(),
                message: error.to_string(),
            }
        })?;
    Ok(Evaluation {
        metrics: confusion.metrics(),
        confusion,
        loss: loss / split.len().max(1) as f64,
        mean_solver_steps: tally.mean_steps(),
        unconverged_fraction: tally.unconverged_fraction(),
        solves,
        gates,
    })
}

/// Sees model and progress after every epoch; an error ends the run.
pub type Observe<'o, E, D, Failure> =
    dyn FnMut(&Model<E, D>, &mut Progress<E>) -> Result<(), Failure> + 'o;

/// Trains a model.
pub struct Trainer<'a, E: Scalar, D: Backend<E>> {
    /// The model; its parameters change.
    pub model: &'a mut Model<E, D>,
    /// The device of the model.
    pub device: &'a D,
    /// Number of classes.
    pub classes: usize,
    /// How it is trained.
    pub training: &'a Training,
    /// Seed of batches, dropout and probes.
    pub seed: u64,
}

impl<E: Scalar, D: Backend<E>> Trainer<'_, E, D> {
    /// Trains on `rows`, from where `progress` stands; with `validation` rows the parameters of the best epoch on them are
    /// kept (highest accuracy, then lowest loss), without them those of the last epoch. `observe` sees model and progress
    /// after every epoch, fit to be [saved](Progress::to_bytes), and may stop the run by returning an error.
    ///
    /// All random numbers follow from the seed and the number of the epoch: a run that was stopped and goes on ends where
    /// an uninterrupted one does, to the last bit.
    ///
    /// Returns the number of the epoch whose parameters are kept.
    pub fn run<Failure: From<Error>>(
        &mut self,
        rows: &Split,
        validation: Option<&Split>,
        progress: &mut Progress<E>,
        observe: &mut Observe<'_, E, D, Failure>,
    ) -> Result<usize, Failure> {
        for epoch in progress.history.len() + 1..=self.training.epochs {
            let mut record = self.epoch(epoch, rows, progress)?;
            progress.exchange_average(self.model);
            if let Some(validation) = validation {
                let evaluation = evaluate(self.model, self.device, validation, self.classes)?;
                let (accuracy, loss) = (evaluation.metrics.accuracy, evaluation.loss);
                record.validation_accuracy = Some(accuracy);
                record.validation_macro_f1 = Some(evaluation.metrics.macro_f1);
                record.validation_loss = Some(loss);
                let better = progress.best.as_ref().is_none_or(|best| {
                    accuracy > best.accuracy || (accuracy >= best.accuracy && loss < best.loss)
                });
                if better {
                    let named = self.model.named();
                    progress.best = Some(Best {
                        epoch,
                        accuracy,
                        loss,
                        values: named.iter().map(|(_, t)| t.as_vec()).collect(),
                    });
                }
            }
            progress.exchange_average(self.model);
            progress.history.push(record);
            observe(self.model, progress)?;
        }
        let Some(best) = &progress.best else {
            progress.exchange_average(self.model);
            return Ok(self.training.epochs);
        };
        self.model.assign(best.values.clone());
        Ok(best.epoch)
    }

    /// One pass over `rows`.
    fn epoch(&mut self, epoch: usize, rows: &Split, progress: &mut Progress<E>) -> Result<Epoch> {
        let decay = self.training.decay.as_ref();
        let rate_factor = decay.map_or(1.0, |decay| decay.at(epoch - 1));
        let (mut forward, mut adjoint, mut total) = (Tally::default(), Tally::default(), 0.0);
        let plan = batches(rows.len(), self.training.batch, self.seed, epoch as u64);
        for (step, batch) in plan.iter().enumerate() {
            let part = rows.select(batch);
            let labels = Labels::new(self.device, &part.labels, self.classes)?;
            let x = tensors(self.device, &part)?;
            let mut pass = Pass::training(mix(mix(self.seed, epoch as u64), step as u64));
            pass.samples = Some(batch.clone());
            let logits = self.model.logits(&x, Some(&labels), &mut pass)?;
            let loss = pass.run(&logits, |logits| labels.cross_entropy(logits));
            let Differentiated {
                mut gradients,
                loss: value,
                reports,
            } = pass.backward(&loss)?;
            total += value * batch.len() as f64;
            for (_, report, of_adjoint) in &reports {
                forward.add(report);
                of_adjoint.iter().for_each(|report| adjoint.add(report));
            }
            let norm = gradient_norm(self.model, &mut gradients)?;
            if !norm.is_finite() {
                return Err(Error::NonFinite {
                    what: format!("the gradient of epoch {epoch}, step {step}"),
                    row: 0,
                    column: 0,
                });
            }
            let clip = self.training.clip;
            let clip = clip.map_or(1.0, |limit| clip_norm(norm, limit));
            let optimizer = &mut progress.optimizer;
            optimizer.step(self.model, &mut gradients, rate_factor, clip)?;
            if let Some(average) = &mut progress.average {
                average.update(self.model);
            }
        }
        Ok(Epoch {
            epoch,
            loss: total / rows.len().max(1) as f64,
            rate_factor,
            validation_accuracy: None,
            validation_macro_f1: None,
            validation_loss: None,
            solver_steps: forward.mean_steps(),
            residual: forward.residual,
            unconverged_fraction: forward.unconverged_fraction(),
            adjoint_steps: adjoint.mean_steps(),
            adjoint_residual: adjoint.residual,
            adjoint_unconverged_fraction: adjoint.unconverged_fraction(),
        })
    }
}
