//! Normalization without parameters.

use std::sync::Arc;

use equilibria_core::operations::arguments;
use equilibria_core::{
    AnyTape, Backend, DeviceCode, Matrix, Operation, Result, RowOperation, Scalar,
};

use super::group_norm::NormalizedRows;
use super::size_of_groups;
use crate::kernel;
use crate::modules;

/// `y = (x − μ) / √(σ² + ε)` with mean μ and biased variance σ² of each group of adjacent columns.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Normalize {
    /// Number of groups; 1 for a layer norm.
    pub groups: usize,
    /// ε, in units of x².
    pub epsilon: f64,
}

impl<E: Scalar, D: Backend<E>> Operation<E, D> for Normalize {
    const NAME: &'static str = "normalize";

    fn width(&self, widths: &[usize]) -> Result<usize> {
        let size = size_of_groups(<Self as Operation<E, D>>::NAME, self.groups, widths)?;
        Ok(self.groups * size)
    }

    fn on_tensors<T: AnyTape<E, D>>(&self, x: Vec<Matrix<E, D, T>>) -> Result<Matrix<E, D, T>> {
        let [x] = arguments(x)?;
        Ok(modules::normalize(x, self.groups, self.epsilon))
    }

    fn device_code(&self) -> Option<DeviceCode> {
        Some(DeviceCode::Normalize {
            groups: self.groups,
            epsilon: self.epsilon,
        })
    }

    fn on_rows(&self, widths: &[usize]) -> Arc<dyn RowOperation<E>> {
        let (weight, bias) = (vec![E::one(); widths[0]], vec![E::zero(); widths[0]]);
        let norm = kernel::GroupNorm::new(weight, bias, self.groups, E::of(self.epsilon));
        Arc::new(NormalizedRows::new(norm))
    }
}
