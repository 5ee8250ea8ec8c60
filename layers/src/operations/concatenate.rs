//! Values side by side.

use std::sync::Arc;

use dfdx::prelude::*;
use equilibria_core::{
    AnyTape, At, Backend, DeviceCode, Element, Error, Matrix, Operation, Result, RowOperation,
    Scalar, Scratch,
};

use crate::modules;

/// `[x_1 | … | x_N]`.
#[derive(Debug, Clone, Copy)]
pub struct Concatenate;

impl<E: Scalar, D: Backend<E>> Operation<E, D> for Concatenate {
    const NAME: &'static str = "concatenate";

    fn width(&self, widths: &[usize]) -> Result<usize> {
        match widths.is_empty() {
            false => Ok(widths.iter().sum()),
            true => Err(Error::Missing {
                what: "a value to concatenate".to_owned(),
                remedy: "give at least one",
            }),
        }
    }

    fn on_tensors<T: AnyTape<E, D>>(&self, x: Vec<Matrix<E, D, T>>) -> Result<Matrix<E, D, T>> {
        let (mut all, mut tape) = (Vec::with_capacity(x.len()), T::default());
        for x in x {
            let (x, own) = x.split_tape();
            all.push(x);
            tape = tape.merge(own);
        }
        let (y, tape) = modules::concatenate(&all, tape)?;
        Ok(y.put_tape(tape))
    }

    fn device_code(&self) -> Option<DeviceCode> {
        Some(DeviceCode::Concatenate)
    }

    fn on_rows(&self, widths: &[usize]) -> Arc<dyn RowOperation<E>> {
        Arc::new(RowsSideBySide {
            widths: widths.to_vec(),
        })
    }
}

struct RowsSideBySide {
    widths: Vec<usize>,
}

impl RowsSideBySide {
    /// Where each argument begins, and its width.
    fn places(&self) -> impl Iterator<Item = (usize, usize)> + '_ {
        self.widths.iter().scan(0, |next, &width| {
            let first = *next;
            *next += width;
            Some((first, width))
        })
    }

    /// Copies what is there, and 0 where nothing is.
    fn join<E: Element>(&self, x: impl Iterator<Item = Option<impl AsRef<[E]>>>, y: &mut [E]) {
        let total: usize = self.widths.iter().sum();
        for ((first, width), x) in self.places().zip(x) {
            let rows = y.chunks_exact_mut(total);
            for (row, y) in rows.enumerate() {
                let y = &mut y[first..first + width];
                match &x {
                    Some(x) => y.copy_from_slice(&x.as_ref()[row * width..][..width]),
                    None => y.fill(E::zero()),
                }
            }
        }
    }
}

impl<E: Element> RowOperation<E> for RowsSideBySide {
    fn apply(&self, x: &[&[E]], y: &mut [E], _: &mut [&mut [E]], _: &mut Scratch<E>) {
        self.join(x.iter().map(Some), y);
    }

    fn jvp(&self, _: &At<'_, E>, x_dot: &[Option<&[E]>], y_dot: &mut [E], _: &mut Scratch<E>) {
        self.join(x_dot.iter().copied(), y_dot);
    }

    fn vjp(&self, _: &At<'_, E>, y_bar: &[E], x_bar: &mut [Option<&mut [E]>], _: &mut Scratch<E>) {
        let total: usize = self.widths.iter().sum();
        for ((first, width), x_bar) in self.places().zip(x_bar) {
            let Some(x_bar) = x_bar else { continue };
            let rows = x_bar.chunks_exact_mut(width);
            for (x_bar, y_bar) in rows.zip(y_bar.chunks_exact(total)) {
                x_bar.copy_from_slice(&y_bar[first..first + width]);
            }
        }
    }
}
