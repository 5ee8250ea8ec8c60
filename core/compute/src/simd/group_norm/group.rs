//! A group of numbers in every row: its normalization and the derivative of that.
//!
//! `K` registers hold a group of one row, so that it is read and written once; of the last one it fills but a part, if
//! `PART`. 0 stands for groups that are larger.

use crate::simd::{sum, sum_deviations, sum_products, update, Simd};
use crate::Element;

use super::Rectify;

/// Rows whose roots are taken at once: one alone would have to wait for its own.
pub(super) const ROWS: usize = 16;

/// Where a group lies in rows of `width` numbers, and its parameters.
#[derive(Clone, Copy)]
pub(super) struct Group<'a, E> {
    pub width: usize,
    pub first: usize,
    pub weight: &'a [E],
    pub bias: &'a [E],
}

impl<E> Group<'_, E> {
    /// Its part of a row.
    #[inline(always)]
    fn of<'x>(&self, rows: &'x [E], row: usize) -> &'x [E] {
        &rows[row * self.width + self.first..][..self.weight.len()]
    }

    /// Its part of what is injected into a row.
    #[inline(always)]
    fn of_injected<'x>(&self, injected: &'x [E], row: usize) -> &'x [E] {
        let step = usize::from(injected.len() > self.width);
        match injected.is_empty() {
            true => injected,
            false => self.of(injected, row * step),
        }
    }

    #[inline(always)]
    fn of_mut<'x>(&self, rows: &'x mut [E], row: usize) -> &'x mut [E] {
        &mut rows[row * self.width + self.first..][..self.weight.len()]
    }

    /// Its part of a row of a record; nothing where nothing is recorded.
    #[inline(always)]
    fn of_record<'x>(&self, record: &'x mut [E], row: usize) -> &'x mut [E] {
        match record.is_empty() {
            true => record,
            false => self.of_mut(record, row),
        }
    }
}

/// `y = w ⊙ x̂ + b` with `x̂ = (x + injection − μ) · scale` in up to [`ROWS`] rows; returns their scales `1 / √(σ² + ε)`. What
/// is injected is empty, one row for all, or a row for each. The records receive x̂ and what a ReLU before the normalization
/// leaves, unless they are empty.
#[inline(always)]
pub(super) fn normalize<E: Element, S: Simd, const K: usize, const PART: bool>(
    simd: S,
    group: Group<'_, E>,
    (x, y): (&[E], &mut [E]),
    (injected, rectify): (&[E], Rectify),
    epsilon: E,
    [values, rectified]: [&mut [E]; 2],
) -> [E; ROWS] {
    let (rows, size) = (x.len() / group.width, group.weight.len());
    let inverse = E::one() / E::of(size as f64);
    let inside = E::load_part(simd, &[E::one(); ROWS][..size % E::count::<S>()]);
    // Means and variances of what is left in y.
    let (mut means, mut scales) = ([E::zero(); ROWS], [E::zero(); ROWS]);
    for (row, (mean, variance)) in means[..rows].iter_mut().zip(&mut scales).enumerate() {
        let (x, y) = (group.of(x, row), group.of_mut(y, row));
        let injection = (group.of_injected(injected, row), rectify);
        let rectified = group.of_record(rectified, row);
        (*mean, *variance) = match K {
            0 => inject_large(simd, (x, y), injection, rectified, inverse),
            _ => inject::<E, S, K, PART>(simd, (x, y), injection, rectified, inside, inverse),
        };
    }
    take_roots(rows, &mut means, &mut scales, epsilon);
    for (row, (&scale, &offset)) in scales[..rows].iter().zip(&means).enumerate() {
        let y = group.of_mut(y, row);
        let normal = (E::splat(simd, scale), E::splat(simd, offset));
        let values = group.of_record(values, row);
        match K {
            0 => transform_large(simd, group, y, normal, rectify, values),
            _ => transform::<E, S, K, PART>(simd, group, y, normal, rectify, values),
        }
    }
    scales
}

