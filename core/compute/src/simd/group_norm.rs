//! Group normalization on slices.

mod group;

use crate::simd::Simd;
use crate::{vectorized, Element};

use group::{Group, ROWS};

/// `y = w ⊙ (x − μ) / √(σ² + ε) + b` per group of adjacent columns.
pub struct GroupNorm<E> {
    weight: Vec<E>,
    bias: Vec<E>,
    groups: usize,
    epsilon: E,
}

/// What derivatives need to know of the forward pass.
#[derive(Clone, Copy)]
pub struct Normalized<'r, E> {
    /// `(x − μ) / √(σ² + ε)`, `[rows, width]`.
    pub values: &'r [E],
    /// `1 / √(σ² + ε)`, `[rows, groups]`.
    pub scales: &'r [E],
}

impl<E: Element> GroupNorm<E> {
    /// w and b, as long as each other and divided by the number of groups, and ε.
    pub fn new(weight: Vec<E>, bias: Vec<E>, groups: usize, epsilon: E) -> Self {
        assert_eq!(weight.len(), bias.len(), "as many weights as biases");
        Self {
            weight,
            bias,
            groups,
            epsilon,
        }
    }

    /// Width of x, and number of groups.
    pub fn widths(&self) -> [usize; 2] {
        [self.weight.len(), self.groups]
    }

    /// Normalizes `x + injected`, `[rows, width]`, in place, and rectifies on the way. What is injected is empty, one row
    /// for all, or a row for each.
    pub fn forward(&self, x: &mut [E], injected: &[E], rectify: Rectify) {
        E::normalize(self, x, (injected, rectify), None);
    }

    /// [`forward`](Self::forward) that records [`Normalized::values`] and [`Normalized::scales`].
    pub fn forward_recorded(
        &self,
        x: &mut [E],
        injected: &[E],
        rectify: Rectify,
        values: &mut [E],
        scales: &mut [E],
    ) {
        E::normalize(self, x, (injected, rectify), Some((values, scales)));
    }

    /// Turns the cotangent `u` of `y` into that of `x`, in place:
    /// `x̄ = scale · (ū − mean(ū) − x̂ · mean(ū ⊙ x̂))` with `ū = w ⊙ u`, means over the group. Passes the ReLU beside the
    /// normalization as well, where it is said to be, which has left `rectified`.
    pub fn backward(
        &self,
        record: Normalized<'_, E>,
        u: &mut [E],
        rectified: &[E],
        rectify: Rectify,
    ) {
        E::normalize_back(self, record, u, (rectified, rectify));
    }

    /// Turns the tangent `v` of `x` into that of `y`, in place:
    /// `ẏ = w ⊙ scale · (v − mean(v) − x̂ · mean(v ⊙ x̂))`. The projection is symmetric, so [`backward`](Self::backward)
    /// does the same in the other order.
    pub fn tangent(&self, record: Normalized<'_, E>, v: &mut [E]) {
        E::normalize_tangent(self, record, v);
    }

    /// Adds the gradients of weight, the sum of rows `u ⊙ x̂`, and bias, the sum of rows `u`.
    pub fn parameters_backward(
        &self,
        record: Normalized<'_, E>,
        u: &[E],
        weight: &mut [E],
        bias: &mut [E],
    ) {
        parameters_backward(record, u, weight, bias);
    }

    /// Turns the cotangents `p` of the tangent `ẏ` and `u` of `y` into those of the tangent `x_dot` of x and of x, in place,
    /// and adds the gradients of weight and bias. What is left in `x_dot` is of no use.
    pub fn tangent_backward(
        &self,
        record: Normalized<'_, E>,
        x_dot: &mut [E],
        p: &mut [E],
        u: &mut [E],
        weight: &mut [E],
        bias: &mut [E],
    ) {
        E::normalize_tangent_back(self, record, x_dot, [p, u], [weight, bias]);
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
        mut record: Option<(&mut [E], &mut [E])>,
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
                    Some((values, _)) => &mut values[first..][..len],
                    None => &mut [],
                };
                let (injection, epsilon) = ((injected, rectify), self.epsilon);
                let scales =
                    group::normalize::<E, S, K, PART>(simd, group, x, injection, epsilon, values);
                if let Some((_, kept)) = &mut record {
                    let places = kept[index * ROWS * self.groups + number..].iter_mut();
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
        record: Normalized<'_, E>,
        x: &mut [E],
        (rectified, rectify): (&[E], Rectify),
    ) {
        let size = self.size();
        let records = record.values.chunks_exact(size).zip(record.scales);
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
    pub(crate) fn forward<'a, E, S>(
        simd: S,
        norm: &'a GroupNorm<E>,
        x: &'a mut [E],
        injection: (&'a [E], Rectify),
        record: Option<(&'a mut [E], &'a mut [E])>,
    ) {
        in_registers!(norm.normalize_rows(simd, x, injection, record));
    }

    pub(crate) fn backward<'a, E, S>(
        simd: S,
        norm: &'a GroupNorm<E>,
        record: Normalized<'a, E>,
        u: &'a mut [E],
        rectified: (&'a [E], Rectify),
    ) {
        in_registers!(norm.project_rows::<true>(simd, record, u, rectified));
    }

    pub(crate) fn tangent<'a, E, S>(
        simd: S,
        norm: &'a GroupNorm<E>,
        record: Normalized<'a, E>,
        v: &'a mut [E],
    ) {
        let nothing = (&[][..], Rectify::Never);
        in_registers!(norm.project_rows::<false>(simd, record, v, nothing));
    }

    pub(crate) fn tangent_backward<'a, E, S>(
        simd: S,
        norm: &'a GroupNorm<E>,
        record: Normalized<'a, E>,
        x_dot: &'a mut [E],
        bars: [&'a mut [E]; 2],
        parameter_bars: [&'a mut [E]; 2],
    ) {
        let (size, groups) = (norm.size(), norm.groups);
        let [p, u] = bars.map(|bar| bar.chunks_exact_mut(size));
        let records = record.values.chunks_exact(size).zip(record.scales);
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
        record: Normalized<'a, E>,
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
