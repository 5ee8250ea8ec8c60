//! The derivative of a normalization and of its tangent, together.

use crate::simd::{sum, sum_products, update, Simd};
use crate::Element;

use super::group::{load, pass_relu, pass_relus, store, total};
use super::Rectify;

/// The derivative of ⟨p, ẏ⟩ + ⟨u, y⟩ in one group of one row, with ẏ = w ⊙ t, t = scale · P ẋ, where P takes mean and correlation
/// with x̂ away as [`project`](super::group::project) does: the cotangents of x and of ẋ. Adds those of weight and bias.
///
/// With q = w ⊙ p, C = mean(q ⊙ x̂) and D = mean(ẋ ⊙ x̂), by d scale = −scale² mean(x̂ ⊙ dx) and d x̂ = scale · P dx,
/// `p̄ = scale · P q` and `x̄ = scale · (P (w ⊙ u) − x̂ · mean(q ⊙ t) − D · p̄ − C · t)`.
#[inline(always)]
#[allow(clippy::too_many_arguments)]
pub(super) fn bend<E: Element, S: Simd, const K: usize, const PART: bool>(
    simd: S,
    record: (&[E], E),
    weight: &[E],
    rectified: (&[E], Rectify),
    points: (&[E], [&[E]; 2]),
    places: [&mut [E]; 2],
    bars: [&mut [E]; 2],
    work: &mut [E],
) {
    match K {
        0 => bend_large(simd, record, weight, rectified, points, places, bars, work),
        _ => bend_registers::<E, S, K, PART>(simd, record, weight, rectified, points, places, bars),
    }
}

/// `work` receives t.
#[inline(always)]
#[allow(clippy::too_many_arguments)]
fn bend_large<E: Element, S: Simd>(
    simd: S,
    (values, scale): (&[E], E),
    weight: &[E],
    (rectified, rectify): (&[E], Rectify),
    (x_dot, [u_given, p_given]): (&[E], [&[E]; 2]),
    [u, p]: [&mut [E]; 2],
    [weight_bar, bias_bar]: [&mut [E]; 2],
    work: &mut [E],
) {
    let inverse = E::one() / E::of(values.len() as f64);
    let mean = |x: &[E]| sum(simd, x) * inverse;
    let correlation = |x: &[E], y: &[E]| sum_products(simd, x, y) * inverse;
    let pass = |there: Rectify, x: &mut [E]| {
        if rectify == there {
            update(simd, x, rectified, rectified, |x, rectified, _| {
                pass_relu::<E, S>(simd, rectified, x)
            });
        }
    };
    let t = work;
    for (place, given) in [(&mut *t, x_dot), (&mut *u, u_given), (&mut *p, p_given)] {
        place.copy_from_slice(given);
    }
    pass(Rectify::Before, t);
    pass(Rectify::After, u);
    pass(Rectify::After, p);
    let (x_mean, x_correlation) = (mean(t), correlation(t, values));
    for (t, &value) in t.iter_mut().zip(values) {
        *t = scale * (*t - x_mean - value * x_correlation);
    }
    let points = p.iter_mut().zip(u.iter_mut()).zip(t.iter().zip(values));
    let bars = weight_bar.iter_mut().zip(bias_bar);
    for ((((p, u), (&t, &value)), &w), (weight_bar, bias_bar)) in points.zip(weight).zip(bars) {
        *weight_bar += *p * t + *u * value;
        *bias_bar += *u;
        *p *= w;
        *u *= w;
    }
    let (p_mean, p_correlation, p_tangent) = (mean(p), correlation(p, values), correlation(p, t));
    let (u_mean, u_correlation) = (mean(u), correlation(u, values) + p_tangent);
    for ((p, u), (&t, &value)) in p.iter_mut().zip(u.iter_mut()).zip(t.iter().zip(values)) {
        *p = scale * (*p - p_mean - value * p_correlation);
        let rest = *u - u_mean - value * u_correlation;
        *u = scale * (rest - x_correlation * *p - p_correlation * t);
    }
    pass(Rectify::Before, u);
    pass(Rectify::Before, p);
}

