//! Group normalization on slices.

use equilibria_core::kernel::swap_rows;
use equilibria_core::simd::{sum, sum_deviations, sum_products, update, Simd};
use equilibria_core::{to_host, vectorized, Backend, ParameterGradient, Scalar};

use super::rectified;
use crate::modules;

/// `y = w ⊙ (x − μ) / √(σ² + ε) + b` per group; see [`modules::GroupNorm`].
pub struct GroupNorm<E> {
    weight: Vec<E>,
    bias: Vec<E>,
    groups: usize,
    epsilon: E,
}

/// What derivatives need to know of the forward pass; empty by default.
#[derive(Default)]
pub struct Normalized<E> {
    /// `(x − μ) / √(σ² + ε)`, `[rows, width]`.
    values: Vec<E>,
    /// `1 / √(σ² + ε)`, `[rows, groups]`.
    scales: Vec<E>,
}

impl<E: Scalar> Normalized<E> {
    /// Exchanges the records of two rows.
    pub fn swap_rows(&mut self, norm: &GroupNorm<E>, a: usize, b: usize) {
        swap_rows(&mut self.values, norm.weight.len(), a, b);
        swap_rows(&mut self.scales, norm.groups, a, b);
    }
}

impl<E: Scalar> GroupNorm<E> {
    /// Copies the parameters of a module.
    pub fn new<D: Backend<E>>(module: &modules::GroupNorm<E, D>) -> Self {
        Self {
            weight: to_host(&module.weight),
            bias: to_host(&module.bias),
            groups: module.groups,
            epsilon: E::of(modules::GroupNorm::<E, D>::EPSILON),
        }
    }

    /// Room for the record of a forward pass over `rows` rows.
    pub fn record(&self, rows: usize) -> Normalized<E> {
        Normalized {
            values: vec![E::zero(); rows * self.weight.len()],
            scales: vec![E::zero(); rows * self.groups],
        }
    }

    /// Normalizes `x + injected`, `[rows, width]`, in place, and rectifies on the way. What is injected is empty, one row
    /// for all, or a row for each.
    pub fn forward(&self, x: &mut [E], injected: &[E], rectify: Rectify) {
        forward(self, x, injected, rectify);
    }

    /// Normalizes one row in place; `AFTER` rectifies the result.
    #[inline(always)]
    fn normalize<S: Simd, const AFTER: bool>(&self, simd: S, row: &mut [E]) {
        let size = self.size();
        let affine = (self.weight.chunks_exact(size)).zip(self.bias.chunks_exact(size));
        for (x, (weight, bias)) in row.chunks_exact_mut(size).zip(affine) {
            let (mean, scale) = self.statistics(simd, x);
            let (mean, scale) = (E::splat(simd, mean), E::splat(simd, scale));
            update(simd, x, weight, bias, |x, w, b| {
                let normal = E::times(simd, E::minus(simd, x, mean), scale);
                let y = E::fused(simd, normal, w, b);
                match AFTER {
                    true => E::rectified(simd, y),
                    false => y,
                }
            });
        }
    }

    /// [`forward`](Self::forward) that keeps a record for [`backward`](Self::backward) and [`tangent`](Self::tangent).
    pub fn forward_recorded(&self, x: &mut [E], record: &mut Normalized<E>) {
        forward_recorded(self, x, record);
    }

    /// Turns the cotangent `u` of `y` into that of `x`, in place:
    /// `x̄ = scale · (ū − mean(ū) − x̂ · mean(ū ⊙ x̂))` with `ū = w ⊙ u`, means over the group.
    pub fn backward(&self, record: &Normalized<E>, u: &mut [E]) {
        backward(self, record, u);
    }

    /// Turns the tangent `v` of `x` into that of `y`, in place:
    /// `ẏ = w ⊙ scale · (v − mean(v) − x̂ · mean(v ⊙ x̂))`. The projection is symmetric, so [`backward`](Self::backward)
    /// does the same in the other order.
    pub fn tangent(&self, record: &Normalized<E>, v: &mut [E]) {
        tangent(self, record, v);
    }

