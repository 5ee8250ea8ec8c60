//! A linear map.

use equilibria_core::{parameters, Backend, Matrix, Result, Scalar};

use crate::operations::Vocabulary;
use crate::Initializer;

/// `y = x Wᵀ`, without a bias.
pub struct Unbiased<E: Scalar, D: Backend<E>> {
    /// W, `[outputs, inputs]`.
    pub weight: Matrix<E, D>,
}

parameters!(Unbiased { weight });

impl<E: Scalar, D: Backend<E>> Unbiased<E, D> {
    /// Weights uniform in ±1/√inputs, as PyTorch has them.
    pub fn uniform(outputs: usize, inputs: usize, init: &mut Initializer<D>) -> Result<Self> {
        let limit = 1.0 / (inputs.max(1) as f64).sqrt();
        Ok(Self {
            weight: init.uniform((outputs, inputs), limit)?,
        })
    }

    /// `x Wᵀ` in an equation.
    pub fn of<V: Vocabulary<E, D>>(&self, x: &V) -> V {
        x.product(&self.weight)
    }
}
