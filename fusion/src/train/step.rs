//! The gradients of one step, of all parts of its batch on all ranks.

use dfdx::prelude::Gradients;
use equilibria_core::seed::mix;
use equilibria_core::{Backend, Matrix, Parameters, Report, Result, Scalar};

use super::ordered_sum::OrderedSum;
use super::{tensors, Trainer};
use crate::data::{Rows, Targets};
use crate::model::Model;
use crate::pass::{Differentiated, Pass};
use crate::predict;
use crate::ranks::{Chunk, Division};

/// What came of a step.
pub(super) struct Step<E: Scalar, D: Backend<E>> {
    /// Of the loss of the whole batch.
    pub gradients: Gradients<E, D>,
    /// The share of this rank in that loss; the loss itself where sums are reproducible.
    pub loss: f64,
    /// Every equilibrium of every pass on this rank: forward and adjoint report.
    pub reports: Vec<(Report, Option<Report>)>,
}

impl<E: Scalar, D: Backend<E>> Trainer<'_, E, D> {
    /// The gradients of the loss on a batch, in a step of an epoch, which is counted from 0; the batch of the next step is read meanwhile.
    pub(super) fn step(
        &self,
        division: &Division<'_>,
        rows: &dyn Rows,
        (batch, next): (&[usize], Option<Vec<usize>>),
        place: (usize, usize),
    ) -> Result<Step<E, D>> {
        let (chunks, parts) = division.chunks(batch.len(), self.training.batch);
        let next = next.and_then(|next| {
            let (chunks, _) = division.chunks(next.len(), self.training.batch);
            Some(next[chunks.first()?.rows.clone()].to_vec())
        });
        if !division.divides() {
            let own = (batch, next.as_deref());
            let whole = self.differentiate(rows, own, &chunks[0], place)?;
            return Ok(Step {
                gradients: whole.gradients,
                loss: whole.loss,
                reports: without_names(whole.reports).collect(),
            });
        }
        let (mut reports, mut ordered) = (Vec::new(), OrderedSum::new(parts));
        let (mut sum, mut loss) = (Vec::new(), 0.0);
        for (index, chunk) in chunks.iter().enumerate() {
            let own = &batch[chunk.rows.clone()];
            let following = chunks.get(index + 1);
            let following = following.map(|chunk| &batch[chunk.rows.clone()]);
            let own = (own, following.or(next.as_deref()));
            let mut done = self.differentiate(rows, own, chunk, place)?;
            reports.extend(without_names(done.reports));
            let gradient = flat(self.model, &mut done.gradients)?;
            match division.reproducible {
                true => ordered.add(chunk.number, gradient, done.loss),
                false => (sum, loss) = (gradient, done.loss),
            }
        }
        if division.reproducible {
            (sum, loss) = ordered.finish(division.ranks)?;
        } else {
            // A rank without rows adds nothing.
            sum.resize(count(self.model), E::zero());
            division.ranks.sum(&mut sum)?;
        }
        Ok(Step {
            gradients: gradients_of(self.model, sum)?,
            loss,
            reports,
        })
    }

    /// The gradients of the loss on the rows of a chunk, with those that will be asked for next.
    fn differentiate(
        &self,
        rows: &dyn Rows,
        (own, next): (&[usize], Option<&[usize]>),
        chunk: &Chunk,
        (epoch, step): (usize, usize),
    ) -> Result<Differentiated<E, D>> {
        let seed = mix(mix(self.seed, epoch as u64), step as u64);
        let (targets, x) = self.learned_from(rows, own, seed)?;
        if let Some(next) = next {
            rows.announce(next);
        }
        let targets = self.model.targets(self.device, &targets)?;
        let mut pass = Pass::training(seed);
        pass.part = chunk.part;
        pass.samples = Some(own.to_vec());
        let outputs = self.model.outputs(&x, Some(&targets), &mut pass)?;
        let loss = self.model.loss(&outputs, &targets, &mut pass)?;
        pass.backward(&loss)
    }

    /// Targets and tensors of some rows, changed as the backbone changes them.
    fn learned_from(
        &self,
        rows: &dyn Rows,
        own: &[usize],
        seed: u64,
    ) -> Result<(Targets, Vec<Matrix<E, D>>)> {
        let places: Vec<usize> = (0..own.len()).collect();
        let read;
        let (rows, places) = match rows.in_memory() {
            Some(rows) => (rows, own),
            None => {
                read = rows.read(own)?;
                (&read, &places[..])
            }
        };
        if let Some(changed) = (self.model.backbone).augmented(rows, places, own, seed) {
            let x = tensors(self.device, &changed)?;
            return Ok((changed.targets, x));
        }
        let x = predict::tensors(self.device, &rows.modalities, places.iter().copied())?;
        Ok((rows.targets.select(places), x))
    }
}

fn without_names(
    reports: Vec<(String, Report, Option<Report>)>,
) -> impl Iterator<Item = (Report, Option<Report>)> {
    let reports = reports.into_iter();
    reports.map(|(_, forward, adjoint)| (forward, adjoint))
}

/// Numbers of all parameters.
fn count<E: Scalar, D: Backend<E>>(model: &Model<E, D>) -> usize {
    let mut count = 0;
    model.visit("", &mut |_, tensor| {
        let (rows, columns) = *dfdx::prelude::HasShape::shape(tensor);
        count += rows * columns;
    });
    count
}

/// The gradients of all parameters, one after the other.
fn flat<E: Scalar, D: Backend<E>>(
    model: &Model<E, D>,
    gradients: &mut Gradients<E, D>,
) -> Result<Vec<E>> {
    let (mut all, mut outcome) = (Vec::with_capacity(count(model)), Ok(()));
    model.visit("", &mut |_, tensor| {
        if outcome.is_ok() {
            outcome = D::with_gradient(gradients, tensor, |own| all.extend_from_slice(own));
        }
    });
    outcome.map(|()| all)
}

/// The reverse of [`flat`].
fn gradients_of<E: Scalar, D: Backend<E>>(
    model: &Model<E, D>,
    all: Vec<E>,
) -> Result<Gradients<E, D>> {
    let (mut gradients, mut rest, mut outcome) = (Gradients::leaky(), &all[..], Ok(()));
    model.visit("", &mut |_, tensor| {
        let (rows, columns) = *dfdx::prelude::HasShape::shape(tensor);
        let (own, next) = rest.split_at(rows * columns);
        rest = next;
        if outcome.is_ok() {
            outcome = D::add_to_gradient(&mut gradients, tensor, |gradient| {
                gradient.copy_from_slice(own);
            });
        }
    });
    outcome.map(|()| gradients)
}
