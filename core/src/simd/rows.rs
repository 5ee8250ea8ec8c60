//! Operations on rows of numbers, to be inlined into [vectorized](crate::vectorized!) functions.

use crate::{vectorized, Scalar};

/// Independent partial sums: enough to keep the adders of one core busy.
const SUMS: usize = 16;

/// The sum of the partial sums, in a tree: one after the other they would wait for each other.
#[inline(always)]
fn reduce<E: Scalar>(mut sums: [E; SUMS]) -> E {
    let mut half = SUMS / 2;
    while half > 0 {
        for i in 0..half {
            let other = sums[i + half];
            sums[i] += other;
        }
        half /= 2;
    }
    sums[0]
}

/// `Σ_i a_i b_i` in f64.
#[inline(always)]
pub fn dot<E: Scalar>(a: &[E], b: &[E]) -> f64 {
    let mut sums = [0.0; SUMS];
    let (a_chunks, b_chunks) = (a.chunks_exact(SUMS), b.chunks_exact(SUMS));
    let tail: f64 = (a_chunks.remainder().iter().zip(b_chunks.remainder()))
        .map(|(&x, &y)| x.wide() * y.wide())
        .sum();
    for (x, y) in a_chunks.zip(b_chunks) {
        for lane in 0..SUMS {
            sums[lane] += x[lane].wide() * y[lane].wide();
        }
    }
    reduce(sums) + tail
}

/// `Σ_i term(x_i)`.
#[inline(always)]
pub fn sum<E: Scalar>(x: &[E], term: impl Fn(E) -> E) -> E {
    let mut sums = [E::zero(); SUMS];
    let chunks = x.chunks_exact(SUMS);
    let tail: E = chunks.remainder().iter().map(|&x| term(x)).sum();
    for chunk in chunks {
        for (sum, &x) in sums.iter_mut().zip(chunk) {
            *sum += term(x);
        }
    }
    reduce(sums) + tail
}

/// `Σ_i a_i b_i`.
#[inline(always)]
pub fn sum_products<E: Scalar>(a: &[E], b: &[E]) -> E {
    let mut sums = [E::zero(); SUMS];
    let (a_chunks, b_chunks) = (a.chunks_exact(SUMS), b.chunks_exact(SUMS));
    let tail: E = (a_chunks.remainder().iter().zip(b_chunks.remainder()))
        .map(|(&x, &y)| x * y)
        .sum();
    for (x, y) in a_chunks.zip(b_chunks) {
        for lane in 0..SUMS {
            sums[lane] += x[lane] * y[lane];
        }
    }
    reduce(sums) + tail
}

/// `out = a − b`.
#[inline(always)]
pub fn difference<E: Scalar>(a: &[E], b: &[E], out: &mut [E]) {
    for ((out, &a), &b) in out.iter_mut().zip(a).zip(b) {
        *out = a - b;
    }
}

/// `out = Σ_k c_k v_k`, a row of each vector with its coefficient.
#[inline(always)]
pub fn combine<'a, E: Scalar>(out: &mut [E], mut terms: impl Iterator<Item = (E, &'a [E])>) {
    match terms.next() {
        Some((coef, term)) => {
            for (out, &value) in out.iter_mut().zip(term) {
                *out = coef * value;
            }
        }
        None => out.fill(E::zero()),
    }
    add_combination(out, terms);
}

/// `sum = sum + Σ_k c_k v_k`; see [`combine`].
#[inline(always)]
pub fn add_combination<'a, E: Scalar>(sum: &mut [E], terms: impl Iterator<Item = (E, &'a [E])>) {
    for (coef, term) in terms {
        for (sum, &value) in sum.iter_mut().zip(term) {
            *sum += coef * value;
        }
    }
}

vectorized! {
    /// Whether all numbers are finite.
    pub fn finite<'a, E>(values: &'a [E]) -> bool {
        // 0 · x is NaN for what is not finite, and NaN spreads through sums.
        !sum(values, |x| x * E::zero()).is_nan()
    }

    /// `sum = sum + factor · part`.
    pub fn add_scaled<'a, E>(sum: &'a mut [E], factor: E, part: &'a [E]) {
        for (sum, &part) in sum.iter_mut().zip(part) {
            *sum += factor * part;
        }
    }
}
