//! What certificates of several layers are made of: products in f64, and the bound that strong monotonicity gives.

use dfdx::prelude::HasShape;
use equilibria_core::measure::worse;
use equilibria_core::{to_host, Backend, Matrix, Scalar};

use crate::nonnegative::{product, transpose};

/// A parameter in f64, row-major.
pub struct Dense {
    values: Vec<f64>,
    columns: usize,
}

impl Dense {
    /// The numbers of a parameter as they are now.
    pub fn new<E: Scalar, D: Backend<E>>(parameter: &Matrix<E, D>) -> Self {
        Self {
            values: to_host(parameter).into_iter().map(E::wide).collect(),
            columns: parameter.shape().1.max(1),
        }
    }

    /// All numbers.
    pub fn values(&self) -> &[f64] {
        &self.values
    }

    /// Its rows.
    pub fn rows(&self) -> impl Iterator<Item = &[f64]> {
        self.values.chunks_exact(self.columns)
    }

    /// `W x`.
    pub fn times(&self, x: &[f64]) -> Vec<f64> {
        self.rows().map(|row| dot(row, x)).collect()
    }

    /// `Wᵀ y`.
    pub fn transposed_times(&self, y: &[f64]) -> Vec<f64> {
        let mut product = vec![0.0; self.columns];
        for (row, y) in self.rows().zip(y) {
            product.iter_mut().zip(row).for_each(|(p, w)| *p += w * y);
        }
        product
    }

    /// The Frobenius norm, which the largest singular value does not exceed.
    pub fn norm(&self) -> f64 {
        norm(&self.values)
    }

    /// The largest sum of absolute values of a row.
    pub fn row_sum(&self) -> f64 {
        let sums = self.rows().map(|row| row.iter().map(|w| w.abs()).sum());
        sums.fold(0.0, f64::max)
    }
}

/// `⟨a, b⟩`.
pub fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// `‖a‖₂`.
pub fn norm(a: &[f64]) -> f64 {
    dot(a, a).sqrt()
}

/// `a + c b`.
pub fn sum(a: &[f64], c: f64, b: &[f64]) -> Vec<f64> {
    a.iter().zip(b).map(|(a, b)| a + c * b).collect()
}

/// What rounding can change of a sum of so many terms of this size in all, and then some: every term is itself a product of a few
/// numbers, and sums of f64 numbers err by ε a term.
pub fn rounding(terms: usize, size: f64) -> f64 {
    2.0 * (terms + 8) as f64 * f64::EPSILON * size
}

/// Squarings of a matrix for a bound of its largest singular value.
const SQUARINGS: i32 = 4;

/// An upper bound of the largest singular value of a square matrix, `[n, n]`, or of its transpose: ‖(MᵀM)^(2ᵏ)‖_F to the power 1 / 2^(k+1)
/// with k = 4, above it by a factor of n^(1/64) at most.
pub fn largest_singular_value(m: &[f64], n: usize) -> f64 {
    // Scaled, so that squares of small entries are not 0.
    let largest = m
        .iter()
        .fold(0.0_f64, |largest, entry| worse(largest, entry.abs()));
    if largest == 0.0 || !largest.is_finite() {
        return largest;
    }
    let m: Vec<f64> = m.iter().map(|entry| entry / largest).collect();
    let sizes = [n, n, n];
    let mut power = product(&transpose(&m, [n, n]), &m, sizes);
    let mut logarithm = largest.ln();
    for squaring in 0..=SQUARINGS {
        let size = norm(&power);
        if size == 0.0 || !size.is_finite() {
            return size;
        }
        logarithm += size.ln() / 2_f64.powi(squaring + 1);
        power.iter_mut().for_each(|entry| *entry /= size);
        if squaring < SQUARINGS {
            power = product(&power, &power, sizes);
        }
    }
    // Entries are off by n ε of a norm that is 1 / n at least when they are scaled.
    logarithm.exp() * (1.0 + 64.0 * (n * n) as f64 * f64::EPSILON)
}

/// What is known of the distance e = z − z* from the solution of `z = prox(z − α (S z − c))`, where the symmetric part H of S is at least
/// m > 0.
///
/// With r = z − prox(z − α (S z − c)) and p = (I + α Sᵀ) r, monotonicity of the subdifferential at both points gives
/// α eᵀH e − pᵀe + ‖r‖² ≤ 0, an ellipsoid that e is in.
///
/// For α = 1 this is the equation z = prox(W z + c) with S = I − W.
pub struct StronglyMonotone<'a> {
    /// m, a lower bound of H.
    pub margin: f64,
    /// α.
    pub step: f64,
    /// `H v`.
    pub symmetric: &'a dyn Fn(&[f64]) -> Vec<f64>,
    /// An upper bound of ‖S‖₂, for rounding alone.
    pub norm: f64,
    /// r.
    pub residual: &'a [f64],
    /// p.
    pub slope: &'a [f64],
    /// What rounding may have changed of r, in the 2-norm.
    pub rounding: f64,
}

