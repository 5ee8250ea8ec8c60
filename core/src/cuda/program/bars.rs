//! Cotangents on their way back, and what they leave at parameters and inputs.

use dfdx::prelude::{Cuda, HasShape};

use super::super::store::{CudaStore, Rows};
use super::Real;
use crate::{Backend, Matrix, Result};

/// Gradients that were pulled back; `None` where nothing was.
pub(in super::super) struct PulledBack<E: Real>
where
    Cuda: Backend<E>,
{
    shapes: Vec<(usize, usize)>,
    /// Parameters, then inputs.
    sums: Vec<Option<Rows<E>>>,
    parameters: usize,
}

impl<E: Real> PulledBack<E>
where
    Cuda: Backend<E>,
{
    /// Nothing yet, for parameters and inputs of these shapes.
    pub fn new(parameters: &[Matrix<E, Cuda>], inputs: &[Matrix<E, Cuda>]) -> Self {
        let shapes = parameters.iter().chain(inputs).map(|each| *each.shape());
        let shapes: Vec<_> = shapes.collect();
        Self {
            sums: shapes.iter().map(|_| None).collect(),
            shapes,
            parameters: parameters.len(),
        }
    }

    /// Where the gradient of a parameter grows.
    pub fn parameter(&mut self, index: usize, store: &CudaStore<E>) -> Result<u64> {
        self.of(index, store)
    }

    /// Where the gradient of an input grows.
    pub fn input(&mut self, index: usize, store: &CudaStore<E>) -> Result<u64> {
        self.of(self.parameters + index, store)
    }

    fn of(&mut self, index: usize, store: &CudaStore<E>) -> Result<u64> {
        super::place(&mut self.sums, index, self.shapes[index], store)
    }

    /// Gradients of parameters, and of inputs.
    #[allow(clippy::type_complexity)]
    pub fn into_tensors(self) -> [Vec<Option<Matrix<E, Cuda>>>; 2] {
        let parameters = self.parameters;
        let mut tensors = self.sums.into_iter();
        let mut take = |count: usize| {
            let part = tensors.by_ref().take(count);
            part.map(|sum| sum.map(Rows::into_tensor)).collect()
        };
        [take(parameters), take(usize::MAX)]
    }
}

/// Where the cotangents of values are, as far as they are known.
pub(super) struct Bars {
    /// 0 where nothing has arrived.
    at: Vec<u64>,
    /// Which of the places for cotangents these have.
    pub set: usize,
    /// Where the cotangent of the state is to go.
    pub state: u64,
}

impl Bars {
    /// None but that of the output.
    pub fn new(count: usize, set: usize, (output, given): (usize, u64), state: u64) -> Self {
        let mut at = vec![0; count];
        at[output] = given;
        Self { at, set, state }
    }

    /// The cotangent of a node; 0 if there is none.
    pub fn of(&self, node: usize) -> u64 {
        self.at[node]
    }

    pub fn set(&mut self, node: usize, address: u64) {
        self.at[node] = address;
    }
}
