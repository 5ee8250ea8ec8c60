//! Group normalization on slices.

mod group;

use equilibria_core::kernel::swap_rows;
use equilibria_core::simd::Simd;
use equilibria_core::{to_host, vectorized, Backend, Element, ParameterGradient, Scalar};

use crate::modules;
use group::{Group, ROWS};

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

impl<E: Element> Normalized<E> {
    /// Exchanges the records of two rows.
    pub fn swap_rows(&mut self, norm: &GroupNorm<E>, a: usize, b: usize) {
        swap_rows(&mut self.values, norm.weight.len(), a, b);
        swap_rows(&mut self.scales, norm.groups, a, b);
    }
}

impl<E: Element> GroupNorm<E> {
    /// Copies the parameters of a module.
    pub fn new<D: Backend<E>>(module: &modules::GroupNorm<E, D>) -> Self
    where
        E: Scalar,
    {
        Self {
            weight: to_host(&module.weight),
            bias: to_host(&module.bias),
            groups: module.groups,
            epsilon: E::of(modules::GroupNorm::<E, D>::EPSILON),
        }
    }

    /// Memory for the record of a forward pass over `rows` rows.
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
    /// `x̄ = scale · (ū − mean(ū) − x̂ · mean(ū ⊙ x̂))` with `ū = w ⊙ u`, means over the group. Passes the ReLU beside the
    /// normalization as well, where it is said to be, which has left `rectified`.
    pub fn backward(&self, record: &Normalized<E>, u: &mut [E], rectified: &[E], rectify: Rectify) {
        backward(self, record, u, (rectified, rectify));
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

    #[inline(always)]
    fn normalize_rows<S: Simd, const K: usize, const PART: bool>(
        &self,
        simd: S,
        x: &mut [E],
        (injected, rectify): (&[E], Rectify),
        mut record: Option<&mut Normalized<E>>,
    ) {
        let (width, size) = (self.weight.len(), self.size());
        for (index, x) in x.chunks_mut(ROWS * width).enumerate() {
            let (first, len) = (index * ROWS * width, x.len());
            let injected = match injected.len() > width {
                true => &injected[first..][..len],
                false => injected,
            };
            for (number, weight) in self.weight.chunks_exact(size).enumerate() {
                let group = Group {
                    width,
                    first: number * size,
                    weight,
                    bias: &self.bias[number * size..][..size],
                };
                let values = match &mut record {
                    Some(record) => &mut record.values[first..][..len],
                    None => &mut [],
                };
                let (injection, epsilon) = ((injected, rectify), self.epsilon);
                let scales =
                    group::normalize::<E, S, K, PART>(simd, group, x, injection, epsilon, values);
                if let Some(record) = &mut record {
                    let places = record.scales[index * ROWS * self.groups + number..].iter_mut();
                    let places = places.step_by(self.groups).take(len / width);
                    places.zip(scales).for_each(|(place, scale)| *place = scale);
                }
            }
        }
    }

    #[inline(always)]
    fn project_rows<S: Simd, const K: usize, const PART: bool, const BACKWARD: bool>(
        &self,
        simd: S,
        record: &Normalized<E>,
        x: &mut [E],
        (rectified, rectify): (&[E], Rectify),
    ) {
        let size = self.size();
        let records = record.values.chunks_exact(size).zip(&record.scales);
        let weights = self.weight.chunks_exact(size).cycle();
        let groups = x.chunks_exact_mut(size).zip(records).zip(weights);
        for (index, ((x, (values, &scale)), weight)) in groups.enumerate() {
            let rectified = match rectify {
                Rectify::Never => rectified,
                _ => &rectified[index * size..][..size],
            };
            let (record, rectified) = ((values, scale), (rectified, rectify));
            group::project::<E, S, K, PART, BACKWARD>(simd, x, record, weight, rectified);
        }
    }
}

/// Calls the method that is compiled for the number of registers a group takes, and whether it fills the last one.
macro_rules! in_registers {
    ($norm:ident.$method:ident $(::<$direction:literal>)? ($simd:ident, $($argument:ident),*)) => {
        in_registers!(@ [1 2 3 4 5 6 7 8] $norm.$method [$($direction)?] ($simd, $($argument),*))
    };
    (@ [$($count:literal)*] $norm:ident.$method:ident $direction:tt $arguments:tt) => {{
        let lanes = E::count::<S>();
        match ($norm.size().div_ceil(lanes), $norm.size() % lanes != 0) {
            $(
                ($count, false) => in_registers!(@@ $norm.$method $count false $direction $arguments),
                ($count, true) => in_registers!(@@ $norm.$method $count true $direction $arguments),
            )*
            _ => in_registers!(@@ $norm.$method 0 false $direction $arguments),
        }
    }};
    (@@ $norm:ident.$method:ident $count:literal $part:literal [$($direction:literal)?] ($($argument:ident),*)) => {
        $norm.$method::<S, $count, $part $(, $direction)?>($($argument),*)
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
        rectified: (&'a [E], Rectify),
    ) {
        in_registers!(norm.project_rows::<true>(simd, record, u, rectified));
    }

    fn tangent<'a, E, S>(
        simd: S,
        norm: &'a GroupNorm<E>,
        record: &'a Normalized<E>,
        v: &'a mut [E],
    ) {
        let nothing = (&[][..], Rectify::Never);
        in_registers!(norm.project_rows::<false>(simd, record, v, nothing));
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
