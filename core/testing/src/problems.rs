//! Named fixed-point problems with known solutions, for solvers to be measured on.
//!
//! A problem is a batch of rows, each with its own fixed-point equation z = f(z; x). The map is composed of elementary
//! [stages](Stage), from which follow its map in rows, its layer, its Jacobian, and bounds of its contraction. All data are
//! numbers that f32 holds exactly, so that f32 and f64 solve the same problem.
//!
//! | family | what it is for |
//! |---|---|
//! | `linear` | known spectra: the rates of theory |
//! | `expansive` | spectral radius above 1: plain iteration diverges |
//! | `network` | smooth and normalized networks, large and small numbers |
//! | `monotone` | piecewise linear maps |
//! | `scalar` | equations of one unknown |
//! | `mixed` | batches whose samples differ |
//! | `unsolvable` | no fixed point, or NaN on the way |

mod dense;
mod map;
mod measures;
mod newton;
mod run;
mod stage;

mod expansive;
mod linear;
mod mixed;
mod monotone;
mod network;
mod scalar;
mod unsolvable;

pub use map::ProblemLayer;
pub use run::{Precision, Run, Space};
pub use stage::{Function, Stage};

use std::sync::{Arc, OnceLock};

use crate::random_values;
use equilibria_core::registry::nearest;
use equilibria_core::report::Status;
use equilibria_core::{from_host, Backend, Error, Matrix, Result, RowMap, Scalar};

/// A batch of fixed-point equations z = f(z; x) with their exact solutions.
#[derive(Debug, Clone)]
pub struct Problem {
    /// Its name, in kebab-case.
    pub name: &'static str,
    /// What it is, in one line.
    pub summary: &'static str,
    /// Number of samples.
    pub batch: usize,
    /// Dimension of one sample's state.
    pub dim: usize,
    /// The map.
    pub stages: Vec<Stage<f64>>,
    /// The injected inputs, each `[batch, dim]`, row-major.
    pub inputs: Vec<Vec<f64>>,
    /// Where solves start, `[batch, dim]`, row-major. Default: 0.
    pub start: Vec<f64>,
    /// The fixed point of every sample that has one; one of them, if [`condition`](Self::condition) is not known.
    pub solutions: Vec<Option<Vec<f64>>>,
    /// The statuses that are truthful for samples without a fixed point. Any is for samples that have one, as long as
    /// the numbers bear it out.
    pub unsolved: &'static [Status],
}

/// All problems, by family.
pub fn all() -> Vec<Problem> {
    /// Made once: their spectra cost more than many a solve.
    static MADE: OnceLock<Vec<Problem>> = OnceLock::new();
    let made = MADE.get_or_init(|| {
        let families = [
            linear::problems(),
            expansive::problems(),
            network::problems(),
            monotone::problems(),
            scalar::problems(),
            mixed::problems(),
            unsolvable::problems(),
        ];
        families.into_iter().flatten().collect()
    });
    made.clone()
}

/// The problem of the given name.
///
/// # Errors
/// [`Error::UnknownProblem`], which names the nearest known one.
pub fn find(name: &str) -> Result<Problem> {
    let mut problems = all();
    match problems.iter().position(|problem| problem.name == name) {
        Some(index) => Ok(problems.swap_remove(index)),
        None => {
            let known: Vec<_> = problems.iter().map(|p| p.name.to_owned()).collect();
            Err(Error::UnknownProblem {
                name: name.to_owned(),
                nearest: nearest(name, known.iter().map(String::as_str)),
                known,
            })
        }
    }
}

