//! Training and evaluation of a model on a data set.

mod divergence;
mod epoch;
mod evaluation;
mod ordered_sum;
mod step;
mod together;

use dfdx::prelude::Gradients;
use equilibria_core::{Backend, Error, Matrix, Parameters, Result, Scalar, Tally};

pub use self::divergence::explain;
use self::divergence::require_finite;
pub use self::epoch::Epoch;
pub use self::evaluation::{evaluate, evaluate_on, inspect, inspect_on, Evaluation};
use self::step::Step;
use self::together::{
    all_together, require_independent_rows, require_same_parameters, share_memory,
};
use crate::data::{Batches, Rows, Split, Table};
use crate::experiment::Training;
use crate::head::Score;
use crate::layers::optimizer::{clip_norm, gradient_norm, Kept, Moment};
use crate::model::Model;
use crate::predict;
use crate::progress::{Best, Progress};
use crate::ranks::{Alone, Division, Ranks};

/// What to do where training has diverged.
const REMEDY: &str = "lower the learning rate or the weight decay, or clip gradients";

/// The rows of a split as tensors, one per modality.
pub fn tensors<E: Scalar, D: Backend<E>>(device: &D, split: &Split) -> Result<Vec<Matrix<E, D>>> {
    let rows = split.modalities.first().map_or(0, Table::rows);
    predict::tensors(device, &split.modalities, 0..rows)
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
    /// How it is trained.
    pub training: &'a Training,
    /// Seed of batches, dropout and probes.
    pub seed: u64,
}

