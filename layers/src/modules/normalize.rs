//! What normalizations have in common.

use dfdx::prelude::*;
use equilibria_core::{contiguous, AnyTape, Backend, Matrix, Scalar};

/// `(x − μ) / √(σ² + ε)` with mean μ and biased variance σ² of each of `groups` groups of adjacent columns, which divide the width.
///
/// dfdx rounds the mean to the precision of x, however large it is. The mean of what is left after the subtraction of a
/// constant close to it is small, and its rounding with it; the constant changes neither value nor gradient.
///
/// Shapes: `x` and result `[batch, width]`.
pub fn normalize<E: Scalar, D: Backend<E>, T: AnyTape<E, D>>(
    x: Matrix<E, D, T>,
    groups: usize,
    epsilon: f64,
) -> Matrix<E, D, T> {
    let shape = *x.shape();
    let grouped = contiguous(x).reshape_like(&(shape.0, groups, shape.1 / groups));
    let (grouped, tape) = grouped.split_tape();
    let center = grouped.clone().mean::<(usize, usize), Axis<2>>();
    let center = center.broadcast_like::<_, Axis<2>>(grouped.shape());
    (grouped.put_tape(tape) - center)
        .normalize::<Axis<2>>(epsilon)
        .reshape_like(&shape)
}

/// A parameter `[1, width]` in every row.
pub(crate) fn row_like<T: AnyTape<E, D>, E: Scalar, D: Backend<E>>(
    row: &Matrix<E, D>,
    shape: (usize, usize),
) -> Matrix<E, D, T> {
    let row = contiguous(row.retaped::<T>()).reshape_like(&(shape.1,));
    row.broadcast_like::<_, Axis<0>>(&shape)
}
