//! Operations on rows of numbers, to be inlined into [vectorized](crate::vectorized!) functions.

use pulp::Simd;

use crate::simd::Lanes;
use crate::{vectorized, Element};

/// `Σ_i a_i b_i` in f64 for several vectors b as long as a, which is read and widened once for all of them.
#[inline(always)]
pub fn dots<E: Element, S: Simd, const N: usize>(simd: S, a: &[E], bs: [&[E]; N]) -> [f64; N] {
    let (whole, part) = E::vectors::<S>(a);
    let bs = bs.map(|b| E::vectors::<S>(&b[..a.len()]));
    let mut sums = [[f64::splat(simd, 0.0); 2]; N];
    for (index, &a) in whole.iter().enumerate() {
        for k in 0..N {
            sums[k] = E::fused_wide(simd, a, bs[k].0[index], sums[k]);
        }
    }
    if !part.is_empty() {
        let a = E::load_part(simd, part);
        for k in 0..N {
            sums[k] = E::fused_wide(simd, a, E::load_part(simd, bs[k].1), sums[k]);
        }
    }
    totals(simd, sums)
}

/// The sum of each pair of registers. A loop, not `map`: the compiler does not inline closures of that by force.
#[inline(always)]
fn totals<S: Simd, const N: usize>(simd: S, sums: [[S::f64s; 2]; N]) -> [f64; N] {
    let mut totals = [0.0; N];
    for (total, [even, odd]) in totals.iter_mut().zip(sums) {
        *total = f64::total(simd, f64::plus(simd, even, odd));
    }
    totals
}

/// `Σ_i x_i`.
#[inline(always)]
pub fn sum<E: Element, S: Simd>(simd: S, x: &[E]) -> E {
    accumulate(simd, x, x, |sum, x, _| E::plus(simd, sum, x))
}

/// `Σ_i (x_i − mean)²`.
#[inline(always)]
pub fn sum_deviations<E: Element, S: Simd>(simd: S, x: &[E], mean: E) -> E {
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
pub fn sum_products<E: Element, S: Simd>(simd: S, a: &[E], b: &[E]) -> E {
    accumulate(simd, a, b, |sum, a, b| E::fused(simd, a, b, sum))
}

/// Feeds registers of `a` and `b` to `add`, with two sums in turn, so that one need not wait for the other. What does not
/// fill a register is filled up with 0.
#[inline(always)]
fn accumulate<E: Element, S: Simd>(
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
pub fn update<E: Element, S: Simd>(
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

/// `out = a − b`; returns `‖out‖²` and `‖a‖²` in f64.
#[inline(always)]
pub fn difference<E: Element, S: Simd>(simd: S, a: &[E], b: &[E], out: &mut [E]) -> [f64; 2] {
    let (b, b_part) = E::vectors::<S>(&b[..a.len()]);
    let (out, out_part) = E::vectors_mut::<S>(&mut out[..a.len()]);
    let (a, a_part) = E::vectors::<S>(a);
    let mut sums = [[f64::splat(simd, 0.0); 2]; 2];
    let mut add = |a, difference| {
        sums[0] = E::fused_wide(simd, difference, difference, sums[0]);
        sums[1] = E::fused_wide(simd, a, a, sums[1]);
    };
    for ((out, &a), &b) in out.iter_mut().zip(a).zip(b) {
        *out = E::minus(simd, a, b);
        add(a, *out);
    }
    if !a_part.is_empty() {
        let [a, b] = [a_part, b_part].map(|part| E::load_part(simd, part));
        let difference = E::minus(simd, a, b);
        E::store_part(simd, out_part, difference);
        add(a, difference);
    }
    totals(simd, sums)
}

/// `out = Σ_k c_k v_k`, or `out = out + Σ_k c_k v_k` to `add`.
#[inline(always)]
pub fn combine<E: Element, S: Simd, const N: usize>(
    simd: S,
    out: &mut [E],
    terms: [(E, &[E]); N],
    add: bool,
) {
    let mut coefs = [E::splat(simd, E::zero()); N];
    for (coef, term) in coefs.iter_mut().zip(&terms) {
        *coef = E::splat(simd, term.0);
    }
    let vectors = terms.map(|(_, vector)| E::vectors::<S>(&vector[..out.len()]));
    let (out, out_part) = E::vectors_mut::<S>(out);
    let zero = E::splat(simd, E::zero());
    for (index, out) in out.iter_mut().enumerate() {
        let mut sum = if add { *out } else { zero };
        for k in 0..N {
            sum = E::fused(simd, coefs[k], vectors[k].0[index], sum);
        }
        *out = sum;
    }
    if !out_part.is_empty() {
        let mut sum = if add {
            E::load_part(simd, out_part)
        } else {
            zero
        };
        for k in 0..N {
            sum = E::fused(simd, coefs[k], E::load_part(simd, vectors[k].1), sum);
        }
        E::store_part(simd, out_part, sum);
    }
}

vectorized! {
    /// `Σ_i a_i b_i` in f64.
    pub fn dot<'a, E, S>(simd: S, a: &'a [E], b: &'a [E]) -> f64 {
        let [product] = dots(simd, a, [b]);
        product
    }

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
