//! Sums and means of groups of columns.

use std::sync::Arc;

use dfdx::prelude::*;
use equilibria_core::operations::arguments;
use equilibria_core::{
    simd, vectorized, AnyTape, At, Backend, DeviceCode, Element, Error, Matrix, Operation, Result,
    RowOperation, Scalar, Scratch,
};

use super::{grouped, size_of_groups};

/// `y_g = Σ x_i` or `y_g = mean x_i` over group g of adjacent columns: one number for each group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sum {
    /// Number of groups.
    pub groups: usize,
    /// Whether the mean is wanted.
    pub mean: bool,
}

impl Sum {
    /// What a sum is multiplied by.
    fn factor<E: Element>(self, size: usize) -> E {
        match self.mean {
            true => E::of(1.0 / size as f64),
            false => E::one(),
        }
    }
}

impl<E: Scalar, D: Backend<E>> Operation<E, D> for Sum {
    const NAME: &'static str = "the sum of groups of columns";

    fn width(&self, widths: &[usize]) -> Result<usize> {
        size_of_groups(<Self as Operation<E, D>>::NAME, self.groups, widths).map(|_| self.groups)
    }

    fn on_tensors<T: AnyTape<E, D>>(&self, x: Vec<Matrix<E, D, T>>) -> Result<Matrix<E, D, T>> {
        let [x] = arguments(x)?;
        let (batch, width) = *x.shape();
        let x = grouped(x, self.groups)?;
        let sums = x.try_sum::<(usize,), Axis<1>>().map_err(Error::device)?;
        let sums = sums.reshape_like(&(batch, self.groups));
        Ok(sums * self.factor::<E>(width / self.groups))
    }

    fn device_code(&self) -> Option<DeviceCode> {
        let Self { groups, mean } = *self;
        Some(DeviceCode::SumOfGroups { groups, mean })
    }

    fn on_rows(&self, widths: &[usize]) -> Arc<dyn RowOperation<E>> {
        let size = widths[0] / self.groups;
        Arc::new(SumsOfGroups {
            size,
            factor: self.factor(size),
        })
    }
}

struct SumsOfGroups<E> {
    /// Numbers in a group.
    size: usize,
    factor: E,
}

impl<E: Element> RowOperation<E> for SumsOfGroups<E> {
    fn apply(&self, x: &[&[E]], y: &mut [E], _: &mut [&mut [E]], _: &mut Scratch<E>) {
        sums(x[0], self.size, self.factor, y);
    }

    fn jvp(&self, _: &At<'_, E>, x_dot: &[Option<&[E]>], y_dot: &mut [E], _: &mut Scratch<E>) {
        if let [Some(x_dot)] = x_dot {
            sums(x_dot, self.size, self.factor, y_dot);
        }
    }

    fn vjp(&self, _: &At<'_, E>, y_bar: &[E], x_bar: &mut [Option<&mut [E]>], _: &mut Scratch<E>) {
        let [Some(x_bar)] = x_bar else { return };
        for (x_bar, &y_bar) in x_bar.chunks_exact_mut(self.size).zip(y_bar) {
            x_bar.fill(self.factor * y_bar);
        }
    }
}

vectorized! {
    /// `y_g = c Σ x_i`.
    fn sums<'a, E, S>(simd: S, x: &'a [E], size: usize, factor: E, y: &'a mut [E]) {
        for (y, x) in y.iter_mut().zip(x.chunks_exact(size)) {
            *y = factor * simd::sum(simd, x);
        }
    }
}
