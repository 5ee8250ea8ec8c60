//! Multiplication of every row by a parameter.

use std::sync::Arc;

use dfdx::prelude::*;
use equilibria_core::operations::arguments;
use equilibria_core::{
    to_host, vectorized, AnyTape, At, Backend, DeviceCode, Element, Gradients, Matrix, Operation,
    Reads, Result, RowOperation, Scalar, Scratch,
};

use super::row_of_width;
use crate::modules::row_like;

/// `y = x ⊙ w`, with the same w, `[1, width]`, for every row.
pub struct Stretch<E: Scalar, D: Backend<E>> {
    /// w.
    pub by: Matrix<E, D>,
}

impl<E: Scalar, D: Backend<E>> Operation<E, D> for Stretch<E, D> {
    const NAME: &'static str = "the multiplication by a parameter";

    fn width(&self, widths: &[usize]) -> Result<usize> {
        row_of_width(&self.by, widths)
    }

    fn on_tensors<T: AnyTape<E, D>>(&self, x: Vec<Matrix<E, D, T>>) -> Result<Matrix<E, D, T>> {
        let [x] = arguments(x)?;
        let shape = *x.shape();
        Ok(x * row_like::<T, _, _>(&self.by, shape))
    }

    fn device_code(&self) -> Option<DeviceCode> {
        Some(DeviceCode::Stretch)
    }

    fn on_rows(&self, _widths: &[usize]) -> Arc<dyn RowOperation<E>> {
        Arc::new(StretchedRows {
            by: to_host(&self.by),
        })
    }

    fn parameters(&self) -> Vec<Matrix<E, D>> {
        vec![self.by.clone()]
    }
}

struct StretchedRows<E> {
    by: Vec<E>,
}

impl<E: Element> RowOperation<E> for StretchedRows<E> {
    fn reads(&self) -> Reads {
        Reads {
            arguments: true,
            result: false,
        }
    }

    fn apply(&self, x: &[&[E]], y: &mut [E], _: &mut [&mut [E]], _: &mut Scratch<E>) {
        stretch(x[0], &self.by, y);
    }

    fn jvp(&self, _: &At<'_, E>, x_dot: &[Option<&[E]>], y_dot: &mut [E], _: &mut Scratch<E>) {
        if let [Some(x_dot)] = x_dot {
            stretch(x_dot, &self.by, y_dot);
        }
    }

    fn vjp(&self, _: &At<'_, E>, y_bar: &[E], x_bar: &mut [Option<&mut [E]>], _: &mut Scratch<E>) {
        if let [Some(x_bar)] = x_bar {
            stretch(y_bar, &self.by, x_bar);
        }
    }

    fn pull_back(
        &self,
        at: &At<'_, E>,
        y_bar: &[E],
        gradients: &mut Gradients<'_, E>,
        _: &mut Scratch<E>,
    ) {
        if let Some(by) = gradients.of(0) {
            add_products(by.sum(), at.x[0], y_bar);
        }
    }

    fn bend(
        &self,
        _: &At<'_, E>,
        p: &[E],
        x_dot: &[Option<&[E]>],
        _: &mut [Option<&mut [E]>],
        gradients: &mut Gradients<'_, E>,
        _: &mut Scratch<E>,
    ) -> bool {
        if let (Some(by), [Some(x_dot)]) = (gradients.of(0), x_dot) {
            add_products(by.sum(), x_dot, p);
        }
        false
    }
}

vectorized! {
    /// `y = x ⊙ w`, row by row.
    fn stretch<'a, E, S>(_simd: S, x: &'a [E], by: &'a [E], y: &'a mut [E]) {
        for (x, y) in x.chunks_exact(by.len()).zip(y.chunks_exact_mut(by.len())) {
            for ((y, &x), &by) in y.iter_mut().zip(x).zip(by) {
                *y = x * by;
            }
        }
    }

    /// Adds the sum of the rows of `a ⊙ b` to `sum`.
    fn add_products<'a, E, S>(_simd: S, sum: &'a mut [E], a: &'a [E], b: &'a [E]) {
        for (a, b) in a.chunks_exact(sum.len()).zip(b.chunks_exact(sum.len())) {
            for ((sum, &a), &b) in sum.iter_mut().zip(a).zip(b) {
                *sum += a * b;
            }
        }
    }
}
