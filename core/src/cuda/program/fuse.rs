//! Normalizations and functions that take along what is beside them: an addition, a parameter for every row, a ReLU.

use dfdx::prelude::Cuda;

use super::{Code, Made, Node, Real};
use crate::device_code::Formulas;
use crate::operation::Neighbor;
use crate::Backend;

/// The same program with fewer operations, all that is known of its nodes, and which of them is the output.
pub(super) fn fuse<E: Real>(
    mut nodes: Vec<Node<E>>,
    output: usize,
    inputs: usize,
) -> (Vec<Node<E>>, usize)
where
    Cuda: Backend<E>,
{
    know(&mut nodes, output, inputs);
    for node in 0..nodes.len() {
        if nodes[node].used && nodes[node].varies {
            take_arguments_along(&mut nodes, node);
            if let Some(rectified) = before_rectifier(&nodes, node) {
                // The normalization goes to the place of the ReLU.
                let made = nodes[rectified].made_by.take();
                nodes[node].made_by = made.map(|mut made| {
                    if let Code::Normalize { beside, .. } = &mut made.code {
                        beside.after = true;
                    }
                    made
                });
                nodes[rectified].used = false;
            }
        }
    }
    know(&mut nodes, output, inputs);
    (nodes, output)
}

/// Finds out what depends on what.
fn know<E: Real>(nodes: &mut [Node<E>], output: usize, inputs: usize)
where
    Cuda: Backend<E>,
{
    for index in 0..nodes.len() {
        let made = nodes[index].made_by.as_ref();
        let arguments: Vec<usize> = made.map_or(Vec::new(), |made| made.arguments.clone());
        let own = made.is_some_and(|made| made.parameters.iter().any(|p| p.place.is_some()));
        let varies = index == 0 || arguments.iter().any(|&from| nodes[from].varies);
        let learns = (1..=inputs).contains(&index)
            || own
            || arguments.iter().any(|&from| nodes[from].learns);
        let node = &mut nodes[index];
        (node.varies, node.learns, node.used, node.uses) = (varies, learns, false, 0);
    }
    nodes[output].used = true;
    for index in (0..nodes.len()).rev() {
        let made = nodes[index].made_by.as_ref().filter(|_| nodes[index].used);
        for from in made.map_or(Vec::new(), |made| made.arguments.clone()) {
            nodes[from].used = true;
            nodes[from].uses += 1;
        }
    }
    // The output is wanted by the caller as well.
    nodes[output].uses += 1;
}

/// How a node is made, if it varies and nobody else wants it.
fn only<E: Real>(nodes: &[Node<E>], node: usize) -> Option<&Made<E>>
where
    Cuda: Backend<E>,
{
    let Node {
        made_by,
        varies,
        uses,
        ..
    } = &nodes[node];
    made_by.as_ref().filter(|_| *varies && *uses == 1)
}

impl<E: Real> Code<E>
where
    Cuda: Backend<E>,
{
    /// What it is to what may take it along.
    fn neighbor(&self) -> Option<Neighbor> {
        match self {
            Self::Operation(operation) => operation.neighbor(),
            Self::Pointwise { formulas, .. } if *formulas == Formulas::relu() => {
                Some(Neighbor::Rectifier)
            }
            Self::Pointwise { .. } | Self::Normalize { .. } => None,
        }
    }

    fn is_rectifier(&self) -> bool {
        self.neighbor() == Some(Neighbor::Rectifier)
    }
}

/// Lets the operation that makes `node` take along those that make its argument.
fn take_arguments_along<E: Real>(nodes: &mut [Node<E>], node: usize)
where
    Cuda: Backend<E>,
{
    let Some(made) = &nodes[node].made_by else {
        return;
    };
    let (mut code, mut parameters) = (made.code.clone(), made.parameters.clone());
    let tokens = made.tokens;
    let (normalizes, beside) = match &mut code {
        Code::Normalize { beside, .. } => (true, beside),
        Code::Pointwise { beside, .. } => (false, beside),
        Code::Operation(_) => return,
    };
    let &[mut argument] = &made.arguments[..] else {
        return;
    };
    let (mut added, mut taken) = (None, Vec::new());
    if let Some(relu) = only(nodes, argument) {
        // A parameter that it has taken along is one for its own tokens.
        let fits = relu.tokens == tokens || relu.shift() == 0;
        if normalizes && fits && relu.code.is_rectifier() {
            // With what it has taken along itself.
            beside.before = true;
            if let Some(shift) = relu.shift_parameter() {
                beside.shifted = true;
                parameters.push(shift.clone());
            }
            taken.push(argument);
            (argument, added) = (relu.arguments[0], relu.arguments.get(1).copied());
        }
    }
    if let Some(sum) = only(nodes, argument).filter(|_| added.is_none()) {
        let plain = sum.code.neighbor() == Some(Neighbor::Sum);
        if let (true, &[first, second]) = (plain, &sum.arguments[..]) {
            let pair = match (nodes[first].varies, nodes[second].varies) {
                (true, false) => Some((first, second)),
                (false, true) => Some((second, first)),
                _ => None,
            };
            if let Some((varying, constant)) = pair {
                taken.push(argument);
                (argument, added) = (varying, Some(constant));
            }
        }
    }
    if let Some(shift) = only(nodes, argument).filter(|_| !beside.shifted) {
        if shift.tokens == tokens && shift.code.neighbor() == Some(Neighbor::Shift) {
            beside.shifted = true;
            parameters.push(shift.parameters[0].clone());
            taken.push(argument);
            argument = shift.arguments[0];
        }
    }
    let arguments = std::iter::once(argument).chain(added).collect();
    nodes[node].made_by = Some(Made {
        code,
        arguments,
        parameters,
        tokens,
    });
    taken.into_iter().for_each(|node| nodes[node].used = false);
}

/// The normalization before a ReLU that makes `node`, if it can take that along.
fn before_rectifier<E: Real>(nodes: &[Node<E>], node: usize) -> Option<usize>
where
    Cuda: Backend<E>,
{
    let relu = nodes[node].made_by.as_ref()?;
    let &[argument] = &relu.arguments[..] else {
        return None;
    };
    let normalization = only(nodes, argument)?;
    let takes = matches!(
        &normalization.code,
        Code::Normalize { beside, .. } if !beside.before && !beside.after
    );
    (relu.code.is_rectifier() && relu.shift() == 0 && takes).then_some(argument)
}
