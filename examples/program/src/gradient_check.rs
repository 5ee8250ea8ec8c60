//! Are the gradients of a configured model right? Compared with central differences, parameter by parameter.

mod slope;

use dfdx::prelude::*;
use equilibria_core::seed::mix;
use equilibria_core::{to_host, Backend, Matrix, Parameters, Report, Status};
use equilibria_fusion::{Model, Pass};
use equilibria_testing::worse;

use crate::error::Result;
use slope::{slope, Slope};

/// A parameter whose gradient is smaller than this share of the largest one is measured against that share: relative to
/// itself it is noise.
const FLOOR: f64 = 1e-3;

/// Entries tried for each that is to be compared: some have no slope.
const TRIES: usize = 3;

/// A batch to take the loss on.
pub struct Batch<D: Backend<f64>> {
    /// One matrix per modality.
    pub x: Vec<Matrix<f64, D>>,
    /// What is to be predicted of the rows, `[rows, outputs]`.
    pub targets: Matrix<f64, D>,
}

/// The gradient of every parameter, by name.
pub type Gradients = Vec<(String, Vec<f64>)>;

/// What a way to differentiate gives.
pub struct Differentiated {
    pub gradients: Gradients,
    /// Adjoint solves of all equilibria.
    pub adjoint: Report,
}

/// The gradients of the whole loss, without dropout and penalties.
pub fn differentiate<D: Backend<f64>>(
    model: &Model<f64, D>,
    batch: &Batch<D>,
) -> Result<Differentiated> {
    let mut pass = Pass::noiseless();
    let outputs = model.outputs(&batch.x, Some(&batch.targets), &mut pass)?;
    let loss = model.loss(&outputs, &batch.targets, &mut pass)?;
    let mut outcome = pass.backward(&loss)?;
    let gradient = |(name, tensor): (String, Matrix<f64, D>)| {
        let place = outcome.gradients.try_alloc_for(&tensor);
        place.map_err(equilibria_core::Error::device)?;
        Ok((name, to_host(&outcome.gradients.get(&tensor))))
    };
    let gradients = model.named().into_iter().map(gradient);
    let gradients = gradients.collect::<Result<_>>()?;
    let reports = outcome.reports.into_iter();
    Ok(Differentiated {
        gradients,
        adjoint: reports.filter_map(|(_, _, adjoint)| adjoint).collect(),
    })
}

/// The rows whose equilibria all converge.
pub fn solved_rows<D: Backend<f64>>(model: &Model<f64, D>, batch: &Batch<D>) -> Result<Vec<usize>> {
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

/// The whole loss alone; `None` if an equilibrium is not found.
fn loss<D: Backend<f64>>(model: &Model<f64, D>, batch: &Batch<D>) -> Result<Option<f64>> {
    let mut pass = Pass::evaluation();
    let outputs = model.outputs(&batch.x, Some(&batch.targets), &mut pass)?;
    let loss = model.loss(&outputs, &batch.targets, &mut pass)?;
    let solved = pass
        .solves
        .iter()
        .all(|solve| solve.report.unconverged() == 0);
    let terms = pass.losses.iter().chain([&loss]);
    Ok(solved.then(|| terms.map(|term| to_host(term)[0]).sum()))
}

/// One parameter of the model.
#[derive(Debug, serde::Serialize)]
pub struct Row {
    /// Its name.
    pub parameter: String,
    /// Largest entry of its gradient, the first way.
    pub largest: f64,
    /// Entries that were looked at.
    pub entries: usize,
    /// Those that could be compared.
    pub compared: usize,
    /// Those beside which an equilibrium was not found.
    pub unsolved: usize,
    /// Largest error of each way to differentiate, over the entries compared, relative to `largest`.
    pub errors: Vec<f64>,
}

/// Compares gradients with differences.
pub struct Comparison<'a, D: Backend<f64>> {
    pub batch: &'a Batch<D>,
    /// Of each way to differentiate.
    pub ways: &'a [&'a Gradients],
    /// How many entries of each parameter are compared, if it has as many.
    pub entries: usize,
    /// What an error may be, relative; differences that are less accurate are no measure.
    pub tolerance: f64,
    /// Draws entries.
    pub seed: u64,
}

