//! The step of a layer as a program of kernels, recorded from its [`step`](crate::ImplicitLayer::step).
//!
//! Every value has a place of its own. What depends on the inputs alone is computed once. A linearization computes all values again in
//! places that are kept, which derivatives read: Jᵀu is no fresh way ahead.

mod back;
mod bars;
mod bend;
mod forward;
mod fuse;
mod operation;

use std::sync::Arc;

use dfdx::prelude::{Cuda, HasShape, ReshapeTo, ZerosTensor};

use self::operation::DeviceOperation;
use super::kernels::Linear;
use super::store::{CudaStore, Rows};
use super::{address, Real};
use crate::device_code::{DeviceCode, Formulas};
use crate::program::{CodeMade, CodeNode};
use crate::{Backend, Error, Matrix, Result, Slot, Vectors};

pub(super) use bars::PulledBack;

/// The program of a layer with its inputs.
pub(super) struct Program<E: Real>
where
    Cuda: Backend<E>,
{
    nodes: Vec<Node<E>>,
    output: usize,
    inputs: usize,
    /// Slots of the injected inputs, and of what depends on them alone, by node; these move along with the samples.
    given: Vec<Option<Slot>>,
    /// Where values are made.
    values: Vec<Option<Rows<E>>>,
    /// What derivatives read, once the map is linearized; these move along with the samples.
    record: Option<Record>,
    /// Tangents of values, once they are wanted.
    tangents: Vec<Option<Rows<E>>>,
    /// n_dot of normalizations.
    plain_tangents: Vec<Option<Rows<E>>>,
    /// Cotangents, and those of tangents.
    bars: [Vec<Option<Rows<E>>>; 2],
    /// Work space for cotangents that are added to others: of values, and of what bends.
    spare: [Vec<Option<Rows<E>>>; 2],
    bent: Vec<Option<Rows<E>>>,
}

/// A value of the step.
struct Node<E: Real>
where
    Cuda: Backend<E>,
{
    width: usize,
    made_by: Option<Made<E>>,
    /// Whether it depends on the state, on parameters or inputs, and whether the output depends on it.
    varies: bool,
    learns: bool,
    used: bool,
    /// How often it is an argument of what is used.
    uses: usize,
}

/// How a value is made.
struct Made<E: Real>
where
    Cuda: Backend<E>,
{
    code: Code<E>,
    /// The second one of a normalization or a function is added to the first.
    arguments: Vec<usize>,
    parameters: Vec<Parameter<E>>,
    /// Equal parts of a row on each of which it works as if it were a row.
    tokens: usize,
}

/// A parameter of an operation.
#[derive(Clone)]
struct Parameter<E: Real>
where
    Cuda: Backend<E>,
{
    /// Holds the numbers where they are.
    _tensor: Matrix<E, Cuda>,
    address: u64,
    shape: (usize, usize),
    /// Its number among those of the layer.
    place: Option<usize>,
}

impl<E: Real> Parameter<E>
where
    Cuda: Backend<E>,
{
    fn of(tensor: Matrix<E, Cuda>, place: Option<usize>) -> Result<Self> {
        let tensor = tensor.try_contiguous().map_err(Error::device)?;
        Ok(Self {
            address: address(&tensor)?,
            shape: *tensor.shape(),
            _tensor: tensor,
            place,
        })
    }
}

/// What is done, by itself or with what is beside it.
#[derive(Clone)]
enum Code<E: Real>
where
    Cuda: Backend<E>,
{
    Operation(Arc<dyn DeviceOperation<E>>),
    /// Parameters: weight, bias, and if it is shifted the shift.
    Normalize {
        groups: usize,
        epsilon: f64,
        beside: Beside,
    },
    /// Parameters: the shift, if it is shifted.
    Pointwise {
        formulas: Formulas,
        beside: Beside,
    },
}

/// What an operation takes along.
#[derive(Clone, Copy, Default)]
struct Beside {
    /// A parameter is added to the argument in every row.
    shifted: bool,
    /// The argument, or the result, is rectified.
    before: bool,
    after: bool,
}

/// Slots of what derivatives read, by node.
struct Record {
    /// Values.
    values: Vec<Option<Slot>>,
    /// Of a normalization n, 1 / √(σ² + ε) and, where it rectifies before, what it normalizes; of a function its argument.
    own: Vec<[Option<Slot>; 3]>,
}