    /// The rows of `x`, each with its record.
    #[inline(always)]
    fn rows<'r>(
        &self,
        record: &'r Normalized<E>,
        x: &'r mut [E],
    ) -> impl Iterator<Item = (&'r mut [E], (&'r [E], &'r [E]))> {
        let width = self.weight.len();
        let values = record.values.chunks_exact(width);
        let records = values.zip(record.scales.chunks_exact(self.groups));
        x.chunks_exact_mut(width).zip(records)
    }

    /// `x ← w ⊙ x`.
    #[inline(always)]
    fn weigh(&self, row: &mut [E]) {
        for (x, &w) in row.iter_mut().zip(&self.weight) {
            *x *= w;
        }
    }

    /// `x ← scale · (x − mean(x) − x̂ · mean(x ⊙ x̂))`, the derivative of the normalization, means over the group.
    #[inline(always)]
    fn project<S: Simd>(&self, simd: S, row: &mut [E], values: &[E], scales: &[E]) {
        let size = self.size();
        let inverse = E::one() / E::of(size as f64);
        let groups = values.chunks_exact(size).zip(scales);
        for (x, (values, &scale)) in row.chunks_exact_mut(size).zip(groups) {
            let mean = sum(simd, x) * inverse;
            let correlation = sum_products(simd, x, values) * inverse;
            let [mean, scale] = [mean, scale].map(|number| E::splat(simd, number));
            let correlation = E::splat(simd, -correlation);
            update(simd, x, values, values, |x, value, _| {
                let rest = E::fused(simd, value, correlation, E::minus(simd, x, mean));
                E::times(simd, scale, rest)
            });
        }
    }

    /// Adds the gradients of weight, the sum of rows `u ⊙ x̂`, and bias, the sum of rows `u`.
    pub fn parameters_backward(
        &self,
        record: &Normalized<E>,
        u: &[E],
        weight: &mut ParameterGradient<E>,
        bias: &mut ParameterGradient<E>,
    ) {
        parameters_backward(record, u, weight.sum(), bias.sum());
    }

    #[inline(always)]
    fn size(&self) -> usize {
        self.weight.len() / self.groups
    }

    /// Mean and `1 / √(σ² + ε)` of one group.
    #[inline(always)]
    fn statistics<S: Simd>(&self, simd: S, x: &[E]) -> (E, E) {
        let inverse = E::one() / E::of(x.len() as f64);
        let mean = sum(simd, x) * inverse;
        let variance = sum_deviations(simd, x, mean) * inverse;
        (mean, E::one() / (variance + self.epsilon).sqrt())
    }
}

vectorized! {
    fn forward<'a, E, S>(
        simd: S,
        norm: &'a GroupNorm<E>,
        x: &'a mut [E],
        injected: &'a [E],
        rectify: Rectify,
    ) {
        let width = norm.weight.len();
        let mut injections = injected.chunks_exact(width).cycle();
        for row in x.chunks_exact_mut(width) {
            match (injections.next(), rectify) {
                (Some(injection), Rectify::Before) => inject::<E, S, true>(simd, row, injection),
                (Some(injection), _) => inject::<E, S, false>(simd, row, injection),
                (None, Rectify::Before) => row.iter_mut().for_each(|x| *x = rectified(*x)),
                (None, _) => {}
            }
            match rectify {
                Rectify::After => norm.normalize::<S, true>(simd, row),
                _ => norm.normalize::<S, false>(simd, row),
            }
        }
    }

    fn forward_recorded<'a, E, S>(
        simd: S,
        norm: &'a GroupNorm<E>,
        x: &'a mut [E],
        record: &'a mut Normalized<E>,
    ) {
        let (width, size) = (norm.weight.len(), norm.size());
        for (row, x) in x.chunks_exact_mut(width).enumerate() {
            for (group, x) in x.chunks_exact_mut(size).enumerate() {
                let (mean, scale) = norm.statistics(simd, x);
                record.scales[row * norm.groups + group] = scale;
                let values = &mut record.values[row * width + group * size..][..size];
                let first = group * size;
                let affine = norm.weight[first..].iter().zip(&norm.bias[first..]);
                for ((x, value), (&w, &b)) in x.iter_mut().zip(values).zip(affine) {
                    *value = (*x - mean) * scale;
                    *x = *value * w + b;
                }
            }
        }
    }

    fn backward<'a, E, S>(
        simd: S,
        norm: &'a GroupNorm<E>,
        record: &'a Normalized<E>,
        u: &'a mut [E],
    ) {
        for (row, (values, scales)) in norm.rows(record, u) {
            norm.weigh(row);
            norm.project(simd, row, values, scales);
        }
    }

    fn tangent<'a, E, S>(
        simd: S,
        norm: &'a GroupNorm<E>,
        record: &'a Normalized<E>,
        v: &'a mut [E],
    ) {
        for (row, (values, scales)) in norm.rows(record, v) {
            norm.project(simd, row, values, scales);
            norm.weigh(row);
        }
    }

    fn parameters_backward<'a, E, S>(
        _simd: S,
        record: &'a Normalized<E>,
        u: &'a [E],
        weight: &'a mut [E],
        bias: &'a mut [E],
    ) {
        let width = weight.len();
        for (u, values) in u.chunks_exact(width).zip(record.values.chunks_exact(width)) {
            for (((w, b), &u), &value) in weight.iter_mut().zip(&mut *bias).zip(u).zip(values) {
                *w += u * value;
                *b += u;
            }
        }
    }
}

/// Where a ReLU stands beside a normalization.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rectify {
    /// Nowhere.
    Never,
    /// GN(ReLU(·)).
    Before,
    /// ReLU(GN(·)).
    After,
}

/// `x ← x + injection`; `AFTER` rectifies the sum.
#[inline(always)]
fn inject<E: Scalar, S: Simd, const AFTER: bool>(simd: S, x: &mut [E], injection: &[E]) {
    update(simd, x, injection, injection, |x, injection, _| {
        let sum = E::plus(simd, x, injection);
        match AFTER {
            true => E::rectified(simd, sum),
            false => sum,
        }
    });
}
