//! Group normalization on slices.

mod bend;
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

/// Where a pass ahead leaves [`Normalized`].
pub struct Recorded<'r, E> {
    /// [`Normalized::values`].
    pub values: &'r mut [E],
    /// [`Normalized::scales`].
    pub scales: &'r mut [E],
    /// What a ReLU before the normalization leaves, `[rows, width]`; empty where there is none.
    pub rectified: &'r mut [E],
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

    /// `y` is the normalization of `x + injected`, both `[rows, width]`, rectified on the way. What is injected is empty, one row
    /// for all, or a row for each.
    pub fn forward(
        &self,
        x: &[E],
        y: &mut [E],
        (injected, rectify): (&[E], Rectify),
        record: Option<Recorded<'_, E>>,
    ) {
        E::normalize(self, x, y, (injected, rectify), record);
    }

    /// Turns the cotangent `u` of `y` into that of `x`:
    /// `x̄ = scale · (ū − mean(ū) − x̂ · mean(ū ⊙ x̂))` with `ū = w ⊙ u`, means over the group. Passes the ReLU beside the
    /// normalization as well, where it is said to be, which has left `rectified`. Adds the gradients of weight, the sum of rows
    /// `u ⊙ x̂`, and bias, the sum of rows `u`, to `parameter_bars`, unless these are empty.
    pub fn backward(
        &self,
        record: Normalized<'_, E>,
        (rectified, rectify): (&[E], Rectify),
        u: &[E],
        x_bar: &mut [E],
        parameter_bars: [&mut [E]; 2],
    ) {
        E::normalize_back(self, record, (rectified, rectify), u, x_bar, parameter_bars);
    }

    /// Turns the tangent `v` of `x` into that of `y`:
    /// `ẏ = w ⊙ scale · (v − mean(v) − x̂ · mean(v ⊙ x̂))`. The projection is symmetric, so [`backward`](Self::backward)
    /// does the same in the other order.
    pub fn tangent(&self, record: Normalized<'_, E>, v: &[E], y_dot: &mut [E]) {
        E::normalize_tangent(self, record, v, y_dot);
    }

    /// Turns the cotangents `[u, p]` of `y` and of the tangent `ẏ` into those of x and of its tangent `x_dot`, past the ReLU as in
    /// [`backward`](Self::backward), and adds the gradients of weight and bias. `work` is as long as a group at least.
    pub fn tangent_backward(
        &self,
        record: Normalized<'_, E>,
        rectified: (&[E], Rectify),
        points: (&[E], [&[E]; 2]),
        places: [&mut [E]; 2],
        parameter_bars: [&mut [E]; 2],
        work: &mut [E],
    ) {
        E::normalize_tangent_back(
            self,
            record,
            rectified,
            points,
            places,
            parameter_bars,
            work,
        );
    }

    #[inline(always)]
    fn size(&self) -> usize {
        self.weight.len() / self.groups
    }

    /// Where the next group begins in its row. A remainder would take longer than the arithmetic of a small group.
    #[inline(always)]
    fn after(&self, at: usize, size: usize) -> usize {
        let next = at + size;
        match next < self.weight.len() {
            true => next,
            false => 0,
        }
    }

    #[inline(always)]
    fn normalize_rows<S: Simd, const K: usize, const PART: bool>(
        &self,
        simd: S,
        x: &[E],
        y: &mut [E],
        (injected, rectify): (&[E], Rectify),
        mut record: Option<Recorded<'_, E>>,
    ) {
        let (width, size) = (self.weight.len(), self.size());
        let tiles = x.chunks(ROWS * width).zip(y.chunks_mut(ROWS * width));
        for (index, (x, y)) in tiles.enumerate() {
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
                let (values, rectified) = match &mut record {
                    Some(record) => (
                        &mut record.values[first..][..len],
                        match record.rectified.is_empty() {
                            true => &mut [],
                            false => &mut record.rectified[first..][..len],
                        },
                    ),
                    None => (&mut [][..], &mut [][..]),
                };
                let (injection, epsilon) = ((injected, rectify), self.epsilon);
                let scales = group::normalize::<E, S, K, PART>(
                    simd,
                    group,
                    (x, &mut *y),
                    injection,
                    epsilon,
                    [values, rectified],
                );
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
        record: Normalized<'_, E>,
        (rectified, rectify): (&[E], Rectify),
        (x, out): (&[E], &mut [E]),
        [weight_bar, bias_bar]: [&mut [E]; 2],
    ) {
        let size = self.size();
        let records = record.values.chunks_exact(size).zip(record.scales);
        let groups = x.chunks_exact(size).zip(out.chunks_exact_mut(size));
        let mut at = 0;
        for (index, ((x, out), (values, &scale))) in groups.zip(records).enumerate() {
            let rectified = match rectify {
                Rectify::Never => rectified,
                _ => &rectified[index * size..][..size],
            };
            let bars = match weight_bar.is_empty() {
                true => [&mut [][..], &mut [][..]],
                false => [&mut weight_bar[at..][..size], &mut bias_bar[at..][..size]],
            };
            let weight = &self.weight[at..][..size];
            let (record, rectified) = ((values, scale), (rectified, rectify));
            group::project::<E, S, K, PART, BACKWARD>(
                simd,
                (x, out),
                record,
                weight,
                rectified,
                bars,
            );
            at = self.after(at, size);
        }
    }

    #[inline(always)]
    #[allow(clippy::too_many_arguments)]
    fn bend_rows<S: Simd, const K: usize, const PART: bool>(
        &self,
        simd: S,
        record: Normalized<'_, E>,
        (rectified, rectify): (&[E], Rectify),
        (x_dot, [u, p]): (&[E], [&[E]; 2]),
        [x_bar, p_bar]: [&mut [E]; 2],
        [weight_bar, bias_bar]: [&mut [E]; 2],
        work: &mut [E],
    ) {
        let size = self.size();
        let work = &mut work[..size];
        let records = record.values.chunks_exact(size).zip(record.scales);
        let points = x_dot
            .chunks_exact(size)
            .zip(u.chunks_exact(size))
            .zip(p.chunks_exact(size));
        let places = x_bar
            .chunks_exact_mut(size)
            .zip(p_bar.chunks_exact_mut(size));
        let mut at = 0;
        for (index, ((((x_dot, u), p), (x_bar, p_bar)), (values, &scale))) in
            points.zip(places).zip(records).enumerate()
        {
            let rectified = match rectify {
                Rectify::Never => rectified,
                _ => &rectified[index * size..][..size],
            };
            let bars = [&mut weight_bar[at..][..size], &mut bias_bar[at..][..size]];
            let weight = &self.weight[at..][..size];
            let (record, rectified) = ((values, scale), (rectified, rectify));
            let (points, places) = ((x_dot, [u, p]), [x_bar, p_bar]);
            bend::bend::<E, S, K, PART>(
                simd, record, weight, rectified, points, places, bars, work,
            );
            at = self.after(at, size);
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
        // One number is no register: nothing but loops is compiled for processors without vectors.
        if const { S::F32_LANES == 1 } {
            in_registers!(@@ $norm.$method 0 false $direction $arguments)
        } else { match ($norm.size().div_ceil(lanes), $norm.size() % lanes != 0) {
            $(
                ($count, false) => in_registers!(@@ $norm.$method $count false $direction $arguments),
                ($count, true) => in_registers!(@@ $norm.$method $count true $direction $arguments),
            )*
            _ => in_registers!(@@ $norm.$method 0 false $direction $arguments),
        } }
    }};
    (@@ $norm:ident.$method:ident $count:literal $part:literal [$($direction:literal)?] ($($argument:ident),*)) => {
        $norm.$method::<S, $count, $part $(, $direction)?>($($argument),*)
    };
}

