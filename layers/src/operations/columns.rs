//! Some columns.

use std::ops::Range;
use std::sync::Arc;

use equilibria_core::operations::arguments;
use equilibria_core::{
    AnyTape, At, Backend, DeviceCode, Element, Error, Matrix, Operation, Result, RowOperation,
    Scalar, Scratch,
};

use crate::modules;

/// The columns `range` of x, e.g. one part of a joint state.
#[derive(Debug, Clone)]
pub struct Columns {
    /// Which of them.
    pub range: Range<usize>,
}

impl<E: Scalar, D: Backend<E>> Operation<E, D> for Columns {
    const NAME: &'static str = "columns";

    fn width(&self, widths: &[usize]) -> Result<usize> {
        match widths {
            [width] if !self.range.is_empty() && self.range.end <= *width => Ok(self.range.len()),
            _ => Err(Error::Shape {
                what: "a range of columns".to_owned(),
                expected: format!("not empty, within a width of {widths:?}"),
                got: format!("{:?}", self.range),
            }),
        }
    }

    fn on_tensors<T: AnyTape<E, D>>(&self, x: Vec<Matrix<E, D, T>>) -> Result<Matrix<E, D, T>> {
        let [x] = arguments(x)?;
        modules::columns(x, self.range.clone())
    }

    fn device_code(&self) -> Option<DeviceCode> {
        Some(DeviceCode::Columns(self.range.clone()))
    }

    fn on_rows(&self, widths: &[usize]) -> Arc<dyn RowOperation<E>> {
        Arc::new(ColumnsOfRows {
            range: self.range.clone(),
            width: widths[0],
        })
    }
}

struct ColumnsOfRows {
    range: Range<usize>,
    /// That of x.
    width: usize,
}

impl ColumnsOfRows {
    fn cut<E: Element>(&self, x: &[E], y: &mut [E]) {
        let rows = x.chunks_exact(self.width);
        for (x, y) in rows.zip(y.chunks_exact_mut(self.range.len())) {
            y.copy_from_slice(&x[self.range.clone()]);
        }
    }
}

impl<E: Element> RowOperation<E> for ColumnsOfRows {
    fn apply(&self, x: &[&[E]], y: &mut [E], _: &mut [&mut [E]], _: &mut Scratch<E>) {
        self.cut(x[0], y);
    }

    fn jvp(&self, _: &At<'_, E>, x_dot: &[Option<&[E]>], y_dot: &mut [E], _: &mut Scratch<E>) {
        if let [Some(x_dot)] = x_dot {
            self.cut(x_dot, y_dot);
        }
    }

    fn vjp(&self, _: &At<'_, E>, y_bar: &[E], x_bar: &mut [Option<&mut [E]>], _: &mut Scratch<E>) {
        let [Some(x_bar)] = x_bar else { return };
        let rows = x_bar.chunks_exact_mut(self.width);
        for (x_bar, y_bar) in rows.zip(y_bar.chunks_exact(self.range.len())) {
            x_bar[..self.range.start].fill(E::zero());
            x_bar[self.range.clone()].copy_from_slice(y_bar);
            x_bar[self.range.end..].fill(E::zero());
        }
    }
}
