//! Nonnegative matrices: what the error bounds of layers on graphs rest on. Everything is in f64.

use crate::certificates::norm;

/// A positive vector v and a rate c with `M v ≤ c v` in every entry, for a nonnegative matrix M of this size, given by its product.
///
/// Each positive v has such a c, which is an upper bound of the spectral radius of M, so the best one found may be trusted however
/// far the iteration has come (Collatz, Math. Z. 48, 1942; Wielandt, Math. Z. 52, 1950). c allows for the rounding of the product.
pub fn growth(size: usize, product: impl Fn(&[f64]) -> Vec<f64>) -> (Vec<f64>, f64) {
    let rounding = 1.0 + (size as f64 + 4.0) * f64::EPSILON;
    let (mut v, mut best) = (vec![1.0; size], (vec![1.0; size], f64::INFINITY));
    for _ in 0..STEPS {
        let image = product(&v);
        if !image.iter().all(|image| image.is_finite()) {
            break;
        }
        let rates = image.iter().zip(&v).map(|(image, v)| image / v);
        let rate = rates.fold(0.0, f64::max) * rounding;
        if rate < best.1 {
            best = (v.clone(), rate);
        }
        // With v added, the iteration converges for periodic matrices too, and no entry becomes 0.
        v.iter_mut().zip(&image).for_each(|(v, image)| *v += image);
        let largest = v.iter().fold(0.0_f64, |largest, v| largest.max(*v));
        // An entry that is left behind by factors of 10³⁰⁰ stays positive.
        let floor = f64::MIN_POSITIVE;
        v.iter_mut().for_each(|v| *v = (*v / largest).max(floor));
    }
    best
}

/// `Σ_k Mᵏ R Wᵏ` in every entry, or more, for nonnegative M, `[n, n]`, and W, `[width, width]`; none where that need not be finite.
///
/// With M v ≤ c v and Wᵀ q ≤ d q, what comes behind a term that is at most s v qᵀ is at most s v qᵀ c d / (1 − c d).
pub fn neumann(
    mut term: Vec<f64>,
    m: &[f64],
    w: &[f64],
    [n, width]: [usize; 2],
) -> Option<Vec<f64>> {
    let (v, c) = growth(n, |v| product(m, v, [n, n, 1]));
    let (q, d) = growth(width, |q| product(q, w, [1, width, width]));
    let contraction = c * d * (1.0 + 1e-12);
    if !(contraction < 1.0 && term.iter().all(|term| term.is_finite())) {
        return None;
    }
    let limits: Vec<f64> = v
        .iter()
        .flat_map(|v| q.iter().map(move |q| v * q))
        .collect();
    let mut sum = term.clone();
    for number in 1.. {
        let scales = term.iter().zip(&limits).map(|(term, limit)| term / limit);
        let rest = scales.fold(0.0, f64::max) * contraction / (1.0 - contraction);
        if number == TERMS || rest * norm(&limits) <= 1e-3 * norm(&sum) {
            let whole = sum
                .iter()
                .zip(&limits)
                .map(|(sum, limit)| sum + rest * limit);
            return Some(whole.map(|bound| bound * (1.0 + 1e-12)).collect());
        }
        term = product(m, &product(&term, w, [n, width, width]), [n, n, width]);
        sum.iter_mut()
            .zip(&term)
            .for_each(|(sum, term)| *sum += term);
    }
    None
}

/// Terms of the sum, at most.
const TERMS: usize = 200;

/// Steps of the iteration towards v.
const STEPS: usize = 60;

/// `A B` of row-major matrices, `[rows, inner]` and `[inner, columns]`.
pub fn product(a: &[f64], b: &[f64], [rows, inner, columns]: [usize; 3]) -> Vec<f64> {
    let mut y = vec![0.0; rows * columns];
    for (y, a) in y.chunks_exact_mut(columns).zip(a.chunks_exact(inner)) {
        for (a, b) in a.iter().zip(b.chunks_exact(columns)) {
            y.iter_mut().zip(b).for_each(|(y, b)| *y += a * b);
        }
    }
    y
}

/// The transpose of a row-major matrix, `[rows, columns]`.
pub fn transpose(a: &[f64], [rows, columns]: [usize; 2]) -> Vec<f64> {
    let places = (0..columns).flat_map(|column| (0..rows).map(move |row| row * columns + column));
    places.map(|place| a[place]).collect()
}

/// The entries without their signs.
pub fn absolute(a: &[f64]) -> Vec<f64> {
    a.iter().map(|a| a.abs()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A cycle of three nodes with weights 1, 2 and 4 has spectral radius 2, and is periodic; a node without edges changes nothing.
    #[test]
    fn the_rate_of_a_cycle_is_its_geometric_mean() {
        let cycle = [
            [0.0, 1.0, 0.0, 0.0],
            [0.0, 0.0, 2.0, 0.0],
            [4.0, 0.0, 0.0, 0.0],
            [0.0, 0.0, 0.0, 0.0],
        ]
        .concat();
        let (v, rate) = growth(4, |v| product(&cycle, v, [4, 4, 1]));
        assert!((2.0..2.0 + 1e-9).contains(&rate), "{rate}");
        assert!(v.iter().all(|v| *v > 0.0));
        let image = product(&cycle, &v, [4, 4, 1]);
        assert!(image.iter().zip(&v).all(|(image, v)| *image <= rate * v));
    }

    #[test]
    fn what_is_not_finite_has_no_rate() {
        let (_, rate) = growth(1, |_| vec![f64::NAN]);
        assert!(rate.is_infinite(), "{rate}");
    }
}
