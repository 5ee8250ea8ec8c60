//! Operations that take their neighbors along.

use std::sync::Arc;

use super::plan::{reached, used};
use super::{Made, Node};
use crate::operation::{Neighbor, Neighbors, RowOperation};
use crate::Element;

/// The same program, in which operations take along those beside them where they can, and the place of its output.
pub(super) fn fuse<E: Element>(nodes: Vec<Node<E>>, output: usize) -> (Vec<Node<E>>, usize) {
    let used = used(&nodes, output);
    let mut uses = vec![0; nodes.len()];
    uses[output] = 1;
    for node in nodes
        .iter()
        .zip(&used)
        .filter_map(|(node, &used)| used.then_some(node))
    {
        let arguments = node.made_by.iter().flat_map(|made| &made.arguments);
        arguments.for_each(|&from| uses[from] += 1);
    }
    let mut graph = Graph {
        varies: reached(&nodes, |node| node == 0),
        nodes: Vec::with_capacity(2 * nodes.len()),
        only_use: Vec::with_capacity(2 * nodes.len()),
    };
    let old_varies = std::mem::replace(&mut graph.varies, Vec::with_capacity(2 * nodes.len()));
    let mut places: Vec<usize> = Vec::with_capacity(nodes.len());
    for (index, mut node) in nodes.into_iter().enumerate() {
        if let Some(made) = &mut node.made_by {
            made.arguments
                .iter_mut()
                .for_each(|from| *from = places[*from]);
        }
        let node = graph.prepared(node, old_varies[index]);
        let node = graph.fused(node, old_varies[index]);
        graph.push(node, old_varies[index], uses[index] == 1);
        places.push(graph.nodes.len() - 1);
    }
    (graph.nodes, places[output])
}

/// The new nodes, in order.
struct Graph<E> {
    nodes: Vec<Node<E>>,
    varies: Vec<bool>,
    /// Whether a value is an argument once, and nothing else.
    only_use: Vec<bool>,
}

impl<E: Element> Graph<E> {
    fn push(&mut self, node: Node<E>, varies: bool, only_use: bool) {
        self.nodes.push(node);
        self.varies.push(varies);
        self.only_use.push(only_use);
    }

    /// How `node` is made, if it is such a neighbor and nobody else wants it.
    fn neighbor(&self, node: usize, kind: Neighbor) -> Option<&Made<E>> {
        let made = self.nodes[node].made_by.as_ref()?;
        let wanted = self.only_use[node] && self.varies[node];
        (wanted && made.operation.neighbor() == Some(kind)).then_some(made)
    }

    /// The node with what its operation prepares of arguments that are constant during a solve, of the first one that it does so of.
    fn prepared(&mut self, node: Node<E>, varies: bool) -> Node<E> {
        let Some(made) = node.made_by.as_ref().filter(|_| varies) else {
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
            made_by: Some(of(prepared.operation, arguments, made)),
        }
    }

    /// The node with all that it takes along.
    fn fused(&mut self, node: Node<E>, varies: bool) -> Node<E> {
        let Some(made) = node.made_by.as_ref().filter(|_| varies) else {
            return node;
        };
        let &[argument] = &made.arguments[..] else {
            return node;
        };
        let fused = match made.operation.neighbor() {
            Some(Neighbor::Rectifier) => self.before_rectifier(argument),
            _ => self.with_arguments(made, argument),
        };
        match fused {
            Some(made) => Node {
                width: node.width,
                made_by: Some(made),
            },
            None => node,
        }
    }

    /// The operation that makes `node`, with a rectifier after it.
    fn before_rectifier(&self, node: usize) -> Option<Made<E>> {
        let made = self.nodes[node].made_by.as_ref()?;
        if !(self.only_use[node] && self.varies[node]) {
            return None;
        }
        let operation = made.operation.taking_along(Neighbors {
            result_rectified: true,
            ..Neighbors::default()
        })?;
        Some(of(operation, made.arguments.clone(), made))
    }

    /// The operation with those that make its argument.
    fn with_arguments(&mut self, made: &Made<E>, mut argument: usize) -> Option<Made<E>> {
        let mut neighbors = Neighbors::default();
        if let Some(rectifier) = self.neighbor(argument, Neighbor::Rectifier) {
            neighbors.rectified = true;
            argument = rectifier.arguments[0];
        }
        let mut added = None;
        if let Some(sum) = self.neighbor(argument, Neighbor::Sum) {
            let (varying, constant): (Vec<usize>, Vec<usize>) =
                sum.arguments.iter().partition(|&&from| self.varies[from]);
            if let ([varying], [constant]) = (&varying[..], &constant[..]) {
                (argument, added) = (*varying, Some(*constant));
            }
        }
        let shift = self.neighbor(argument, Neighbor::Shift);
        let shift = shift.map(|shift| {
            (
                shift.arguments[0],
                of(shift.operation.clone(), added.into_iter().collect(), shift),
            )
        });
        neighbors.added = added.is_some() || shift.is_some();
        let operation = made.operation.taking_along(neighbors)?;
        if let Some((shifted, constant)) = shift {
            let width = self.nodes[argument].width;
            argument = shifted;
            self.push(
                Node {
                    width,
                    made_by: Some(constant),
                },
                false,
                true,
            );
            added = Some(self.nodes.len() - 1);
        }
        let arguments = std::iter::once(argument).chain(added).collect();
        Some(of(operation, arguments, made))
    }
}

/// Another operation with the parameters of one.
fn of<E: Element>(
    operation: Arc<dyn RowOperation<E>>,
    arguments: Vec<usize>,
    other: &Made<E>,
) -> Made<E> {
    Made {
        record: operation.record(),
        operation,
        arguments,
        parameters: other.parameters.clone(),
    }
}
