//! Addition of a parameter to every row.

use std::sync::Arc;

use dfdx::prelude::*;
use equilibria_core::operations::arguments;
use equilibria_core::{
    to_host, vectorized, AnyTape, At, Backend, DeviceCode, Element, Gradients, Matrix, Neighbor,
    Operation, Result, RowOperation, Scalar, Scratch,
};

use super::row_of_width;
use crate::kernel::add_rows;
use crate::modules::row_like;

/// `y = x + b`, with the same b, `[1, width]`, for every row.
pub struct Shift<E: Scalar, D: Backend<E>> {
    /// b.
    pub by: Matrix<E, D>,
}

impl<E: Scalar, D: Backend<E>> Operation<E, D> for Shift<E, D> {
    const NAME: &'static str = "the addition of a parameter";

    fn width(&self, widths: &[usize]) -> Result<usize> {
        row_of_width(&self.by, widths)
    }

    fn on_tensors<T: AnyTape<E, D>>(&self, x: Vec<Matrix<E, D, T>>) -> Result<Matrix<E, D, T>> {
        let [x] = arguments(x)?;
        let shape = *x.shape();
        Ok(x + row_like::<T, _, _>(&self.by, shape))
    }

    fn device_code(&self) -> Option<DeviceCode> {
        Some(DeviceCode::Shift)
    }

    fn on_rows(&self, _widths: &[usize]) -> Arc<dyn RowOperation<E>> {
        Arc::new(ShiftedRows {
            by: to_host(&self.by),
        })
    }

    fn parameters(&self) -> Vec<Matrix<E, D>> {
        vec![self.by.clone()]
    }
}

struct ShiftedRows<E> {
    by: Vec<E>,
}

impl<E: Element> RowOperation<E> for ShiftedRows<E> {
    fn neighbor(&self) -> Option<Neighbor> {
        Some(Neighbor::Shift)
    }

    fn passes(&self, _argument: usize) -> bool {
        true
    }

    fn apply(&self, x: &[&[E]], y: &mut [E], _: &mut [&mut [E]], _: &mut Scratch<E>) {
        match x {
            [x] => shift(x, &self.by, y),
            _ => y
                .chunks_exact_mut(self.by.len())
                .for_each(|y| y.copy_from_slice(&self.by)),
        }
    }

    fn jvp(&self, _: &At<'_, E>, x_dot: &[Option<&[E]>], y_dot: &mut [E], _: &mut Scratch<E>) {
        if let [Some(x_dot)] = x_dot {
            y_dot.copy_from_slice(x_dot);
        }
    }

    fn vjp(&self, _: &At<'_, E>, y_bar: &[E], x_bar: &mut [Option<&mut [E]>], _: &mut Scratch<E>) {
        if let [Some(x_bar)] = x_bar {
            x_bar.copy_from_slice(y_bar);
        }
    }

    fn pull_back(
        &self,
        _: &At<'_, E>,
        y_bar: &[E],
        gradients: &mut Gradients<'_, E>,
        _: &mut Scratch<E>,
    ) {
        if let Some(by) = gradients.of(0) {
            add_rows(by.sum(), y_bar);
        }
    }
}

vectorized! {
    /// `y = x + b`, row by row.
    fn shift<'a, E, S>(_simd: S, x: &'a [E], by: &'a [E], y: &'a mut [E]) {
        for (x, y) in x.chunks_exact(by.len()).zip(y.chunks_exact_mut(by.len())) {
            for ((y, &x), &by) in y.iter_mut().zip(x).zip(by) {
                *y = x + by;
            }
        }
    }
}
