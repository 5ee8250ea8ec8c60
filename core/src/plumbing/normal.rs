//! Standard normal numbers for probes.

use std::f64::consts::{LN_2, PI, SQRT_2};

use crate::seed::{mix, random_bits};
use crate::{vectorized, Scalar};

/// Standard normal numbers that depend on seed and sample alone.
pub(super) fn normal_row<E: Scalar>(seed: u64, sample: usize, row: &mut [E]) {
    fill_row(row, mix(seed, sample as u64));
}

vectorized! {
    /// Fills `row` with standard normal numbers that depend on `stream` alone.
    ///
    /// Each half of a SplitMix64 number makes one of the uniform numbers u and t of a pair √(−2 ln u) (cos 2πt, sin 2πt). All
    /// of it is arithmetic without branches or tables, so that pairs are computed side by side.
    ///
    /// Reference: G. E. P. Box, M. E. Muller, A Note on the Generation of Random Normal Deviates, Ann. Math. Stat. 29, 1958.
    pub(crate) fn fill_row<'a, E, S>(_simd: S, row: &'a mut [E], stream: u64) {
        let half = row.len() / 2;
        let (first, rest) = row.split_at_mut(half);
        let (second, last) = rest.split_at_mut(half);
        for (index, (first, second)) in first.iter_mut().zip(second).enumerate() {
            let [a, b] = pair(random_bits(stream, index as u64));
            (*first, *second) = (E::of(a), E::of(b));
        }
        if let Some(last) = last.first_mut() {
            *last = E::of(pair(random_bits(stream, half as u64))[0]);
        }
    }
}

/// Two independent standard normal numbers.
#[inline(always)]
fn pair(bits: u64) -> [f64; 2] {
    // Half a step up: u is never 0.
    let u = 2.0 - in_one_to_two(bits >> 32 << 20 | 1 << 19);
    let t = in_one_to_two(bits << 32 >> 12) - 1.5;
    let radius = (-2.0 * ln(u)).sqrt();
    let [sin, cos] = sin_cos(PI * t);
    // The angle doubled.
    [radius * (cos * cos - sin * sin), radius * (2.0 * sin * cos)]
}

/// The number in [1, 2) that has these bits after the point.
#[inline(always)]
fn in_one_to_two(bits: u64) -> f64 {
    f64::from_bits(1.0_f64.to_bits() | bits)
}

/// ln x, x > 0 and not subnormal, to 1e-10 absolutely.
#[inline(always)]
fn ln(x: f64) -> f64 {
    const POINT: u64 = (1 << 52) - 1;
    // The exponent as the last bits of 2⁵² + exponent.
    let shift = (1u64 << 52) as f64;
    let exponent = f64::from_bits(shift.to_bits() | x.to_bits() >> 52) - shift - 1023.0;
    let factor = in_one_to_two(x.to_bits() & POINT);
    // To where the series below is short: (1/√2, √2].
    let large = factor > SQRT_2;
    let factor = if large { 0.5 * factor } else { factor };
    let exponent = if large { exponent + 1.0 } else { exponent };
    let s = (factor - 1.0) / (factor + 1.0);
    let square = s * s;
    let series = [11.0, 9.0, 7.0, 5.0, 3.0, 1.0];
    let sum = series.iter().fold(0.0, |sum, k| sum * square + 1.0 / k);
    exponent * LN_2 + 2.0 * s * sum
}

/// sin x and cos x, |x| ≤ π/2, to 1e-10: the first eight terms of their series.
#[inline(always)]
fn sin_cos(x: f64) -> [f64; 2] {
    let square = x * x;
    // Σ_k (−x²)ᵏ / (2k + 1)! and Σ_k (−x²)ᵏ / (2k)! by Horner's rule: a term is so many times the one before.
    let (mut sin, mut cos) = (1.0, 1.0);
    for k in [7.0, 6.0, 5.0, 4.0, 3.0, 2.0, 1.0] {
        let [of_sin, of_cos] = [
            1.0 / (2.0 * k * (2.0 * k + 1.0)),
            1.0 / (2.0 * k * (2.0 * k - 1.0)),
        ];
        sin = 1.0 - sin * square * of_sin;
        cos = 1.0 - cos * square * of_cos;
    }
    [x * sin, cos]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_are_those_of_the_standard_library() {
        for index in 0..10_000 {
            let x = in_one_to_two(random_bits(1, index) >> 12);
            for x in [x, 1.0 - 0.49 * (x - 1.0), (x - 1.0) / 1e9 + 1e-12] {
                approx::assert_abs_diff_eq!(ln(x), x.ln(), epsilon = 1e-10);
            }
            let angle = PI * (x - 1.5);
            let [sin, cos] = sin_cos(angle);
            approx::assert_abs_diff_eq!(sin, angle.sin(), epsilon = 1e-10);
            approx::assert_abs_diff_eq!(cos, angle.cos(), epsilon = 1e-10);
        }
    }

    /// n = 10⁶ numbers of a thousand streams. The standard error of the mean of xᵏ is √(E x²ᵏ − (E xᵏ)²) / √n, that of a
    /// product of neighbors 1 / √n; five of them are allowed.
    #[test]
    fn numbers_are_normal_and_independent() {
        let mut numbers = vec![0.0_f64; 1_000_000];
        for (stream, row) in numbers.chunks_exact_mut(1000).enumerate() {
            fill_row(row, stream as u64);
        }
        let n = numbers.len() as f64;
        let mean = |of: &dyn Fn(usize) -> f64| (0..numbers.len()).map(of).sum::<f64>() / n;
        let moments = [(1, 0.0, 1.0), (2, 1.0, 2.0), (3, 0.0, 15.0), (4, 3.0, 96.0)];
        for (power, expected, variance) in moments {
            let error = mean(&|i| numbers[i].powi(power)) - expected;
            assert!(
                error.abs() < 5.0 * f64::sqrt(variance / n),
                "{power}: {error}"
            );
        }
        // Of the same pair, of neighboring pairs, and of neighboring streams.
        for distance in [500, 1, 1000] {
            let error = mean(&|i| numbers[i] * numbers[(i + distance) % numbers.len()]);
            assert!(error.abs() < 5.0 / n.sqrt(), "{distance}: {error}");
        }
        // Beyond 1, 2, 3 and 4 deviations.
        for (bound, share) in [
            (1.0, 0.317_310_5),
            (2.0, 0.045_500_3),
            (3.0, 0.002_699_8),
            (4.0, 6.334e-5),
        ] {
            let error = mean(&|i| f64::from(numbers[i].abs() > bound)) - share;
            assert!(error.abs() < 5.0 * (share / n).sqrt(), "{bound}: {error}");
        }
    }

    /// The two halves of a row are made together; the last number of an odd one stands alone.
    #[test]
    fn every_length_is_filled() {
        for length in 0..20 {
            let mut row = vec![f64::NAN; length];
            fill_row(&mut row, 7);
            assert!(row.iter().all(|x| x.is_finite()), "{row:?}");
        }
    }
}
