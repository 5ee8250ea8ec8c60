//! One group of one row: its normalization and the derivative of that.
//!
//! `K` registers hold the whole group, so that it is read and written once; 0 stands for a group of any other size.

use equilibria_core::simd::{sum, sum_deviations, sum_products, update, Simd};
use equilibria_core::Scalar;

use super::Rectify;

/// `x ← w ⊙ x̂ + b` with `x̂ = (x + injection − μ) · scale`, `scale = 1 / √(σ² + ε)`. Returns the scale; `record`, if there
/// is one, receives x̂.
#[inline(always)]
pub(super) fn normalize<E: Scalar, S: Simd, const K: usize>(
    simd: S,
    x: &mut [E],
    (injection, rectify): (Option<&[E]>, Rectify),
    [weight, bias]: [&[E]; 2],
    epsilon: E,
    record: Option<&mut [E]>,
) -> E {
    let inverse = E::one() / E::of(x.len() as f64);
    if K == 0 {
        match (injection, rectify) {
            (Some(injection), Rectify::Before) => {
                update(simd, x, injection, injection, |x, injection, _| {
                    E::rectified(simd, E::plus(simd, x, injection))
                });
            }
            (Some(injection), _) => update(simd, x, injection, injection, |x, injection, _| {
                E::plus(simd, x, injection)
            }),
            (None, Rectify::Before) => {
                update(simd, x, weight, bias, |x, _, _| E::rectified(simd, x))
            }
            (None, _) => {}
        }
        let mean = sum(simd, x) * inverse;
        let variance = sum_deviations(simd, x, mean) * inverse;
        let scale = E::one() / (variance + epsilon).sqrt();
        let (mean, factor) = (E::splat(simd, mean), E::splat(simd, scale));
        let normal = |x| E::times(simd, E::minus(simd, x, mean), factor);
        if let Some(record) = record {
            update(simd, record, x, x, |_, x, _| normal(x));
        }
        update(simd, x, weight, bias, |x, w, b| {
            let y = E::fused(simd, normal(x), w, b);
            match rectify {
                Rectify::After => E::rectified(simd, y),
                _ => y,
            }
        });
        return scale;
    }
    let mut v = load::<E, S, K>(simd, x);
    if let Some(injection) = injection {
        let injection = load::<E, S, K>(simd, injection);
        for k in 0..K {
            v[k] = E::plus(simd, v[k], injection[k]);
        }
    }
    if rectify == Rectify::Before {
        for v in &mut v {
            *v = E::rectified(simd, *v);
        }
    }
    let mean = E::splat(simd, total::<E, S, K>(simd, v) * inverse);
    let mut squares = v;
    for k in 0..K {
        v[k] = E::minus(simd, v[k], mean);
        squares[k] = E::times(simd, v[k], v[k]);
    }
    let variance = total::<E, S, K>(simd, squares) * inverse;
    let scale = E::one() / (variance + epsilon).sqrt();
    let factor = E::splat(simd, scale);
    for v in &mut v {
        *v = E::times(simd, *v, factor);
    }
    if let Some(record) = record {
        store::<E, S, K>(record, v);
    }
    let [weight, bias] = [load::<E, S, K>(simd, weight), load::<E, S, K>(simd, bias)];
    for k in 0..K {
        v[k] = E::fused(simd, v[k], weight[k], bias[k]);
    }
    if rectify == Rectify::After {
        for v in &mut v {
            *v = E::rectified(simd, *v);
        }
    }
    store::<E, S, K>(x, v);
    scale
}

