//! Products of entries.

use std::sync::Arc;

use crate::operation::{At, Gradients, Reads, RowOperation, Scratch};
use crate::{vectorized, AnyTape, Backend, DeviceCode, Element, Matrix, Operation, Result, Scalar};

/// `y = x₁ ⊙ x₂`, entry by entry.
pub struct Multiply;

impl<E: Scalar, D: Backend<E>> Operation<E, D> for Multiply {
    const NAME: &'static str = "*";

    fn on_tensors<T: AnyTape<E, D>>(
        &self,
        arguments: Vec<Matrix<E, D, T>>,
    ) -> Result<Matrix<E, D, T>> {
        let [first, second] = super::arguments(arguments)?;
        Ok(first * second)
    }

    fn device_code(&self) -> Option<DeviceCode> {
        Some(DeviceCode::Multiply)
    }

    fn on_rows(&self, _widths: &[usize]) -> Arc<dyn RowOperation<E>> {
        Arc::new(Self)
    }
}

impl<E: Element> RowOperation<E> for Multiply {
    fn reads(&self) -> Reads {
        Reads {
            arguments: true,
            result: false,
        }
    }

    fn apply(&self, x: &[&[E]], y: &mut [E], _: &mut [&mut [E]], _: &mut Scratch<E>) {
        multiply(x[0], x[1], y);
    }

    fn jvp(&self, at: &At<'_, E>, x_dot: &[Option<&[E]>], y_dot: &mut [E], _: &mut Scratch<E>) {
        match x_dot {
            [Some(first), Some(second)] => {
                multiply(first, at.x[1], y_dot);
                multiply_add(at.x[0], second, y_dot);
            }
            [Some(first), None] => multiply(first, at.x[1], y_dot),
            [None, Some(second)] => multiply(at.x[0], second, y_dot),
            _ => y_dot.fill(E::zero()),
        }
    }

    fn vjp(&self, at: &At<'_, E>, y_bar: &[E], x_bar: &mut [Option<&mut [E]>], _: &mut Scratch<E>) {
        for (index, x_bar) in x_bar.iter_mut().enumerate() {
            if let Some(x_bar) = x_bar {
                multiply(y_bar, at.x[1 - index], x_bar);
            }
        }
    }

    fn bend(
        &self,
        _: &At<'_, E>,
        p: &[E],
        x_dot: &[Option<&[E]>],
        x_bar: &mut [Option<&mut [E]>],
        _: &mut Gradients<'_, E>,
        _: &mut Scratch<E>,
    ) -> bool {
        for (index, x_bar) in x_bar.iter_mut().enumerate() {
            match (x_bar, x_dot[1 - index]) {
                (Some(x_bar), Some(other)) => multiply(p, other, x_bar),
                (Some(x_bar), None) => x_bar.fill(E::zero()),
                (None, _) => {}
            }
        }
        true
    }
}

vectorized! {
    /// `y = a ⊙ b`.
    pub fn multiply<'a, E, S>(_simd: S, a: &'a [E], b: &'a [E], y: &'a mut [E]) {
        for ((y, &a), &b) in y.iter_mut().zip(a).zip(b) {
            *y = a * b;
        }
    }

    /// `y ← y + a ⊙ b`.
    pub fn multiply_add<'a, E, S>(_simd: S, a: &'a [E], b: &'a [E], y: &'a mut [E]) {
        for ((y, &a), &b) in y.iter_mut().zip(a).zip(b) {
            *y += a * b;
        }
    }
}