/// Steps of conjugate gradients towards the center of the ellipsoid.
const STEPS: usize = 30;

impl StronglyMonotone<'_> {
    /// A number that ‖e‖₂ does not exceed.
    ///
    /// For any c, e = c + δ has α m ‖δ‖² − ‖p − 2 α H c‖ ‖δ‖ + (α cᵀH c − pᵀc + ‖r‖²) ≤ 0, and ‖e‖ ≤ ‖c‖ + ‖δ‖. The bound holds for
    /// any c; that of the center, at which the second term vanishes, is far smaller than that of 0, which is ‖p‖ / (α m).
    pub fn bound(&self) -> f64 {
        if !(norm(self.slope).is_finite() && self.margin > 0.0) {
            return f64::INFINITY;
        }
        let center = self.center();
        self.bound_from(&center)
            .min(self.bound_from(&vec![0.0; center.len()]))
    }

    fn bound_from(&self, center: &[f64]) -> f64 {
        let (alpha, p, r) = (self.step, self.slope, norm(self.residual));
        let product = (self.symmetric)(center);
        let (c, size) = (norm(center), norm(p) + alpha * self.norm * norm(center));
        // p is off by what r is, times 1 + α ‖S‖.
        let off = (1.0 + alpha * self.norm) * self.rounding + rounding(p.len(), size);
        let linear = norm(&sum(p, -2.0 * alpha, &product)) + off;
        let least = (r - self.rounding).max(0.0);
        let constant = alpha * dot(center, &product) - dot(p, center) + least * least + off * c;
        let square = alpha * self.margin;
        let root = linear * linear - 4.0 * square * constant;
        (c + (linear + root.max(0.0).sqrt()) / (2.0 * square)) * (1.0 + rounding(p.len(), 1.0))
    }

    /// About the solution of `2 α H c = p`.
    fn center(&self) -> Vec<f64> {
        let mut center = vec![0.0; self.slope.len()];
        let mut residual: Vec<f64> = (self.slope.iter()).map(|p| p / (2.0 * self.step)).collect();
        let mut direction = residual.clone();
        let mut square = dot(&residual, &residual);
        let small = 1e-24 * square;
        for _ in 0..STEPS.min(2 * center.len()) {
            let product = (self.symmetric)(&direction);
            let curvature = dot(&direction, &product);
            if square <= small || curvature <= 0.0 {
                break;
            }
            let length = square / curvature;
            center = sum(&center, length, &direction);
            residual = sum(&residual, -length, &product);
            let next = dot(&residual, &residual);
            direction = sum(&residual, next / square, &direction);
            square = next;
        }
        center
    }
}

#[cfg(test)]
mod tests {
    use equilibria_testing::random_values;

    use super::*;

    /// Of diag(3, 2, …) turned about by reflections of random vectors; the bound is above 3 by 6^(1/64) at most.
    #[test]
    fn the_largest_singular_value_is_bounded_closely() {
        let n = 6;
        let mut m: Vec<f64> = (0..n * n).map(|_| 0.0).collect();
        for (index, value) in [3.0, 2.0, 2.0, 1.0, 0.5, 0.0].into_iter().enumerate() {
            m[index * n + index] = value;
        }
        for seed in 1..3 {
            let v = random_values(n, seed);
            let scale = 2.0 / dot(&v, &v);
            let entries = (0..n * n).map(|place| {
                let unit = f64::from(u8::from(place / n == place % n));
                unit - scale * v[place / n] * v[place % n]
            });
            let reflection: Vec<f64> = entries.collect();
            m = product(&reflection, &m, [n, n, n]);
            m = transpose(&m, [n, n]);
        }
        let bound = largest_singular_value(&m, n);
        assert!(
            (3.0..3.0 * 6_f64.powf(1.0 / 64.0) + 1e-9).contains(&bound),
            "{bound}"
        );
        let tiny: Vec<f64> = m.iter().map(|entry| 1e-200 * entry).collect();
        approx::assert_relative_eq!(
            largest_singular_value(&tiny, n),
            1e-200 * bound,
            max_relative = 1e-12
        );
        assert!(largest_singular_value(&vec![0.0; n * n], n) < 1e-300);
    }
}
