//! The CPU kernel toolkit: what hand-written kernels of layers are made of, on contiguous row-major slices.
//!
//! Each part has a forward pass, a backward pass for cotangents and, where it is not linear, one for tangents. Parts keep no state of their own: a kernel block owns the buffers.

mod affine;
mod group_norm;
mod matmul;

pub use affine::Affine;
pub use group_norm::{GroupNorm, Normalized};
pub use matmul::{matmul, matmul_add, matmul_transposed_add};

use equilibria_core::Scalar;

/// `x ← max(x, 0)`; NaN stays NaN.
pub fn relu<E: Scalar>(x: &mut [E]) {
    for x in x {
        if *x < E::zero() {
            *x = E::zero();
        }
    }
}

/// `u ← u` where the ReLU's result is above 0, else 0: the backward pass of [`relu`]. The derivative is
/// diagonal, so tangents go the same way.
pub fn relu_backward<E: Scalar>(result: &[E], u: &mut [E]) {
    for (u, &result) in u.iter_mut().zip(result) {
        if result <= E::zero() {
            *u = E::zero();
        }
    }
}

/// `sum ← sum + part`.
pub fn add<E: Scalar>(sum: &mut [E], part: &[E]) {
    for (sum, &part) in sum.iter_mut().zip(part) {
        *sum += part;
    }
}

/// Adds every row of a `[rows, sum.len()]` matrix to `sum`.
pub fn add_rows<E: Scalar>(sum: &mut [E], rows: &[E]) {
    for row in rows.chunks_exact(sum.len()) {
        add(sum, row);
    }
}
