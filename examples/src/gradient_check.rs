//! Are the gradients of a configured model right? Compared with central differences, parameter by parameter.

use dfdx::prelude::*;
use equilibria_core::seed::mix;
use equilibria_core::testing::worse;
use equilibria_core::{to_host, Matrix, Parameters, Status};
use equilibria_fusion::{Model, Pass};

use crate::error::Result;

/// Step of the differences: truncation of order h² = 1e-8, and noise of order 1e-13 / h = 1e-9 where solves are accurate
/// to 1e-13.
const STEP: f64 = 1e-4;

/// A parameter whose gradient is smaller than this share of the largest one is measured against that share: relative to
/// itself it is noise.
const FLOOR: f64 = 1e-3;

/// A batch to take the loss on.
pub struct Batch {
    /// One matrix per modality.
    pub x: Vec<Matrix<f64, Cpu>>,
    /// What is to be predicted of the rows, `[rows, outputs]`.
    pub targets: Matrix<f64, Cpu>,
}

/// The gradient of every parameter, by name.
pub type Gradients = Vec<(String, Vec<f64>)>;

/// The whole loss, without dropout and penalties, and its gradients.
pub fn differentiate(model: &Model<f64, Cpu>, batch: &Batch) -> Result<(f64, Gradients)> {
    let mut pass = Pass::noiseless();
    let outputs = model.outputs(&batch.x, Some(&batch.targets), &mut pass)?;
    let loss = model.loss(&outputs, &batch.targets, &mut pass)?;
    let mut outcome = pass.backward(&loss)?;
    let gradient = |(name, tensor): (String, Matrix<f64, Cpu>)| {
        let room = outcome.gradients.try_alloc_for(&tensor);
        room.map_err(equilibria_core::Error::device)?;
        Ok((name, to_host(&outcome.gradients.get(&tensor))))
    };
    let gradients = model.named().into_iter().map(gradient);
    Ok((outcome.loss, gradients.collect::<Result<_>>()?))
}

/// The rows whose equilibria all converge.
pub fn solved_rows(model: &Model<f64, Cpu>, batch: &Batch) -> Result<Vec<usize>> {
    let mut pass = Pass::evaluation();
    let outputs = model.outputs(&batch.x, None, &mut pass)?;
    let converged = |row: usize| {
        let mut reports = pass.solves.iter().map(|solve| &solve.report.samples[row]);
        reports.all(|sample| sample.status == Status::Converged)
    };
    Ok((0..outputs.shape().0)
        .filter(|&row| converged(row))
        .collect())
}

/// The whole loss alone.
fn loss(model: &Model<f64, Cpu>, batch: &Batch) -> Result<f64> {
    let mut pass = Pass::evaluation();
    let outputs = model.outputs(&batch.x, Some(&batch.targets), &mut pass)?;
    let loss = model.loss(&outputs, &batch.targets, &mut pass)?;
    let terms = pass.losses.iter().chain([&loss]);
    Ok(terms.map(|term| to_host(term)[0]).sum())
}

/// One parameter of the model.
#[derive(Debug, serde::Serialize)]
pub struct Row {
    /// Its name.
    pub parameter: String,
    /// Largest entry of its gradient, the first way.
    pub largest: f64,
    /// Largest error of each way to differentiate, over the entries looked at, relative to `largest`.
    pub errors: Vec<f64>,
}

/// Compares gradients with differences over at most `entries` entries of each parameter, drawn by `seed`.
pub fn compare(
    model: &mut Model<f64, Cpu>,
    batch: &Batch,
    ways: &[Gradients],
    entries: usize,
    seed: u64,
) -> Result<Vec<Row>> {
    let size = |gradient: &[f64]| gradient.iter().fold(0.0_f64, |most, g| most.max(g.abs()));
    let first = ways.first().map_or(&[][..], |way| &way[..]);
    let sizes: Vec<f64> = first.iter().map(|(_, gradient)| size(gradient)).collect();
    let floor = FLOOR * sizes.iter().copied().fold(0.0, f64::max);
    let named = model.named();
    let mut rows = Vec::with_capacity(named.len());
    for (index, (name, tensor)) in named.iter().enumerate() {
        let values = to_host(tensor);
        let count = values.len();
        let mut errors = vec![0.0_f64; ways.len()];
        for draw in 0..entries.min(count) {
            let entry = match count <= entries {
                true => draw,
                false => (mix(mix(seed, index as u64), draw as u64) % count as u64) as usize,
            };
            let mut at = |shift: f64| {
                let mut shifted = values.clone();
                shifted[entry] += shift;
                set(model, index, &shifted);
                loss(model, batch)
            };
            let slope = (at(STEP)? - at(-STEP)?) / (2.0 * STEP);
            for (error, way) in errors.iter_mut().zip(ways) {
                let difference = (way[index].1[entry] - slope).abs();
                *error = worse(*error, difference);
            }
        }
        set(model, index, &values);
        let largest = sizes[index];
        let scale = largest.max(floor);
        rows.push(Row {
            parameter: name.clone(),
            largest,
            errors: errors.into_iter().map(|error| error / scale).collect(),
        });
    }
    Ok(rows)
}

/// Gives parameter number `index` these values.
fn set(model: &mut Model<f64, Cpu>, index: usize, values: &[f64]) {
    let mut count = 0;
    model.visit_mut("", &mut |_, tensor| {
        if count == index {
            tensor.copy_from(values);
        }
        count += 1;
    });
}
