//! Splits a batch into blocks of rows and runs jobs on each, one thread per block.

use std::ops::Range;
use std::sync::Arc;

use super::bound::{BlockJob, Purpose};
use super::gradients::HostGradient;
use super::SliceSpace;
use crate::parallel;
use crate::simd::{whole_tiles, TILE};
use crate::{Result, RowGradients, RowMap, Scalar, Slot, Vectors};

/// Numbers in one vector of a block, at most: a solver keeps some twenty vectors, and they share the second-level cache
/// with the weights.
const BLOCK_NUMBERS: usize = 1 << 14;

/// Tiles in the largest blocks of wide states: where the weights do not fit in that cache, more rows share the reading.
const WIDE_TILES: usize = 8;

/// Fewer rows would read weights more often than they use them, more would not pay any more.
const TILES: std::ops::RangeInclusive<usize> = 2..=40;

/// Blocks there are at least of a batch that is large enough, so that threads that finish early find more to do. Fewer are
/// quicker: the last rows of each are slow.
const BLOCKS: usize = 4;

/// Multiplications a product must cost at least for its block to be worth a thread of its own.
const BLOCK_PRODUCTS: usize = 1 << 16;

/// What decides on the size of blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Partition {
    /// The number of threads as well, for jobs that pull nothing back: they compute each row alone.
    Threads,
    /// Batch, width, and how many batches are split `together`. Gradients are added up block by block, and their sums must not
    /// depend on the number of threads.
    Sizes { together: usize },
}

impl Partition {
    /// Whether jobs that pull gradients back are to follow.
    fn differentiates(self) -> bool {
        self != Self::Threads
    }

    /// The number of blocks of a batch of states of `dim` numbers, in so many parts.
    fn blocks(self, batch: usize, dim: usize, parts: usize) -> usize {
        // How many rows or tiles there are, and how many of them the largest and the smallest block has.
        let (units, largest, smallest) = match by_row(parts) {
            true => {
                let smallest = (BLOCK_PRODUCTS * parts).div_ceil(dim * dim);
                (batch, (BLOCK_NUMBERS / dim).max(smallest), smallest)
            }
            false => {
                let tiles = |rows: usize| rows.div_ceil(TILE).clamp(*TILES.start(), *TILES.end());
                let largest = tiles(BLOCK_NUMBERS / dim).max(WIDE_TILES);
                let smallest = tiles(BLOCK_PRODUCTS.div_ceil(dim * dim));
                (batch.div_ceil(TILE), largest, smallest)
            }
        };
        let needed = units.div_ceil(largest);
        let wanted = match self {
            Self::Threads => needed.next_multiple_of(rayon::current_num_threads()),
            Self::Sizes { together } => needed.max(BLOCKS.div_ceil(together)).max(2),
        };
        wanted.min((units / smallest).max(1))
    }
}

/// Whether blocks are split row by row, for rows have parts that fill tiles, rather than tile by tile.
fn by_row(parts: usize) -> bool {
    parts >= TILE
}

/// Sizes of the problem to be split.
pub(crate) struct Split {
    pub batch: usize,
    pub dim: usize,
    pub partition: Partition,
    /// See [`RowMap::parts`].
    pub parts: usize,
    /// Shape of each parameter whose gradient jobs may pull back.
    pub parameters: Vec<(usize, usize)>,
    /// Width of each injected input likewise.
    pub inputs: Vec<usize>,
}

/// What happens to gradients of products with the Jacobian, such as penalties have.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Products<'f> {
    /// They are pulled back at once.
    Now,
    /// They wait under this number for a job that lets them join.
    Wait(usize),
    /// Those that wait join the cotangents of this job, the last one, multiplied by the factors of their numbers.
    Join(&'f [f64]),
}

impl Products<'_> {
    /// Whether no job comes after this one.
    fn last(self) -> bool {
        matches!(self, Self::Join(_))
    }
}

/// What a job leaves behind on the batch, in host memory.
pub(crate) struct HostOutput<E, R> {
    /// The first state, after a solve.
    pub state: Option<Vec<E>>,
    /// Of parameters, then inputs; none at all if nothing was pulled back.
    pub gradients: Vec<HostGradient<E>>,
    pub results: Vec<R>,
}

/// The map of a layer with its injected inputs, in host memory.
pub(crate) struct HostLayer<E> {
    pub map: Arc<dyn RowMap<E>>,
    /// Each `[batch, width]`, row-major.
    pub inputs: Vec<Vec<E>>,
}

/// A batch in blocks of rows. They stay as one job leaves them to the next.
pub(crate) struct Blocks<E: Scalar> {
    layer: Arc<HostLayer<E>>,
    split: Split,
    /// None before the first job.
    blocks: Vec<Option<Block<E>>>,
}

/// Some rows of a batch.
struct Block<E: Scalar> {
    /// Linearized where the last job has left it, with memory for vectors.
    space: SliceSpace<E>,
    /// What jobs hold on to.
    held: Vec<Slot>,
}

impl<E: Scalar> Blocks<E> {
    pub fn new(layer: Arc<HostLayer<E>>, split: Split) -> Self {
        let count = split.partition.blocks(split.batch, split.dim, split.parts);
        Self {
            layer,
            split,
            blocks: (0..count).map(|_| None).collect(),
        }
    }

