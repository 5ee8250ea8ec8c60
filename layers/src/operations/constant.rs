//! Numbers that never change.

use std::sync::Arc;

use dfdx::prelude::*;
use equilibria_core::operations::arguments;
use equilibria_core::{
    try_contiguous, AnyTape, Backend, DeviceCode, Error, Matrix, Operation, Result, RowOperation,
    Scalar,
};

use super::broadcast::SameRows;

/// The same numbers in every row, which no gradient is asked of.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Constant<'n> {
    /// The numbers, rounded to the dtype.
    pub numbers: &'n [f64],
}

impl<E: Scalar, D: Backend<E>> Operation<E, D> for Constant<'_> {
    const NAME: &'static str = "constant";

    fn width(&self, _beside: &[usize]) -> Result<usize> {
        match self.numbers.len() {
            0 => Err(Error::Missing {
                what: "the numbers of a constant".to_owned(),
                remedy: "give one at least",
            }),
            width => Ok(width),
        }
    }

    /// `x`: a value of the batch, whose numbers do not matter.
    fn on_tensors<T: AnyTape<E, D>>(&self, x: Vec<Matrix<E, D, T>>) -> Result<Matrix<E, D, T>> {
        let [x] = arguments(x)?;
        let (x, tape) = x.split_tape();
        let (batch, width) = (x.shape().0, self.numbers.len());
        let row = self.numbers.iter().map(|&number| E::of(number));
        let row: Tensor<(usize,), E, D> = x
            .device()
            .try_tensor_from_vec(row.collect(), (width,))
            .map_err(Error::device)?;
        let rows = row.try_broadcast_like::<_, Axis<0>>(&(batch, width));
        Ok(try_contiguous(rows.map_err(Error::device)?)?.put_tape(tape))
    }

    fn device_code(&self) -> Option<DeviceCode> {
        Some(DeviceCode::Constant(self.numbers.into()))
    }

    fn on_rows(&self, _widths: &[usize]) -> Arc<dyn RowOperation<E>> {
        let numbers = self.numbers.iter().map(|&number| E::of(number));
        Arc::new(SameRows(numbers.collect()))
    }
}
