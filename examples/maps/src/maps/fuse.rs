//! Purify-then-combine fusion, eqs. 9-11 of arXiv 2306.16645.

use equilibria::modules::{GroupNorm, Linear};
use equilibria::prelude::*;

use super::{linear, Make, GROUPS, MODALITIES};

/// `GN(ReLU(θ_fuse (N (θ_α (z + s / N) + b_α) ⊙ z) + b_fuse + x))` with s, the sum of the N modalities.
#[derive(Clone)]
pub struct Fuse<E: Scalar, D: Backend<E>> {
    alpha: Linear<E, D>,
    fuse: Linear<E, D>,
    gn: GroupNorm<E, D>,
}

parameters!(Fuse { alpha, fuse, gn });

impl<E: Scalar, D: Backend<E>> Make<E, D> for Fuse<E, D> {
    fn make(width: usize, init: &mut Initializer<D>) -> Result<Self> {
        Ok(Self {
            alpha: linear(width, init)?,
            fuse: linear(width, init)?,
            gn: GroupNorm::new(width, GROUPS, init)?,
        })
    }
}

impl<E: Scalar, D: Backend<E>> Fuse<E, D> {
    /// The fusion, from the sum of the modalities and x.
    pub fn fused(&self, z: &Value<E, D>, sum: &Value<E, D>, x: &Value<E, D>) -> Value<E, D> {
        let n = MODALITIES as f64;
        let purified = self.alpha.of(&(z + sum * (1.0 / n))) * n * z;
        self.gn.of(&(self.fuse.of(&purified) + x).relu())
    }
}

impl<E: Scalar, D: Backend<E>> ImplicitLayer<E, D> for Fuse<E, D> {
    fn state_dim(&self) -> usize {
        self.fuse.outputs()
    }

    fn input_dims(&self) -> Vec<usize> {
        vec![self.state_dim(); 2]
    }

    fn step(&self, z: &Value<E, D>, x: &[Value<E, D>]) -> Result<Value<E, D>> {
        Ok(self.fused(z, &x[0], &x[1]))
    }
}