vectorized! {
    pub(crate) fn forward<'a, E, S>(
        simd: S,
        norm: &'a GroupNorm<E>,
        x: &'a [E],
        y: &'a mut [E],
        injection: (&'a [E], Rectify),
        record: Option<Recorded<'a, E>>,
    ) {
        in_registers!(norm.normalize_rows(simd, x, y, injection, record));
    }

    pub(crate) fn backward<'a, E, S>(
        simd: S,
        norm: &'a GroupNorm<E>,
        record: Normalized<'a, E>,
        rectified: (&'a [E], Rectify),
        u: &'a [E],
        x_bar: &'a mut [E],
        parameter_bars: [&'a mut [E]; 2],
    ) {
        let bars = (u, x_bar);
        in_registers!(norm.project_rows::<true>(simd, record, rectified, bars, parameter_bars));
    }

    pub(crate) fn tangent<'a, E, S>(
        simd: S,
        norm: &'a GroupNorm<E>,
        record: Normalized<'a, E>,
        v: &'a [E],
        y_dot: &'a mut [E],
    ) {
        let nothing = (&[][..], Rectify::Never);
        let (tangents, no_bars) = ((v, y_dot), [&mut [][..], &mut [][..]]);
        in_registers!(norm.project_rows::<false>(simd, record, nothing, tangents, no_bars));
    }

    pub(crate) fn tangent_backward<'a, E, S>(
        simd: S,
        norm: &'a GroupNorm<E>,
        record: Normalized<'a, E>,
        rectified: (&'a [E], Rectify),
        points: (&'a [E], [&'a [E]; 2]),
        places: [&'a mut [E]; 2],
        parameter_bars: [&'a mut [E]; 2],
        work: &'a mut [E],
    ) {
        in_registers!(
            norm.bend_rows(simd, record, rectified, points, places, parameter_bars, work)
        );
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
