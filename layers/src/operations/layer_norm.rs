//! Layer normalization.

use std::sync::Arc;

use dfdx::prelude::HasShape;
use equilibria_core::operations::arguments;
use equilibria_core::{
    to_host, AnyTape, Backend, DeviceCode, Error, Matrix, Operation, Result, RowOperation, Scalar,
};

use super::group_norm::NormalizedRows;
use crate::kernel;
use crate::modules;

/// `y = w ⊙ (x − μ) / √(σ² + ε) + b` per row; see [`modules::LayerNorm`].
pub struct LayerNorm<'m, E: Scalar, D: Backend<E>>(pub &'m modules::LayerNorm<E, D>);

impl<E: Scalar, D: Backend<E>> Operation<E, D> for LayerNorm<'_, E, D> {
    const NAME: &'static str = "layer normalization";

    fn width(&self, widths: &[usize]) -> Result<usize> {
        let (weight, bias) = (&self.0.weight, &self.0.bias);
        match weight.shape() == bias.shape() {
            true => super::row_of_width(weight, widths),
            false => Err(Error::Shape {
                what: "the parameters of layer normalization".to_owned(),
                expected: "weight and bias of one shape".to_owned(),
                got: format!("{:?}, {:?}", weight.shape(), bias.shape()),
            }),
        }
    }

    fn on_tensors<T: AnyTape<E, D>>(&self, x: Vec<Matrix<E, D, T>>) -> Result<Matrix<E, D, T>> {
        let [x] = arguments(x)?;
        Ok(self.0.forward(x))
    }

    fn device_code(&self) -> Option<DeviceCode> {
        Some(DeviceCode::Normalize {
            groups: 1,
            epsilon: self.0.epsilon,
        })
    }

    fn on_rows(&self, _widths: &[usize]) -> Arc<dyn RowOperation<E>> {
        let (weight, bias) = (to_host(&self.0.weight), to_host(&self.0.bias));
        let norm = kernel::GroupNorm::new(weight, bias, 1, E::of(self.0.epsilon));
        Arc::new(NormalizedRows::new(norm))
    }

    fn parameters(&self) -> Vec<Matrix<E, D>> {
        vec![self.0.weight.clone(), self.0.bias.clone()]
    }
}
