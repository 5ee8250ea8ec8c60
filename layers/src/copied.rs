//! Broadcast tensors, written out.

use dfdx::prelude::*;
use equilibria_core::{AnyTape, Backend, Error, Result, Scalar};

/// The entries of a broadcast tensor, each in a place of its own.
///
/// Not by `contiguous`: on CUDA, dfdx 0.13 differentiates that of a broadcast tensor for as many entries as lie in memory alone, and drops
/// the others. A sum is differentiated in full.
pub(crate) fn copied<S: Shape, E: Scalar, D: Backend<E>, T: AnyTape<E, D>>(
    x: Tensor<S, E, D, T>,
) -> Result<Tensor<S, E, D, T>> {
    let (x, tape) = x.split_tape();
    let zeros = x.device().try_zeros_like(x.shape());
    let copy = zeros.and_then(|zeros| zeros.put_tape(tape).try_add(x));
    copy.map_err(Error::device)
}