/// Turns the variances of the first rows into scales, and their means into what is to be added to scaled numbers.
#[inline(always)]
fn take_roots<E: Element>(rows: usize, means: &mut [E; ROWS], scales: &mut [E; ROWS], epsilon: E) {
    // All of them, so that it is done in registers, unless they are few.
    let rooted = if rows > ROWS / 4 { ROWS } else { rows };
    for (mean, scale) in means[..rooted].iter_mut().zip(scales) {
        *scale = E::one() / (*scale + epsilon).sqrt();
        *mean *= -*scale;
    }
}

/// `y = x + injection`, rectified if that comes first, in one row; returns mean and variance. `inverse` is 1 over the size of
/// the group. What is `rectified` is recorded, unless there is no place for it.
#[inline(always)]
fn inject_large<E: Element, S: Simd>(
    simd: S,
    (x, y): (&[E], &mut [E]),
    (injection, rectify): (&[E], Rectify),
    rectified: &mut [E],
    inverse: E,
) -> (E, E) {
    match injection.is_empty() {
        true => y.copy_from_slice(x),
        false => update(simd, y, x, injection, |_, x, injection| {
            E::plus(simd, x, injection)
        }),
    }
    if rectify == Rectify::Before {
        update(simd, y, x, x, |y, _, _| E::rectified(simd, y));
    }
    if !rectified.is_empty() {
        rectified.copy_from_slice(y);
    }
    let mean = sum(simd, y) * inverse;
    (mean, sum_deviations(simd, y, mean) * inverse)
}

/// [`inject_large`] in registers. What is left in y is less by a number, as is the mean. `inside` is 1 where the last register
/// is filled.
#[inline(always)]
fn inject<E: Element, S: Simd, const K: usize, const PART: bool>(
    simd: S,
    (x, y): (&[E], &mut [E]),
    (injection, rectify): (&[E], Rectify),
    rectified: &mut [E],
    inside: E::Vector<S>,
    inverse: E,
) -> (E, E) {
    let mut v = load::<E, S, K, PART>(simd, x);
    if !injection.is_empty() {
        let injection = load::<E, S, K, PART>(simd, injection);
        for k in 0..K {
            v[k] = E::plus(simd, v[k], injection[k]);
        }
    }
    if rectify == Rectify::Before {
        for v in &mut v {
            *v = E::rectified(simd, *v);
        }
        if !rectified.is_empty() {
            store::<E, S, K, PART>(simd, rectified, v);
        }
    }
    // From a number of the group, so that what both sums have in common is not large beside the variance; unlike the
    // mean it is there at once, and the sums need not wait for each other.
    let shift = E::splat(simd, E::first::<S>(v[0]));
    for v in &mut v {
        *v = E::minus(simd, *v, shift);
    }
    if PART {
        // Behind the end of the group there were zeros, which do not count.
        v[K - 1] = E::times(simd, v[K - 1], inside);
    }
    store::<E, S, K, PART>(simd, y, v);
    let mut squares = v;
    for k in 0..K {
        squares[k] = E::times(simd, v[k], v[k]);
    }
    let mean = total::<E, S, K>(simd, v) * inverse;
    let variance = total::<E, S, K>(simd, squares) * inverse - mean * mean;
    (mean, variance)
}

/// `x ← w ⊙ x̂ + b` with `x̂ = factor · x + offset`, rectified if that comes last, in one row. `record` receives x̂, unless it is
/// empty.
#[inline(always)]
fn transform_large<E: Element, S: Simd>(
    simd: S,
    group: Group<'_, E>,
    x: &mut [E],
    (factor, offset): (E::Vector<S>, E::Vector<S>),
    rectify: Rectify,
    record: &mut [E],
) {
    let normal = |x| E::fused(simd, x, factor, offset);
    if !record.is_empty() {
        update(simd, record, x, x, |_, x, _| normal(x));
    }
    update(simd, x, group.weight, group.bias, |x, w, b| {
        let y = E::fused(simd, normal(x), w, b);
        match rectify {
            Rectify::After => E::rectified(simd, y),
            _ => y,
        }
    });
}

