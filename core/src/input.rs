//! Copies of tensors: with places of their own for entries that share them, and with an identity of their own.

use dfdx::prelude::{HasShape, PutTape, ReshapeTo, Shape, SplitTape, Tape, Tensor, TryAdd};

use crate::{Backend, Error, Matrix, Result, Scalar};

/// A matrix row after row, each entry in a place of its own; where it lies otherwise, a copy, which is recorded.
///
/// In place of dfdx's operation of this name, whose gradient on CUDA (dfdx 0.13) is that of as many entries as lie in memory: where the
/// matrix is broadcast, the others are dropped. The same goes for dfdx's `reshape_like`; what is reshaped should be this first.
///
/// # Errors
/// [`Error::Device`] if memory runs out.
pub fn try_contiguous<E: Scalar, D: Backend<E>, T: Tape<E, D>>(
    x: Matrix<E, D, T>,
) -> Result<Matrix<E, D, T>> {
    if D::ON_HOST || !T::OWNS_TAPE {
        return x.try_contiguous().map_err(Error::device);
    }
    let (x, tape) = x.split_tape();
    match D::is_row_major(&x)? {
        true => Ok(x.put_tape(tape)),
        false => copied(x.put_tape(tape)),
    }
}

/// [`try_contiguous`], as operations that cannot fail have it.
///
/// # Panics
/// As operators of dfdx do: if memory runs out.
pub fn contiguous<E: Scalar, D: Backend<E>, T: Tape<E, D>>(x: Matrix<E, D, T>) -> Matrix<E, D, T> {
    try_contiguous(x).unwrap_or_else(|error| panic!("{error}"))
}

/// The entries of a tensor, each in a place of its own: always a copy, which is recorded.
///
/// As a sum, which dfdx differentiates in full whatever it is a sum of.
///
/// # Errors
/// [`Error::Device`] if memory runs out.
pub fn copied<S: Shape, E: Scalar, D: Backend<E>, T: Tape<E, D>>(
    x: Tensor<S, E, D, T>,
) -> Result<Tensor<S, E, D, T>> {
    let (x, tape) = x.split_tape();
    let zeros = x.device().try_zeros_like(x.shape());
    let copy = zeros.and_then(|zeros| zeros.put_tape(tape).try_add(x));
    copy.map_err(Error::device)
}

/// The same numbers as a row-major matrix that nothing else is known as; the copy is recorded.
///
/// dfdx finds gradients by the identity of a tensor, which views of it share: a tensor cannot be both operands of an
/// operation, and where a state is an input as well its gradient is that of both.
///
/// # Panics
/// As operators of dfdx do: if memory runs out.
pub fn separate<E: Scalar, D: Backend<E>, T: Tape<E, D>>(x: Matrix<E, D, T>) -> Matrix<E, D, T> {
    contiguous(x) * E::one()
}
