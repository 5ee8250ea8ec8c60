//! What runs when, and where its numbers lie.

use std::ops::Range;

use super::back::Back;
use super::places::{share, Life};
use super::{made, Made, Node};
use crate::Element;

/// All that is known of a program before it runs.
pub(super) struct Plan {
    /// What is known of each node.
    pub steps: Vec<Step>,
    /// Arguments of all nodes.
    pub arguments: Vec<Argument>,
    /// Nodes that are constant during a solve, in order.
    pub constants: Vec<usize>,
    /// The others that operations make, in order.
    pub varying: Groups,
    /// Width of each place of values.
    pub places: Vec<usize>,
    /// Width of each matrix that is computed once per solve: the values of constant nodes, each with what its operation records.
    pub given: Vec<usize>,
    /// Width of each matrix that a linearization writes: values that derivatives read, each with what its operation records.
    pub record: Vec<usize>,
    pub output: usize,
    /// Whether the output is an argument of an operation as well.
    pub output_is_read: bool,
    /// Whether some products can be rounded.
    pub rounds: bool,
    /// Whether all operations that vary have tangents.
    pub has_tangents: bool,
    /// Parts of a row that products by weights work on, at most.
    pub parts: usize,
    /// Which injected inputs gradients reach.
    pub inputs: Vec<bool>,
    /// Whether the output depends on the value of each node.
    used: Vec<bool>,
}

/// A node of the program, with where it finds and leaves numbers.
pub(super) struct Step {
    pub width: usize,
    /// Which of the arguments of all nodes are those of this one.
    pub arguments: Range<usize>,
    /// Whether the value depends on the state.
    pub varies: bool,
    /// Whether the value is part of the record.
    pub kept: bool,
    /// Where the value lies while values are made without a linearization.
    pub value: Source,
    /// Where the value lies while values are made for a linearization.
    pub linearized: Source,
    /// Where the derivatives of operations that it is an argument of find it.
    pub point: Source,
    /// Where the derivatives of the operation that makes it find it.
    pub result: Source,
    /// The first matrix of its own: the value, if it is kept or constant, then what the operation records. Among the given ones if
    /// the value is constant, else in the record.
    pub first: usize,
}

/// An argument of an operation.
#[derive(Clone, Copy)]
pub(super) struct Argument {
    pub node: usize,
    pub width: usize,
    /// Whether it depends on the state.
    pub varies: bool,
    /// As in [`Step`], but for `point`: nowhere unless the derivatives of the operation read it.
    pub value: Source,
    pub linearized: Source,
    pub point: Source,
}

/// Where the rows of a value lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    /// Nowhere: nobody reads them.
    Nowhere,
    State,
    /// Injected inputs, then constants.
    Given(usize),
    Record(usize),
    Place(usize),
    Output,
}

/// Operations in the order they run in.
#[derive(Default)]
pub(super) struct Groups {
    pub order: Vec<usize>,
    pub groups: Vec<Group>,
}

/// Operations that run one after the other on the same rows.
pub(super) struct Group {
    /// Where the operations of the group stand in the order.
    range: Range<usize>,
    /// Rows that run together.
    tile: usize,
}

/// Parts of a row from which on one row makes as good use of a parameter in the cache as many rows do.
const MANY_PARTS: usize = 16;

/// Numbers of one value that fit into the cache next to some others.
const TILE_NUMBERS: usize = 1 << 12;

impl Plan {
    pub fn new<E: Element>(nodes: &[Node<E>], output: usize, inputs: Vec<bool>) -> Self {
        let (used, varies) = (used(nodes, output), reached(nodes, |node| node == 0));
        let chosen = |varying: bool| {
            let mut order = Vec::with_capacity(nodes.len());
            let operations = made(nodes).map(|(node, _)| node);
            order.extend(operations.filter(|&node| used[node] && varies[node] == varying));
            order
        };
        let (constants, varying) = (chosen(false), chosen(true));
        let operation = |&node: &usize| nodes[node].made_by.as_ref().map(|made| &*made.operation);
        let operations = || varying.iter().filter_map(operation);
        let (own, places) = forward_places(nodes, &varying, output);
        let mut plan = Self {
            steps: Vec::with_capacity(nodes.len()),
            arguments: Vec::with_capacity(2 * nodes.len()),
            rounds: operations().any(|operation| operation.rounded().is_some()),
            has_tangents: operations().all(|operation| operation.has_tangents()),
            parts: operations()
                .filter(|operation| operation.shares_parameter())
                .map(|operation| operation.parts())
                .max()
                .unwrap_or(1),
            varying: Groups::new(nodes, varying.clone()),
            constants,
            places,
            given: Vec::with_capacity(nodes.len()),
            record: Vec::with_capacity(2 * nodes.len()),
            output,
            output_is_read: made(nodes)
                .any(|(node, made)| used[node] && made.arguments.contains(&output)),
            inputs,
            used,
        };
        let kept = kept(nodes, &plan.used);
        for (node, of) in nodes.iter().enumerate() {
            let first = plan.place_own(of, (node, varies[node], kept[node]));
            let begin = plan.arguments.len();
            plan.push_arguments(of);
            let step = plan.step((node, of), varies[node], kept[node], (first, own[node]));
            let arguments = begin..plan.arguments.len();
            plan.steps.push(Step { arguments, ..step });
        }
        plan
    }

