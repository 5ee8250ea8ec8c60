//! Inverses by blocks, in f64.

use equilibria_core::simd::Packed;

/// Rows of the largest blocks that are inverted row by row.
const SMALL: usize = 24;

/// `M⁻¹` of a row-major matrix, `[n, n]`, whose symmetric part is positive definite: so is that of every block on the diagonal, and of what is
/// left of one when the one before is eliminated, and no rows need be exchanged. What is not finite stays so.
///
/// Most of it is products of blocks: 2 n³ operations, at the speed of those.
pub fn inverse_numbers(m: &[f64], n: usize) -> Vec<f64> {
    if n <= SMALL {
        return eliminated(m.to_vec(), n);
    }
    let k = n / 2;
    let l = n - k;
    let block = |rows: std::ops::Range<usize>, columns: std::ops::Range<usize>| -> Vec<f64> {
        let rows = m[rows.start * n..rows.end * n].chunks_exact(n);
        rows.flat_map(|row| &row[columns.clone()])
            .copied()
            .collect()
    };
    let (p, q) = (block(0..k, 0..k), block(0..k, k..n));
    let (r, t) = (block(k..n, 0..k), block(k..n, k..n));
    let p = inverse_numbers(&p, k);
    let left = product(&r, &p, [l, k, k]);
    let right = product(&p, &q, [k, k, l]);
    let rest = difference(&t, &product(&left, &q, [l, k, l]));
    let rest = inverse_numbers(&rest, l);
    let above = product(&right, &rest, [k, l, l]);
    let below = product(&rest, &left, [l, l, k]);
    let through = product(&above, &left, [k, l, k]);
    let first: Vec<f64> = p.iter().zip(&through).map(|(p, t)| p + t).collect();
    // P⁻¹ + Y R X and −Y R above, −R X and R below.
    let mut inverse = Vec::with_capacity(n * n);
    for (first, above) in first.chunks_exact(k).zip(above.chunks_exact(l)) {
        inverse.extend(first);
        inverse.extend(above.iter().map(|v| -v));
    }
    for (below, rest) in below.chunks_exact(k).zip(rest.chunks_exact(l)) {
        inverse.extend(below.iter().map(|v| -v));
        inverse.extend(rest);
    }
    inverse
}

/// `M⁻¹` by elimination in place, the diagonal as it comes.
fn eliminated(mut m: Vec<f64>, n: usize) -> Vec<f64> {
    for k in 0..n {
        let pivot = m[k * n + k].recip();
        m[k * n + k] = 1.0;
        let row = &mut m[k * n..][..n];
        row.iter_mut().for_each(|v| *v *= pivot);
        let row = row.to_vec();
        for i in (0..n).filter(|&i| i != k) {
            let other = &mut m[i * n..][..n];
            let factor = std::mem::replace(&mut other[k], 0.0);
            other
                .iter_mut()
                .zip(&row)
                .for_each(|(v, r)| *v -= factor * r);
        }
    }
    m
}

fn product(a: &[f64], b: &[f64], [rows, inner, columns]: [usize; 3]) -> Vec<f64> {
    let mut y = vec![0.0; rows * columns];
    Packed::new(b, inner, columns).multiply_shared(a, &mut y);
    y
}

fn difference(a: &[f64], b: &[f64]) -> Vec<f64> {
    a.iter().zip(b).map(|(a, b)| a - b).collect()
}

#[cfg(test)]
mod tests {
    use equilibria_testing::random_values;

    use super::*;

    /// I + AᵀA + B − Bᵀ, of sizes below, at and above those of blocks. M M⁻¹ − I has sums of n terms of size 30 at most; the condition is
    /// below 1e3.
    #[test]
    fn the_inverse_of_a_monotone_matrix_takes_products_back() {
        for n in [1, 2, 24, 25, 67] {
            let [a, b] = [1, 2].map(|seed| random_values(n * n, seed));
            let scale = (n as f64).sqrt().recip();
            let mut m = vec![0.0; n * n];
            for i in 0..n {
                for j in 0..n {
                    let gram: f64 = (0..n).map(|k| a[k * n + i] * a[k * n + j]).sum();
                    let skew = b[i * n + j] - b[j * n + i];
                    m[i * n + j] = f64::from(u8::from(i == j)) + scale * (scale * gram + skew);
                }
            }
            let inverse = inverse_numbers(&m, n);
            let unit = product(&m, &inverse, [n, n, n]);
            for (place, entry) in unit.iter().enumerate() {
                let expected = f64::from(u8::from(place / n == place % n));
                assert!((entry - expected).abs() < 1e-11, "{n}: {entry} at {place}");
            }
        }
    }

    #[test]
    fn what_is_not_finite_has_no_inverse() {
        let mut m = vec![0.0; 30 * 30];
        m.iter_mut().step_by(31).for_each(|v| *v = 1.0);
        m[31] = f64::NAN;
        assert!(inverse_numbers(&m, 30).iter().any(|v| v.is_nan()));
    }
}
