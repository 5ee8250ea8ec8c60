//! A single layer of tanh.

use equilibria::modules::Linear;
use equilibria::prelude::*;

use super::{linear, Make};

/// `tanh(W z + b + U x)`.
#[derive(Clone)]
pub struct Tanh<E: Scalar, D: Backend<E>> {
    w: Linear<E, D>,
    u: Matrix<E, D>,
}

parameters!(Tanh { w, u });

impl<E: Scalar, D: Backend<E>> Make<E, D> for Tanh<E, D> {
    fn make(width: usize, init: &mut Initializer<D>) -> Result<Self> {
        Ok(Self {
            w: linear(width, init)?,
            u: init.normal((width, width), 0.1)?,
        })
    }
}

impl<E: Scalar, D: Backend<E>> ImplicitLayer<E, D> for Tanh<E, D> {
    fn state_dim(&self) -> usize {
        self.w.outputs()
    }

    fn step(&self, z: &Value<E, D>, x: &[Value<E, D>]) -> Result<Value<E, D>> {
        Ok((self.w.of(z) + x[0].product(&self.u)).tanh())
    }
}
