//! Long short-term memory.

use equilibria_core::{parameters, Backend, Result, Scalar, Value};

use super::Linear;
use crate::operations::Vocabulary;
use crate::Initializer;

/// Long short-term memory, with two biases as in PyTorch:
///
/// `[i | f | g | o] = W e + b + U h + c`, `c′ = σ(f) ⊙ c + σ(i) ⊙ tanh(g)`, `h′ = σ(o) ⊙ tanh(c′)`.
///
/// Reference: S. Hochreiter, J. Schmidhuber, Long Short-Term Memory, Neural Computation 9, 1997; F. A. Gers et al., Learning to Forget,
/// Neural Computation 12, 2000.
pub struct Lstm<E: Scalar, D: Backend<E>> {
    /// W and b, `[4 · width, inputs]`.
    pub input: Linear<E, D>,
    /// U and its bias, `[4 · width, width]`.
    pub hidden: Linear<E, D>,
}

parameters!(Lstm { input, hidden });

impl<E: Scalar, D: Backend<E>> Lstm<E, D> {
    /// Weights and biases uniform in ±1/√width, as PyTorch has them.
    pub fn new(inputs: usize, width: usize, init: &mut Initializer<D>) -> Result<Self> {
        let limit = 1.0 / (width.max(1) as f64).sqrt();
        let mut map = |inputs| -> Result<Linear<E, D>> {
            let weight = init.uniform((4 * width, inputs), limit)?;
            Ok(Linear::new(weight, init.uniform((1, 4 * width), limit)?))
        };
        Ok(Self {
            input: map(inputs)?,
            hidden: map(width)?,
        })
    }

    /// Width of the state.
    pub fn width(&self) -> usize {
        self.input.outputs() / 4
    }

    /// The states h after each of the steps `e`, from h = 0 and c = 0.
    pub fn states(&self, e: &[Value<E, D>]) -> Vec<Value<E, D>> {
        let width = self.width();
        let mut states: Vec<Value<E, D>> = Vec::with_capacity(e.len());
        let mut cell: Option<Value<E, D>> = None;
        for e in e {
            let input = self.input.of(e);
            let gates = match states.last() {
                Some(h) => input + self.hidden.of(h),
                // The map of 0 is its bias.
                None => input.shift(&self.hidden.bias),
            };
            let gate = |number: usize| gates.columns(number * width..(number + 1) * width);
            let new = gate(0).sigmoid() * gate(2).tanh();
            let next = match cell {
                Some(cell) => gate(1).sigmoid() * cell + new,
                None => new,
            };
            states.push(gate(3).sigmoid() * next.tanh());
            cell = Some(next);
        }
        states
    }
}
