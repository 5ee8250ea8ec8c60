//! `f_fuse`: purify, then combine.

use equilibria_core::prelude::*;

use crate::layers::modules::{GroupNorm, Linear};
use crate::layers::{Initializer, Vocabulary};

/// Purify-then-combine, eqs. 9-11, with the modality states held fixed:
///
/// `α_i = θ_α (z + z_i) + b_α`, `z'_i = α_i ⊙ z`, `f(z) = GN(ReLU(θ_fuse Σ_i z'_i + b_fuse + x_fuse))`.
///
/// The gate is one affine map shared by all modalities, without a sigmoid, so that it collapses: `Σ_i α_i` depends on
/// the z_i through their sum alone, and one product replaces N. Injected inputs are `Σ_i z_i` and `x_fuse`.
#[derive(Clone)]
pub struct FuseBlock<E: Scalar, D: Backend<E>> {
    /// θ_α and b_α.
    pub alpha: Linear<E, D>,
    /// θ_fuse and b_fuse.
    pub fuse: Linear<E, D>,
    /// Normalization of eq. 11.
    pub gn: GroupNorm<E, D>,
    /// N, the number of modalities.
    pub modalities: usize,
    /// Without the gate, `z'_i = z_i` (the ablation of table 7).
    pub gate: bool,
    /// Tokens that a state is made of, one after the other; the maps act on each.
    pub tokens: usize,
}

parameters!(FuseBlock { alpha, fuse, gn });

impl<E: Scalar, D: Backend<E>> FuseBlock<E, D> {
    /// Linear weights N(0, `deviation`²), biases 0.
    pub fn new(
        width: usize,
        modalities: usize,
        groups: usize,
        deviation: f64,
        init: &mut Initializer<D>,
    ) -> Result<Self> {
        Ok(Self {
            alpha: Linear::normal(width, width, deviation, init)?,
            fuse: Linear::normal(width, width, deviation, init)?,
            gn: GroupNorm::new(width, groups, init)?,
            modalities,
            gate: true,
            tokens: 1,
        })
    }

    /// `α_i = θ_α (z_fuse + z_i) + b_α`, eq. 9.
    pub fn alpha(&self, z_fuse: &Value<E, D>, z_i: &Value<E, D>) -> Value<E, D> {
        self.alpha.of_tokens(&(z_fuse + z_i), self.tokens)
    }

    /// `Σ_i z'_i = N (θ_α (z + Σ_i z_i / N) + b_α) ⊙ z`, eq. 10, from `Σ_i z_i`.
    pub fn purified(&self, z: &Value<E, D>, sum: &Value<E, D>) -> Value<E, D> {
        if !self.gate {
            return sum.clone();
        }
        let n = self.modalities as f64;
        let gate = self.alpha.of_tokens(&(z + sum * (1.0 / n)), self.tokens);
        gate * n * z
    }

    /// `GN(ReLU(θ_fuse p + b_fuse + x_fuse))`, eq. 11, from `p = Σ_i z'_i`.
    pub fn combine(&self, purified: &Value<E, D>, x_fuse: &Value<E, D>) -> Value<E, D> {
        let sum = self.fuse.of_tokens(purified, self.tokens) + x_fuse;
        self.gn.of_tokens(&sum.relu(), self.tokens)
    }
}

impl<E: Scalar, D: Backend<E>> ImplicitLayer<E, D> for FuseBlock<E, D> {
    fn state_dim(&self) -> usize {
        self.tokens * self.fuse.outputs()
    }

    fn input_dims(&self) -> Vec<usize> {
        vec![self.state_dim(); 2]
    }

    fn step(&self, z: &Value<E, D>, x: &[Value<E, D>]) -> Result<Value<E, D>> {
        Ok(self.combine(&self.purified(z, &x[0]), &x[1]))
    }
}