    /// Adds the matrices that a node keeps to those of its kind; returns the number of the first.
    fn place_own<E>(&mut self, of: &Node<E>, (node, varies, kept): (usize, bool, bool)) -> usize {
        let made_by = of.made_by.as_ref().filter(|_| self.used[node]);
        let before = if varies { 0 } else { self.inputs.len() };
        let own = if varies {
            &mut self.record
        } else {
            &mut self.given
        };
        let first = before + own.len();
        if (varies && kept) || (!varies && made_by.is_some()) {
            own.push(of.width);
        }
        own.extend(made_by.iter().flat_map(|made| &made.record));
        first
    }

    fn push_arguments<E: Element>(&mut self, of: &Node<E>) {
        let Some(made) = &of.made_by else { return };
        let reads = made.operation.reads().arguments;
        for &node in &made.arguments {
            let step = &self.steps[node];
            self.arguments.push(Argument {
                node,
                width: step.width,
                varies: step.varies,
                value: step.value,
                linearized: step.linearized,
                point: if reads { step.point } else { Source::Nowhere },
            });
        }
    }

    /// Where a node, whose matrices begin with the `first`, finds and leaves numbers.
    fn step<E: Element>(
        &self,
        (node, of): (usize, &Node<E>),
        varies: bool,
        kept: bool,
        (first, place): (usize, usize),
    ) -> Step {
        let value = match &of.made_by {
            _ if node == 0 => Source::State,
            None => Source::Given(node - 1),
            Some(_) if !varies => Source::Given(first),
            Some(_) if node == self.output => Source::Output,
            Some(_) => Source::Place(place),
        };
        let kept = kept && varies;
        let (linearized, point) = match value {
            Source::Given(_) => (value, value),
            Source::Place(_) if kept => (Source::Record(first), Source::Record(first)),
            _ if kept => (value, Source::Record(first)),
            _ => (value, Source::Nowhere),
        };
        let reads = of.made_by.as_ref().map(|made| made.operation.reads());
        let result = if reads.is_some_and(|reads| reads.result) {
            point
        } else {
            Source::Nowhere
        };
        Step {
            width: of.width,
            arguments: 0..0,
            varies,
            kept,
            value,
            linearized,
            point,
            result,
            first,
        }
    }

    /// What is known of an operation's arguments.
    #[inline]
    pub fn arguments(&self, step: &Step) -> &[Argument] {
        &self.arguments[step.arguments.clone()]
    }

    /// The backward pass to the state.
    pub fn back_to_state<E: Element>(&self, nodes: &[Node<E>]) -> Back {
        let wanted = self.steps.iter().zip(&self.used);
        let wanted = wanted.map(|(step, &used)| step.varies && used).collect();
        Back::new(nodes, (self.output, self.output_is_read), wanted)
    }

    /// The backward pass to parameters and to inputs, which are the first nodes after the state.
    pub fn back_to_gradients<E: Element>(&self, nodes: &[Node<E>]) -> Back {
        let source = |node: usize| {
            let made = nodes[node].made_by.as_ref();
            let parameters = made.iter().flat_map(|made| &made.parameters);
            let input = node.checked_sub(1).and_then(|input| self.inputs.get(input));
            input.is_some_and(|reached| *reached) || parameters.into_iter().any(Option::is_some)
        };
        let passes = |made: &Made<E>| !made.operation.is_constant_in_gradients();
        let learns = reached_through(nodes, source, passes);
        let wanted = learns.iter().zip(&self.used);
        let wanted = wanted.map(|(&learns, &used)| learns && used).collect();
        Back::new(nodes, (self.output, self.output_is_read), wanted)
    }
}

