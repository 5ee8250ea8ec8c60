//! The step of a layer as a program of row operations, for the CPU.
//!
//! [`record`] runs a step on values that only remember which operation made them; [`Plan`] puts the operations in groups, finds what
//! is constant during a solve and where results may lie in memory; a [`Block`] runs them on some rows of a batch, ahead, along tangents
//! and back.

mod back;
mod backward;
mod block;
mod forward;
mod fuse;
mod places;
mod plan;
mod recorder;

use std::ops::Range;
use std::sync::{Arc, OnceLock};

use crate::kernel::{Kernel, KernelBlock};
use crate::operation::RowOperation;
use crate::{Element, Error, Result};

use back::Back;
use block::Block;
use plan::Plan;

pub(crate) use recorder::{record, Recorded};

/// Arguments of one operation, at most.
pub const MOST_ARGUMENTS: usize = 16;

/// Matrices that one operation records, at most.
const MOST_RECORDS: usize = 4;

/// A step with its injected inputs.
pub(crate) struct Program<E> {
    nodes: Vec<Node<E>>,
    output: usize,
    /// Each `[batch, width]`.
    inputs: Vec<Vec<E>>,
    plan: Plan,
    /// The ways of cotangents, once they are wanted.
    to_state: OnceLock<Back>,
    to_gradients: OnceLock<Back>,
}

/// A value of the step. Node 0 is the state, the next ones are the injected inputs.
struct Node<E> {
    width: usize,
    /// None for the state and the inputs.
    made_by: Option<Made<E>>,
}

/// How a value is made.
struct Made<E> {
    operation: Arc<dyn RowOperation<E>>,
    /// Nodes before this one.
    arguments: Vec<usize>,
    /// Which parameter of the layer each of the operation is.
    parameters: Vec<Option<usize>>,
    /// Numbers per row of each matrix that the operation records.
    record: Vec<usize>,
}

impl<E: Element> Program<E> {
    /// How a node is made; `None` for the state and the inputs.
    fn made(&self, node: usize) -> Option<&Made<E>> {
        self.nodes[node].made_by.as_ref()
    }

    /// `nodes` in the order they were made.
    fn new(nodes: Vec<Node<E>>, output: usize, inputs: Vec<Vec<E>>) -> Result<Self> {
        if nodes[output].width != nodes[0].width {
            return Err(Error::Shape {
                what: "the result of `step`".to_owned(),
                expected: format!("width {}, that of the state", nodes[0].width),
                got: format!("width {}", nodes[output].width),
            });
        }
        let (nodes, output) = fuse::fuse(nodes, output);
        Ok(Self {
            plan: Plan::new(&nodes, output),
            nodes,
            output,
            inputs,
            to_state: OnceLock::new(),
            to_gradients: OnceLock::new(),
        })
    }

    fn to_state(&self) -> &Back {
        (self.to_state).get_or_init(|| self.plan.back_to_state(&self.nodes, self.output))
    }

    fn to_gradients(&self) -> &Back {
        self.to_gradients.get_or_init(|| {
            (self.plan).back_to_gradients(&self.nodes, self.output, self.inputs.len())
        })
    }

    /// Rows of the batch.
    fn batch(&self) -> usize {
        (self.inputs.first()).map_or(0, |x| x.len() / self.nodes[1].width.max(1))
    }

    /// Whether some products can be rounded.
    fn rounds(&self) -> bool {
        let varying = self.nodes.iter().zip(&self.plan.varies);
        let mut varying =
            varying.filter_map(|(node, &varies)| node.made_by.as_ref().filter(|_| varies));
        varying.any(|made| made.operation.rounded().is_some())
    }

    /// Whether all operations that vary have tangents.
    fn has_tangents(&self) -> bool {
        let varying = self.nodes.iter().zip(&self.plan.varies);
        let mut varying =
            varying.filter_map(|(node, &varies)| node.made_by.as_ref().filter(|_| varies));
        varying.all(|made| made.operation.has_tangents())
    }

    /// Numbers in one row of the state.
    fn dim(&self) -> usize {
        self.nodes[0].width
    }
}

impl<E> Made<E> {
    /// The operation, with rounded products where that is allowed and faster.
    fn operation(&self, rounded: bool) -> &dyn RowOperation<E>
    where
        E: Element,
    {
        let operation = &*self.operation;
        match rounded {
            true => operation.rounded().unwrap_or(operation),
            false => operation,
        }
    }
}

impl<E: Element> Kernel<E> for Program<E> {
    fn block(self: Arc<Self>, rows: Range<usize>) -> Box<dyn KernelBlock<E>> {
        Box::new(Block::new(self, rows))
    }
}
