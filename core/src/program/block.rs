//! Some rows of a batch, as a program runs on them.

use std::ops::Range;
use std::sync::Arc;

use super::Program;
use crate::kernel::{swap_rows, KernelBlock, KernelGradients};
use crate::operation::Scratch;
use crate::Element;

/// Injected inputs, constants, linearization, and memory to work in.
pub(super) struct Block<E> {
    program: Arc<Program<E>>,
    memory: Memory<E>,
}

/// All that a block holds per row.
pub(super) struct Memory<E> {
    /// Rows there is memory for.
    pub rows: usize,
    /// Injected inputs and what depends on them alone, by node; empty for all that varies.
    pub constants: Vec<Vec<E>>,
    /// Values at the linearization point that derivatives read, by node; empty until there is one.
    pub kept: Vec<Vec<E>>,
    /// What operations have recorded for derivatives, by node; of those that vary, empty until there is a linearization point.
    pub records: Vec<Vec<Vec<E>>>,
    /// Values of the last evaluation, each in its place.
    pub values: Vec<Vec<E>>,
    /// Cotangents on the way to the state and on that to gradients, each in its place.
    pub state_bars: Vec<Vec<E>>,
    pub gradient_bars: Vec<Vec<E>>,
    /// Tangents, by node.
    pub tangents: Vec<Vec<E>>,
    /// What is added to cotangents that are there already, of values and of tangents, by argument.
    pub addends: [Vec<Vec<E>>; 2],
    /// Rows of a call that are not rounded.
    pub exact: usize,
    pub scratch: Scratch<E>,
}

impl<E: Element> Block<E> {
    pub fn new(program: Arc<Program<E>>, rows: Range<usize>) -> Self {
        let nodes = program.nodes.len();
        let mut constants = vec![Vec::new(); nodes];
        let batch = program.batch().max(1);
        for (input, constant) in program.inputs.iter().zip(&mut constants[1..]) {
            let width = input.len() / batch;
            *constant = input[rows.start * width..rows.end * width].to_vec();
        }
        let mut memory = Memory {
            rows: rows.len(),
            constants,
            kept: vec![Vec::new(); nodes],
            records: vec![Vec::new(); nodes],
            values: Vec::new(),
            state_bars: Vec::new(),
            gradient_bars: Vec::new(),
            tangents: Vec::new(),
            addends: Default::default(),
            exact: usize::MAX,
            scratch: Scratch::default(),
        };
        program.compute_constants(&mut memory);
        Self { program, memory }
    }
}

impl<E: Element> KernelBlock<E> for Block<E> {
    fn apply(&mut self, z: &[E], out: &mut [E]) {
        self.program.forward(&mut self.memory, z, out, false);
    }

    fn linearize(&mut self, z: &[E], out: &mut [E]) {
        self.program.forward(&mut self.memory, z, out, true);
    }

    fn jvp(&mut self, v: &[E], out: &mut [E]) -> bool {
        let exact = self.program.has_tangents();
        if exact {
            self.program.tangents(&mut self.memory, v, Some(out));
        }
        exact
    }

    fn vjp(&mut self, u: &[E], out: &mut [E]) {
        self.program.back_to_state(&mut self.memory, u, out);
    }

    fn pull_back(&mut self, u: &[E], gradients: &mut KernelGradients<E>) {
        self.program
            .back_to_gradients(&mut self.memory, u, None, gradients);
    }

    fn pull_back_tangent(
        &mut self,
        u: &[E],
        p: &[E],
        v: &[E],
        gradients: &mut KernelGradients<E>,
    ) -> bool {
        if !self.program.has_tangents() {
            return false;
        }
        if !u.is_empty() {
            self.program.tangents(&mut self.memory, v, None);
            self.program
                .back_to_gradients(&mut self.memory, u, Some((p, v)), gradients);
        }
        true
    }

    fn allow_rounding(&mut self, from: usize) -> bool {
        self.memory.exact = from;
        self.program.rounds()
    }

    fn swap_rows(&mut self, a: usize, b: usize) {
        let Memory {
            constants,
            kept,
            records,
            ..
        } = &mut self.memory;
        let matrices = constants.iter_mut().zip(kept).zip(records);
        for (((constant, kept), records), node) in matrices.zip(&self.program.nodes) {
            swap_rows(constant, node.width, a, b);
            swap_rows(kept, node.width, a, b);
            let widths = node.made_by.iter().flat_map(|made| &made.record);
            for (record, &width) in records.iter_mut().zip(widths) {
                swap_rows(record, width, a, b);
            }
        }
    }
}

/// Makes one matrix of `rows` rows for each width, unless they are there.
pub(super) fn reserve<'w, E: Element>(
    matrices: &mut Vec<Vec<E>>,
    widths: impl IntoIterator<Item = &'w usize>,
    rows: usize,
) {
    if matrices.is_empty() {
        matrices.extend(
            widths
                .into_iter()
                .map(|width| vec![E::zero(); rows * width]),
        );
    }
}
