//! What certificates of several layers are made of: products in f64, and the bound that strong monotonicity gives.

use dfdx::prelude::HasShape;
use equilibria_core::{to_host, Backend, Matrix, Scalar};

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
