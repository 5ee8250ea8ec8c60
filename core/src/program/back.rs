//! The plan of a backward pass: which cotangents are wanted, what each operation does to them, and where they lie.

use std::ops::Range;

use super::places::{share, Life};
use super::plan::Groups;
use super::{made, uses, Node};
use crate::Element;

/// The plan of a backward pass through a program, from the cotangent of its output to those that are wanted.
pub(super) struct Back {
    /// Whether the cotangent of a value is wanted.
    pub wanted: Vec<bool>,
    /// Nodes made by operations, the last one first.
    pub nodes: Groups,
    /// Width of each place of cotangents.
    pub places: Vec<usize>,
    /// Where the cotangent of each value lies.
    pub bars: Vec<Bar>,
    /// What each node does to the cotangents of its arguments.
    arguments: Vec<ArgumentBar>,
    ranges: Vec<Range<usize>>,
}

/// Where a cotangent lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bar {
    /// It is the given one, that of the output.
    Given,
    Place(usize),
}

/// The cotangent of an argument.
#[derive(Debug, Clone, Copy)]
pub(super) struct ArgumentBar {
    pub width: usize,
    pub becomes: Cotangent,
}

/// What an operation does to the cotangent of an argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cotangent {
    /// Nothing: nobody asks for it.
    Unwanted,
    /// Nothing: it is that of the result.
    Same,
    /// It is the first to write it, in this place.
    Written(usize),
    /// It adds to what is in this place.
    Added(usize),
}

impl Back {
    pub fn new<E: Element>(
        nodes: &[Node<E>],
        (output, output_is_read): (usize, bool),
        wanted: Vec<bool>,
    ) -> Self {
        let mut order = Vec::with_capacity(nodes.len());
        order.extend(
            made(nodes)
                .map(|(node, _)| node)
                .filter(|&node| wanted[node])
                .rev(),
        );
        let mut way = Way::new(nodes, output, &wanted, &order);
        let (own, places) = way.share_places(nodes, &order);
        way.arguments
            .iter_mut()
            .zip(&way.from)
            .for_each(|(argument, &from)| {
                if let Cotangent::Written(place) | Cotangent::Added(place) = &mut argument.becomes {
                    *place = own[from];
                }
            });
        let bar = |node: usize| match way.holder(node) {
            holder if holder == output && !output_is_read => Bar::Given,
            holder => Bar::Place(own[holder]),
        };
        Self {
            bars: (0..nodes.len()).map(bar).collect(),
            nodes: Groups::new(nodes, order),
            wanted,
            places,
            arguments: way.arguments,
            ranges: way.ranges,
        }
    }

    /// What a node does to the cotangents of its arguments.
    #[inline]
    pub fn arguments(&self, node: usize) -> &[ArgumentBar] {
        &self.arguments[self.ranges[node].clone()]
    }
}

/// The plan while it is made, before cotangents have places.
struct Way {
    /// What each operation does to the cotangents of its arguments, one operation after the other in the order they run in.
    arguments: Vec<ArgumentBar>,
    /// The node of each of these arguments.
    from: Vec<usize>,
    /// Which of these arguments belong to each node.
    ranges: Vec<Range<usize>>,
    /// For a value whose only reader passes its own cotangent on unchanged: the node of that reader.
    same_as: Vec<Option<usize>>,
    /// The time, a place in the order of operations, at which the cotangent of each value is first written.
    begun: Vec<Option<usize>>,
}

impl Way {
    fn new<E: Element>(nodes: &[Node<E>], output: usize, wanted: &[bool], order: &[usize]) -> Self {
        let uses = uses(nodes, order);
        let mut way = Self {
            arguments: Vec::with_capacity(2 * nodes.len()),
            from: Vec::with_capacity(2 * nodes.len()),
            ranges: vec![0..0; nodes.len()],
            same_as: vec![None; nodes.len()],
            begun: vec![None; nodes.len()],
        };
        way.begun[output] = Some(0);
        for (time, &node) in order.iter().enumerate() {
            let first = way.arguments.len();
            let Some(made) = &nodes[node].made_by else {
                continue;
            };
            for (index, &from) in made.arguments.iter().enumerate() {
                let only = uses[from] == 1 && from != output;
                let becomes = if !wanted[from] {
                    Cotangent::Unwanted
                } else if only && made.operation.passes(index) {
                    way.same_as[from] = Some(node);
                    Cotangent::Same
                } else if way.begun[from].is_none() {
                    way.begun[from] = Some(time);
                    Cotangent::Written(usize::MAX)
                } else {
                    Cotangent::Added(usize::MAX)
                };
                let width = nodes[from].width;
                way.arguments.push(ArgumentBar { width, becomes });
                way.from.push(from);
            }
            way.ranges[node] = first..way.arguments.len();
        }
        way
    }

    /// The node whose place holds the cotangent of `node`: the last one that passes it on unchanged.
    fn holder(&self, mut node: usize) -> usize {
        while let Some(other) = self.same_as[node] {
            node = other;
        }
        node
    }

    /// Finds places for cotangents: that of each, and the width of each place.
    fn share_places<E>(&self, nodes: &[Node<E>], order: &[usize]) -> (Vec<usize>, Vec<usize>) {
        // When each cotangent is read last: when the node runs, or one that shares its place; after all operations for the state and
        // the inputs.
        let mut read = vec![order.len(); nodes.len()];
        order
            .iter()
            .enumerate()
            .for_each(|(time, &node)| read[node] = time);
        let mut until = vec![0; nodes.len()];
        for (node, &read) in read.iter().enumerate() {
            let holder = self.holder(node);
            until[holder] = until[holder].max(read);
        }
        let begun = self.begun.iter().enumerate();
        let begun = begun.filter_map(|(node, begun)| Some((node, (*begun)?)));
        let (values, lives): (Vec<usize>, Vec<Life>) = begun
            .map(|(node, from)| {
                let (until, width) = (until[node], nodes[node].width);
                (node, Life { from, until, width })
            })
            .unzip();
        let (own, widths) = share(&lives);
        let mut places = vec![usize::MAX; nodes.len()];
        values
            .iter()
            .zip(own)
            .for_each(|(&node, place)| places[node] = place);
        (places, widths)
    }
}
