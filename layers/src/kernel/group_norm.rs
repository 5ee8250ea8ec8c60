//! Group normalization on slices.

mod group;

use equilibria_core::kernel::swap_rows;
use equilibria_core::simd::Simd;
use equilibria_core::{to_host, vectorized, Backend, ParameterGradient, Scalar};

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
        forward(self, x, (injected, rectify), None);
    }

    /// [`forward`](Self::forward) that keeps a record for [`backward`](Self::backward) and [`tangent`](Self::tangent).
    pub fn forward_recorded(
        &self,
        x: &mut [E],
        injected: &[E],
        rectify: Rectify,
        record: &mut Normalized<E>,
    ) {
        forward(self, x, (injected, rectify), Some(record));
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

    /// Turns the cotangents `p` of the tangent `ẏ` and `u` of `y` into those of the tangent `x_dot` of x and of x, in place,
    /// and adds the gradients of weight and bias. What is left in `x_dot` is of no use.
    pub fn tangent_backward(
        &self,
        record: &Normalized<E>,
        x_dot: &mut [E],
        p: &mut [E],
        u: &mut [E],
        weight: &mut ParameterGradient<E>,
        bias: &mut ParameterGradient<E>,
    ) {
        let bars = [weight.sum(), bias.sum()];
        tangent_backward(self, record, x_dot, [p, u], bars);
    }

    #[inline(always)]
    fn size(&self) -> usize {
        self.weight.len() / self.groups
    }

    /// Registers that a group fills; 0 if it leaves a part of the last one empty.
    #[inline(always)]
    fn registers<S: Simd>(&self) -> usize {
        match self.size() % E::count::<S>() {
            0 => self.size() / E::count::<S>(),
            _ => 0,
        }
    }

    #[inline(always)]
    fn normalize_rows<S: Simd, const K: usize>(
        &self,
        simd: S,
        x: &mut [E],
        (injected, rectify): (&[E], Rectify),
        record: Option<&mut Normalized<E>>,
    ) {
        let (width, size) = (self.weight.len(), self.size());
        let mut injections = injected.chunks_exact(width).cycle();
        let mut records = record.map(|record| {
            let values = record.values.chunks_exact_mut(size);
            values.zip(&mut record.scales)
        });
        for x in x.chunks_exact_mut(width) {
            let mut injection = injections.next().map(|row| row.chunks_exact(size));
            let affine = (self.weight.chunks_exact(size)).zip(self.bias.chunks_exact(size));
            for (x, (weight, bias)) in x.chunks_exact_mut(size).zip(affine) {
                let injection = injection.as_mut().and_then(Iterator::next);
                let injection = (injection, rectify);
                let (affine, epsilon) = ([weight, bias], self.epsilon);
                match records.as_mut().and_then(Iterator::next) {
                    Some((values, scale)) => {
                        let values = Some(values);
                        *scale = group::normalize::<E, S, K>(
                            simd, x, injection, affine, epsilon, values,
                        );
                    }
                    None => {
                        group::normalize::<E, S, K>(simd, x, injection, affine, epsilon, None);
                    }
                }
            }
        }
    }

    #[inline(always)]
    fn project_rows<S: Simd, const K: usize, const BACKWARD: bool>(
        &self,
        simd: S,
        record: &Normalized<E>,
        x: &mut [E],
    ) {
        let size = self.size();
        let records = record.values.chunks_exact(size).zip(&record.scales);
        let weights = self.weight.chunks_exact(size).cycle();
        for ((x, (values, &scale)), weight) in x.chunks_exact_mut(size).zip(records).zip(weights) {
            group::project::<E, S, K, BACKWARD>(simd, x, values, weight, scale);
        }
    }
}

/// Calls the method that is compiled for the number of registers a group fills.
macro_rules! in_registers {
    ($norm:ident.$method:ident $(::<$direction:literal>)? ($simd:ident, $($argument:ident),*)) => {
        match $norm.registers::<S>() {
            1 => $norm.$method::<S, 1 $(, $direction)?>($simd, $($argument),*),
            2 => $norm.$method::<S, 2 $(, $direction)?>($simd, $($argument),*),
            4 => $norm.$method::<S, 4 $(, $direction)?>($simd, $($argument),*),
            8 => $norm.$method::<S, 8 $(, $direction)?>($simd, $($argument),*),
            _ => $norm.$method::<S, 0 $(, $direction)?>($simd, $($argument),*),
        }
    };
}

vectorized! {
    fn forward<'a, E, S>(
        simd: S,
        norm: &'a GroupNorm<E>,
        x: &'a mut [E],
        injection: (&'a [E], Rectify),
        record: Option<&'a mut Normalized<E>>,
    ) {
        in_registers!(norm.normalize_rows(simd, x, injection, record));
    }

    fn backward<'a, E, S>(
        simd: S,
        norm: &'a GroupNorm<E>,
        record: &'a Normalized<E>,
        u: &'a mut [E],
    ) {
        in_registers!(norm.project_rows::<true>(simd, record, u));
    }

    fn tangent<'a, E, S>(
        simd: S,
        norm: &'a GroupNorm<E>,
        record: &'a Normalized<E>,
        v: &'a mut [E],
    ) {
        in_registers!(norm.project_rows::<false>(simd, record, v));
    }

    fn tangent_backward<'a, E, S>(
        simd: S,
        norm: &'a GroupNorm<E>,
        record: &'a Normalized<E>,
        x_dot: &'a mut [E],
        bars: [&'a mut [E]; 2],
        parameter_bars: [&'a mut [E]; 2],
    ) {
        let (size, groups) = (norm.size(), norm.groups);
        let [p, u] = bars.map(|bar| bar.chunks_exact_mut(size));
        let records = record.values.chunks_exact(size).zip(&record.scales);
        let [weight_bar, bias_bar] = parameter_bars;
        for (index, (((x_dot, p), u), (values, &scale))) in
            x_dot.chunks_exact_mut(size).zip(p).zip(u).zip(records).enumerate()
        {
            let at = index % groups * size;
            let weight = &norm.weight[at..][..size];
            let bars = [&mut weight_bar[at..][..size], &mut bias_bar[at..][..size]];
            group::differentiate_tangent(simd, x_dot, [p, u], (values, scale), weight, bars);
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