impl Groups {
    /// Puts operations in groups, in the given order.
    pub fn new<E: Element>(nodes: &[Node<E>], order: Vec<usize>) -> Self {
        let mut groups: Vec<Group> = Vec::with_capacity(order.len());
        let (mut begin, mut widest, mut shares_before) = (0, 1, true);
        for (index, &node) in order.iter().enumerate() {
            let made = nodes[node].made_by.as_ref();
            // A row of many parts is enough for a parameter: it stays in the cache on its way through all operations.
            let shares = made.is_some_and(|made| {
                made.operation.shares_parameter() && made.operation.parts() < MANY_PARTS
            });
            if shares || shares_before {
                (begin, widest) = (index, 1);
                groups.push(Group {
                    range: 0..0,
                    tile: 0,
                });
            }
            widest = widest.max(nodes[node].width);
            if let Some(group) = groups.last_mut() {
                *group = Group {
                    range: begin..index + 1,
                    tile: match shares {
                        true => usize::MAX,
                        false => (TILE_NUMBERS / widest).clamp(1, 64),
                    },
                };
            }
            shares_before = shares;
        }
        Self { order, groups }
    }

    /// Runs `job` for every operation and the rows it is to run on at once, out of `rows` rows.
    #[inline]
    pub fn run(&self, rows: usize, mut job: impl FnMut(usize, &Range<usize>)) {
        for group in &self.groups {
            let nodes = &self.order[group.range.clone()];
            let mut start = 0;
            while start < rows {
                let part = start..rows.min(start.saturating_add(group.tile));
                nodes.iter().for_each(|&node| job(node, &part));
                start = part.end;
            }
        }
    }
}

/// Which nodes the output depends on.
pub(super) fn used<E>(nodes: &[Node<E>], output: usize) -> Vec<bool> {
    let mut used = vec![false; nodes.len()];
    used[output] = true;
    for node in (0..nodes.len()).rev() {
        if let (true, Some(made)) = (used[node], &nodes[node].made_by) {
            made.arguments.iter().for_each(|&from| used[from] = true);
        }
    }
    used
}

/// Which nodes depend on one that is a source.
pub(super) fn reached<E>(nodes: &[Node<E>], source: impl Fn(usize) -> bool) -> Vec<bool> {
    reached_through(nodes, source, |_| true)
}

/// Which nodes depend on one that is a source, by operations that let it pass.
fn reached_through<E>(
    nodes: &[Node<E>],
    source: impl Fn(usize) -> bool,
    passes: impl Fn(&Made<E>) -> bool,
) -> Vec<bool> {
    let mut reached = vec![false; nodes.len()];
    for (node, Node { made_by, .. }) in nodes.iter().enumerate() {
        let made_by = made_by.as_ref().filter(|made| passes(made));
        let arguments = made_by.into_iter().flat_map(|made| &made.arguments);
        reached[node] = source(node) || arguments.into_iter().any(|&from| reached[from]);
    }
    reached
}

/// Which values derivatives read.
fn kept<E: Element>(nodes: &[Node<E>], used: &[bool]) -> Vec<bool> {
    let mut kept = vec![false; nodes.len()];
    for (node, made) in made(nodes).filter(|&(node, _)| used[node]) {
        let reads = made.operation.reads();
        kept[node] |= reads.result;
        if reads.arguments {
            made.arguments.iter().for_each(|&from| kept[from] = true);
        }
    }
    kept
}

/// The place of each value that varies, and the width of each place. The output has none: it is written where the caller wants it.
fn forward_places<E>(
    nodes: &[Node<E>],
    varying: &[usize],
    output: usize,
) -> (Vec<usize>, Vec<usize>) {
    let mut last = vec![0; nodes.len()];
    for (time, &node) in varying.iter().enumerate() {
        let made_by = nodes[node].made_by.iter();
        made_by
            .flat_map(|made| &made.arguments)
            .for_each(|&from| last[from] = time);
    }
    let mut lives = Vec::with_capacity(varying.len());
    let times = varying.iter().enumerate();
    lives.extend(times.map(|(from, &node)| Life {
        from,
        until: last[node].max(from),
        width: if node == output { 0 } else { nodes[node].width },
    }));
    let (own, widths) = share(&lives);
    let mut places = vec![usize::MAX; nodes.len()];
    let pairs = varying.iter().zip(own);
    pairs.for_each(|(&node, place)| places[node] = place);
    (places, widths)
}
