//! Matrix products through the `gemm` crate, behind a checked interface.
//!
//! The one module with unsafe code: `gemm` takes raw pointers. Products are where the time of a solve goes.
#![allow(unsafe_code)]

use equilibria_core::Scalar;

/// A row-major matrix or the transpose of one: shape and strides over a slice.
#[derive(Clone, Copy)]
struct View {
    rows: usize,
    columns: usize,
    row_stride: usize,
    column_stride: usize,
}

impl View {
    fn new(rows: usize, columns: usize) -> Self {
        Self {
            rows,
            columns,
            row_stride: columns,
            column_stride: 1,
        }
    }

    fn transposed(self) -> Self {
        Self {
            rows: self.columns,
            columns: self.rows,
            row_stride: self.column_stride,
            column_stride: self.row_stride,
        }
    }
}

/// `out = a b` with `a` `[rows, inner]`, `b` `[inner, columns]`, `out` `[rows, columns]`, all row-major.
pub fn matmul<E: Scalar>(a: &[E], b: &[E], out: &mut [E], inner: usize, columns: usize) {
    let rows = a.len() / inner;
    product(
        a,
        View::new(rows, inner),
        b,
        View::new(inner, columns),
        out,
        false,
    );
}

/// `out = out + a b`; see [`matmul`].
pub fn matmul_add<E: Scalar>(a: &[E], b: &[E], out: &mut [E], inner: usize, columns: usize) {
    let rows = a.len() / inner;
    product(
        a,
        View::new(rows, inner),
        b,
        View::new(inner, columns),
        out,
        true,
    );
}

/// `out = out + aᵀ b` with `a` `[inner, rows]`, `b` `[inner, columns]`, `out` `[rows, columns]`, all row-major.
pub fn matmul_transposed_add<E: Scalar>(
    a: &[E],
    b: &[E],
    out: &mut [E],
    rows: usize,
    columns: usize,
) {
    let inner = a.len() / rows;
    product(
        a,
        View::new(inner, rows).transposed(),
        b,
        View::new(inner, columns),
        out,
        true,
    );
}

fn product<E: Scalar>(a: &[E], av: View, b: &[E], bv: View, out: &mut [E], add: bool) {
    let (rows, inner, columns) = (av.rows, av.columns, bv.columns);
    assert_eq!(inner, bv.rows, "inner dimensions differ");
    assert_eq!(a.len(), rows * inner, "left factor");
    assert_eq!(b.len(), inner * columns, "right factor");
    assert_eq!(out.len(), rows * columns, "result");
    // SAFETY: the asserts above make every element that the strides address lie inside its slice (a view addresses
    // exactly rows × columns elements, contiguous in either order), `out` is borrowed exclusively and so overlaps
    // neither factor, and gemm reads `out` only if told to.
    unsafe {
        gemm::gemm(
            rows,
            columns,
            inner,
            out.as_mut_ptr(),
            1,
            columns as isize,
            add,
            a.as_ptr(),
            av.column_stride as isize,
            av.row_stride as isize,
            b.as_ptr(),
            bv.column_stride as isize,
            bv.row_stride as isize,
            E::one(),
            E::one(),
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}

#[cfg(test)]
#[allow(clippy::float_cmp)] // small integers are exact
mod tests {
    use super::*;

    /// [1 2 3; 4 5 6] [1 0; 0 1; 1 1] = [4 5; 10 11]; small integers are exact.
    #[test]
    fn products_of_small_integers_are_exact() {
        let (a, b) = (
            [1.0, 2.0, 3.0, 4.0, 5.0, 6.0],
            [1.0, 0.0, 0.0, 1.0, 1.0, 1.0],
        );
        let mut out = [f64::NAN; 4];
        matmul(&a, &b, &mut out, 3, 2);
        assert_eq!(out, [4.0, 5.0, 10.0, 11.0]);
        matmul_add(&a, &b, &mut out, 3, 2);
        assert_eq!(out, [8.0, 10.0, 20.0, 22.0]);
    }

    /// [1 2; 3 4]ᵀ [5; 6] = [23; 34].
    #[test]
    fn the_left_factor_can_be_transposed() {
        let mut out = [1.0_f32, 1.0];
        matmul_transposed_add(&[1.0, 2.0, 3.0, 4.0], &[5.0, 6.0], &mut out, 2, 1);
        assert_eq!(out, [24.0, 35.0]);
    }
}