impl<E: Real> Program<E>
where
    Cuda: Backend<E>,
{
    /// The program of recorded nodes with inputs, each `[batch, width]`, in a store; computes what depends on them alone.
    pub fn new(
        (nodes, output): (Vec<CodeNode<E, Cuda>>, usize),
        inputs: &[Matrix<E, Cuda>],
        store: &mut CudaStore<E>,
    ) -> Result<Self> {
        if nodes[output].width != nodes[0].width {
            return Err(Error::Shape {
                what: "the result of `step`".to_owned(),
                expected: format!("width {}, that of the state", nodes[0].width),
                got: format!("width {}", nodes[output].width),
            });
        }
        let widths: Vec<usize> = nodes.iter().map(|node| node.width).collect();
        let nodes = nodes.into_iter().map(|node| Node::of(node, &widths, store));
        let nodes = nodes.collect::<Result<_>>()?;
        let (nodes, output) = fuse::fuse(nodes, output, inputs.len());
        let count = nodes.len();
        let none = || (0..count).map(|_| None).collect();
        let mut program = Self {
            nodes,
            output,
            inputs: inputs.len(),
            given: vec![None; count],
            values: none(),
            record: None,
            tangents: none(),
            plain_tangents: none(),
            bars: [none(), none()],
            spare: [none(), none()],
            bent: none(),
        };
        for (index, input) in inputs.iter().enumerate() {
            program.given[index + 1] = Some(store.adopt_reserved(input)?);
        }
        program.compute_constants(store)?;
        Ok(program)
    }

    /// Rows that the operation that makes a node works on, and the width of the result in each.
    fn shape(&self, node: usize, made: &Made<E>, store: &CudaStore<E>) -> (usize, usize) {
        let width = self.nodes[node].width;
        (store.batch() * made.tokens, width / made.tokens)
    }

    fn made(&self, node: usize) -> Option<&Made<E>> {
        self.nodes[node].made_by.as_ref()
    }

    /// Nodes that operations make and the output depends on, in order: those that vary, or the others.
    fn order(&self, varying: bool) -> Vec<usize> {
        let nodes = self.nodes.iter().enumerate();
        let chosen =
            nodes.filter(|(_, node)| node.used && node.made_by.is_some() && node.varies == varying);
        chosen.map(|(index, _)| index).collect()
    }
}

impl<E: Real> Node<E>
where
    Cuda: Backend<E>,
{
    /// A recorded node among those of these widths.
    fn of(node: CodeNode<E, Cuda>, widths: &[usize], store: &CudaStore<E>) -> Result<Self> {
        let made_by = node.made_by;
        let made_by = made_by.map(|made| Made::of(made, node.width, widths, store));
        Ok(Self {
            width: node.width,
            made_by: made_by.transpose()?,
            varies: false,
            learns: false,
            used: false,
            uses: 0,
        })
    }
}

impl<E: Real> Made<E>
where
    Cuda: Backend<E>,
{
    /// How a node of the given width is made, among nodes of these widths.
    fn of(
        made: CodeMade<E, Cuda>,
        width: usize,
        widths: &[usize],
        store: &CudaStore<E>,
    ) -> Result<Self> {
        let (mut code, mut tokens) = (made.code, 1);
        while let DeviceCode::PerToken { count, of } = code {
            (code, tokens) = (*of, tokens * count);
        }
        let parameters = made.parameters.into_iter();
        let parameters = parameters.map(|(tensor, place)| Parameter::of(tensor, place));
        let mut parameters = parameters.collect::<Result<Vec<_>>>()?;
        let beside = Beside::default();
        let code = match code {
            DeviceCode::Normalize { groups, epsilon } => {
                if parameters.is_empty() {
                    // Without a copy from the host, which ones would cost.
                    for number in [1.0, 0.0] {
                        let row = store.device.try_zeros_like(&(1, width / tokens));
                        let row = Parameter::of(row.map_err(Error::device)?, None)?;
                        fill(&row, number, store)?;
                        parameters.push(row);
                    }
                }
                Code::Normalize {
                    groups,
                    epsilon,
                    beside,
                }
            }
            DeviceCode::Pointwise(formulas) => Code::Pointwise { formulas, beside },
            other => {
                let widths = made.arguments.iter().map(|&from| widths[from] / tokens);
                let widths: Vec<usize> = widths.collect();
                Code::Operation(operation::of(other, &parameters, &widths, store)?)
            }
        };
        Ok(Self {
            code,
            arguments: made.arguments,
            parameters,
            tokens,
        })
    }

    /// The address of the parameter that is added to the argument; 0 if there is none.
    fn shift(&self) -> u64 {
        self.shift_parameter().map_or(0, |shift| shift.address)
    }

    fn shift_parameter(&self) -> Option<&Parameter<E>> {
        let (Code::Normalize { beside, .. } | Code::Pointwise { beside, .. }) = &self.code else {
            return None;
        };
        self.parameters.last().filter(|_| beside.shifted)
    }
}

/// The place of a node among those that are made when they are first wanted.
fn place<E: Real>(
    places: &mut [Option<Rows<E>>],
    node: usize,
    shape: (usize, usize),
    store: &CudaStore<E>,
) -> Result<u64>
where
    Cuda: Backend<E>,
{
    if let Some(rows) = &places[node] {
        return Ok(rows.address);
    }
    let rows = Rows::zeros(&store.device, shape)?;
    Ok(places[node].insert(rows).address)
}

/// Lets all numbers of a row of zeros be the same.
fn fill<E: Real>(row: &Parameter<E>, number: f64, store: &CudaStore<E>) -> Result<()>
where
    Cuda: Backend<E>,
{
    store.engine.launch::<E, _>(Linear {
        a: row.address,
        b: 0,
        out: row.address,
        c: 0.0,
        d: 0.0,
        e: number,
        rows: 1,
        width: row.shape.1 as u32,
        row: 0,
        add: 0,
    })
}

/// Adds a tensor to a place of as many numbers.
pub(super) fn add_tensor<E: Real>(
    from: &Matrix<E, Cuda>,
    to: u64,
    store: &CudaStore<E>,
) -> Result<()>
where
    Cuda: Backend<E>,
{
    let from = from.clone().try_contiguous().map_err(Error::device)?;
    let (rows, width) = *from.shape();
    store.engine.launch::<E, _>(Linear {
        a: address(&from)?,
        b: 0,
        out: to,
        c: 1.0,
        d: 0.0,
        e: 0.0,
        rows: rows as u32,
        width: width as u32,
        row: 0,
        add: 1,
    })
}
