//! Products of many pairs of small matrices.

use pulp::Simd;

use crate::{vectorized, Element};

/// The shapes of the matrices of [`multiply_matrices`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shapes {
    /// Rows of y.
    pub rows: usize,
    /// Terms of each sum.
    pub inner: usize,
    /// Columns of y.
    pub columns: usize,
    /// Whether a is `[inner, rows]`, and its transpose is the factor.
    pub transposed: bool,
}

/// `y = a b` for every pair of row-major matrices a, `[rows, inner]`, and b, `[inner, columns]`, that follow one another in memory; with
/// `add`, y + a b.
///
/// Each entry is summed up in order, so that none depends on others.
pub fn multiply_matrices<E: Element>(shapes: Shapes, a: &[E], b: &[E], y: &mut [E], add: bool) {
    E::multiply_matrices(shapes, a, b, y, add);
}

vectorized! {
    pub(crate) fn product<'a, E, S>(simd: S, shapes: Shapes, a: &'a [E], b: &'a [E], y: &'a mut [E], add: bool) {
        let Shapes { rows, inner, columns, .. } = shapes;
        let (a, b) = (a.chunks_exact(rows * inner), b.chunks_exact(inner * columns));
        for ((a, b), y) in a.zip(b).zip(y.chunks_exact_mut(rows * columns)) {
            if !add {
                y.fill(E::zero());
            }
            one_product(simd, shapes, a, b, y);
        }
    }
}

/// Rows of y that stay in registers together.
const TOGETHER: usize = 6;

/// `y ← y + a b`.
#[inline(always)]
fn one_product<E: Element, S: Simd>(simd: S, shapes: Shapes, a: &[E], b: &[E], y: &mut [E]) {
    // From one row of the left factor to the next, and from one term to the next.
    let steps = match shapes.transposed {
        false => [shapes.inner, 1],
        true => [1, shapes.rows],
    };
    for (index, y) in y.chunks_mut(TOGETHER * shapes.columns).enumerate() {
        let a = &a[index * TOGETHER * steps[0]..];
        match y.len() / shapes.columns {
            TOGETHER => some_rows::<E, S, TOGETHER>(simd, (a, steps), b, y),
            5 => some_rows::<E, S, 5>(simd, (a, steps), b, y),
            4 => some_rows::<E, S, 4>(simd, (a, steps), b, y),
            3 => some_rows::<E, S, 3>(simd, (a, steps), b, y),
            2 => some_rows::<E, S, 2>(simd, (a, steps), b, y),
            _ => some_rows::<E, S, 1>(simd, (a, steps), b, y),
        }
    }
}

/// `R` rows of y: two registers of columns at a time, then one, then what does not fill one.
#[inline(always)]
fn some_rows<E: Element, S: Simd, const R: usize>(
    simd: S,
    left: (&[E], [usize; 2]),
    b: &[E],
    y: &mut [E],
) {
    let (columns, lanes) = (y.len() / R, E::count::<S>());
    let mut first = 0;
    while first + 2 * lanes <= columns {
        strip::<E, S, R, 2>(simd, left, (b, first), y);
        first += 2 * lanes;
    }
    if first + lanes <= columns {
        strip::<E, S, R, 1>(simd, left, (b, first), y);
        first += lanes;
    }
    if first < columns {
        rest::<E, S, R>(simd, left, (b, first), y);
    }
}

/// `V` registers of columns from `first` on of `R` rows.
#[inline(always)]
fn strip<E: Element, S: Simd, const R: usize, const V: usize>(
    simd: S,
    (a, [row_step, step]): (&[E], [usize; 2]),
    (b, first): (&[E], usize),
    y: &mut [E],
) {
    let (columns, width) = (y.len() / R, V * E::count::<S>());
    let mut sums = [[E::splat(simd, E::zero()); V]; R];
    for (row, sums) in sums.iter_mut().enumerate() {
        let (y, _) = E::vectors::<S>(&y[row * columns + first..][..width]);
        sums.copy_from_slice(y);
    }
    for (term, b) in b.chunks_exact(columns).enumerate() {
        let (b, _) = E::vectors::<S>(&b[first..][..width]);
        for (row, sums) in sums.iter_mut().enumerate() {
            let a = E::splat(simd, a[row * row_step + term * step]);
            for (sum, &b) in sums.iter_mut().zip(b) {
                *sum = E::fused(simd, a, b, *sum);
            }
        }
    }
    for (row, sums) in sums.iter().enumerate() {
        let (y, _) = E::vectors_mut::<S>(&mut y[row * columns + first..][..width]);
        y.copy_from_slice(sums);
    }
}

/// The columns from `first` on of `R` rows, fewer than a register holds.
#[inline(always)]
fn rest<E: Element, S: Simd, const R: usize>(
    simd: S,
    (a, [row_step, step]): (&[E], [usize; 2]),
    (b, first): (&[E], usize),
    y: &mut [E],
) {
    let columns = y.len() / R;
    let mut sums = [E::splat(simd, E::zero()); R];
    for (sum, y) in sums.iter_mut().zip(y.chunks_exact(columns)) {
        *sum = E::load_part(simd, &y[first..]);
    }
    for (term, b) in b.chunks_exact(columns).enumerate() {
        let b = E::load_part(simd, &b[first..]);
        for (row, sum) in sums.iter_mut().enumerate() {
            let a = E::splat(simd, a[row * row_step + term * step]);
            *sum = E::fused(simd, a, b, *sum);
        }
    }
    for (&sum, y) in sums.iter().zip(y.chunks_exact_mut(columns)) {
        E::store_part(simd, &mut y[first..], sum);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random_values;

    /// Against sums in order; widths below, at and above one and two registers of any processor.
    #[test]
    fn products_of_matrices_are_sums_of_products() {
        let pairs = 3;
        for (rows, inner, columns) in [
            (1, 1, 1),
            (5, 3, 7),
            (4, 2, 16),
            (7, 9, 19),
            (14, 3, 19),
            (3, 1, 40),
        ] {
            let a = random_values(pairs * rows * inner, 1);
            let b = random_values(pairs * inner * columns, 2);
            let start = random_values(pairs * rows * columns, 3);
            for (transposed, add) in [(false, false), (true, false), (false, true), (true, true)] {
                let shapes = Shapes {
                    rows,
                    inner,
                    columns,
                    transposed,
                };
                let mut y = start.clone();
                multiply_matrices(shapes, &a, &b, &mut y, add);
                for (index, &y) in y.iter().enumerate() {
                    let (pair, row) = (index / (rows * columns), index / columns % rows);
                    let entry = |term: usize| match transposed {
                        false => a[(pair * rows + row) * inner + term],
                        true => a[(pair * inner + term) * rows + row],
                    };
                    let b = |term: usize| b[(pair * inner + term) * columns + index % columns];
                    let sum: f64 = (0..inner).map(|term| entry(term) * b(term)).sum();
                    let expected = sum + if add { start[index] } else { 0.0 };
                    // 10 terms of size 10 at most, each rounded.
                    assert!(
                        (y - expected).abs() < 1e-13,
                        "{shapes:?} {add}: {y} {expected}"
                    );
                }
            }
        }
    }
}
