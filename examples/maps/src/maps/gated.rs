//! A gate on the state.

use equilibria::modules::Linear;
use equilibria::prelude::*;

use super::{linear, Make};

/// `(z ⊙ σ(A z + a + x) + tanh(B z + b + x)) / 2`.
#[derive(Clone)]
pub struct Gated<E: Scalar, D: Backend<E>> {
    a: Linear<E, D>,
    b: Linear<E, D>,
}

parameters!(Gated { a, b });

impl<E: Scalar, D: Backend<E>> Make<E, D> for Gated<E, D> {
    fn make(width: usize, init: &mut Initializer<D>) -> Result<Self> {
        Ok(Self {
            a: linear(width, init)?,
            b: linear(width, init)?,
        })
    }
}

impl<E: Scalar, D: Backend<E>> ImplicitLayer<E, D> for Gated<E, D> {
    fn state_dim(&self) -> usize {
        self.a.outputs()
    }

    fn step(&self, z: &Value<E, D>, x: &[Value<E, D>]) -> Result<Value<E, D>> {
        let gate = (self.a.of(z) + &x[0]).sigmoid();
        let new = (self.b.of(z) + &x[0]).tanh();
        Ok((gate * z + new) * 0.5)
    }
}
