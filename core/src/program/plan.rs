//! What runs when, and where its result lies.

use std::ops::Range;

use super::back::Back;
use super::places::{share, Life};
use super::Node;
use crate::Element;

/// What a program needs to know of its nodes.
pub(super) struct Plan {
    /// Whether a value depends on the state.
    pub varies: Vec<bool>,
    /// Whether derivatives read a value.
    pub kept: Vec<bool>,
    /// Nodes that are constant during a solve, in order.
    pub constants: Vec<usize>,
    /// The others, in order.
    pub groups: Vec<Group>,
    /// The place of the value of each node that varies, and the width of each place.
    pub places: Vec<usize>,
    pub widths: Vec<usize>,
    /// Whether the output is an argument of an operation as well.
    pub output_is_read: bool,
    /// Whether the output depends on a value.
    used: Vec<bool>,
}

/// Operations that run one after the other on the same rows.
pub(super) struct Group {
    pub nodes: Vec<usize>,
    /// Whether they run on all rows at once, or on a few at a time.
    pub all_rows: bool,
    /// Rows that are a few.
    pub tile: usize,
}

impl Group {
    /// The rows from `start` on, of `rows`, that run together, and whether they are rounded, as those from `exact` on are where products
    /// can be.
    pub fn part(&self, start: usize, rows: usize, exact: usize) -> (Range<usize>, bool) {
        match self.all_rows {
            true if start < exact => (start..rows.min(exact), false),
            true => (start..rows, true),
            false => (start..rows.min(start + self.tile), false),
        }
    }
}

/// Numbers of one value that fit into the cache next to some others.
const TILE_NUMBERS: usize = 1 << 12;

impl Plan {
    pub fn new<E: Element>(nodes: &[Node<E>], output: usize) -> Self {
        let used = used(nodes, output);
        let varies = reached(nodes, |node| node == 0);
        let operations = |varies_too: bool| {
            let all = (0..nodes.len()).filter(|&node| used[node] && nodes[node].made_by.is_some());
            let chosen = all.filter(|&node| varies[node] == varies_too);
            chosen.collect::<Vec<_>>()
        };
        let (constants, varying) = (operations(false), operations(true));
        let (places, widths) = forward_places(nodes, &varying, output);
        Self {
            kept: kept(nodes, &used),
            groups: groups(nodes, &varying),
            output_is_read: made(nodes)
                .any(|(node, made)| used[node] && made.arguments.contains(&output)),
            varies,
            constants,
            places,
            widths,
            used,
        }
    }

    /// The way back to the state.
    pub fn back_to_state<E: Element>(&self, nodes: &[Node<E>], output: usize) -> Back {
        let wanted = self.varies.iter().zip(&self.used);
        Back::new(
            nodes,
            output,
            wanted.map(|(&varies, &used)| varies && used).collect(),
        )
    }

    /// The way back to parameters and inputs, which are the first nodes after the state.
    pub fn back_to_gradients<E: Element>(
        &self,
        nodes: &[Node<E>],
        output: usize,
        inputs: usize,
    ) -> Back {
        let learns = reached(nodes, |node| {
            let made = nodes[node].made_by.as_ref();
            let parameters = made.iter().flat_map(|made| &made.parameters);
            (1..=inputs).contains(&node) || parameters.into_iter().any(Option::is_some)
        });
        let wanted = learns.iter().zip(&self.used);
        Back::new(
            nodes,
            output,
            wanted.map(|(&learns, &used)| learns && used).collect(),
        )
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
    let mut reached = vec![false; nodes.len()];
    for (node, Node { made_by, .. }) in nodes.iter().enumerate() {
        let arguments = made_by.iter().flat_map(|made| &made.arguments);
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

pub(super) fn made<E>(nodes: &[Node<E>]) -> impl Iterator<Item = (usize, &super::Made<E>)> {
    let nodes = nodes.iter().enumerate();
    nodes.filter_map(|(node, of)| Some((node, of.made_by.as_ref()?)))
}

/// The output is written where the caller wants it, at the end.
fn forward_places<E>(
    nodes: &[Node<E>],
    varying: &[usize],
    output: usize,
) -> (Vec<usize>, Vec<usize>) {
    let mut lives = Vec::with_capacity(varying.len());
    for (from, &node) in varying.iter().enumerate() {
        let reads = |&reader: &usize| {
            let made = nodes[reader].made_by.as_ref();
            made.is_some_and(|made| made.arguments.contains(&node))
        };
        let last = varying.iter().rposition(reads).unwrap_or(from);
        lives.push(Life {
            from,
            until: if node == output { varying.len() } else { last },
            width: nodes[node].width,
        });
    }
    let (own, widths) = share(&lives);
    let mut places = vec![usize::MAX; nodes.len()];
    varying
        .iter()
        .zip(own)
        .for_each(|(&node, place)| places[node] = place);
    (places, widths)
}

pub(super) fn groups<E: Element>(nodes: &[Node<E>], varying: &[usize]) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    for &node in varying {
        let Some(made) = &nodes[node].made_by else {
            continue;
        };
        let all_rows = made.operation.shares_parameter();
        match groups.last_mut() {
            Some(group) if !all_rows && !group.all_rows => group.nodes.push(node),
            _ => groups.push(Group {
                nodes: vec![node],
                all_rows,
                tile: 1,
            }),
        }
    }
    for group in &mut groups {
        let widest = group.nodes.iter().map(|&node| nodes[node].width).max();
        group.tile = (TILE_NUMBERS / widest.unwrap_or(1).max(1)).clamp(1, 64);
    }
    groups
}
