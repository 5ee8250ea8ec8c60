//! Transposed matrices.

use std::sync::Arc;

use dfdx::prelude::*;
use equilibria_core::operations::arguments;
use equilibria_core::{
    try_contiguous, vectorized, AnyTape, At, Backend, DeviceCode, Element, Error, Matrix,
    Operation, Result, RowOperation, Scalar, Scratch,
};

/// The transpose of a matrix of blocks that each row holds: from `[rows, columns, block]` to `[columns, rows, block]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transpose {
    /// Rows of the matrix.
    pub rows: usize,
    /// Columns of the matrix.
    pub columns: usize,
    /// Adjacent numbers that stay together; 1 for a matrix of numbers.
    pub block: usize,
}

impl<E: Scalar, D: Backend<E>> Operation<E, D> for Transpose {
    const NAME: &'static str = "transpose";

    fn width(&self, widths: &[usize]) -> Result<usize> {
        let of = self.rows * self.columns * self.block;
        match widths {
            [width] if *width == of && of > 0 => Ok(of),
            _ => Err(Error::Shape {
                what: "a matrix to be transposed".to_owned(),
                expected: format!("width {} × {} × {}", self.rows, self.columns, self.block),
                got: format!("{widths:?}"),
            }),
        }
    }

    fn on_tensors<T: AnyTape<E, D>>(&self, x: Vec<Matrix<E, D, T>>) -> Result<Matrix<E, D, T>> {
        let [x] = arguments(x)?;
        let shape = *x.shape();
        let x = try_contiguous(x)?;
        let x = x.reshape_like(&(shape.0, self.rows, self.columns, self.block));
        let turned = x.try_permute::<_, Axes4<0, 2, 1, 3>>();
        let turned = turned.and_then(|turned| turned.try_contiguous());
        Ok(turned.map_err(Error::device)?.reshape_like(&shape))
    }

    fn device_code(&self) -> Option<DeviceCode> {
        let Self {
            rows,
            columns,
            block,
        } = *self;
        Some(DeviceCode::Transpose {
            rows,
            columns,
            block,
        })
    }

    fn on_rows(&self, _widths: &[usize]) -> Arc<dyn RowOperation<E>> {
        Arc::new(*self)
    }
}

impl Transpose {
    fn reversed(self) -> Self {
        Self {
            rows: self.columns,
            columns: self.rows,
            block: self.block,
        }
    }

    /// The transposes of all matrices in x.
    pub(super) fn turn<E: Element>(self, x: &[E], y: &mut [E]) {
        let Self {
            rows,
            columns,
            block,
        } = self;
        let size = rows * columns * block;
        for (x, y) in x.chunks_exact(size).zip(y.chunks_exact_mut(size)) {
            if block == 1 {
                turn_numbers(rows, columns, x, y);
                continue;
            }
            for (index, block_of_y) in y.chunks_exact_mut(block).enumerate() {
                let from = (index % rows * columns + index / rows) * block;
                block_of_y.copy_from_slice(&x[from..][..block]);
            }
        }
    }
}

/// Rows that are read together: what they have in a column is written at once.
const TOGETHER: usize = 16;

vectorized! {
    /// The transpose of one matrix of numbers.
    fn turn_numbers<'a, E, S>(_simd: S, rows: usize, columns: usize, x: &'a [E], y: &'a mut [E]) {
        let whole = rows / TOGETHER * TOGETHER;
        for first in (0..whole).step_by(TOGETHER) {
            let from: [&[E]; TOGETHER] =
                std::array::from_fn(|row| &x[(first + row) * columns..][..columns]);
            for (column, y) in y.chunks_exact_mut(rows).enumerate() {
                let values: [E; TOGETHER] = std::array::from_fn(|row| from[row][column]);
                y[first..first + TOGETHER].copy_from_slice(&values);
            }
        }
        for row in whole..rows {
            let x = &x[row * columns..][..columns];
            for (x, y) in x.iter().zip(y.chunks_exact_mut(rows)) {
                y[row] = *x;
            }
        }
    }
}

impl<E: Element> RowOperation<E> for Transpose {
    fn apply(&self, x: &[&[E]], y: &mut [E], _: &mut [&mut [E]], _: &mut Scratch<E>) {
        self.turn(x[0], y);
    }

    fn jvp(&self, _: &At<'_, E>, x_dot: &[Option<&[E]>], y_dot: &mut [E], _: &mut Scratch<E>) {
        if let [Some(x_dot)] = x_dot {
            self.turn(x_dot, y_dot);
        }
    }

    fn vjp(&self, _: &At<'_, E>, y_bar: &[E], x_bar: &mut [Option<&mut [E]>], _: &mut Scratch<E>) {
        if let [Some(x_bar)] = x_bar {
            self.reversed().turn(y_bar, x_bar);
        }
    }
}
