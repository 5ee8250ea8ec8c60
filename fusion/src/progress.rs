//! A training run between two epochs, and the file that keeps it.

use dfdx::prelude::{HasShape, Shape};
use equilibria_core::{Backend, Parameters, Result, Scalar};

use crate::checkpoint::{self, Array, Checkpoint, CheckpointError, Metadata};
use crate::experiment::Training;
use crate::layers::optimizer::{Average, Kept, Optimizer};
use crate::model::Model;
use crate::standardization::Standardization;
use crate::train::Epoch;

/// The array with mean and deviation of the targets.
const STANDARDIZATION: &str = "standardization";

/// What the next epoch depends on beside the parameters, and what is known of the last ones.
pub struct Progress<E> {
    /// The epochs so far.
    pub history: Vec<Epoch>,
    /// Seconds spent on them.
    pub seconds: f64,
    pub(crate) optimizer: Optimizer<E>,
    pub(crate) average: Option<Average<E>>,
    pub(crate) best: Option<Best<E>>,
}

/// The parameters of the best epoch so far.
pub(crate) struct Best<E> {
    pub epoch: usize,
    /// The first metric of the head, as [`Metric::merit`](crate::head::Metric::merit) has it.
    pub merit: f64,
    pub loss: f64,
    pub values: Vec<Kept<E>>,
}

/// A training run between two epochs, apart from the model, which may go on: another thread can write it.
pub struct Snapshot {
    arrays: Vec<Array>,
    metadata: Metadata,
}

impl Snapshot {
    /// The bytes of a file for [`Checkpoint::read`].
    ///
    /// # Errors
    /// [`CheckpointError::Unwritable`] for metadata too long for a header.
    pub fn into_bytes(self) -> Result<Vec<u8>, CheckpointError> {
        checkpoint::serialize(&self.arrays, self.metadata)
    }
}

impl<E: Scalar> Progress<E> {
    /// The start of a run.
    ///
    /// # Errors
    /// [`Error::Config`](equilibria_core::Error::Config) for a field of the optimizer out of range.
    pub fn new(training: &Training) -> Result<Self> {
        Ok(Self {
            history: Vec::new(),
            seconds: 0.0,
            optimizer: training.optimizer()?,
            average: training.average.map(Average::new),
            best: None,
        })
    }

    /// Exchanges the parameters for their averages, if averages are taken; again, and they are back.
    pub(crate) fn exchange_average<D: Backend<E>>(
        &mut self,
        model: &mut Model<E, D>,
    ) -> Result<()> {
        match &mut self.average {
            Some(average) => average.exchange(model),
            None => Ok(()),
        }
    }

    /// Copies what [`resume`](Self::resume) needs to go on.
    ///
    /// Arrays `model.NAME`, `first.NAME`, `second.NAME` (running means of the optimizer), `average.NAME` and `best.NAME` for
    /// every parameter, `memory.NAME` for what the fusion remembers, `standardization` of the targets, if there is one,
    /// `history`, one row per epoch, and `counts`.
    pub fn snapshot<D: Backend<E>>(&self, model: &Model<E, D>, metadata: Metadata) -> Snapshot {
        let named = model.named();
        let names = || named.iter().map(|(name, _)| name);
        let mut arrays = checkpoint::parameters("model.", model);
        let (steps, means) = self.optimizer.state();
        for (name, means) in names().zip(means) {
            for (kind, mean) in ["first", "second"].into_iter().zip(means) {
                // A rule that keeps no mean has an empty one.
                if !mean.is_empty() {
                    arrays.push(Array::row(format!("{kind}.{name}"), &mean));
                }
            }
        }
        let averages = self.average.iter().flat_map(|average| &average.values);
        for (name, values) in names().zip(averages) {
            arrays.push(Array::row(format!("average.{name}"), &values.to_host()));
        }
        let best = self.best.iter().flat_map(|best| &best.values);
        for (name, values) in names().zip(best) {
            arrays.push(Array::row(format!("best.{name}"), &values.to_host()));
        }
        for (name, values) in model.fusion.memory() {
            arrays.push(Array::row(format!("memory.{name}"), &values));
        }
        if let Some(Standardization { mean, deviation }) = model.head.standardization() {
            arrays.push(Array::row(STANDARDIZATION.to_owned(), &[mean, deviation]));
        }
        let rows: Vec<f64> = self.history.iter().flat_map(Epoch::row).collect();
        arrays.push(Array::row("history".to_owned(), &rows));
        let best = self.best.as_ref();
        let best = best.map_or([f64::NAN; 3], |b| [b.epoch as f64, b.merit, b.loss]);
        let averaged = self.average.as_ref().map_or(0, |average| average.steps);
        let counts = [steps as f64, averaged as f64, self.seconds];
        let counts = [&counts[..], &best].concat();
        arrays.push(Array::row("counts".to_owned(), &counts));
        Snapshot { arrays, metadata }
    }