/// [`bend_large`] in registers.
#[inline(always)]
fn bend_registers<E: Element, S: Simd, const K: usize, const PART: bool>(
    simd: S,
    (values, scale): (&[E], E),
    weight: &[E],
    (rectified, rectify): (&[E], Rectify),
    (x_dot, [u, p]): (&[E], [&[E]; 2]),
    [x_bar, p_bar]: [&mut [E]; 2],
    bars: [&mut [E]; 2],
) {
    let inverse = E::one() / E::of(weight.len() as f64);
    let [mut t, mut u, mut p] = [x_dot, u, p].map(|x| load::<E, S, K, PART>(simd, x));
    match rectify {
        Rectify::Never => {}
        Rectify::Before => pass_relus::<E, S, K, PART>(simd, rectified, &mut t),
        Rectify::After => {
            pass_relus::<E, S, K, PART>(simd, rectified, &mut u);
            pass_relus::<E, S, K, PART>(simd, rectified, &mut p);
        }
    }
    let values = load::<E, S, K, PART>(simd, values);
    let factor = E::splat(simd, scale);

    let x_correlation = E::splat(simd, -correlation::<E, S, K>(simd, &t, &values) * inverse);
    let x_mean = E::splat(simd, -total::<E, S, K>(simd, t) * inverse);
    for k in 0..K {
        let rest = E::fused(simd, values[k], x_correlation, E::plus(simd, t[k], x_mean));
        t[k] = E::times(simd, factor, rest);
    }
    add_parameter_bars::<E, S, K, PART>(simd, [&u, &p], [&values, &t], bars);
    let weight = load::<E, S, K, PART>(simd, weight);
    for k in 0..K {
        p[k] = E::times(simd, p[k], weight[k]);
        u[k] = E::times(simd, u[k], weight[k]);
    }
    let p_correlation = E::splat(simd, -correlation::<E, S, K>(simd, &p, &values) * inverse);
    let u_correlation =
        correlation::<E, S, K>(simd, &u, &values) + correlation::<E, S, K>(simd, &p, &t);
    let u_correlation = E::splat(simd, -u_correlation * inverse);
    let [p_mean, u_mean] = [total::<E, S, K>(simd, p), total::<E, S, K>(simd, u)];
    let [p_mean, u_mean] = [
        E::splat(simd, -p_mean * inverse),
        E::splat(simd, -u_mean * inverse),
    ];
    for k in 0..K {
        let rest = E::fused(simd, values[k], p_correlation, E::plus(simd, p[k], p_mean));
        p[k] = E::times(simd, factor, rest);
        let rest = E::fused(simd, values[k], u_correlation, E::plus(simd, u[k], u_mean));
        let rest = E::fused(simd, x_correlation, p[k], rest);
        u[k] = E::times(simd, factor, E::fused(simd, p_correlation, t[k], rest));
    }
    if rectify == Rectify::Before {
        pass_relus::<E, S, K, PART>(simd, rectified, &mut u);
        pass_relus::<E, S, K, PART>(simd, rectified, &mut p);
    }
    store::<E, S, K, PART>(simd, x_bar, u);
    store::<E, S, K, PART>(simd, p_bar, p);
}

/// The sum of products. A function, as closures of this size are not inlined, and then run without the instruction set.
#[inline(always)]
fn correlation<E: Element, S: Simd, const K: usize>(
    simd: S,
    x: &[E::Vector<S>; K],
    y: &[E::Vector<S>; K],
) -> E {
    let mut products = *x;
    for k in 0..K {
        products[k] = E::times(simd, x[k], y[k]);
    }
    total::<E, S, K>(simd, products)
}

/// Adds `p ⊙ t + u ⊙ x̂` to the cotangent of the weight and u to that of the bias.
#[inline(always)]
fn add_parameter_bars<E: Element, S: Simd, const K: usize, const PART: bool>(
    simd: S,
    [u, p]: [&[E::Vector<S>; K]; 2],
    [values, t]: [&[E::Vector<S>; K]; 2],
    [weight_bar, bias_bar]: [&mut [E]; 2],
) {
    let mut weight = load::<E, S, K, PART>(simd, weight_bar);
    let mut bias = load::<E, S, K, PART>(simd, bias_bar);
    for k in 0..K {
        let sum = E::fused(simd, u[k], values[k], weight[k]);
        weight[k] = E::fused(simd, p[k], t[k], sum);
        bias[k] = E::plus(simd, bias[k], u[k]);
    }
    store::<E, S, K, PART>(simd, weight_bar, weight);
    store::<E, S, K, PART>(simd, bias_bar, bias);
}
