//! The step of a layer as a program of row operations, for the CPU.
//!
//! [`record`] runs a step on values that only remember which operation made them; [`Plan`] puts the operations in groups, finds what
//! is constant during a solve and where every number lies; a [`Program`] runs them on the rows of a call, ahead, along tangents and
//! back. What derivatives need to know of a row is its record, laid out by the plan.

mod back;
mod backward;
mod codes;
mod forward;
mod fuse;
mod places;
mod plan;
mod recorder;
mod rows;
mod working;

use std::sync::{Arc, OnceLock};

use crate::operation::RowOperation;
use crate::{Element, Error, Result};

use back::Back;
use plan::Plan;

pub(crate) use codes::{CodeMade, CodeNode};
#[cfg(feature = "cuda")]
pub(crate) use recorder::record_codes;
pub(crate) use recorder::{record, Recorded};
pub(crate) use working::Working;

/// Arguments of one operation, at most.
pub const MOST_ARGUMENTS: usize = 16;

/// Matrices that one operation records, at most.
const MOST_RECORDS: usize = 4;

/// The step of a layer.
pub(crate) struct Program<E> {
    nodes: Vec<Node<E>>,
    plan: Plan,
    /// The backward passes to the state, and to parameters and inputs, once they are wanted.
    to_state: OnceLock<Back>,
    to_gradients: OnceLock<Back>,
}

/// A value of the step. Node 0 is the state, the next ones are the injected inputs.
struct Node<E> {
    width: usize,
    /// None for the state and the inputs.
    made_by: Option<Made<E>>,
}

impl<E> Node<E> {
    /// The state or an input.
    fn source(width: usize) -> Self {
        let made_by = None;
        Self { width, made_by }
    }
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

/// The nodes that operations make, in order.
fn made<E>(nodes: &[Node<E>]) -> impl DoubleEndedIterator<Item = (usize, &Made<E>)> {
    let nodes = nodes.iter().enumerate();
    nodes.filter_map(|(node, of)| Some((node, of.made_by.as_ref()?)))
}

/// How often each value is an argument of the given nodes.
fn uses<E>(nodes: &[Node<E>], readers: &[usize]) -> Vec<usize> {
    let mut uses = vec![0; nodes.len()];
    let made = readers.iter();
    let made = made.filter_map(|&node| nodes[node].made_by.as_ref());
    let arguments = made.flat_map(|made| &made.arguments);
    arguments.for_each(|&from| uses[from] += 1);
    uses
}

impl<E: Element> Program<E> {
    /// `nodes` in the order they were made; which of the injected inputs behind the state gradients reach.
    fn new(nodes: Vec<Node<E>>, output: usize, inputs: Vec<bool>) -> Result<Self> {
        if nodes[output].width != nodes[0].width {
            return Err(Error::Shape {
                what: "the result of `step`".to_owned(),
                expected: format!("width {}, that of the state", nodes[0].width),
                got: format!("width {}", nodes[output].width),
            });
        }
        let (nodes, output) = fuse::fuse(nodes, output);
        Ok(Self {
            plan: Plan::new(&nodes, output, inputs),
            nodes,
            to_state: OnceLock::new(),
            to_gradients: OnceLock::new(),
        })
    }

    fn to_state(&self) -> &Back {
        (self.to_state).get_or_init(|| self.plan.back_to_state(&self.nodes))
    }

    fn to_gradients(&self) -> &Back {
        (self.to_gradients).get_or_init(|| self.plan.back_to_gradients(&self.nodes))
    }

    /// How a node is made; `None` for the state and the inputs.
    fn made(&self, node: usize) -> Option<&Made<E>> {
        self.nodes[node].made_by.as_ref()
    }

    /// Rows of a matrix that is as wide as the state.
    fn rows(&self, state: &[E]) -> usize {
        state.len() / self.nodes[0].width
    }
}

impl<E: Element> Made<E> {
    /// The operation, with rounded products where that is allowed and faster.
    fn operation(&self, rounded: bool) -> &dyn RowOperation<E> {
        let operation = &*self.operation;
        match rounded {
            true => operation.rounded().unwrap_or(operation),
            false => operation,
        }
    }
}
