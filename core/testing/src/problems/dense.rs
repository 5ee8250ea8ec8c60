//! Small dense matrices on the host, row-major: what the problems and their exact solutions are made with.

use crate::random_values;

/// The matrix with the given diagonal.
pub(super) fn diagonal(entries: &[f64]) -> Vec<f64> {
    matrix(entries.len(), |i, j| if i == j { entries[i] } else { 0.0 })
}

/// The matrix with the given entries.
pub(super) fn matrix(dim: usize, entry: impl Fn(usize, usize) -> f64) -> Vec<f64> {
    (0..dim * dim).map(|k| entry(k / dim, k % dim)).collect()
}

/// Independent normal entries, scaled to the given spectral norm.
pub(super) fn random(dim: usize, norm: f64, seed: u64) -> Vec<f64> {
    let values = random_values(dim * dim, seed);
    let scale = norm / spectral_norm(&values, dim);
    values.into_iter().map(|value| value * scale).collect()
}

/// Q M Q with a random reflection Q: the same eigenvalues and the same norm, all entries in use.
pub(super) fn reflected(m: &[f64], seed: u64) -> Vec<f64> {
    let dim = m.len().isqrt();
    let normal = random_values(dim, seed);
    let square: f64 = normal.iter().map(|n| n * n).sum();
    let q = matrix(dim, |i, j| {
        f64::from(u8::from(i == j)) - 2.0 * normal[i] * normal[j] / square
    });
    product(&product(&q, m, dim), &q, dim)
}

/// A B.
pub(super) fn product(a: &[f64], b: &[f64], dim: usize) -> Vec<f64> {
    matrix(dim, |i, j| {
        (0..dim).map(|k| a[i * dim + k] * b[k * dim + j]).sum()
    })
}

/// The largest singular value.
pub(super) fn spectral_norm(m: &[f64], dim: usize) -> f64 {
    let square = matrix(dim, |i, j| {
        (0..dim).map(|k| m[k * dim + i] * m[k * dim + j]).sum()
    });
    spectral_radius(&square, dim).sqrt()
}

/// The largest absolute eigenvalue, as lim ‖Mⁿ‖^(1/n) for n = 2⁴⁰ by repeated squaring: exact up to rounding, also for
/// complex pairs, where power iteration fails.
pub(super) fn spectral_radius(m: &[f64], dim: usize) -> f64 {
    let (mut power, mut logarithm) = (m.to_vec(), 0.0);
    for squaring in 0..=40 {
        let norm = norm(&power);
        if norm == 0.0 {
            return 0.0;
        }
        // Mⁿ is `power` times e^(n · logarithm), n = 2^squaring.
        logarithm += norm.ln() / 2.0_f64.powi(squaring);
        power.iter_mut().for_each(|entry| *entry /= norm);
        power = product(&power, &power, dim);
    }
    logarithm.exp()
}

/// The Frobenius norm of M⁻¹, an upper bound of its spectral norm; infinite if M is singular.
pub(super) fn inverse_norm(m: &[f64], dim: usize) -> f64 {
    let columns = (0..dim).map(|column| {
        let unit = (0..dim).map(|i| f64::from(u8::from(i == column)));
        solve(m.to_vec(), unit.collect()).map_or(f64::INFINITY, |x| norm(&x).powi(2))
    });
    columns.sum::<f64>().sqrt()
}

/// x with M x = b, by elimination with partial pivoting; `None` if M is singular.
pub(super) fn solve(mut m: Vec<f64>, mut b: Vec<f64>) -> Option<Vec<f64>> {
    let dim = b.len();
    for column in 0..dim {
        let size = |row: &usize| m[row * dim + column].abs();
        let pivot = (column..dim).max_by(|i, j| size(i).total_cmp(&size(j)))?;
        (0..dim).for_each(|k| m.swap(column * dim + k, pivot * dim + k));
        b.swap(column, pivot);
        if m[column * dim + column] == 0.0 {
            return None;
        }
        for row in column + 1..dim {
            let factor = m[row * dim + column] / m[column * dim + column];
            (column..dim).for_each(|k| m[row * dim + k] -= factor * m[column * dim + k]);
            b[row] -= factor * b[column];
        }
    }
    for row in (0..dim).rev() {
        let known: f64 = (row + 1..dim).map(|k| m[row * dim + k] * b[k]).sum();
        b[row] = (b[row] - known) / m[row * dim + row];
    }
    Some(b)
}

/// ‖v‖₂.
pub(super) fn norm(v: &[f64]) -> f64 {
    v.iter().map(|v| v * v).sum::<f64>().sqrt()
}