impl<D: Backend<f64>> Comparison<'_, D> {
    /// One row per parameter, but for running statistics, which have no gradient. The model is the same again afterwards.
    pub fn run(&self, model: &mut Model<f64, D>) -> Result<Vec<Row>> {
        let size = |gradient: &[f64]| gradient.iter().fold(0.0_f64, |most, g| most.max(g.abs()));
        let first = self.ways.first().map_or(&[][..], |way| &way[..]);
        let sizes: Vec<f64> = first.iter().map(|(_, gradient)| size(gradient)).collect();
        let floor = FLOOR * sizes.iter().copied().fold(0.0, f64::max);
        let Some(middle) = loss(model, self.batch)? else {
            return Ok(Vec::new());
        };
        let (mut rows, mut statistics) = (Vec::with_capacity(sizes.len()), Vec::new());
        model.visit_statistics("", &mut |name| statistics.push(name.to_owned()));
        for (index, (name, tensor)) in model.named().into_iter().enumerate() {
            if statistics.contains(&name) {
                continue;
            }
            let values = to_host(&tensor);
            let scale = sizes[index].max(floor);
            let mut row = Row {
                parameter: name,
                largest: sizes[index],
                entries: 0,
                compared: 0,
                unsolved: 0,
                errors: vec![0.0; self.ways.len()],
            };
            for entry in self.draw(index, &first[index].1) {
                if row.compared == self.entries {
                    break;
                }
                let slope = slope(middle, self.tolerance * scale, |shift| {
                    let mut shifted = values.clone();
                    shifted[entry] += shift;
                    set(model, index, &shifted)?;
                    loss(model, self.batch)
                })?;
                self.note(&mut row, [index, entry], scale, slope);
            }
            set(model, index, &values)?;
            rows.push(row);
        }
        Ok(rows)
    }

    /// The entries of a parameter to look at, in this order: the one with the largest gradient, others by chance.
    fn draw(&self, index: usize, gradient: &[f64]) -> Vec<usize> {
        let count = gradient.len();
        let larger = |a: &usize, b: &usize| gradient[*a].abs().total_cmp(&gradient[*b].abs());
        let mut entries: Vec<usize> = (0..count).max_by(larger).into_iter().collect();
        let rest: Vec<usize> = match count <= TRIES * self.entries {
            true => (0..count).collect(),
            false => {
                let draw = |draw| mix(mix(self.seed, index as u64), draw) % count as u64;
                (1..(TRIES * self.entries) as u64)
                    .map(|number| draw(number) as usize)
                    .collect()
            }
        };
        for entry in rest {
            if !entries.contains(&entry) {
                entries.push(entry);
            }
        }
        entries
    }

    fn note(&self, row: &mut Row, [index, entry]: [usize; 2], scale: f64, slope: Option<Slope>) {
        row.entries += 1;
        let Some(slope) = slope else {
            row.unsolved += 1;
            return;
        };
        if slope.error > self.tolerance * scale {
            return;
        }
        row.compared += 1;
        for (error, way) in row.errors.iter_mut().zip(self.ways) {
            let difference = (way[index].1[entry] - slope.value).abs();
            *error = worse(*error, difference / scale);
        }
    }
}

/// Gives parameter number `index` these values.
fn set<D: Backend<f64>>(
    model: &mut Model<f64, D>,
    index: usize,
    values: &[f64],
) -> equilibria_core::Result<()> {
    let (mut count, mut outcome) = (0, Ok(()));
    model.visit_mut("", &mut |_, tensor| {
        if count == index {
            outcome = D::overwrite(tensor, values);
        }
        count += 1;
    });
    outcome
}
