//! Splits a batch into blocks of rows and runs a job on each, one thread per block.

use std::sync::Arc;

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
const BLOCKS: usize = 6;

/// Multiplications a product must cost at least for its block to be worth a thread of its own.
const BLOCK_PRODUCTS: usize = 1 << 16;

/// What a job is for, which decides on the size of its blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// It changes the given states, and pulls nothing back. Each row is computed alone, so that blocks make no difference to
    /// it, and there are as many as suits the number of threads.
    Solve,
    /// It pulls gradients back, and leaves the given states as they are. Gradients are added up block by block, and their sums
    /// must not depend on the number of threads: blocks depend on batch and width alone.
    Differentiate,
}

impl Purpose {
    /// Rows in every block but the last one of a batch of states of `dim` numbers.
    fn rows(self, batch: usize, dim: usize) -> usize {
        let tiles = |rows: usize| rows.div_ceil(TILE).clamp(*TILES.start(), *TILES.end());
        let largest = |numbers: usize| tiles(numbers / dim).max(WIDE_TILES);
        let smallest = tiles(BLOCK_PRODUCTS.div_ceil(dim * dim)).min(largest(BLOCK_NUMBERS));
        let wanted = match self {
            Self::Solve => {
                // Few blocks, since the last rows of each are slow, but as many for every thread.
                let threads = rayon::current_num_threads();
                let rows = largest(2 * BLOCK_NUMBERS) * TILE;
                let blocks = batch.div_ceil(rows).next_multiple_of(threads);
                tiles(batch.div_ceil(blocks))
            }
            Self::Differentiate => (batch / BLOCKS / TILE).min(largest(BLOCK_NUMBERS)),
        };
        wanted.max(smallest) * TILE
    }
}

/// Sizes of the problem to be split.
pub(crate) struct Split {
    pub batch: usize,
    pub dim: usize,
    pub purpose: Purpose,
    /// Shape of each parameter whose gradient jobs may pull back.
    pub parameters: Vec<(usize, usize)>,
    /// Width of each injected input likewise.
    pub inputs: Vec<usize>,
}

/// What happens to gradients of products with the Jacobian, such as penalties have.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Tangents<'f> {
    /// They are pulled back at once.
    Now,
    /// They wait under this number for a job that lets them join.
    Wait(usize),
    /// Those that wait join the cotangents of this job, multiplied by the factors of their numbers.
    Join(&'f [f64]),
}

/// What a job leaves behind on the batch.
pub(crate) struct Whole<E, R> {
    /// The given states, if it was to change them.
    pub states: Vec<Vec<E>>,
    /// Of parameters, then inputs, where they are not 0; none at all if nothing was pulled back.
    pub gradients: Vec<Option<Vec<E>>>,
    pub results: Vec<R>,
}

/// A batch in blocks of rows. Each has a state space, which stays as one job leaves it to the next: linearized, with room for
/// vectors.
pub(crate) struct Blocks<E: Scalar> {
    kernel: Arc<dyn Kernel<E>>,
    split: Split,
    /// Rows in every block but the last one.
    rows: usize,
    /// None before the first job.
    spaces: Vec<Option<SliceSpace<E>>>,
}

impl<E: Scalar> Blocks<E> {
    pub fn new(kernel: Arc<dyn Kernel<E>>, split: Split) -> Self {
        let rows = split.purpose.rows(split.batch, split.dim);
        let count = split.batch.div_ceil(rows);
        Self {
            kernel,
            split,
            rows,
            spaces: (0..count).map(|_| None).collect(),
        }
    }

    /// Runs `job` on every block of the given states, each `[batch, dim]`.
    pub fn run<R: Send>(
        &mut self,
        mut states: Vec<Vec<E>>,
        tangents: Tangents<'_>,
        job: &Job<'_, R>,
    ) -> Result<Whole<E, R>> {
        let Self {
            kernel,
            split,
            rows,
            spaces,
        } = self;
        let mut parts: Vec<Vec<&mut [E]>> = spaces.iter().map(|_| Vec::new()).collect();
        for state in &mut states {
            let own = parts.iter_mut().zip(state.chunks_mut(*rows * split.dim));
            own.for_each(|(parts, part)| parts.push(part));
        }
        let blocks = spaces.iter_mut().zip(parts).enumerate();
        let outcomes = parallel::map(blocks, |(block, (space, parts))| {
            let rows = block * *rows..((block + 1) * *rows).min(split.batch);
            let gradients = split.zeros(rows.len());
            let space = space.get_or_insert_with(|| {
                let block = kernel.clone().block(rows.clone());
                SliceSpace::new(block, split.dim, rows, KernelGradients::default())
            });
            space.collect_in(gradients);
            let result = run_block(space, parts, (split.purpose, tangents), job)?;
            Ok((result, space.collected()))
        });
        if split.purpose == Purpose::Differentiate {
            states.clear();
        }
        let (mut all, mut zero) = (split.zeros(0), true);
        let mut results = Vec::with_capacity(outcomes.len());
        // Parts are added in order: the sum must not depend on which thread was faster.
        for outcome in outcomes {
            let (result, (part, part_is_zero)) = outcome?;
            let sums = all.parameters.iter_mut().zip(part.parameters);
            sums.for_each(|(sum, part)| sum.append(part));
            let inputs = all.inputs.iter_mut().zip(part.inputs);
            inputs.for_each(|(all, part)| all.extend(part));
            zero &= part_is_zero;
            results.push(result);
        }
        let mut gradients = Vec::new();
        if !zero {
            gradients = parallel::map(all.parameters.into_iter(), |gradient| {
                (!gradient.is_zero()).then(|| gradient.into_values())
            });
            gradients.extend(all.inputs.into_iter().map(Some));
        }
        Ok(Whole {
            states,
            gradients,
            results,
        })
    }
}

impl Split {
    /// Zero gradients, for inputs of this many rows.
    fn zeros<E: Scalar>(&self, rows: usize) -> KernelGradients<E> {
        let (parameters, inputs) = (self.parameters.iter(), self.inputs.iter());
        KernelGradients::zeros(parameters.copied(), inputs.copied(), rows)
    }
}

fn run_block<E: Scalar, R>(
    space: &mut SliceSpace<E>,
    parts: Vec<&mut [E]>,
    (purpose, tangents): (Purpose, Tangents<'_>),
    job: &Job<'_, R>,
) -> Result<R> {
    match tangents {
        Tangents::Now => {}
        Tangents::Wait(number) => space.defer(number),
        Tangents::Join(factors) => space.join_deferred(factors),
    }
    let mut slots = Vec::with_capacity(parts.len());
    for part in &parts {
        let slot = space.alloc()?;
        space.state_mut(slot).copy_from_slice(part);
        slots.push(slot);
    }
    let result = job(space, &slots)?;
    for (&slot, part) in slots.iter().zip(parts) {
        if purpose == Purpose::Solve {
            part.copy_from_slice(space.state(slot));
        }
        space.release(slot);
    }
    if let Tangents::Join(_) = tangents {
        space.flush_deferred();
    }
    Ok(result)
}