/// [`transform_large`] in registers.
#[inline(always)]
fn transform<E: Element, S: Simd, const K: usize, const PART: bool>(
    simd: S,
    group: Group<'_, E>,
    x: &mut [E],
    (factor, offset): (E::Vector<S>, E::Vector<S>),
    rectify: Rectify,
    record: &mut [E],
) {
    let mut v = load::<E, S, K, PART>(simd, x);
    for v in &mut v {
        *v = E::fused(simd, *v, factor, offset);
    }
    if !record.is_empty() {
        store::<E, S, K, PART>(simd, record, v);
    }
    let weight = load::<E, S, K, PART>(simd, group.weight);
    let bias = load::<E, S, K, PART>(simd, group.bias);
    for k in 0..K {
        v[k] = E::fused(simd, v[k], weight[k], bias[k]);
    }
    if rectify == Rectify::After {
        for v in &mut v {
            *v = E::rectified(simd, *v);
        }
    }
    store::<E, S, K, PART>(simd, x, v);
}

/// `out = scale · (x − mean(x) − x̂ · mean(x ⊙ x̂))`, the derivative of the normalization, in one row. It is symmetric: `x` is
/// multiplied by the weights `FIRST` to go back, and afterwards to go ahead. On the way back it passes the ReLU beside the
/// normalization, by what that has left, and adds `x ⊙ x̂` and `x` to the cotangents of weight and bias, unless these are empty.
#[inline(always)]
pub(super) fn project<E: Element, S: Simd, const K: usize, const PART: bool, const FIRST: bool>(
    simd: S,
    (x, out): (&[E], &mut [E]),
    record: (&[E], E),
    weight: &[E],
    rectified: (&[E], Rectify),
    bars: [&mut [E]; 2],
) {
    match K {
        0 => {
            out.copy_from_slice(x);
            project_large::<E, S, FIRST>(simd, out, record, weight, rectified, bars);
        }
        _ => {
            let place = (x, out);
            project_registers::<E, S, K, PART, FIRST>(simd, place, record, weight, rectified, bars);
        }
    }
}

#[inline(always)]
fn project_large<E: Element, S: Simd, const FIRST: bool>(
    simd: S,
    x: &mut [E],
    (values, scale): (&[E], E),
    weight: &[E],
    (rectified, rectify): (&[E], Rectify),
    [weight_bar, bias_bar]: [&mut [E]; 2],
) {
    let inverse = E::one() / E::of(weight.len() as f64);
    let factor = E::splat(simd, scale);
    if FIRST && rectify == Rectify::After {
        update(simd, x, rectified, rectified, |x, rectified, _| {
            pass_relu::<E, S>(simd, rectified, x)
        });
    }
    if !weight_bar.is_empty() {
        update(simd, weight_bar, x, values, |bar, x, value| {
            E::fused(simd, x, value, bar)
        });
        update(simd, bias_bar, x, x, |bar, x, _| E::plus(simd, bar, x));
    }
    if FIRST {
        update(simd, x, weight, weight, |x, w, _| E::times(simd, x, w));
    }
    let mean = E::splat(simd, sum(simd, x) * inverse);
    let correlation = E::splat(simd, -sum_products(simd, x, values) * inverse);
    update(simd, x, values, weight, |x, value, w| {
        let rest = E::fused(simd, value, correlation, E::minus(simd, x, mean));
        let factor = match FIRST {
            true => factor,
            false => E::times(simd, factor, w),
        };
        E::times(simd, factor, rest)
    });
    if FIRST && rectify == Rectify::Before {
        update(simd, x, rectified, rectified, |x, rectified, _| {
            pass_relu::<E, S>(simd, rectified, x)
        });
    }
}

