//! Runs a step on values that remember which operation made them.

use std::cell::RefCell;
use std::rc::Rc;

use super::{CodeMade, CodeNode, Made, Node, Program, MOST_ARGUMENTS};
use crate::{Backend, Error, ImplicitLayer, Matrix, Operation, Result, Scalar, Value};

/// What a step does, as far as it has come.
struct Recorder<E: Scalar, D: Backend<E>> {
    nodes: RefCell<Nodes<E, D>>,
    /// Those of the layer, in the order of [`Parameters::visit`](crate::Parameters::visit).
    parameters: Vec<Matrix<E, D>>,
}

/// The values so far, for the CPU or for a device with kernels of its own.
enum Nodes<E: Scalar, D: Backend<E>> {
    Rows(Vec<Node<E>>),
    Codes(Vec<CodeNode<E, D>>),
}

/// A value of a step that is being recorded.
pub(crate) struct Recorded<E: Scalar, D: Backend<E>> {
    recorder: Rc<Recorder<E, D>>,
    node: usize,
    width: usize,
}

/// Records the step of `layer`.
///
/// # Errors
/// Those of the step, and [`Error::Shape`] if its result is not as wide as the state.
pub(crate) fn record<E: Scalar, D: Backend<E>, L: ImplicitLayer<E, D> + ?Sized>(
    layer: &L,
) -> Result<Program<E>> {
    let mut nodes = Vec::with_capacity(32);
    nodes.extend(sources(layer).into_iter().map(Node::source));
    let (nodes, output) = run(layer, Nodes::Rows(nodes))?;
    match nodes {
        Nodes::Rows(nodes) => {
            let inputs = (0..layer.input_dims().len()).map(|input| layer.reaches_input(input));
            Program::new(nodes, output, inputs.collect())
        }
        Nodes::Codes(_) => unreachable!("nodes for the CPU were begun"),
    }
}

/// Records the step of `layer` for a device with kernels of its own: the nodes, and which of them is the output.
///
/// # Errors
/// Those of the step, and [`Error::Missing`] for an operation that has no [code](Operation::device_code).
#[cfg(feature = "cuda")]
pub(crate) fn record_codes<E: Scalar, D: Backend<E>, L: ImplicitLayer<E, D> + ?Sized>(
    layer: &L,
) -> Result<(Vec<CodeNode<E, D>>, usize)> {
    let nodes = sources(layer).into_iter().map(|width| CodeNode {
        width,
        made_by: None,
    });
    let (nodes, output) = run(layer, Nodes::Codes(nodes.collect()))?;
    match nodes {
        Nodes::Codes(nodes) => Ok((nodes, output)),
        Nodes::Rows(_) => unreachable!("nodes for a device were begun"),
    }
}

/// Widths of the state and of the injected inputs.
fn sources<E: Scalar, D: Backend<E>, L: ImplicitLayer<E, D> + ?Sized>(layer: &L) -> Vec<usize> {
    let mut widths = vec![layer.state_dim()];
    widths.extend(layer.input_dims());
    widths
}

/// Runs the step of `layer` on values that are recorded behind `nodes`; returns these, and which of them is the result.
fn run<E: Scalar, D: Backend<E>, L: ImplicitLayer<E, D> + ?Sized>(
    layer: &L,
    nodes: Nodes<E, D>,
) -> Result<(Nodes<E, D>, usize)> {
    let mut parameters = Vec::new();
    layer.visit("", &mut |_, tensor| parameters.push(tensor.clone()));
    let recorder = Rc::new(Recorder {
        nodes: RefCell::new(nodes),
        parameters,
    });
    let values = sources(layer).into_iter().enumerate();
    let mut values = values.map(|(node, width)| {
        let recorder = recorder.clone();
        Value::recorded(Recorded {
            recorder,
            node,
            width,
        })
    });
    let z = values.next().expect("a layer has a state");
    let x: Vec<Value<E, D>> = values.collect();
    let output = layer.step(&z, &x)?.into_recorded()?.node;
    let nodes = recorder.nodes.replace(Nodes::Codes(Vec::new()));
    Ok((nodes, output))
}

impl<E: Scalar, D: Backend<E>> Recorded<E, D> {
    /// Numbers per row.
    pub fn width(&self) -> usize {
        self.width
    }

    /// The result of an operation, `width` numbers wide, on arguments of the given widths; `self` is one of them.
    pub fn operation<O: Operation<E, D>>(
        &self,
        operation: &O,
        (arguments, widths): (&[&Self], &[usize]),
        width: usize,
    ) -> Result<Self> {
        let strange = |other: &&&Self| !Rc::ptr_eq(&other.recorder, &self.recorder);
        if arguments.iter().any(|argument| strange(&argument)) || arguments.len() > MOST_ARGUMENTS {
            return Err(Error::Shape {
                what: format!("the arguments of {}", O::NAME),
                expected: format!("values of one step, {MOST_ARGUMENTS} at most"),
                got: format!("{} values", arguments.len()),
            });
        }
        let arguments = arguments.iter().map(|argument| argument.node).collect();
        let parameters = operation.parameters().into_iter().map(|parameter| {
            let index = self.recorder.index(&parameter);
            (parameter, index)
        });
        let node = match &mut *self.recorder.nodes.borrow_mut() {
            Nodes::Rows(nodes) => {
                let on_rows = operation.on_rows(widths);
                on_rows.check()?;
                let made = Made {
                    record: on_rows.record(),
                    operation: on_rows,
                    arguments,
                    parameters: parameters.map(|(_, index)| index).collect(),
                };
                nodes.push(Node {
                    width,
                    made_by: Some(made),
                });
                nodes.len() - 1
            }
            Nodes::Codes(nodes) => {
                let made = CodeMade {
                    code: operation.device_code().ok_or_else(|| no_code(O::NAME))?,
                    arguments,
                    parameters: parameters.collect(),
                };
                nodes.push(CodeNode {
                    width,
                    made_by: Some(made),
                });
                nodes.len() - 1
            }
        };
        Ok(Self {
            recorder: self.recorder.clone(),
            node,
            width,
        })
    }
}

fn no_code(name: &str) -> Error {
    Error::Missing {
        what: format!("a kernel of {name}"),
        remedy: "run the layer in dfdx operations",
    }
}

impl<E: Scalar, D: Backend<E>> Recorder<E, D> {
    /// Which parameter of the layer this is; the first one, where it has several names.
    fn index(&self, parameter: &Matrix<E, D>) -> Option<usize> {
        let mut all = self.parameters.iter();
        all.position(|known| D::same_storage(known, parameter))
    }
}

impl<E: Scalar, D: Backend<E>> Clone for Recorded<E, D> {
    fn clone(&self) -> Self {
        Self {
            recorder: self.recorder.clone(),
            node: self.node,
            width: self.width,
        }
    }
}
