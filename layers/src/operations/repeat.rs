//! Copies side by side.

use std::sync::Arc;

use dfdx::prelude::*;
use equilibria_core::operations::arguments;
use equilibria_core::{
    copied, simd, AnyTape, At, Backend, DeviceCode, Element, Error, Matrix, Operation, Result,
    RowOperation, Scalar, Scratch,
};

/// `[x | x | … | x]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Repeat {
    /// How often, at least once.
    pub times: usize,
}

impl<E: Scalar, D: Backend<E>> Operation<E, D> for Repeat {
    const NAME: &'static str = "repeat";

    fn width(&self, widths: &[usize]) -> Result<usize> {
        match widths {
            [width] if self.times > 0 => Ok(width * self.times),
            _ => Err(Error::Shape {
                what: "the arguments of repeat".to_owned(),
                expected: "one value, once at least".to_owned(),
                got: format!("widths {widths:?}, {} times", self.times),
            }),
        }
    }

    fn on_tensors<T: AnyTape<E, D>>(&self, x: Vec<Matrix<E, D, T>>) -> Result<Matrix<E, D, T>> {
        let [x] = arguments(x)?;
        let (batch, width) = *x.shape();
        let copies = x.try_broadcast_like::<_, Axis<1>>(&(batch, self.times, width));
        let copies = copied(copies.map_err(Error::device)?)?;
        Ok(copies.reshape_like(&(batch, self.times * width)))
    }

    fn device_code(&self) -> Option<DeviceCode> {
        let times = self.times;
        Some(DeviceCode::Repeat { times })
    }

    fn on_rows(&self, widths: &[usize]) -> Arc<dyn RowOperation<E>> {
        Arc::new(RepeatedRows {
            times: self.times,
            width: widths[0],
        })
    }
}

struct RepeatedRows {
    times: usize,
    /// That of x.
    width: usize,
}

impl RepeatedRows {
    fn repeat<E: Element>(&self, x: &[E], y: &mut [E]) {
        let rows = y.chunks_exact_mut(self.times * self.width);
        for (y, x) in rows.zip(x.chunks_exact(self.width)) {
            let copies = y.chunks_exact_mut(self.width);
            copies.for_each(|copy| copy.copy_from_slice(x));
        }
    }
}

impl<E: Element> RowOperation<E> for RepeatedRows {
    fn apply(&self, x: &[&[E]], y: &mut [E], _: &mut [&mut [E]], _: &mut Scratch<E>) {
        self.repeat(x[0], y);
    }

    fn jvp(&self, _: &At<'_, E>, x_dot: &[Option<&[E]>], y_dot: &mut [E], _: &mut Scratch<E>) {
        if let [Some(x_dot)] = x_dot {
            self.repeat(x_dot, y_dot);
        }
    }

    fn vjp(&self, _: &At<'_, E>, y_bar: &[E], x_bar: &mut [Option<&mut [E]>], _: &mut Scratch<E>) {
        let [Some(x_bar)] = x_bar else { return };
        let rows = y_bar.chunks_exact(self.times * self.width);
        for (x_bar, y_bar) in x_bar.chunks_exact_mut(self.width).zip(rows) {
            let (first, others) = y_bar.split_at(self.width);
            x_bar.copy_from_slice(first);
            for copy in others.chunks_exact(self.width) {
                simd::add_scaled(x_bar, E::one(), copy);
            }
        }
    }
}
