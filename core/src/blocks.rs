//! Splits a batch into blocks of rows and runs a job on each, one thread per block.

use std::ops::Range;

use rayon::prelude::*;

use crate::bound::Job;
use crate::kernel::{Kernel, KernelGradients};
use crate::space::SliceSpace;
use crate::{Result, Scalar, StateSpace};

/// Rows one thread works on at a time. Fixed, so that results do not depend on the number of threads.
const BLOCK_ROWS: usize = 32;

/// The rows of block number `block`.
pub(crate) fn rows(block: usize, batch: usize) -> Range<usize> {
    block * BLOCK_ROWS..((block + 1) * BLOCK_ROWS).min(batch)
}

/// Sizes of the problem to be split.
pub(crate) struct Split {
    pub batch: usize,
    pub dim: usize,
    /// Number of elements of each parameter.
    pub parameters: Vec<usize>,
    /// Width of each injected input.
    pub inputs: Vec<usize>,
}

/// What a job leaves behind, on one block or, put together, on the batch.
pub(crate) struct Part<E, R> {
    pub states: Vec<Vec<E>>,
    pub gradients: KernelGradients<E>,
    pub results: Vec<R>,
}

impl Split {
    /// Runs `job` on every block of the given states, each `[batch, dim]`.
    pub fn run<E: Scalar, R: Send>(
        &self,
        kernel: &dyn Kernel<E>,
        given: &[Vec<E>],
        job: &Job<'_, R>,
    ) -> Result<Part<E, R>> {
        let blocks = self.batch.div_ceil(BLOCK_ROWS);
        let rows = |block| rows(block, self.batch);
        if blocks == 1 {
            // A thread pool would only cost time.
            return self.run_block(kernel, given, job, rows(0));
        }
        let parts = (0..blocks)
            .into_par_iter()
            .map(|block| self.run_block(kernel, given, job, rows(block)))
            .collect::<Result<Vec<_>>>()?;
        // Parts are added in order: the sum must not depend on which thread was faster.
        let mut parts = parts.into_iter();
        let first = parts.next().unwrap_or_else(Part::empty);
        Ok(parts.fold(first, Part::append))
    }

    fn run_block<E: Scalar, R>(
        &self,
        kernel: &dyn Kernel<E>,
        given: &[Vec<E>],
        job: &Job<'_, R>,
        rows: Range<usize>,
    ) -> Result<Part<E, R>> {
        let zeros = |len| vec![E::zero(); len];
        let gradients = KernelGradients {
            parameters: self.parameters.iter().map(|&len| zeros(len)).collect(),
            inputs: self
                .inputs
                .iter()
                .map(|width| zeros(rows.len() * width))
                .collect(),
        };
        let block = kernel.block(rows.clone());
        let mut space = SliceSpace::new(block, self.dim, rows.clone(), gradients);
        let mut slots = Vec::with_capacity(given.len());
        for state in given {
            let slot = space.alloc()?;
            let part = &state[rows.start * self.dim..rows.end * self.dim];
            space.state_mut(slot).copy_from_slice(part);
            slots.push(slot);
        }
        let result = job(&mut space, &slots)?;
        Ok(Part {
            states: slots
                .iter()
                .map(|&slot| space.state(slot).to_vec())
                .collect(),
            gradients: space.into_gradients(),
            results: vec![result],
        })
    }
}

impl<E: Scalar, R> Part<E, R> {
    fn empty() -> Self {
        Self {
            states: Vec::new(),
            gradients: KernelGradients::default(),
            results: Vec::new(),
        }
    }

    /// Puts the next block behind this one: rows are appended, gradients of parameters are added.
    fn append(mut self, next: Self) -> Self {
        for (rows, more) in self.states.iter_mut().zip(next.states) {
            rows.extend(more);
        }
        for (rows, more) in self.gradients.inputs.iter_mut().zip(next.gradients.inputs) {
            rows.extend(more);
        }
        for (sum, part) in self
            .gradients
            .parameters
            .iter_mut()
            .zip(next.gradients.parameters)
        {
            sum.iter_mut()
                .zip(part)
                .for_each(|(sum, part)| *sum += part);
        }
        self.results.extend(next.results);
        self
    }
}
