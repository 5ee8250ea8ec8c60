//! The way of cotangents back: which are wanted, what each operation does to them, and where they lie.

use super::places::{share, Life};
use super::plan::{groups, made, Group};
use super::Node;
use crate::Element;

/// The way of cotangents back.
pub(super) struct Back {
    /// Whether the cotangent of a value is wanted.
    pub wanted: Vec<bool>,
    /// Nodes made by operations, the last one first.
    pub groups: Vec<Group>,
    /// The place of each cotangent, and the width of each place.
    pub places: Vec<usize>,
    pub widths: Vec<usize>,
    /// What each node does to the cotangents of its arguments.
    pub arguments: Vec<Vec<Cotangent>>,
    /// The node whose cotangent that of a value is, where an operation passes it on.
    pub same_as: Vec<Option<usize>>,
}

/// What an operation does to the cotangent of an argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cotangent {
    /// Nothing: nobody asks for it.
    Unwanted,
    /// Nothing: it is that of the result.
    Same,
    /// It is the first to write it.
    Written,
    /// It adds to what is there.
    Added,
}

impl Back {
    /// The value whose place holds the cotangent of `node`.
    pub fn holder(&self, mut node: usize) -> usize {
        while let Some(other) = self.same_as[node] {
            node = other;
        }
        node
    }

    pub fn new<E: Element>(nodes: &[Node<E>], output: usize, wanted: Vec<bool>) -> Self {
        let mut order: Vec<usize> = made(nodes).map(|(node, _)| node).collect();
        order.retain(|&node| wanted[node]);
        order.reverse();
        let (arguments, same_as, begun) = cotangents(nodes, &order, output, &wanted);
        let mut back = Self {
            groups: groups(nodes, &order),
            wanted,
            places: vec![usize::MAX; nodes.len()],
            widths: Vec::new(),
            arguments,
            same_as,
        };
        back.share_places(nodes, &order, &begun);
        back
    }

    /// Finds places for cotangents, each from when it has `begun` to be.
    fn share_places<E>(&mut self, nodes: &[Node<E>], order: &[usize], begun: &[Option<usize>]) {
        // When each is read last: by the node itself, by those that have the same, and at the end if it is that of the state or of an
        // input.
        let mut until = vec![0; nodes.len()];
        for node in 0..nodes.len() {
            let read = order.iter().position(|&other| other == node);
            let holder = self.holder(node);
            until[holder] = until[holder].max(read.unwrap_or(order.len()));
        }
        let begun = begun.iter().enumerate();
        let begun = begun.filter_map(|(node, begun)| Some((node, (*begun)?)));
        let (values, lives): (Vec<usize>, Vec<Life>) = begun
            .map(|(node, from)| {
                let (until, width) = (until[node], nodes[node].width);
                (node, Life { from, until, width })
            })
            .unzip();
        let (own, widths) = share(&lives);
        (values.iter().zip(own)).for_each(|(&node, place)| self.places[node] = place);
        self.widths = widths;
    }
}

/// What each node does to the cotangents of its arguments, whose cotangent that of each value is where an operation passes it on, and when
/// each begins to be.
#[allow(clippy::type_complexity)]
fn cotangents<E: Element>(
    nodes: &[Node<E>],
    order: &[usize],
    output: usize,
    wanted: &[bool],
) -> (Vec<Vec<Cotangent>>, Vec<Option<usize>>, Vec<Option<usize>>) {
    let uses = uses(nodes, order);
    let (mut arguments, mut same_as) = (vec![Vec::new(); nodes.len()], vec![None; nodes.len()]);
    let mut begun: Vec<Option<usize>> = vec![None; nodes.len()];
    begun[output] = Some(0);
    for (time, &node) in order.iter().enumerate() {
        let Some(made) = &nodes[node].made_by else {
            continue;
        };
        for (index, &argument) in made.arguments.iter().enumerate() {
            let only = uses[argument] == 1 && argument != output;
            arguments[node].push(if !wanted[argument] {
                Cotangent::Unwanted
            } else if only && made.operation.passes(index) {
                same_as[argument] = Some(node);
                Cotangent::Same
            } else if begun[argument].is_none() {
                begun[argument] = Some(time);
                Cotangent::Written
            } else {
                Cotangent::Added
            });
        }
    }
    (arguments, same_as, begun)
}

/// How often each value is an argument of the given nodes.
fn uses<E>(nodes: &[Node<E>], order: &[usize]) -> Vec<usize> {
    let mut uses = vec![0; nodes.len()];
    let made = order
        .iter()
        .filter_map(|&node| nodes[node].made_by.as_ref());
    made.flat_map(|made| &made.arguments)
        .for_each(|&from| uses[from] += 1);
    uses
}
