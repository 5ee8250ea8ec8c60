//! Logarithms of sums of exponentials.

use std::sync::Arc;

use dfdx::prelude::*;
use equilibria_core::operations::arguments;
use equilibria_core::simd::functions::{exp, ln};
use equilibria_core::{
    simd, vectorized, AnyTape, At, Backend, DeviceCode, Element, Error, Gradients, Matrix,
    Operation, Result, RowOperation, Scalar, Scratch,
};

use super::softmax::{largest, project};
use super::{grouped, size_of_groups};

/// `y_g = ln Σ_i exp x_i` over group g of adjacent columns: one number for each group.
///
/// One number of a group at least must be finite.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogSumExp {
    /// Number of groups.
    pub groups: usize,
}

impl<E: Scalar, D: Backend<E>> Operation<E, D> for LogSumExp {
    const NAME: &'static str = "log-sum-exp";

    fn width(&self, widths: &[usize]) -> Result<usize> {
        size_of_groups(<Self as Operation<E, D>>::NAME, self.groups, widths).map(|_| self.groups)
    }

    fn on_tensors<T: AnyTape<E, D>>(&self, x: Vec<Matrix<E, D, T>>) -> Result<Matrix<E, D, T>> {
        let [x] = arguments(x)?;
        let batch = x.shape().0;
        let y = grouped(x, self.groups)?.try_logsumexp::<(usize,), Axis<1>>();
        let y = y.map_err(Error::device)?;
        Ok(y.reshape_like(&(batch, self.groups)))
    }

    fn device_code(&self) -> Option<DeviceCode> {
        let groups = self.groups;
        Some(DeviceCode::LogSumExp { groups })
    }

    fn on_rows(&self, widths: &[usize]) -> Arc<dyn RowOperation<E>> {
        Arc::new(LogSumExpOfGroups {
            width: widths[0],
            size: widths[0] / self.groups,
        })
    }
}

/// Its derivative by x is the softmax of the group, which it records.
struct LogSumExpOfGroups {
    width: usize,
    /// Numbers in a group.
    size: usize,
}

impl<E: Element> RowOperation<E> for LogSumExpOfGroups {
    fn record(&self) -> Vec<usize> {
        vec![self.width]
    }

    fn apply(&self, x: &[&[E]], y: &mut [E], record: &mut [&mut [E]], _: &mut Scratch<E>) {
        match record {
            [softmax] => with_softmax(x[0], self.size, y, softmax),
            _ => log_sum_exp(x[0], self.size, y),
        }
    }

    fn jvp(&self, at: &At<'_, E>, x_dot: &[Option<&[E]>], y_dot: &mut [E], _: &mut Scratch<E>) {
        if let [Some(x_dot)] = x_dot {
            means(at.record[0], x_dot, self.size, y_dot);
        }
    }

    fn vjp(&self, at: &At<'_, E>, y_bar: &[E], x_bar: &mut [Option<&mut [E]>], _: &mut Scratch<E>) {
        if let [Some(x_bar)] = x_bar {
            scale_groups(y_bar, at.record[0], self.size, x_bar);
        }
    }

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
        let [projected] = scratch.parts(x_dot.len());
        project(at.record[0], x_dot, self.size, projected);
        scale_groups(p, projected, self.size, x_bar);
        true
    }
}

vectorized! {
    /// `y_g = ln Σ exp x_i`.
    fn log_sum_exp<'a, E, S>(_simd: S, x: &'a [E], size: usize, y: &'a mut [E]) {
        for (y, x) in y.iter_mut().zip(x.chunks_exact(size)) {
            let largest = largest(x);
            let mut sums = [E::zero(); LANES];
            let mut parts = x.chunks_exact(LANES);
            for part in &mut parts {
                for (sum, &x) in sums.iter_mut().zip(part) {
                    *sum += exp(x - largest);
                }
            }
            // Sums are taken in the order of `with_softmax`, so that both give the same bits.
            for (sum, &x) in sums.iter_mut().zip(parts.remainder()) {
                *sum += exp(x - largest);
            }
            *y = largest + ln(total(sums));
        }
    }

    /// `y_g = ln Σ exp x_i`, and the softmax of each group.
    fn with_softmax<'a, E, S>(_simd: S, x: &'a [E], size: usize, y: &'a mut [E], softmax: &'a mut [E]) {
        let groups = x.chunks_exact(size).zip(softmax.chunks_exact_mut(size));
        for (y, (x, softmax)) in y.iter_mut().zip(groups) {
            let largest = largest(x);
            for (softmax, &x) in softmax.iter_mut().zip(x) {
                *softmax = exp(x - largest);
            }
            let mut sums = [E::zero(); LANES];
            for part in softmax.chunks(LANES) {
                for (sum, &x) in sums.iter_mut().zip(part) {
                    *sum += x;
                }
            }
            let sum = total(sums);
            *y = largest + ln(sum);
            let share = sum.recip();
            softmax.iter_mut().for_each(|softmax| *softmax *= share);
        }
    }

    /// `y_g = Σ s_i u_i`.
    fn means<'a, E, S>(simd: S, s: &'a [E], u: &'a [E], size: usize, y: &'a mut [E]) {
        let groups = s.chunks_exact(size).zip(u.chunks_exact(size));
        for (y, (s, u)) in y.iter_mut().zip(groups) {
            *y = simd::sum_products(simd, s, u);
        }
    }

    /// `out_i = c_g s_i`.
    fn scale_groups<'a, E, S>(_simd: S, c: &'a [E], s: &'a [E], size: usize, out: &'a mut [E]) {
        let groups = s.chunks_exact(size).zip(c);
        for (out, (s, &c)) in out.chunks_exact_mut(size).zip(groups) {
            for (out, &s) in out.iter_mut().zip(s) {
                *out = c * s;
            }
        }
    }
}

/// Sums that do not wait for each other.
const LANES: usize = 16;

#[inline(always)]
fn total<E: Element>(sums: [E; LANES]) -> E {
    sums.iter().fold(E::zero(), |total, &sum| total + sum)
}
