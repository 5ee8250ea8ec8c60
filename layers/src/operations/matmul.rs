//! Products of two matrices that each row holds.

mod sparse;

use std::sync::Arc;

use dfdx::prelude::*;
use equilibria_core::operations::{arguments, same_width};
use equilibria_core::simd::{multiply_matrices, Shapes};
use equilibria_core::{
    try_contiguous, AnyTape, At, Backend, DeviceCode, Element, Error, Gradients, Matrix, Operation,
    Prepared, Reads, Result, RowOperation, Scalar, Scratch,
};

use super::transpose::Transpose;

/// `Y = A B`, where each row holds A, `[rows, inner]`, and B, `[inner, columns]`; or `Y = A Bᵀ` with B `[columns, inner]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Matmul {
    /// Rows of A.
    pub rows: usize,
    /// Columns of A.
    pub inner: usize,
    /// Columns of Y.
    pub columns: usize,
    /// Whether the product is that with the transpose of B.
    pub transposed: bool,
}

impl<E: Scalar, D: Backend<E>> Operation<E, D> for Matmul {
    const NAME: &'static str = "a product of matrices";

    fn width(&self, widths: &[usize]) -> Result<usize> {
        let Self {
            rows,
            inner,
            columns,
            ..
        } = *self;
        let expected = [rows * inner, inner * columns];
        match widths == expected && rows * inner * columns > 0 {
            true => Ok(rows * columns),
            false => Err(Error::Shape {
                what: "the arguments of a product of matrices".to_owned(),
                expected: format!("{rows} × {inner} and {inner} × {columns} numbers"),
                got: format!("{widths:?}"),
            }),
        }
    }

    fn on_tensors<T: AnyTape<E, D>>(&self, x: Vec<Matrix<E, D, T>>) -> Result<Matrix<E, D, T>> {
        let [a, b] = arguments(x)?;
        same_width("a product of matrices", &[a.shape().0, b.shape().0])?;
        let batch = a.shape().0;
        let a = try_contiguous(a)?.reshape_like(&(batch, self.rows, self.inner));
        let b = try_contiguous(b)?;
        let product = match self.transposed {
            false => {
                let b = b.reshape_like(&(batch, self.inner, self.columns));
                a.try_matmul(b)
            }
            true => {
                let b = b.reshape_like(&(batch, self.columns, self.inner));
                b.try_permute::<_, Axes3<0, 2, 1>>()
                    .and_then(|b| a.try_matmul(b))
            }
        };
        let product = product.map_err(Error::device)?;
        Ok(product.reshape_like(&(batch, self.rows * self.columns)))
    }

    fn device_code(&self) -> Option<DeviceCode> {
        Some(DeviceCode::Matmul {
            rows: self.rows,
            inner: self.inner,
            columns: self.columns,
            transposed: self.transposed,
        })
    }

    fn on_rows(&self, _widths: &[usize]) -> Arc<dyn RowOperation<E>> {
        Arc::new(*self)
    }
}

/// Which factor is the transpose of what is in memory.
#[derive(Clone, Copy)]
enum Turned {
    Neither,
    Left,
    Right,
}

fn shapes(turned: Turned, [rows, inner, columns]: [usize; 3]) -> Shapes {
    Shapes {
        rows,
        inner,
        columns,
        transposed: matches!(turned, Turned::Left),
    }
}

/// `Y = A B`, or Y + A B, with matrices of `[rows, inner, columns]`.
fn multiply<E: Element>(
    (turned, [rows, inner, columns]): (Turned, [usize; 3]),
    (a, b): (&[E], &[E]),
    y: &mut [E],
    add: bool,
    scratch: &mut Scratch<E>,
) {
    let shapes = shapes(turned, [rows, inner, columns]);
    let Turned::Right = turned else {
        return multiply_matrices(shapes, a, b, y, add);
    };
    let [turned] = scratch.parts(b.len());
    let back = Transpose {
        rows: columns,
        columns: inner,
        block: 1,
    };
    back.turn(b, turned);
    multiply_matrices(shapes, a, turned, y, add);
}

impl Matmul {
    /// The product itself.
    fn product<E: Element>(
        self,
        factors: (&[E], &[E]),
        y: &mut [E],
        add: bool,
        scratch: &mut Scratch<E>,
    ) {
        let turned = match self.transposed {
            false => Turned::Neither,
            true => Turned::Right,
        };
        let sizes = [self.rows, self.inner, self.columns];
        multiply((turned, sizes), factors, y, add, scratch);
    }

    /// Cotangents of A and B from that of Y.
    fn cotangents<E: Element>(
        self,
        [a, b]: [Option<&[E]>; 2],
        y_bar: &[E],
        bars: &mut [Option<&mut [E]>],
        scratch: &mut Scratch<E>,
    ) {
        let (rows, inner, columns) = (self.rows, self.inner, self.columns);
        let [a_bar, b_bar] = bars else { return };
        match (a_bar, b) {
            (Some(a_bar), Some(b)) => {
                let turned = match self.transposed {
                    false => Turned::Right,
                    true => Turned::Neither,
                };
                let sizes = [rows, columns, inner];
                multiply((turned, sizes), (y_bar, b), a_bar, false, scratch);
            }
            (Some(a_bar), None) => a_bar.fill(E::zero()),
            (None, _) => {}
        }
        match (b_bar, a) {
            (Some(b_bar), Some(a)) => {
                let (factors, sizes) = match self.transposed {
                    false => ((a, y_bar), [inner, rows, columns]),
                    true => ((y_bar, a), [columns, rows, inner]),
                };
                multiply((Turned::Left, sizes), factors, b_bar, false, scratch);
            }
            (Some(b_bar), None) => b_bar.fill(E::zero()),
            (None, _) => {}
        }
    }
}

impl<E: Element> RowOperation<E> for Matmul {
    fn reads(&self) -> Reads {
        Reads {
            arguments: true,
            result: false,
        }
    }

    /// Where A is constant during a solve and most of it is 0, what is not is found once.
    fn prepared(&self, argument: usize) -> Option<Prepared<E>> {
        (argument == 0).then(|| sparse::prepared(*self)).flatten()
    }

    fn apply(&self, x: &[&[E]], y: &mut [E], _: &mut [&mut [E]], scratch: &mut Scratch<E>) {
        self.product((x[0], x[1]), y, false, scratch);
    }

    fn jvp(
        &self,
        at: &At<'_, E>,
        x_dot: &[Option<&[E]>],
        y_dot: &mut [E],
        scratch: &mut Scratch<E>,
    ) {
        let [first, second] = x_dot else { return };
        if let Some(a_dot) = first {
            self.product((a_dot, at.x[1]), y_dot, false, scratch);
        }
        if let Some(b_dot) = second {
            self.product((at.x[0], b_dot), y_dot, first.is_some(), scratch);
        }
    }

    fn vjp(
        &self,
        at: &At<'_, E>,
        y_bar: &[E],
        x_bar: &mut [Option<&mut [E]>],
        scratch: &mut Scratch<E>,
    ) {
        self.cotangents([Some(at.x[0]), Some(at.x[1])], y_bar, x_bar, scratch);
    }

    /// The product is bilinear: each factor meets the tangent of the other.
    fn bend(
        &self,
        _: &At<'_, E>,
        p: &[E],
        x_dot: &[Option<&[E]>],
        x_bar: &mut [Option<&mut [E]>],
        _: &mut Gradients<'_, E>,
        scratch: &mut Scratch<E>,
    ) -> bool {
        self.cotangents([x_dot[0], x_dot[1]], p, x_bar, scratch);
        true
    }
}