#[inline(always)]
fn project_registers<E: Element, S: Simd, const K: usize, const PART: bool, const FIRST: bool>(
    simd: S,
    (x, out): (&[E], &mut [E]),
    (values, scale): (&[E], E),
    weight: &[E],
    (rectified, rectify): (&[E], Rectify),
    bars: [&mut [E]; 2],
) {
    let inverse = E::one() / E::of(weight.len() as f64);
    let factor = E::splat(simd, scale);
    let mut v = load::<E, S, K, PART>(simd, x);
    if FIRST && rectify == Rectify::After {
        pass_relus::<E, S, K, PART>(simd, rectified, &mut v);
    }
    let weight = load::<E, S, K, PART>(simd, weight);
    let values = load::<E, S, K, PART>(simd, values);
    if !bars[0].is_empty() {
        add_parameter_bars::<E, S, K, PART>(simd, &v, &values, bars);
    }
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
    if FIRST && rectify == Rectify::Before {
        pass_relus::<E, S, K, PART>(simd, rectified, &mut v);
    }
    store::<E, S, K, PART>(simd, out, v);
}

/// Adds `u ⊙ x̂` and `u` to the cotangents of weight and bias.
#[inline(always)]
fn add_parameter_bars<E: Element, S: Simd, const K: usize, const PART: bool>(
    simd: S,
    u: &[E::Vector<S>; K],
    values: &[E::Vector<S>; K],
    [weight_bar, bias_bar]: [&mut [E]; 2],
) {
    let mut weight = load::<E, S, K, PART>(simd, weight_bar);
    let mut bias = load::<E, S, K, PART>(simd, bias_bar);
    for k in 0..K {
        weight[k] = E::fused(simd, u[k], values[k], weight[k]);
        bias[k] = E::plus(simd, bias[k], u[k]);
    }
    store::<E, S, K, PART>(simd, weight_bar, weight);
    store::<E, S, K, PART>(simd, bias_bar, bias);
}

/// `x` where the result of the ReLU is above 0, else 0.
#[inline(always)]
pub(super) fn pass_relu<E: Element, S: Simd>(
    simd: S,
    rectified: E::Vector<S>,
    x: E::Vector<S>,
) -> E::Vector<S> {
    let zero = E::splat(simd, E::zero());
    E::if_less(simd, zero, rectified, x, zero)
}

/// [`pass_relu`] of a group in registers.
#[inline(always)]
pub(super) fn pass_relus<E: Element, S: Simd, const K: usize, const PART: bool>(
    simd: S,
    rectified: &[E],
    v: &mut [E::Vector<S>; K],
) {
    let rectified = load::<E, S, K, PART>(simd, rectified);
    for k in 0..K {
        v[k] = pass_relu::<E, S>(simd, rectified[k], v[k]);
    }
}

/// A group; 0 behind its end.
#[inline(always)]
pub(super) fn load<E: Element, S: Simd, const K: usize, const PART: bool>(
    simd: S,
    x: &[E],
) -> [E::Vector<S>; K] {
    let (full, part) = E::vectors::<S>(x);
    let mut vectors = [E::splat(simd, E::zero()); K];
    let count = if PART { K - 1 } else { K };
    vectors[..count].copy_from_slice(&full[..count]);
    if PART {
        vectors[count] = E::load_part(simd, part);
    }
    vectors
}

#[inline(always)]
pub(super) fn store<E: Element, S: Simd, const K: usize, const PART: bool>(
    simd: S,
    x: &mut [E],
    vectors: [E::Vector<S>; K],
) {
    let (full, part) = E::vectors_mut::<S>(x);
    let count = if PART { K - 1 } else { K };
    full[..count].copy_from_slice(&vectors[..count]);
    if PART {
        E::store_part(simd, part, vectors[count]);
    }
}

/// The sum of all elements.
#[inline(always)]
pub(super) fn total<E: Element, S: Simd, const K: usize>(simd: S, mut v: [E::Vector<S>; K]) -> E {
    // In pairs, so that few wait for each other.
    let mut count = K;
    while count > 1 {
        let half = count.div_ceil(2);
        for k in half..count {
            v[k - half] = E::plus(simd, v[k - half], v[k]);
        }
        count = half;
    }
    E::total(simd, v[0])
}
