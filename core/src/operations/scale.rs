//! Multiplication by a number, and addition of one.

use std::sync::Arc;

use crate::operation::{At, RowOperation, Scratch};
use crate::{vectorized, AnyTape, Backend, DeviceCode, Element, Matrix, Operation, Result, Scalar};

/// `y = c x + a`, with numbers c and a.
pub struct Scale {
    /// c.
    pub factor: f64,
    /// a.
    pub offset: f64,
}

/// `y = −x`.
pub const NEGATIVE: Scale = Scale {
    factor: -1.0,
    offset: 0.0,
};

impl<E: Scalar, D: Backend<E>> Operation<E, D> for Scale {
    const NAME: &'static str = "* or + with a number";

    fn on_tensors<T: AnyTape<E, D>>(
        &self,
        arguments: Vec<Matrix<E, D, T>>,
    ) -> Result<Matrix<E, D, T>> {
        let [x] = super::arguments(arguments)?;
        Ok(x * E::of(self.factor) + E::of(self.offset))
    }

    fn device_code(&self) -> Option<DeviceCode> {
        Some(DeviceCode::Scale {
            factor: self.factor,
            offset: self.offset,
        })
    }

    fn on_rows(&self, _widths: &[usize]) -> Arc<dyn RowOperation<E>> {
        Arc::new(ScaledRows {
            factor: E::of(self.factor),
            offset: E::of(self.offset),
        })
    }
}

struct ScaledRows<E> {
    factor: E,
    offset: E,
}

impl<E: Element> RowOperation<E> for ScaledRows<E> {
    fn apply(&self, x: &[&[E]], y: &mut [E], _: &mut [&mut [E]], _: &mut Scratch<E>) {
        scale(x[0], self.factor, self.offset, y);
    }

    fn jvp(&self, _: &At<'_, E>, x_dot: &[Option<&[E]>], y_dot: &mut [E], _: &mut Scratch<E>) {
        if let [Some(x_dot)] = x_dot {
            scale(x_dot, self.factor, E::zero(), y_dot);
        }
    }

    fn vjp(&self, _: &At<'_, E>, y_bar: &[E], x_bar: &mut [Option<&mut [E]>], _: &mut Scratch<E>) {
        if let [Some(x_bar)] = x_bar {
            scale(y_bar, self.factor, E::zero(), x_bar);
        }
    }
}

vectorized! {
    /// `y = c x + a`.
    fn scale<'a, E, S>(_simd: S, x: &'a [E], factor: E, offset: E, y: &'a mut [E]) {
        for (y, &x) in y.iter_mut().zip(x) {
            *y = factor * x + offset;
        }
    }
}