/// `x ← scale · (x − mean(x) − x̂ · mean(x ⊙ x̂))`, the derivative of the normalization. It is symmetric: `x` is multiplied
/// by the weights `FIRST` to go back, and afterwards to go ahead.
#[inline(always)]
pub(super) fn project<E: Scalar, S: Simd, const K: usize, const FIRST: bool>(
    simd: S,
    x: &mut [E],
    values: &[E],
    weight: &[E],
    scale: E,
) {
    let inverse = E::one() / E::of(x.len() as f64);
    let weigh = |x, w, _| E::times(simd, x, w);
    let factor = E::splat(simd, scale);
    if K == 0 {
        if FIRST {
            update(simd, x, weight, weight, weigh);
        }
        let mean = E::splat(simd, sum(simd, x) * inverse);
        let correlation = E::splat(simd, -sum_products(simd, x, values) * inverse);
        update(simd, x, values, weight, |x, value, w| {
            let rest = E::fused(simd, value, correlation, E::minus(simd, x, mean));
            let factor = if FIRST {
                factor
            } else {
                E::times(simd, factor, w)
            };
            E::times(simd, factor, rest)
        });
        return;
    }
    let mut v = load::<E, S, K>(simd, x);
    let weight = load::<E, S, K>(simd, weight);
    let values = load::<E, S, K>(simd, values);
    let mut products = v;
    for k in 0..K {
        if FIRST {
            v[k] = E::times(simd, v[k], weight[k]);
        }
        products[k] = E::times(simd, v[k], values[k]);
    }
    let mean = E::splat(simd, total::<E, S, K>(simd, v) * inverse);
    let correlation = E::splat(simd, -total::<E, S, K>(simd, products) * inverse);
    for k in 0..K {
        let rest = E::fused(simd, values[k], correlation, E::minus(simd, v[k], mean));
        let factor = match FIRST {
            true => factor,
            false => E::times(simd, factor, weight[k]),
        };
        v[k] = E::times(simd, factor, rest);
    }
    store::<E, S, K>(x, v);
}

/// The derivative of ⟨p, ẏ⟩ + ⟨u, y⟩ with ẏ = w ⊙ t, t = scale · P ẋ, where P takes mean and correlation with x̂ away as
/// [`project`] does: turns p into the cotangent of ẋ and u into that of x, and adds those of weight and bias. Leaves t in
/// `x_dot`.
///
/// With q = w ⊙ p, C = mean(q ⊙ x̂) and D = mean(ẋ ⊙ x̂), by d scale = −scale² mean(x̂ ⊙ dx) and d x̂ = scale · P dx,
/// `p ← scale · P q` and `u ← scale · (P (w ⊙ u) − x̂ · mean(q ⊙ t) − D · p − C · t)`.
#[inline(always)]
pub(super) fn differentiate_tangent<E: Scalar, S: Simd>(
    simd: S,
    x_dot: &mut [E],
    [p, u]: [&mut [E]; 2],
    (values, scale): (&[E], E),
    weight: &[E],
    [weight_bar, bias_bar]: [&mut [E]; 2],
) {
    let inverse = E::one() / E::of(values.len() as f64);
    let mean = |x: &[E]| sum(simd, x) * inverse;
    let correlation = |x: &[E], y: &[E]| sum_products(simd, x, y) * inverse;
    let (x_mean, x_correlation) = (mean(x_dot), correlation(x_dot, values));
    for (x_dot, &value) in x_dot.iter_mut().zip(values) {
        *x_dot = scale * (*x_dot - x_mean - value * x_correlation);
    }
    let t = x_dot;
    let points = p
        .iter_mut()
        .zip(u.iter_mut())
        .zip(t.iter().zip(values))
        .zip(weight);
    let bars = weight_bar.iter_mut().zip(bias_bar);
    for ((((p, u), (&t, &value)), &w), (weight_bar, bias_bar)) in points.zip(bars) {
        *weight_bar += *p * t + *u * value;
        *bias_bar += *u;
        *p *= w;
        *u *= w;
    }
    let (p_mean, p_correlation, p_tangent) = (mean(p), correlation(p, values), correlation(p, t));
    let (u_mean, u_correlation) = (mean(u), correlation(u, values) + p_tangent);
    for ((p, u), (&t, &value)) in p.iter_mut().zip(u).zip(t.iter().zip(values)) {
        *p = scale * (*p - p_mean - value * p_correlation);
        let rest = *u - u_mean - value * u_correlation;
        *u = scale * (rest - x_correlation * *p - p_correlation * t);
    }
}

#[inline(always)]
fn load<E: Scalar, S: Simd, const K: usize>(simd: S, x: &[E]) -> [E::Vector<S>; K] {
    let mut vectors = [E::splat(simd, E::zero()); K];
    vectors.copy_from_slice(E::vectors::<S>(x).0);
    vectors
}

#[inline(always)]
fn store<E: Scalar, S: Simd, const K: usize>(x: &mut [E], vectors: [E::Vector<S>; K]) {
    E::vectors_mut::<S>(x).0.copy_from_slice(&vectors);
}

/// The sum of all elements, registers in pairs first.
#[inline(always)]
fn total<E: Scalar, S: Simd, const K: usize>(simd: S, mut v: [E::Vector<S>; K]) -> E {
    let mut half = K / 2;
    while half > 0 {
        for k in 0..half {
            v[k] = E::plus(simd, v[k], v[k + half]);
        }
        half /= 2;
    }
    E::total(simd, v[0])
}
