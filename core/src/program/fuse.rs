//! Fusion: an operation runs together with those before or after it, where that is quicker than one after the other.

use std::sync::Arc;

use super::plan::{reached, used};
use super::{Made, Node};
use crate::operation::{Neighbor, Neighbors, RowOperation};
use crate::Element;

/// The same program, in which operations [take their neighbors along](RowOperation::taking_along), and the place of its output.
pub(super) fn fuse<E: Element>(nodes: Vec<Node<E>>, output: usize) -> (Vec<Node<E>>, usize) {
    let used = used(&nodes, output);
    let order: Vec<usize> = (0..nodes.len()).filter(|&node| used[node]).collect();
    let mut uses = super::uses(&nodes, &order);
    // The caller of the program reads the output.
    uses[output] += 1;
    let varies = reached(&nodes, |node| node == 0);
    let mut graph = Graph {
        nodes: Vec::with_capacity(2 * nodes.len()),
        varies: Vec::with_capacity(2 * nodes.len()),
        only_use: Vec::with_capacity(2 * nodes.len()),
    };
    // Where each of the old nodes is among the new ones.
    let mut places: Vec<usize> = Vec::with_capacity(nodes.len());
    for (index, mut node) in nodes.into_iter().enumerate() {
        if let Some(made) = &mut node.made_by {
            let arguments = made.arguments.iter_mut();
            arguments.for_each(|from| *from = places[*from]);
        }
        if varies[index] {
            node = graph.prepared(node);
            node = graph.fused(node);
        }
        graph.push(node, varies[index], uses[index] == 1);
        places.push(graph.nodes.len() - 1);
    }
    (graph.nodes, places[output])
}

/// The new nodes, in order.
struct Graph<E> {
    nodes: Vec<Node<E>>,
    /// Whether the value of a node depends on the state.
    varies: Vec<bool>,
    /// Whether the value of a node is read once only.
    only_use: Vec<bool>,
}

impl<E: Element> Graph<E> {
    fn push(&mut self, node: Node<E>, varies: bool, only_use: bool) {
        self.nodes.push(node);
        self.varies.push(varies);
        self.only_use.push(only_use);
    }

    /// How `node` is made, if its value varies and is read once only, so that another operation may take the making along.
    fn takeable(&self, node: usize) -> Option<&Made<E>> {
        let made_by = self.nodes[node].made_by.as_ref();
        made_by.filter(|_| self.only_use[node] && self.varies[node])
    }

    /// [`takeable`](Self::takeable) for a node that an operation of this kind makes.
    fn neighbor(&self, node: usize, kind: Neighbor) -> Option<&Made<E>> {
        let made = self.takeable(node)?;
        (made.operation.neighbor() == Some(kind)).then_some(made)
    }

    /// Lets the operation of a node [prepare](RowOperation::prepared) one argument that is constant during a solve, the first of which
    /// it can prepare something: that is a node of its own, and one argument more. The node stays as it is if there is none.
    fn prepared(&mut self, node: Node<E>) -> Node<E> {
        let Some(made) = node.made_by.as_ref() else {
            return node;
        };
        let mut constant = made.arguments.iter().enumerate();
        let found = constant.find_map(|(index, &from)| {
            let prepared = (!self.varies[from]).then(|| made.operation.prepared(index));
            Some((from, prepared.flatten()?))
        });
        let Some((from, prepared)) = found else {
            return node;
        };
        let preparation = Made {
            record: prepared.preparation.record(),
            operation: prepared.preparation,
            arguments: vec![from],
            parameters: Vec::new(),
        };
        let given = Node {
            width: prepared.width,
            made_by: Some(preparation),
        };
        self.push(given, false, true);
        let mut arguments = made.arguments.clone();
        arguments.push(self.nodes.len() - 1);
        Node {
            width: node.width,
            made_by: Some(made.replaced(prepared.operation, arguments)),
        }
    }

    /// Lets the operation of a node take its neighbors along; the node stays as it is if there are none.
    fn fused(&mut self, node: Node<E>) -> Node<E> {
        let Some(made) = node.made_by.as_ref() else {
            return node;
        };
        let &[argument] = &made.arguments[..] else {
            return node;
        };
        let fused = match made.operation.neighbor() {
            Some(Neighbor::Rectifier) => self.before_rectifier(argument),
            _ => self.after_neighbors(made, argument),
        };
        match fused {
            Some(made) => Node {
                width: node.width,
                made_by: Some(made),
            },
            None => node,
        }
    }

    /// The operation that makes `node`, which a rectifier reads, with that rectifier.
    fn before_rectifier(&self, node: usize) -> Option<Made<E>> {
        let made = self.takeable(node)?;
        let operation = made.operation.taking_along(Neighbors {
            result_rectified: true,
            ..Neighbors::default()
        })?;
        Some(made.replaced(operation, made.arguments.clone()))
    }

    /// An operation with those that make its argument: the argument is max(x + b + c, 0), where the rectifier, the shift by a parameter b
    /// and the addition of a constant c may each be missing.
    fn after_neighbors(&mut self, made: &Made<E>, argument: usize) -> Option<Made<E>> {
        let rectifier = self.neighbor(argument, Neighbor::Rectifier);
        let rectified = rectifier.is_some();
        let argument = rectifier.map_or(argument, |rectifier| rectifier.arguments[0]);
        let (argument, constant) = self.split_sum(argument);
        // The shift moves from x to c, which is added once per solve; without c it is b itself that is added.
        let shift = self.neighbor(argument, Neighbor::Shift).map(|shift| {
            let shifted = shift.replaced(shift.operation.clone(), constant.into_iter().collect());
            (shift.arguments[0], shifted)
        });
        let operation = made.operation.taking_along(Neighbors {
            added: constant.is_some() || shift.is_some(),
            rectified,
            ..Neighbors::default()
        })?;
        let (argument, constant) = match shift {
            Some((before, shifted)) => {
                let width = self.nodes[argument].width;
                let made_by = Some(shifted);
                self.push(Node { width, made_by }, false, true);
                (before, Some(self.nodes.len() - 1))
            }
            None => (argument, constant),
        };
        let arguments = std::iter::once(argument).chain(constant).collect();
        Some(made.replaced(operation, arguments))
    }

    /// The two arguments of a sum, if one varies and the other is constant, in this order; else the node itself and no constant.
    fn split_sum(&self, node: usize) -> (usize, Option<usize>) {
        let sum = self.neighbor(node, Neighbor::Sum);
        let arguments = sum.iter().flat_map(|sum| &sum.arguments);
        let (varying, constant): (Vec<usize>, Vec<usize>) =
            arguments.partition(|&&from| self.varies[from]);
        match (&varying[..], &constant[..]) {
            (&[varying], &[constant]) => (varying, Some(constant)),
            _ => (node, None),
        }
    }
}

impl<E: Element> Made<E> {
    /// Another operation on other arguments, with the parameters of this one.
    fn replaced(&self, operation: Arc<dyn RowOperation<E>>, arguments: Vec<usize>) -> Self {
        Self {
            record: operation.record(),
            operation,
            arguments,
            parameters: self.parameters.clone(),
        }
    }
}
