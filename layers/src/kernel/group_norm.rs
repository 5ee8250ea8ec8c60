//! Group normalization on slices.

use equilibria_core::kernel::swap_rows;
use equilibria_core::{to_host, Backend, Scalar};

use crate::modules;

/// `y = w ⊙ (x − μ) / √(σ² + ε) + b` per group; see [`modules::GroupNorm`].
pub struct GroupNorm<E> {
    weight: Vec<E>,
    bias: Vec<E>,
    groups: usize,
    epsilon: E,
}

/// What derivatives need to know of the forward pass.
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

    /// Normalizes `x`, `[rows, width]`, in place.
    pub fn forward(&self, x: &mut [E]) {
        for row in x.chunks_exact_mut(self.weight.len()) {
            let affine = self
                .weight
                .chunks_exact(self.size())
                .zip(self.bias.chunks_exact(self.size()));
            for (x, (weight, bias)) in row.chunks_exact_mut(self.size()).zip(affine) {
                let (mean, scale) = self.statistics(x);
                for ((x, &w), &b) in x.iter_mut().zip(weight).zip(bias) {
                    *x = (*x - mean) * scale * w + b;
                }
            }
        }
    }

    /// [`forward`](Self::forward) that keeps a record for [`backward`](Self::backward) and [`tangent`](Self::tangent).
    pub fn forward_recorded(&self, x: &mut [E], record: &mut Normalized<E>) {
        let (width, size) = (self.weight.len(), self.size());
        for (row, x) in x.chunks_exact_mut(width).enumerate() {
            for (group, x) in x.chunks_exact_mut(size).enumerate() {
                let (mean, scale) = self.statistics(x);
                record.scales[row * self.groups + group] = scale;
                let values = &mut record.values[row * width + group * size..][..size];
                let affine = self.weight[group * size..]
                    .iter()
                    .zip(&self.bias[group * size..]);
                for ((x, value), (&w, &b)) in x.iter_mut().zip(values).zip(affine) {
                    *value = (*x - mean) * scale;
                    *x = *value * w + b;
                }
            }
        }
    }

    /// Turns the cotangent `u` of `y` into that of `x`, in place:
    /// `x̄ = scale · (ū − mean(ū) − x̂ · mean(ū ⊙ x̂))` with `ū = w ⊙ u`, means over the group.
    pub fn backward(&self, record: &Normalized<E>, u: &mut [E]) {
        self.weigh(u);
        self.project(record, u);
    }

    /// Turns the tangent `v` of `x` into that of `y`, in place:
    /// `ẏ = w ⊙ scale · (v − mean(v) − x̂ · mean(v ⊙ x̂))`. The projection is symmetric, so [`backward`](Self::backward)
    /// does the same in the other order.
    pub fn tangent(&self, record: &Normalized<E>, v: &mut [E]) {
        self.project(record, v);
        self.weigh(v);
    }

    /// `x ← w ⊙ x`.
    fn weigh(&self, x: &mut [E]) {
        for row in x.chunks_exact_mut(self.weight.len()) {
            for (x, &w) in row.iter_mut().zip(&self.weight) {
                *x *= w;
            }
        }
    }

    /// `x ← scale · (x − mean(x) − x̂ · mean(x ⊙ x̂))`, the derivative of the normalization, means over the group.
    fn project(&self, record: &Normalized<E>, x: &mut [E]) {
        let (width, size) = (self.weight.len(), self.size());
        let inverse = E::one() / E::of(size as f64);
        for (row, x) in x.chunks_exact_mut(width).enumerate() {
            for (group, x) in x.chunks_exact_mut(size).enumerate() {
                let values = &record.values[row * width + group * size..][..size];
                let (mut mean, mut correlation) = (E::zero(), E::zero());
                for (&x, &value) in x.iter().zip(values) {
                    mean += x;
                    correlation += x * value;
                }
                (mean, correlation) = (mean * inverse, correlation * inverse);
                let scale = record.scales[row * self.groups + group];
                for (x, &value) in x.iter_mut().zip(values) {
                    *x = scale * (*x - mean - value * correlation);
                }
            }
        }
    }

    /// Adds the gradients of weight, the sum of rows `u ⊙ x̂`, and bias, the sum of rows `u`.
    pub fn parameters_backward(
        &self,
        record: &Normalized<E>,
        u: &[E],
        weight: &mut [E],
        bias: &mut [E],
    ) {
        let width = self.weight.len();
        for (u, values) in u.chunks_exact(width).zip(record.values.chunks_exact(width)) {
            for (((w, b), &u), &value) in weight.iter_mut().zip(&mut *bias).zip(u).zip(values) {
                *w += u * value;
                *b += u;
            }
        }
    }

    fn size(&self) -> usize {
        self.weight.len() / self.groups
    }

    /// Mean and `1 / √(σ² + ε)` of one group.
    fn statistics(&self, x: &[E]) -> (E, E) {
        let inverse = E::one() / E::of(x.len() as f64);
        let mean = sum(x, |x| x) * inverse;
        let variance = sum(x, |x| (x - mean) * (x - mean)) * inverse;
        (mean, E::one() / (variance + self.epsilon).sqrt())
    }
}

/// `Σ term(x)` in eight independent sums, so that the loop vectorizes.
fn sum<E: Scalar>(x: &[E], term: impl Fn(E) -> E) -> E {
    const LANES: usize = 8;
    let mut sums = [E::zero(); LANES];
    let chunks = x.chunks_exact(LANES);
    let tail: E = chunks.remainder().iter().map(|&x| term(x)).sum();
    for chunk in chunks {
        for (sum, &x) in sums.iter_mut().zip(chunk) {
            *sum += term(x);
        }
    }
    sums.into_iter().sum::<E>() + tail
}
