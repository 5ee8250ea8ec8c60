//! Injected inputs, as a layer's `step` gets them.

use std::marker::PhantomData;

use dfdx::prelude::{HasShape, ReshapeTo, Tape};

use crate::{Backend, Matrix, Scalar};

/// An injected input x_i, `[batch, input_dims[i]]`, for a `step` on tapes of type `T`.
///
/// dfdx records nothing of what is done to a tensor without a tape, and its gradient is lost without a word. An input
/// therefore cannot be used but on a tape: [`value`](Self::value) puts it on one.
pub struct Input<E: Scalar, D: Backend<E>, T> {
    matrix: Matrix<E, D>,
    tape: PhantomData<fn() -> T>,
}

impl<E: Scalar, D: Backend<E>, T> Input<E, D, T> {
    /// An input without a tape, for a `step`.
    pub fn new(matrix: Matrix<E, D>) -> Self {
        Self {
            matrix,
            tape: PhantomData,
        }
    }

    /// All inputs of a `step`.
    pub fn all(x: &[Matrix<E, D>]) -> Vec<Self> {
        x.iter().cloned().map(Self::new).collect()
    }

    /// `(batch, width)`.
    pub fn shape(&self) -> (usize, usize) {
        *self.matrix.shape()
    }

    /// The input on a tape, which dfdx joins with those of the other operands. Every call gives a matrix of its own, so that an
    /// input may be multiplied by itself, which dfdx refuses.
    pub fn value(&self) -> Matrix<E, D, T>
    where
        T: Tape<E, D>,
    {
        separate(self.matrix.retaped::<T>())
    }

    /// The input without a tape, for what records its gradient by itself.
    pub fn matrix(&self) -> &Matrix<E, D> {
        &self.matrix
    }
}

/// The same numbers as a row-major matrix that nothing else is known as; the copy is recorded.
///
/// dfdx finds gradients by the identity of a tensor, which views of it share: a tensor cannot be both operands of an
/// operation, and where a state is an input as well its gradient is that of both.
pub fn separate<E: Scalar, D: Backend<E>, T: Tape<E, D>>(x: Matrix<E, D, T>) -> Matrix<E, D, T> {
    x.contiguous() * E::one()
}
