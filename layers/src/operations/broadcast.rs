//! A parameter as a value.

use std::sync::Arc;

use dfdx::prelude::*;
use equilibria_core::operations::arguments;
use equilibria_core::{
    copied, to_host, try_contiguous, AnyTape, At, Backend, DeviceCode, Element, Error, Gradients,
    Matrix, Operation, Result, RowOperation, Scalar, Scratch,
};

use crate::kernel::add_rows;

/// `y = p` in every row, with all numbers of the parameter p, row-major.
pub struct Broadcast<E: Scalar, D: Backend<E>> {
    /// p, of any shape.
    pub parameter: Matrix<E, D>,
}

impl<E: Scalar, D: Backend<E>> Operation<E, D> for Broadcast<E, D> {
    const NAME: &'static str = "a parameter in every row";

    fn width(&self, _beside: &[usize]) -> Result<usize> {
        let (rows, columns) = *self.parameter.shape();
        match rows * columns {
            0 => Err(Error::Missing {
                what: "the numbers of a parameter that every row is to have".to_owned(),
                remedy: "give it one entry at least",
            }),
            width => Ok(width),
        }
    }

    /// `x`: a value of the batch, whose numbers do not matter.
    fn on_tensors<T: AnyTape<E, D>>(&self, x: Vec<Matrix<E, D, T>>) -> Result<Matrix<E, D, T>> {
        let [x] = arguments(x)?;
        let (x, tape) = x.split_tape();
        let (rows, columns) = *self.parameter.shape();
        let shape = (x.shape().0, rows * columns);
        let row = try_contiguous(self.parameter.clone().put_tape(tape))?;
        let copies = row
            .reshape_like(&(shape.1,))
            .try_broadcast_like::<_, Axis<0>>(&shape);
        copied(copies.map_err(Error::device)?)
    }

    fn device_code(&self) -> Option<DeviceCode> {
        Some(DeviceCode::Broadcast)
    }

    fn on_rows(&self, _widths: &[usize]) -> Arc<dyn RowOperation<E>> {
        Arc::new(SameRows(to_host(&self.parameter)))
    }

    fn parameters(&self) -> Vec<Matrix<E, D>> {
        vec![self.parameter.clone()]
    }
}

/// The same numbers in every row.
pub(super) struct SameRows<E>(pub Vec<E>);

impl<E: Element> RowOperation<E> for SameRows<E> {
    fn apply(&self, _: &[&[E]], y: &mut [E], _: &mut [&mut [E]], _: &mut Scratch<E>) {
        let rows = y.chunks_exact_mut(self.0.len());
        rows.for_each(|y| y.copy_from_slice(&self.0));
    }

    fn jvp(&self, _: &At<'_, E>, _: &[Option<&[E]>], y_dot: &mut [E], _: &mut Scratch<E>) {
        y_dot.fill(E::zero());
    }

    fn vjp(&self, _: &At<'_, E>, _: &[E], x_bar: &mut [Option<&mut [E]>], _: &mut Scratch<E>) {
        let wanted = x_bar.iter_mut().flatten();
        wanted.for_each(|x_bar| x_bar.fill(E::zero()));
    }

    fn pull_back(
        &self,
        _: &At<'_, E>,
        y_bar: &[E],
        gradients: &mut Gradients<'_, E>,
        _: &mut Scratch<E>,
    ) {
        if let Some(parameter) = gradients.of(0) {
            add_rows(parameter.sum(), y_bar);
        }
    }
}
