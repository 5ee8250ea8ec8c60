//! `f_fuse`: purify, then combine.

use std::sync::Arc;

use dfdx::prelude::*;
use equilibria_core::prelude::*;

use super::fuse_kernel::FuseKernel;
use crate::layers::modules::{relu, GroupNorm, Linear};
use crate::layers::Initializer;

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
        })
    }

    /// `α_i = θ_α (z_fuse + z_i) + b_α`, eq. 9.
    pub fn alpha<T: AnyTape<E, D>>(
        &self,
        z_fuse: Matrix<E, D, T>,
        z_i: &Matrix<E, D>,
    ) -> Matrix<E, D, T> {
        self.alpha.forward(z_fuse + z_i.clone())
    }

    /// `Σ_i z'_i`, eq. 10, from `Σ_i z_i`.
    pub fn purified<T: AnyTape<E, D>>(
        &self,
        z: Matrix<E, D, T>,
        sum: Matrix<E, D, T>,
    ) -> Matrix<E, D, T> {
        if !self.gate {
            return sum + z * E::zero();
        }
        let n = E::of(self.modalities as f64);
        let again = z.with_empty_tape();
        self.alpha.forward(z + sum / n) * n * again
    }

    /// `GN(ReLU(θ_fuse p + b_fuse + x_fuse))`, eq. 11, from `p = Σ_i z'_i`.
    pub fn combine<T: AnyTape<E, D>>(
        &self,
        purified: Matrix<E, D, T>,
        x_fuse: Matrix<E, D, T>,
    ) -> Result<Matrix<E, D, T>> {
        let sum = relu(self.fuse.forward(purified) + x_fuse)?;
        Ok(self.gn.forward(sum))
    }
}

impl<E: Scalar, D: Backend<E>> ImplicitLayer<E, D> for FuseBlock<E, D> {
    fn state_dim(&self) -> usize {
        self.fuse.outputs()
    }

    fn input_dims(&self) -> Vec<usize> {
        vec![self.state_dim(); 2]
    }

    fn step<T: AnyTape<E, D>>(
        &self,
        z: Matrix<E, D, T>,
        x: &[Input<E, D, T>],
    ) -> Result<Matrix<E, D, T>> {
        self.combine(self.purified(z, x[0].value()), x[1].value())
    }

    fn kernel(&self, x: &[Matrix<E, D>]) -> Option<Arc<dyn Kernel<E>>> {
        Some(Arc::new(FuseKernel::new(self, Some(&x[0]), &x[1])))
    }
}