impl Problem {
    /// A problem that starts at 0, without solutions yet; the batch follows from the inputs. Rounds all data to f32.
    fn new(
        name: &'static str,
        summary: &'static str,
        dim: usize,
        stages: Vec<Stage<f64>>,
        inputs: Vec<Vec<f64>>,
    ) -> Self {
        let batch = inputs.first().map_or(0, Vec::len) / dim;
        let stages = stages.iter().map(|stage| stage.cast::<f32>().cast());
        Self {
            name,
            summary,
            batch,
            dim,
            stages: stages.collect(),
            inputs: inputs.into_iter().map(single).collect(),
            start: vec![0.0; batch * dim],
            solutions: vec![None; batch],
            unsolved: &[],
        }
    }

    fn starting(mut self, start: Vec<f64>) -> Self {
        self.start = single(start);
        self
    }

    /// Finds the solutions, by a Newton iteration of its own.
    fn solved(mut self) -> Self {
        self.solutions = (0..self.batch)
            .map(|sample| newton::solve(&self, sample))
            .collect();
        self
    }

    /// Says what may be said of samples without a fixed point.
    fn or_else(mut self, truthful: &'static [Status]) -> Self {
        self.unsolved = truthful;
        self
    }

    /// The problem of the given samples alone, in the given order; each below [`batch`](Self::batch), some perhaps twice.
    pub fn select(&self, samples: &[usize]) -> Self {
        let pick = |all: &Vec<f64>| -> Vec<f64> {
            let rows = samples.iter().map(|&sample| self.row(all, sample));
            rows.flatten().copied().collect()
        };
        Self {
            batch: samples.len(),
            inputs: self.inputs.iter().map(pick).collect(),
            start: pick(&self.start),
            solutions: samples.iter().map(|&s| self.solutions[s].clone()).collect(),
            ..self.clone()
        }
    }

    /// The row of one sample in a `[batch, dim]` array.
    pub fn row<'a>(&self, all: &'a [f64], sample: usize) -> &'a [f64] {
        &all[sample * self.dim..][..self.dim]
    }

    /// The statuses that are truthful for a sample. [`Status::Converged`] and [`Status::NonFinite`] also have to be borne
    /// out by the numbers.
    pub fn truthful(&self, sample: usize) -> &[Status] {
        match self.solutions[sample] {
            Some(_) => &[
                Status::Converged,
                Status::MaxEvaluations,
                Status::Stalled,
                Status::Diverged,
                Status::NonFinite,
            ],
            None => self.unsolved,
        }
    }

    /// The map in rows, for the CPU.
    pub fn row_map<E: Scalar>(&self) -> Arc<dyn RowMap<E>> {
        Arc::new(map::Stages {
            dim: self.dim,
            stages: self.stages.iter().map(Stage::cast).collect(),
        })
    }

    /// The map as a layer; its injected inputs are those of [`tensors`](Self::tensors).
    pub fn layer<E: Scalar, D: Backend<E>>(&self, device: &D) -> Result<ProblemLayer<E, D>> {
        ProblemLayer::new(
            device,
            self.dim,
            self.stages.iter().map(Stage::cast).collect(),
        )
    }

    /// The injected inputs of [`layer`](Self::layer), each `[batch, dim]`.
    pub fn tensors<E: Scalar, D: Backend<E>>(&self, device: &D) -> Result<Vec<Matrix<E, D>>> {
        let shape = (self.batch, self.dim);
        let tensor = |x: &Vec<f64>| from_host(device, round(x), shape);
        self.inputs.iter().map(tensor).collect()
    }
}

/// Rounds to `E`.
fn round<E: Scalar>(values: &[f64]) -> Vec<E> {
    values.iter().map(|&value| E::of(value)).collect()
}

/// The nearest numbers that f32 holds.
fn single(values: Vec<f64>) -> Vec<f64> {
    values.into_iter().map(|v| f64::from(v as f32)).collect()
}

/// Normal numbers of the given deviation, `[batch, dim]`.
fn normal(batch: usize, dim: usize, deviation: f64, seed: u64) -> Vec<f64> {
    let values = random_values(batch * dim, seed).into_iter();
    values.map(|value| deviation * value).collect()
}
