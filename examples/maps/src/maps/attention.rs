//! Tokens that attend to each other.

use equilibria::modules::{LayerNorm, Linear};
use equilibria::prelude::*;

use super::{linear, Make, TOKENS};

/// `LN(W softmax(Q Kᵀ / √w) V + b + x)` on the tokens of a row, each w wide, with Q, K and V affine in them.
#[derive(Clone)]
pub struct Attention<E: Scalar, D: Backend<E>> {
    query: Linear<E, D>,
    key: Linear<E, D>,
    value: Linear<E, D>,
    out: Linear<E, D>,
    norm: LayerNorm<E, D>,
}

parameters!(Attention {
    query,
    key,
    value,
    out,
    norm
});

impl<E: Scalar, D: Backend<E>> Make<E, D> for Attention<E, D> {
    fn make(width: usize, init: &mut Initializer<D>) -> Result<Self> {
        Ok(Self {
            query: linear(width / TOKENS, init)?,
            key: linear(width / TOKENS, init)?,
            value: linear(width / TOKENS, init)?,
            out: linear(width / TOKENS, init)?,
            norm: LayerNorm::new(width / TOKENS, init)?,
        })
    }
}

impl<E: Scalar, D: Backend<E>> ImplicitLayer<E, D> for Attention<E, D> {
    fn state_dim(&self) -> usize {
        self.out.outputs() * TOKENS
    }

    fn step(&self, z: &Value<E, D>, x: &[Value<E, D>]) -> Result<Value<E, D>> {
        let [z, x] = [z, &x[0]].map(|value| value.tokens(TOKENS));
        let [q, k, v] = [&self.query, &self.key, &self.value].map(|affine| affine.of(&z));
        let mixed = attention(&q, &k, &v, 1, None);
        Ok(self.norm.of(&(self.out.of(&mixed) + x)).into_value())
    }
}
