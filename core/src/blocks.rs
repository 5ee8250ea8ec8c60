//! Splits a batch into blocks of rows and runs a job on each, one thread per block.

use std::ops::Range;

use crate::bound::Job;
use crate::kernel::{Kernel, KernelGradients};
use crate::parallel;
use crate::space::SliceSpace;
use crate::{Result, Scalar, StateSpace};

/// Numbers in one vector of a block, at most: a solver keeps some twenty vectors, and they share the second-level cache
/// with the weights.
const BLOCK_NUMBERS: usize = 1 << 13;

/// Rows that a product takes at once: blocks are made of whole tiles.
const TILE: usize = 6;

/// Tiles in the largest blocks of wide states: where the weights do not fit in that cache, more rows share the reading.
const WIDE_TILES: usize = 8;

/// Fewer rows would read weights more often than they use them, more would not pay any more.
const TILES: std::ops::RangeInclusive<usize> = 2..=40;

/// Blocks a batch is split into where it is large enough, so that threads that finish early find more to do.
const BLOCKS: usize = 12;

/// Multiplications a product must cost at least for its block to be worth a thread of its own.
const BLOCK_PRODUCTS: usize = 1 << 16;

/// What the size of the blocks may depend on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Blocking {
    /// On the number of threads: each row is computed alone, so that blocks make no difference to it.
    Threads,
    /// On batch and width alone: gradients are added up block by block, and their sums must not depend on the number of
    /// threads.
    Fixed,
}

impl Blocking {
    /// Rows in every block but the last one of a batch of states of `dim` numbers.
    fn rows(self, batch: usize, dim: usize) -> usize {
        let tiles = |rows: usize| rows.div_ceil(TILE).clamp(*TILES.start(), *TILES.end());
        let largest = |numbers: usize| tiles(numbers / dim).max(WIDE_TILES);
        let smallest = tiles(BLOCK_PRODUCTS.div_ceil(dim * dim)).min(largest(BLOCK_NUMBERS));
        let wanted = match self {
            Self::Threads => {
                // Few blocks, since the last rows of each are slow, but as many for every thread.
                let threads = rayon::current_num_threads();
                let rows = largest(2 * BLOCK_NUMBERS) * TILE;
                let blocks = batch.div_ceil(rows).next_multiple_of(threads);
                tiles(batch.div_ceil(blocks))
            }
            Self::Fixed => (batch / BLOCKS / TILE).min(largest(BLOCK_NUMBERS)),
        };
        wanted.max(smallest) * TILE
    }
}

/// Sizes of the problem to be split.
pub(crate) struct Split {
    pub batch: usize,
    pub dim: usize,
    pub blocking: Blocking,
    /// Shape of each parameter.
    pub parameters: Vec<(usize, usize)>,
    /// Width of each injected input.
    pub inputs: Vec<usize>,
}

/// What a job leaves behind on the batch.
pub(crate) struct Whole<E, R> {
    pub states: Vec<Vec<E>>,
    pub gradients: KernelGradients<E>,
    pub results: Vec<R>,
}

impl Split {
    /// Runs `job` on every block of the given states, each `[batch, dim]`.
    pub fn run<E: Scalar, R: Send>(
        &self,
        kernel: &dyn Kernel<E>,
        mut states: Vec<Vec<E>>,
        job: &Job<'_, R>,
    ) -> Result<Whole<E, R>> {
        let rows = self.blocking.rows(self.batch, self.dim);
        let blocks = self.batch.div_ceil(rows);
        let mut parts: Vec<Vec<&mut [E]>> = (0..blocks).map(|_| Vec::new()).collect();
        for state in &mut states {
            let own = parts.iter_mut().zip(state.chunks_mut(rows * self.dim));
            own.for_each(|(parts, part)| parts.push(part));
        }
        let run = |(block, parts): (usize, _)| {
            let rows = block * rows..((block + 1) * rows).min(self.batch);
            self.run_block(kernel, rows, parts, job)
        };
        let outcomes = parallel::map(parts.into_iter().enumerate(), run);
        let parameters = self.parameters.iter().copied();
        let mut whole = KernelGradients::zeros(parameters, self.inputs.iter().copied(), 0);
        let mut results = Vec::with_capacity(blocks);
        // Parts are added in order: the sum must not depend on which thread was faster.
        for outcome in outcomes {
            let (result, part) = outcome?;
            let sums = whole.parameters.iter_mut().zip(part.parameters);
            sums.for_each(|(sum, part)| sum.append(part));
            let all = whole.inputs.iter_mut().zip(part.inputs);
            all.for_each(|(all, part)| all.extend(part));
            results.push(result);
        }
        Ok(Whole {
            states,
            gradients: whole,
            results,
        })
    }

    fn run_block<E: Scalar, R>(
        &self,
        kernel: &dyn Kernel<E>,
        rows: Range<usize>,
        parts: Vec<&mut [E]>,
        job: &Job<'_, R>,
    ) -> Result<(R, KernelGradients<E>)> {
        let (parameters, inputs) = (self.parameters.iter(), self.inputs.iter());
        let gradients = KernelGradients::zeros(parameters.copied(), inputs.copied(), rows.len());
        let mut space = SliceSpace::new(kernel.block(rows.clone()), self.dim, rows, gradients);
        let mut slots = Vec::with_capacity(parts.len());
        for part in &parts {
            let slot = space.alloc()?;
            space.state_mut(slot).copy_from_slice(part);
            slots.push(slot);
        }
        let result = job(&mut space, &slots)?;
        for (slot, part) in slots.into_iter().zip(parts) {
            part.copy_from_slice(space.state(slot));
        }
        Ok((result, space.into_gradients()))
    }
}
