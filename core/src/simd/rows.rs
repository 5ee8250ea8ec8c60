//! Operations on rows of numbers, to be inlined into [vectorized](crate::vectorized!) functions.

use pulp::Simd;

use crate::{vectorized, Scalar};

/// Independent partial sums of [`dot`].
const SUMS: usize = 16;

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
    sums.iter().sum::<f64>() + tail
}

/// `Σ_i x_i`.
#[inline(always)]
pub fn sum<E: Scalar, S: Simd>(simd: S, x: &[E]) -> E {
    accumulate(simd, x, x, |sum, x, _| E::plus(simd, sum, x))
}

/// `Σ_i (x_i − mean)²`.
#[inline(always)]
pub fn sum_deviations<E: Scalar, S: Simd>(simd: S, x: &[E], mean: E) -> E {
    let center = E::splat(simd, mean);
    let (vectors, part) = E::vectors::<S>(x);
    let mut sums = [E::splat(simd, E::zero()); 2];
    let mut pairs = vectors.chunks_exact(2);
    let add = |sum: &mut E::Vector<S>, x: E::Vector<S>| {
        let deviation = E::minus(simd, x, center);
        *sum = E::fused(simd, deviation, deviation, *sum);
    };
    for pair in &mut pairs {
        add(&mut sums[0], pair[0]);
        add(&mut sums[1], pair[1]);
    }
    pairs.remainder().iter().for_each(|&x| add(&mut sums[0], x));
    let tail: E = part.iter().map(|&x| (x - mean) * (x - mean)).sum();
    E::total(simd, E::plus(simd, sums[0], sums[1])) + tail
}

/// `Σ_i a_i b_i`.
#[inline(always)]
pub fn sum_products<E: Scalar, S: Simd>(simd: S, a: &[E], b: &[E]) -> E {
    accumulate(simd, a, b, |sum, a, b| E::fused(simd, a, b, sum))
}

/// Feeds registers of `a` and `b` to `add`, with two sums in turn, so that one need not wait for the other. What does not
/// fill a register is filled up with 0.
#[inline(always)]
fn accumulate<E: Scalar, S: Simd>(
    simd: S,
    a: &[E],
    b: &[E],
    add: impl Fn(E::Vector<S>, E::Vector<S>, E::Vector<S>) -> E::Vector<S>,
) -> E {
    let ((a, a_part), (b, b_part)) = (E::vectors::<S>(a), E::vectors::<S>(b));
    let mut sums = [E::splat(simd, E::zero()); 2];
    let (mut a_pairs, mut b_pairs) = (a.chunks_exact(2), b.chunks_exact(2));
    for (a, b) in (&mut a_pairs).zip(&mut b_pairs) {
        sums[0] = add(sums[0], a[0], b[0]);
        sums[1] = add(sums[1], a[1], b[1]);
    }
    for (&a, &b) in a_pairs.remainder().iter().zip(b_pairs.remainder()) {
        sums[0] = add(sums[0], a, b);
    }
    if !a_part.is_empty() {
        let parts = [a_part, b_part].map(|part| E::load_part(simd, part));
        sums[1] = add(sums[1], parts[0], parts[1]);
    }
    E::total(simd, E::plus(simd, sums[0], sums[1]))
}

/// `x_i ← step(x_i, a_i, b_i)`, register by register.
#[inline(always)]
pub fn update<E: Scalar, S: Simd>(
    simd: S,
    x: &mut [E],
    a: &[E],
    b: &[E],
    step: impl Fn(E::Vector<S>, E::Vector<S>, E::Vector<S>) -> E::Vector<S>,
) {
    let (x, x_part) = E::vectors_mut::<S>(x);
    let ((a, a_part), (b, b_part)) = (E::vectors::<S>(a), E::vectors::<S>(b));
    for ((x, &a), &b) in x.iter_mut().zip(a).zip(b) {
        *x = step(*x, a, b);
    }
    if !x_part.is_empty() {
        let [a, b] = [a_part, b_part].map(|part| E::load_part(simd, part));
        let new = step(E::load_part(simd, x_part), a, b);
        E::store_part(simd, x_part, new);
    }
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
    pub fn finite<'a, E, S>(simd: S, values: &'a [E]) -> bool {
        // 0 · x is NaN for what is not finite, and NaN spreads through sums.
        let zero = E::splat(simd, E::zero());
        !accumulate(simd, values, values, |sum, x, _| E::fused(simd, zero, x, sum)).is_nan()
    }

    /// `sum = sum + factor · part`.
    pub fn add_scaled<'a, E, S>(_simd: S, sum: &'a mut [E], factor: E, part: &'a [E]) {
        for (sum, &part) in sum.iter_mut().zip(part) {
            *sum += factor * part;
        }
    }
}