    /// The progress a file holds; gives the model its parameters, and the head its scale.
    ///
    /// # Errors
    /// [`CheckpointError`] if the file does not belong to this model and training.
    pub fn resume<D: Backend<E>>(
        saved: &Checkpoint,
        model: &mut Model<E, D>,
        training: &Training,
    ) -> Result<Self, CheckpointError> {
        saved.load_from("model.", model)?;
        let arrays = SavedArrays::new(saved, model);
        let counts: Vec<f64> = saved.numbers("counts")?;
        let &[steps, averaged, seconds, epoch, merit, loss] = &counts[..] else {
            return Err(saved.damaged(format!("`counts` has {} numbers", counts.len())));
        };
        let counted = |number: f64| {
            let whole = number >= 0.0 && number.fract() == 0.0;
            whole && number < f64::from(i32::MAX)
        };
        if !(counted(steps) && counted(averaged) && (epoch.is_nan() || counted(epoch))) {
            return Err(saved.damaged(format!("`counts` cannot be {counts:?}")));
        }
        // Before the first step there are no means.
        let means = match steps > 0.0 {
            true => arrays.means()?,
            false => Vec::new(),
        };
        let optimizer = training.optimizer();
        let optimizer = optimizer.map_err(|error| saved.damaged(error.to_string()))?;
        let optimizer = optimizer.continued(steps as usize, means);
        let mut average = training.average.map(Average::new);
        if let Some(average) = average.as_mut().filter(|_| averaged > 0.0) {
            average.steps = averaged as usize;
            average.values = arrays.kept("average")?;
        }
        let best = match epoch.is_nan() {
            true => None,
            false => Some(Best {
                epoch: epoch as usize,
                merit,
                loss,
                values: arrays.kept("best")?,
            }),
        };
        restore_state(saved, model)?;
        Ok(Self {
            history: read_history(saved, model)?,
            seconds,
            optimizer,
            average,
            best,
        })
    }
}

/// The arrays that a file has for every parameter of a model, each as long as the parameter.
struct SavedArrays<'c> {
    saved: &'c Checkpoint,
    /// Names and lengths of the parameters.
    parameters: Vec<(String, usize)>,
}

impl<'c> SavedArrays<'c> {
    fn new<E: Scalar, D: Backend<E>>(saved: &'c Checkpoint, model: &Model<E, D>) -> Self {
        let named = model.named().into_iter();
        let parameters = named
            .map(|(name, tensor)| (name, tensor.shape().num_elements()))
            .collect();
        Self { saved, parameters }
    }

    /// Those of a kind.
    fn kept<E: Scalar>(&self, kind: &str) -> Result<Vec<Kept<E>>, CheckpointError> {
        let parameters = self.parameters.iter();
        parameters
            .map(|(name, length)| {
                let row: Vec<E> = self.saved.row(&format!("{kind}.{name}"), *length)?;
                Ok(row.into())
            })
            .collect()
    }

    /// The running means, first and second; empty where the rule keeps none.
    fn means<E: Scalar>(&self) -> Result<Vec<[Vec<E>; 2]>, CheckpointError> {
        let mean = |kind: &str, (name, length): &(String, usize)| {
            let name = format!("{kind}.{name}");
            match self.saved.has(&name) {
                true => self.saved.row(&name, *length),
                false => Ok(Vec::new()),
            }
        };
        let parameters = self.parameters.iter();
        parameters
            .map(|parameter| Ok([mean("first", parameter)?, mean("second", parameter)?]))
            .collect()
    }
}

/// Gives the head its scale, and the fusion what it remembers.
fn restore_state<E: Scalar, D: Backend<E>>(
    saved: &Checkpoint,
    model: &mut Model<E, D>,
) -> Result<(), CheckpointError> {
    if saved.has(STANDARDIZATION) {
        let &[mean, deviation] = &saved.numbers::<f64>(STANDARDIZATION)?[..] else {
            return Err(saved.damaged(format!("`{STANDARDIZATION}` is not a pair")));
        };
        let scale = Standardization { mean, deviation };
        let sensible = scale.validate();
        sensible.map_err(|error| saved.damaged(error.to_string()))?;
        (model.head).standardize(scale);
    }
    for (name, values) in saved.entries("memory.")? {
        model.fusion.remember(&name, values);
    }
    Ok(())
}

fn read_history<E: Scalar, D: Backend<E>>(
    saved: &Checkpoint,
    model: &Model<E, D>,
) -> Result<Vec<Epoch>, CheckpointError> {
    let rows: Vec<f64> = saved.numbers("history")?;
    let rows = rows.chunks_exact(Epoch::columns(&*model.head).len());
    let whole = rows.remainder().is_empty();
    let history = whole.then(|| rows.map(Epoch::from_row).collect());
    history
        .flatten()
        .ok_or_else(|| saved.damaged("`history` ends within an epoch".to_owned()))
}
