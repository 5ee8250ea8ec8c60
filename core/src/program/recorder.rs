//! Runs a step on values that remember which operation made them.

use std::cell::RefCell;
use std::rc::Rc;

use super::{Made, Node, Program, MOST_ARGUMENTS};
use crate::{Backend, Error, ImplicitLayer, Matrix, Operation, Result, Scalar, Value};

/// What a step does, as far as it has come.
struct Recorder<E: Scalar, D: Backend<E>> {
    nodes: RefCell<Vec<Node<E>>>,
    /// Those of the layer, in the order of [`Parameters::visit`](crate::Parameters::visit).
    parameters: Vec<Matrix<E, D>>,
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
    let mut parameters = Vec::new();
    layer.visit("", &mut |_, tensor| parameters.push(tensor.clone()));
    let inputs = layer.input_dims();
    let sources = std::iter::once(layer.state_dim()).chain(inputs.iter().copied());
    let mut nodes = Vec::with_capacity(32);
    nodes.extend(sources.map(Node::source));
    let recorder = Rc::new(Recorder {
        nodes: RefCell::new(nodes),
        parameters,
    });
    let value = |node: usize| {
        Value::recorded(Recorded {
            width: recorder.nodes.borrow()[node].width,
            recorder: recorder.clone(),
            node,
        })
    };
    let x: Vec<Value<E, D>> = (1..=inputs.len()).map(value).collect();
    let output = layer.step(&value(0), &x)?.into_recorded()?.node;
    let nodes = recorder.nodes.take();
    Program::new(nodes, output, inputs.len())
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
        let on_rows = operation.on_rows(widths);
        on_rows.check()?;
        let made = Made {
            record: on_rows.record(),
            operation: on_rows,
            arguments: arguments.iter().map(|argument| argument.node).collect(),
            parameters: (operation.parameters().iter())
                .map(|parameter| self.recorder.index(parameter))
                .collect(),
        };
        let mut nodes = self.recorder.nodes.borrow_mut();
        let node = nodes.len();
        nodes.push(Node {
            width,
            made_by: Some(made),
        });
        Ok(Self {
            recorder: self.recorder.clone(),
            node,
            width,
        })
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
