//! Sum and difference.

use std::sync::Arc;

use crate::operation::{At, Neighbor, RowOperation, Scratch};
use crate::{vectorized, AnyTape, Backend, DeviceCode, Element, Matrix, Operation, Result, Scalar};

/// `y = x₁ + c x₂`, with c = 1 for a sum and −1 for a difference.
pub struct Sum {
    /// c.
    pub factor: f64,
}

impl<E: Scalar, D: Backend<E>> Operation<E, D> for Sum {
    const NAME: &'static str = "+ or -";

    fn on_tensors<T: AnyTape<E, D>>(
        &self,
        arguments: Vec<Matrix<E, D, T>>,
    ) -> Result<Matrix<E, D, T>> {
        let [first, second] = super::arguments(arguments)?;
        Ok(match self.factor < 0.0 {
            true => first - second,
            false => first + second,
        })
    }

    fn device_code(&self) -> Option<DeviceCode> {
        Some(DeviceCode::Sum {
            factor: self.factor,
        })
    }

    fn on_rows(&self, _widths: &[usize]) -> Arc<dyn RowOperation<E>> {
        Arc::new(SumOfRows {
            factor: E::of(self.factor),
        })
    }
}

struct SumOfRows<E> {
    factor: E,
}

impl<E: Element> SumOfRows<E> {
    /// `sum = a + c b`.
    fn sum(&self, a: &[E], b: &[E], sum: &mut [E]) {
        add(a, self.factor, b, sum);
    }
}

impl<E: Element> RowOperation<E> for SumOfRows<E> {
    fn neighbor(&self) -> Option<Neighbor> {
        (self.factor == E::one()).then_some(Neighbor::Sum)
    }

    fn passes(&self, argument: usize) -> bool {
        argument == 0 || self.factor == E::one()
    }

    fn apply(&self, x: &[&[E]], y: &mut [E], _: &mut [&mut [E]], _: &mut Scratch<E>) {
        self.sum(x[0], x[1], y);
    }

    fn jvp(&self, _: &At<'_, E>, x_dot: &[Option<&[E]>], y_dot: &mut [E], _: &mut Scratch<E>) {
        match x_dot {
            [Some(first), Some(second)] => self.sum(first, second, y_dot),
            [Some(first), None] => y_dot.copy_from_slice(first),
            [None, Some(second)] => scale(second, self.factor, y_dot),
            _ => y_dot.fill(E::zero()),
        }
    }

    fn vjp(&self, _: &At<'_, E>, y_bar: &[E], x_bar: &mut [Option<&mut [E]>], _: &mut Scratch<E>) {
        let [first, second] = x_bar else { return };
        if let Some(first) = first {
            first.copy_from_slice(y_bar);
        }
        if let Some(second) = second {
            scale(y_bar, self.factor, second);
        }
    }
}

vectorized! {
    /// `sum = a + c b`.
    fn add<'a, E, S>(_simd: S, a: &'a [E], c: E, b: &'a [E], sum: &'a mut [E]) {
        for ((sum, &a), &b) in sum.iter_mut().zip(a).zip(b) {
            *sum = a + c * b;
        }
    }

    /// `y = c x`.
    fn scale<'a, E, S>(_simd: S, x: &'a [E], c: E, y: &'a mut [E]) {
        for (y, &x) in y.iter_mut().zip(x) {
            *y = c * x;
        }
    }
}
