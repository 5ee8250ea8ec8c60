//! A perceptron with one hidden layer.

use equilibria::modules::{LayerNorm, Linear};
use equilibria::prelude::*;

use super::Make;

/// `LN(W₂ gelu(W₁ z + b₁) + b₂ + x)`, twice as wide in between.
#[derive(Clone)]
pub struct Mlp<E: Scalar, D: Backend<E>> {
    up: Linear<E, D>,
    down: Linear<E, D>,
    norm: LayerNorm<E, D>,
}

parameters!(Mlp { up, down, norm });

impl<E: Scalar, D: Backend<E>> Make<E, D> for Mlp<E, D> {
    fn make(width: usize, init: &mut Initializer<D>) -> Result<Self> {
        Ok(Self {
            up: Linear::normal(2 * width, width, 0.1, init)?,
            down: Linear::normal(width, 2 * width, 0.1, init)?,
            norm: LayerNorm::new(width, init)?,
        })
    }
}

impl<E: Scalar, D: Backend<E>> ImplicitLayer<E, D> for Mlp<E, D> {
    fn state_dim(&self) -> usize {
        self.down.outputs()
    }

    fn step(&self, z: &Value<E, D>, x: &[Value<E, D>]) -> Result<Value<E, D>> {
        let hidden = self.up.of(z).gelu();
        Ok(self.norm.of(&(self.down.of(&hidden) + &x[0])))
    }
}