impl<E: Scalar, D: Backend<E>> Trainer<'_, E, D> {
    /// Trains on `rows`, from where `progress` stands; with `validation` rows the parameters of the best epoch on them are
    /// kept (best by the first metric of the head, then by lowest loss), without them those of the last epoch. `observe`
    /// sees model and progress after every epoch, fit to be [saved](Progress::snapshot), and may stop the run by returning
    /// an error.
    ///
    /// All random numbers follow from the seed and the number of the epoch: a run that was stopped and goes on ends where
    /// an uninterrupted one does, to the last bit.
    ///
    /// Before the first epoch a [head](crate::Head) for numbers takes the scale of those in `rows`, unless it has one: give it the
    /// default [`Standardization`](crate::Standardization) to go on with a model whose outputs are the numbers themselves.
    ///
    /// Returns the number of the epoch whose parameters are kept.
    ///
    /// # Errors
    /// [`Error::NonFiniteGradient`]; [`Error::Diverged`] where a step has made parameters so large that the next one, or the validation,
    /// overflows, or where they are not finite in the end; and those of the model and of `observe`.
    pub fn run<Failure: From<Error>>(
        &mut self,
        rows: &dyn Rows,
        validation: Option<&dyn Rows>,
        progress: &mut Progress<E>,
        observe: &mut Observe<'_, E, D, Failure>,
    ) -> Result<usize, Failure> {
        self.run_on(&Alone, rows, validation, progress, observe)
    }

    /// [`run`](Self::run) of one of several ranks, which have the same model, rows, training and seed: each works on its rows of every
    /// batch, and all end with the same parameters and the same history. They are those of one process but for rounding, and to the last
    /// bit where the training is [reproducible](Training::reproducible). `observe` is called on every rank.
    ///
    /// # Errors
    /// Those of [`run`](Self::run); [`Error::Config`] for a model whose rows of a batch depend on each other; [`Error::RanksDiffer`] where
    /// ranks have other parameters than the first one, before the first epoch or after one; and [`Error::OtherRank`].
    pub fn run_on<Failure: From<Error>>(
        &mut self,
        ranks: &dyn Ranks,
        rows: &dyn Rows,
        validation: Option<&dyn Rows>,
        progress: &mut Progress<E>,
        observe: &mut Observe<'_, E, D, Failure>,
    ) -> Result<usize, Failure> {
        let division = &Division {
            ranks,
            reproducible: self.training.reproducible,
        };
        require_independent_rows(self.model, division)?;
        require_same_parameters(self.model, ranks, "before the first step")?;
        if progress.history.is_empty() {
            let fitted = self.model.head.fit_rows(rows);
            fitted.map_err(Error::from)?;
        }
        for epoch in progress.history.len() + 1..=self.training.epochs {
            let mut record = self.epoch(division, epoch, rows, progress)?;
            require_same_parameters(self.model, ranks, &format!("after epoch {epoch}"))?;
            if let Some(validation) = validation {
                self.validate(division, validation, &mut record, progress)?;
            }
            progress.history.push(record);
            observe(self.model, progress)?;
        }
        let last = self.training.epochs;
        let Some(best) = &progress.best else {
            progress.exchange_average(self.model)?;
            require_finite(self.model, format_args!("after epoch {last}"), REMEDY)?;
            return Ok(last);
        };
        let (mut values, mut outcome) = (best.values.iter(), Ok(()));
        self.model.visit_mut("", &mut |_, tensor| {
            if let (Some(values), Ok(())) = (values.next(), &outcome) {
                outcome = values.give(tensor);
            }
        });
        outcome?;
        let place = format_args!("after epoch {}", best.epoch);
        require_finite(self.model, place, REMEDY)?;
        Ok(best.epoch)
    }

    /// Evaluates the averaged parameters, if averages are taken, and keeps them if they are the best so far.
    fn validate(
        &mut self,
        division: &Division<'_>,
        rows: &dyn Rows,
        record: &mut Epoch,
        progress: &mut Progress<E>,
    ) -> Result<()> {
        progress.exchange_average(self.model)?;
        let evaluation = evaluate_on(division, self.model, self.device, rows).map_err(|error| {
            let place = format_args!("epoch {}, validation", record.epoch);
            explain(error, self.model, place, REMEDY)
        });
        let Evaluation { scores, loss, .. } = evaluation?;
        let tracked = scores.iter().filter(|score| score.metric.tracked);
        record.validation = tracked.map(|score| score.value).collect();
        record.validation_loss = Some(loss);
        let merit = |score: &Score| score.metric.merit(score.value);
        // A head without metrics is judged by its loss.
        let merit = scores.first().map_or(0.0, merit);
        let better = progress
            .best
            .as_ref()
            .is_none_or(|best| merit > best.merit || (merit >= best.merit && loss < best.loss));
        if better {
            let named = self.model.named();
            let values = named.iter().map(|(_, tensor)| Kept::of(tensor));
            let values = values.collect::<Result<_>>()?;
            progress.best = Some(Best {
                epoch: record.epoch,
                merit,
                loss,
                values,
            });
        }
        progress.exchange_average(self.model)
    }

    /// One pass over `rows`.
    fn epoch(
        &mut self,
        division: &Division<'_>,
        epoch: usize,
        rows: &dyn Rows,
        progress: &mut Progress<E>,
    ) -> Result<Epoch> {
        let (mut forward, mut adjoint, mut total) = (Tally::default(), Tally::default(), 0.0);
        let plan = Batches::new(rows.len(), self.training.batch, self.seed, epoch as u64);
        let mut first_factor = None;
        self.model.backbone.begin_epoch(epoch - 1);
        for (step, batch) in plan.iter().enumerate() {
            let rate_factor = self.rate_factor(rows.len(), plan.len(), (epoch, step));
            first_factor.get_or_insert(rate_factor);
            let next = plan.get(step + 1);
            let Step {
                mut gradients,
                loss,
                reports,
            } = (self.step(division, rows, (&batch, next), (epoch, step)))
                .map_err(|error| self.diverged(error, (epoch, step + 1)))?;
            total += loss * batch.len() as f64;
            for (report, of_adjoint) in &reports {
                forward.add(report);
                of_adjoint.iter().for_each(|report| adjoint.add(report));
            }
            let (optimizer, average) = (&mut progress.optimizer, progress.average.as_mut());
            let norm = optimizer.gradient_norm(self.model, &mut gradients)?;
            if !norm.is_finite() {
                let place = (epoch, step + 1);
                let step = format_args!("epoch {epoch}, step {}", step + 1);
                require_finite(self.model, step, REMEDY)?;
                // The norm is the same on every rank: all are here.
                let loss = match division.reproducible {
                    true => loss,
                    false => sum_over(division.ranks, loss)?,
                };
                return Err(non_finite(self.model, &mut gradients, loss, place)?);
            }
            let clip = self.training.clip;
            let clip = clip.map_or(1.0, |limit| clip_norm(norm, limit));
            optimizer.averaged_step(self.model, &mut gradients, rate_factor, clip, average)?;
        }
        if !division.reproducible {
            total = sum_over(division.ranks, total)?;
        }
        all_together([&mut forward, &mut adjoint], division.ranks)?;
        share_memory(self.model, division, self.training, &plan)?;
        Ok(Epoch {
            epoch,
            loss: self.model.head.loss_unit() * total / rows.len().max(1) as f64,
            rate_factor: first_factor.unwrap_or(1.0),
            validation: vec![f64::NAN; self.model.head.tracked().count()],
            validation_loss: None,
            solver_steps: forward.mean_evaluations(),
            residual: forward.residual,
            unconverged_fraction: forward.unconverged_fraction(),
            adjoint_steps: adjoint.mean_evaluations(),
            adjoint_residual: adjoint.residual,
            adjoint_unconverged_fraction: adjoint.unconverged_fraction(),
        })
    }

    /// The error of a step of an epoch, both from 1. Before the first step parameters are as they were made.
    fn diverged(&self, error: Error, (epoch, step): (usize, usize)) -> Error {
        match (epoch, step) {
            (1, 1) => error,
            _ => explain(
                error,
                self.model,
                format_args!("epoch {epoch}, step {step}"),
                REMEDY,
            ),
        }
    }

    /// What the learning rate is multiplied with in a step, counted from 0, of an epoch with so many `steps`.
    fn rate_factor(&self, rows: usize, steps: usize, (epoch, step): (usize, usize)) -> f64 {
        let whole = (rows / self.training.batch).max(1);
        let moment = Moment {
            epoch: epoch - 1,
            step: (epoch - 1) * steps + step,
            steps: self.training.epochs * whole,
        };
        let decay = self.training.decay.as_ref();
        let schedule = self.training.schedule.as_ref();
        decay.map_or(1.0, |decay| decay.at(epoch - 1))
            * schedule.map_or(1.0, |schedule| schedule.at(moment))
    }
}

/// A number, summed over ranks.
fn sum_over(ranks: &dyn Ranks, own: f64) -> Result<f64> {
    let mut sum = [own];
    ranks.sum_doubles(&mut sum)?;
    Ok(sum[0])
}

/// The error for gradients without a finite norm in a step of an epoch, both from 1.
fn non_finite<E: Scalar, D: Backend<E>>(
    model: &Model<E, D>,
    gradients: &mut Gradients<E, D>,
    loss: f64,
    (epoch, step): (usize, usize),
) -> Result<Error> {
    let (named, mut norms) = (model.named(), Vec::new());
    for (_, tensor) in &named {
        norms.push(gradient_norm(tensor, gradients)?);
    }
    let mut infinite = (named.iter().zip(norms)).filter(|(_, norm)| !norm.is_finite());
    let first = infinite.next().map(|((name, _), _)| name.clone());
    Ok(Error::NonFiniteGradient {
        // Where each has a norm, and all together have none, it is nobody's fault.
        parameter: first.unwrap_or_else(|| "all parameters".to_owned()),
        affected: 1 + infinite.count(),
        parameters: named.len(),
        loss: model.head.loss_unit() * loss,
        epoch,
        step,
    })
}
