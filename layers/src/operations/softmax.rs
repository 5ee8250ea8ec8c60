//! Softmax.

use std::sync::Arc;

use dfdx::prelude::*;
use equilibria_core::operations::{arguments, RESULT};
use equilibria_core::simd::functions::exp;
use equilibria_core::{
    simd, vectorized, AnyTape, At, Backend, DeviceCode, Element, Error, Gradients, Matrix,
    Operation, Reads, Result, RowOperation, Scalar, Scratch,
};

use super::{grouped, size_of_groups};

/// `y_i = exp x_i / Σ_j exp x_j` over each group of adjacent columns.
///
/// −∞ gives 0; one number of a group at least must be finite.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Softmax {
    /// Number of groups.
    pub groups: usize,
}

impl<E: Scalar, D: Backend<E>> Operation<E, D> for Softmax {
    const NAME: &'static str = "softmax";

    fn width(&self, widths: &[usize]) -> Result<usize> {
        let size = size_of_groups(<Self as Operation<E, D>>::NAME, self.groups, widths)?;
        Ok(self.groups * size)
    }

    fn on_tensors<T: AnyTape<E, D>>(&self, x: Vec<Matrix<E, D, T>>) -> Result<Matrix<E, D, T>> {
        let [x] = arguments(x)?;
        let shape = *x.shape();
        let y = grouped(x, self.groups)?.try_softmax::<Axis<1>>();
        Ok(y.map_err(Error::device)?.reshape_like(&shape))
    }

    fn device_code(&self) -> Option<DeviceCode> {
        let groups = self.groups;
        Some(DeviceCode::Softmax { groups })
    }

    fn on_rows(&self, widths: &[usize]) -> Arc<dyn RowOperation<E>> {
        Arc::new(SoftmaxOfGroups {
            size: widths[0] / self.groups,
        })
    }
}

struct SoftmaxOfGroups {
    /// Numbers in a group.
    size: usize,
}

impl<E: Element> RowOperation<E> for SoftmaxOfGroups {
    fn reads(&self) -> Reads {
        RESULT
    }

    fn apply(&self, x: &[&[E]], y: &mut [E], _: &mut [&mut [E]], _: &mut Scratch<E>) {
        softmax(x[0], self.size, y);
    }

    fn jvp(&self, at: &At<'_, E>, x_dot: &[Option<&[E]>], y_dot: &mut [E], _: &mut Scratch<E>) {
        if let [Some(x_dot)] = x_dot {
            project(at.y, x_dot, self.size, y_dot);
        }
    }

    /// The Jacobian, `diag y − y yᵀ`, is symmetric.
    fn vjp(&self, at: &At<'_, E>, y_bar: &[E], x_bar: &mut [Option<&mut [E]>], _: &mut Scratch<E>) {
        if let [Some(x_bar)] = x_bar {
            project(at.y, y_bar, self.size, x_bar);
        }
    }

    /// `⟨p, ẏ⟩ = Σ y p ẋ − (Σ y p) (Σ y ẋ)`: its derivative by y, taken through the Jacobian.
    fn bend(
        &self,
        at: &At<'_, E>,
        p: &[E],
        x_dot: &[Option<&[E]>],
        x_bar: &mut [Option<&mut [E]>],
        _: &mut Gradients<'_, E>,
        scratch: &mut Scratch<E>,
    ) -> bool {
        let ([Some(x_dot)], [Some(x_bar)]) = (x_dot, x_bar) else {
            return false;
        };
        let [y_bar] = scratch.parts(p.len());
        by_result(at.y, (p, x_dot), self.size, y_bar);
        project(at.y, y_bar, self.size, x_bar);
        true
    }
}

vectorized! {
    fn softmax<'a, E, S>(simd: S, x: &'a [E], size: usize, y: &'a mut [E]) {
        for (x, y) in x.chunks_exact(size).zip(y.chunks_exact_mut(size)) {
            let largest = largest(x);
            for (y, &x) in y.iter_mut().zip(x) {
                *y = exp(x - largest);
            }
            let share = simd::sum(simd, y).recip();
            y.iter_mut().for_each(|y| *y *= share);
        }
    }

    /// `out = y ⊙ (u − Σ y u)`, group by group.
    pub(super) fn project<'a, E, S>(simd: S, y: &'a [E], u: &'a [E], size: usize, out: &'a mut [E]) {
        let groups = y.chunks_exact(size).zip(u.chunks_exact(size));
        for (out, (y, u)) in out.chunks_exact_mut(size).zip(groups) {
            let mean = simd::sum_products(simd, y, u);
            for ((out, &y), &u) in out.iter_mut().zip(y).zip(u) {
                *out = y * (u - mean);
            }
        }
    }

    /// `ȳ = p ⊙ ẋ − ẋ Σ y p − p Σ y ẋ`, group by group.
    fn by_result<'a, E, S>(simd: S, y: &'a [E], along: (&'a [E], &'a [E]), size: usize, y_bar: &'a mut [E]) {
        let groups = along.0.chunks_exact(size).zip(along.1.chunks_exact(size));
        for ((y_bar, y), (p, x_dot)) in y_bar.chunks_exact_mut(size).zip(y.chunks_exact(size)).zip(groups) {
            let means = [p, x_dot].map(|u| simd::sum_products(simd, y, u));
            for ((y_bar, &p), &x_dot) in y_bar.iter_mut().zip(p).zip(x_dot) {
                *y_bar = p * x_dot - x_dot * means[0] - p * means[1];
            }
        }
    }
}

/// The largest number, NaN left out: in eight parts, which do not wait for each other.
#[inline(always)]
pub(super) fn largest<E: Element>(x: &[E]) -> E {
    let larger = |a: E, b: E| if a > b { a } else { b };
    let mut parts = [-E::infinity(); 8];
    let mut eights = x.chunks_exact(8);
    for eight in &mut eights {
        for (part, &x) in parts.iter_mut().zip(eight) {
            *part = larger(x, *part);
        }
    }
    let rest = eights.remainder().iter();
    rest.chain(&parts)
        .fold(-E::infinity(), |a, &x| larger(x, a))
}
