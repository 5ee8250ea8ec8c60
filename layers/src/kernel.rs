//! What operations and modules do on contiguous row-major slices.
//!
//! Each part has a forward pass, a backward pass for cotangents and, where it is not linear, one for tangents. Parts keep no state of
//! their own: the caller owns the buffers.

mod weight;

pub use equilibria_core::simd::group_norm::{GroupNorm, Normalized, Recorded, Rectify};
pub use weight::{Weight, WeightCache};

pub use equilibria_core::simd::add_scaled;
use equilibria_core::{vectorized, Element};

vectorized! {
    /// `x ← max(x, 0)`; NaN stays NaN.
    pub fn relu<'a, E, S>(_simd: S, x: &'a mut [E]) {
        for x in x {
            *x = rectified(*x);
        }
    }

    /// `u ← u` where the ReLU's result is above 0, else 0: the backward pass of [`relu`]. The derivative is diagonal, so
    /// tangents go the same way.
    pub fn relu_backward<'a, E, S>(_simd: S, result: &'a [E], u: &'a mut [E]) {
        for (u, &result) in u.iter_mut().zip(result) {
            *u = if result <= E::zero() { E::zero() } else { *u };
        }
    }

    /// Adds every row of a `[rows, sum.len()]` matrix to `sum`.
    pub fn add_rows<'a, E, S>(_simd: S, sum: &'a mut [E], rows: &'a [E]) {
        for row in rows.chunks_exact(sum.len()) {
            sum.iter_mut().zip(row).for_each(|(sum, &row)| *sum += row);
        }
    }

    /// Adds `row` to every row of a `[rows, row.len()]` matrix.
    pub fn add_to_rows<'a, E, S>(_simd: S, rows: &'a mut [E], row: &'a [E]) {
        for sum in rows.chunks_exact_mut(row.len()) {
            sum.iter_mut().zip(row).for_each(|(sum, &row)| *sum += row);
        }
    }
}

/// `sum ← sum + part`.
pub fn add<E: Element>(sum: &mut [E], part: &[E]) {
    add_scaled(sum, E::one(), part);
}

/// `max(x, 0)`; NaN stays NaN.
#[inline(always)]
fn rectified<E: Element>(x: E) -> E {
    if x < E::zero() {
        E::zero()
    } else {
        x
    }
}
