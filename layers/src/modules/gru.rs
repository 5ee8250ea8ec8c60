//! The gated recurrent unit.

use equilibria_core::{parameters, Backend, Result, Scalar, Value};

use super::{Linear, Unbiased};
use crate::operations::Vocabulary;
use crate::Initializer;

/// The gated recurrent unit, as skip-thoughts and its users have it:
///
/// r = σ(W_r e + b_r + U_r h), i = σ(W_i e + b_i + U_i h), n = tanh(W_n e + b_n + r ⊙ U_n h), h′ = (1 − i) ⊙ n + i ⊙ h.
///
/// There are no hidden biases, other than in PyTorch; the reset gate r multiplies after U_n.
///
/// Reference: K. Cho et al., Learning Phrase Representations using RNN Encoder-Decoder, EMNLP 2014, section 2.3.
pub struct Gru<E: Scalar, D: Backend<E>> {
    /// The reset gate.
    pub r: Gate<E, D>,
    /// The update gate.
    pub i: Gate<E, D>,
    /// The new state.
    pub n: Gate<E, D>,
}

parameters!(Gru { r, i, n });

/// Two maps that are added.
pub struct Gate<E: Scalar, D: Backend<E>> {
    /// W and b.
    pub input: Linear<E, D>,
    /// U.
    pub hidden: Unbiased<E, D>,
}

parameters!(Gate { input, hidden });

impl<E: Scalar, D: Backend<E>> Gate<E, D> {
    fn new(inputs: usize, width: usize, init: &mut Initializer<D>) -> Result<Self> {
        Ok(Self {
            input: Linear::uniform(width, inputs, init)?,
            hidden: Unbiased::uniform(width, width, init)?,
        })
    }
}

impl<E: Scalar, D: Backend<E>> Gru<E, D> {
    /// Weights and biases uniform in ±1/√(width of what they are multiplied with).
    pub fn new(inputs: usize, width: usize, init: &mut Initializer<D>) -> Result<Self> {
        Ok(Self {
            r: Gate::new(inputs, width, init)?,
            i: Gate::new(inputs, width, init)?,
            n: Gate::new(inputs, width, init)?,
        })
    }

    /// Width of the state.
    pub fn width(&self) -> usize {
        self.r.input.outputs()
    }

    /// The states after each of the steps `e`, from h = 0.
    pub fn states(&self, e: &[Value<E, D>]) -> Vec<Value<E, D>> {
        let mut states: Vec<Value<E, D>> = Vec::with_capacity(e.len());
        for e in e {
            let gate = |gate: &Gate<E, D>| {
                let from_input = gate.input.of(e);
                let hidden = states.last().map(|h| gate.hidden.of(h));
                (from_input, hidden)
            };
            let sum = |(input, hidden): (Value<E, D>, Option<Value<E, D>>)| match hidden {
                Some(hidden) => input + hidden,
                None => input,
            };
            let [r, i] = [&self.r, &self.i].map(|own| sum(gate(own)).sigmoid());
            let (input, hidden) = gate(&self.n);
            let n = match hidden {
                Some(hidden) => (input + r * hidden).tanh(),
                None => input.tanh(),
            };
            // (1 − i) n + i h = n + i (h − n).
            let next = match states.last() {
                Some(h) => &n + &(i * (h - &n)),
                None => &n - &(&i * &n),
            };
            states.push(next);
        }
        states
    }
}
