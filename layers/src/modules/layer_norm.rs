//! Layer normalization.

use dfdx::prelude::*;
use equilibria_core::{parameters, AnyTape, Backend, Matrix, Result, Scalar};

use super::normalize;
use super::normalize::row_like;
use crate::Initializer;

/// `y = w ⊙ (x − μ) / √(σ² + ε) + b` with mean μ and biased variance σ² of each row.
///
/// Reference: J. L. Ba, J. R. Kiros, G. E. Hinton, Layer Normalization, arXiv 1607.06450, eqs. 3-4.
#[derive(Clone)]
pub struct LayerNorm<E: Scalar, D: Backend<E>> {
    /// w, `[1, width]`.
    pub weight: Matrix<E, D>,
    /// b, `[1, width]`.
    pub bias: Matrix<E, D>,
    /// ε, in units of x².
    pub epsilon: f64,
}

parameters!(LayerNorm { weight, bias });

impl<E: Scalar, D: Backend<E>> LayerNorm<E, D> {
    /// w = 1, b = 0 and ε = 1e-5, the default of PyTorch.
    pub fn new(width: usize, init: &mut Initializer<D>) -> Result<Self> {
        Ok(Self {
            weight: init.constant((1, width), 1.0)?,
            bias: init.constant((1, width), 0.0)?,
            epsilon: 1e-5,
        })
    }

    /// Shapes: `x` and result `[batch, width]`.
    pub fn forward<T: AnyTape<E, D>>(&self, x: Matrix<E, D, T>) -> Matrix<E, D, T> {
        let shape = *x.shape();
        let normal = normalize(x, 1, self.epsilon);
        normal * row_like::<T, _, _>(&self.weight, shape) + row_like::<T, _, _>(&self.bias, shape)
    }
}