    /// Runs `job` on every block, with the given states, each `[batch, dim]`, added to those that are held.
    pub fn run<R: Send>(
        &mut self,
        purpose: Purpose,
        mut states: Vec<Vec<E>>,
        products: Products<'_>,
        job: &BlockJob<'_, R>,
    ) -> Result<HostOutput<E, R>> {
        let Self {
            layer,
            split,
            blocks,
        } = self;
        let count = blocks.len();
        let given = split.states(&mut states, count);
        let blocks = blocks.iter_mut().zip(given).enumerate();
        let outputs = parallel::map(blocks, |(index, (place, given))| {
            let rows = split.rows(index, count);
            let mut block = (place.take()).unwrap_or_else(|| Block::new(layer, split, &rows));
            block.prepare(purpose, split, rows.len());
            let result = block.run(purpose, given, products, job)?;
            let collected = block.space.collected();
            // No job comes after the last, and its memory is given back by all threads.
            *place = Some(block).filter(|_| !products.last());
            Ok((result, collected))
        });
        let (results, gradients) = split.join(outputs)?;
        let mut states = states.into_iter();
        Ok(HostOutput {
            state: states.next().filter(|_| purpose == Purpose::Solve),
            gradients,
            results,
        })
    }
}

/// The result of a job on one block, what it has pulled back there, and whether that is nothing.
type BlockOutput<E, R> = (R, (RowGradients<E>, bool));

impl Split {
    /// Those of one of `count` blocks, which are as large as tiles let them be.
    fn rows(&self, index: usize, count: usize) -> Range<usize> {
        match by_row(self.parts) {
            true => self.batch * index / count..self.batch * (index + 1) / count,
            false => whole_tiles(self.batch, index, count),
        }
    }

    /// Zero gradients, for inputs of this many rows.
    fn zeros<E: Scalar>(&self, rows: usize) -> RowGradients<E> {
        let (parameters, inputs) = (self.parameters.iter(), self.inputs.iter());
        RowGradients::zeros(parameters.copied(), inputs.copied(), rows)
    }

    /// The rows of every state in one of `count` blocks after the other.
    fn states<'s, E>(&self, states: &'s mut [Vec<E>], count: usize) -> Vec<Vec<&'s mut [E]>> {
        let mut blocks: Vec<Vec<&mut [E]>> = (0..count).map(|_| Vec::new()).collect();
        for state in states {
            let mut rest = &mut state[..];
            for (index, block) in blocks.iter_mut().enumerate() {
                let len = self.rows(index, count).len() * self.dim;
                let (own, next) = std::mem::take(&mut rest).split_at_mut(len);
                block.push(own);
                rest = next;
            }
        }
        blocks
    }

    /// The results of all blocks in order, and what they have pulled back: parameters, then inputs, or nothing at all.
    fn join<E: Scalar, R>(
        &self,
        outputs: Vec<Result<BlockOutput<E, R>>>,
    ) -> Result<(Vec<R>, Vec<HostGradient<E>>)> {
        let (mut parameters, mut inputs) = (self.zeros(0).parameters, Vec::new());
        inputs.resize_with(self.inputs.len(), Vec::new);
        let (mut zero, mut results) = (true, Vec::with_capacity(outputs.len()));
        // Gradients are added in order: the sum must not depend on which thread was faster.
        for output in outputs {
            let (result, (gradients, is_zero)) = output?;
            let sums = parameters.iter_mut().zip(gradients.parameters);
            sums.for_each(|(sum, gradient)| sum.append(gradient));
            let blocks = inputs.iter_mut().zip(gradients.inputs);
            blocks.for_each(|(blocks, rows)| blocks.push(rows));
            zero &= is_zero;
            results.push(result);
        }
        let mut gradients = Vec::new();
        if !zero {
            gradients.extend(parameters.into_iter().map(HostGradient::Parameter));
            gradients.extend(inputs.into_iter().map(HostGradient::Input));
        }
        Ok((results, gradients))
    }
}

impl<E: Scalar> Block<E> {
    fn new(layer: &HostLayer<E>, split: &Split, rows: &Range<usize>) -> Self {
        let own = |x: &[E]| {
            let width = x.len() / split.batch;
            rows.start * width..rows.end * width
        };
        let inputs: Vec<&[E]> = layer.inputs.iter().map(|x| &x[own(x)]).collect();
        let (map, none) = (layer.map.clone(), RowGradients::default());
        Self {
            space: SliceSpace::new(map, split.dim, rows.clone(), &inputs, none),
            held: Vec::new(),
        }
    }

    /// Gets ready for a job on these `rows` rows.
    fn prepare(&mut self, purpose: Purpose, split: &Split, rows: usize) {
        let linearized_next = purpose == Purpose::Solve && split.partition.differentiates();
        self.space.linearize_evaluations(linearized_next);
        self.space.collect_in(match purpose {
            Purpose::Solve => RowGradients::default(),
            Purpose::Differentiate => split.zeros(rows),
        });
    }

    fn run<R>(
        &mut self,
        purpose: Purpose,
        states: Vec<&mut [E]>,
        products: Products<'_>,
        job: &BlockJob<'_, R>,
    ) -> Result<R> {
        let Self { space, held } = self;
        match products {
            Products::Now => {}
            Products::Wait(number) => space.defer(number),
            Products::Join(factors) => space.join_deferred(factors),
        }
        for state in &states {
            let slot = space.alloc()?;
            space.state_mut(slot).copy_from_slice(state);
            held.push(slot);
        }
        let result = job(space, held)?;
        if let (Purpose::Solve, Some(state), Some(&slot)) =
            (purpose, states.into_iter().next(), held.first())
        {
            state.copy_from_slice(space.state(slot));
            // It may be long until gradients are wanted.
            space.shrink();
        }
        if products.last() {
            space.flush_deferred();
        }
        Ok(result)
    }
}
