//! Sums of absolute entries of the rows of a parameter.

use std::sync::Arc;

use dfdx::prelude::*;
use equilibria_core::operations::arguments;
use equilibria_core::{
    copied, to_host, try_contiguous, AnyTape, At, Backend, DeviceCode, Element, Error, Gradients,
    Matrix, Operation, Result, RowOperation, Scalar, Scratch,
};

use super::broadcast::SameRows;

/// `y_i = Σ_j |W_ij|` in every row, with the parameter W, `[outputs, inputs]`; where an entry is 0, its derivative is 0.
pub struct RowNorms<E: Scalar, D: Backend<E>> {
    /// W.
    pub weight: Matrix<E, D>,
}

impl<E: Scalar, D: Backend<E>> Operation<E, D> for RowNorms<E, D> {
    const NAME: &'static str = "sums of absolute entries of a parameter";

    fn width(&self, _beside: &[usize]) -> Result<usize> {
        match *self.weight.shape() {
            (rows, columns) if rows > 0 && columns > 0 => Ok(rows),
            _ => Err(Error::Missing {
                what: "the numbers of a parameter whose absolute entries are summed".to_owned(),
                remedy: "give it one entry at least",
            }),
        }
    }

    /// `x`: a value of the batch, whose numbers do not matter.
    fn on_tensors<T: AnyTape<E, D>>(&self, x: Vec<Matrix<E, D, T>>) -> Result<Matrix<E, D, T>> {
        let [x] = arguments(x)?;
        let (x, tape) = x.split_tape();
        let shape = (x.shape().0, self.weight.shape().0);
        let weight = try_contiguous(self.weight.clone().put_tape(tape))?;
        let sums = weight
            .try_abs()
            .and_then(|sizes| sizes.try_sum::<_, Axis<1>>());
        let copies = sums.and_then(|sums| sums.try_broadcast_like::<_, Axis<0>>(&shape));
        copied(copies.map_err(Error::device)?)
    }

    fn device_code(&self) -> Option<DeviceCode> {
        Some(DeviceCode::RowNorms)
    }

    fn on_rows(&self, _widths: &[usize]) -> Arc<dyn RowOperation<E>> {
        let (weight, columns) = (to_host(&self.weight), self.weight.shape().1);
        let sums = weight.chunks_exact(columns).map(|row| {
            let sizes = row.iter().map(|w| w.abs());
            sizes.fold(E::zero(), |sum, size| sum + size)
        });
        Arc::new(RowNormsOfRows {
            sums: SameRows(sums.collect()),
            weight,
        })
    }

    fn parameters(&self) -> Vec<Matrix<E, D>> {
        vec![self.weight.clone()]
    }
}

struct RowNormsOfRows<E> {
    sums: SameRows<E>,
    weight: Vec<E>,
}

impl<E: Element> RowOperation<E> for RowNormsOfRows<E> {
    fn apply(&self, x: &[&[E]], y: &mut [E], kept: &mut [&mut [E]], scratch: &mut Scratch<E>) {
        self.sums.apply(x, y, kept, scratch);
    }

    fn jvp(&self, at: &At<'_, E>, v: &[Option<&[E]>], y_dot: &mut [E], scratch: &mut Scratch<E>) {
        self.sums.jvp(at, v, y_dot, scratch);
    }

    fn vjp(
        &self,
        at: &At<'_, E>,
        y_bar: &[E],
        x_bar: &mut [Option<&mut [E]>],
        scratch: &mut Scratch<E>,
    ) {
        self.sums.vjp(at, y_bar, x_bar, scratch);
    }

    fn pull_back(
        &self,
        _: &At<'_, E>,
        y_bar: &[E],
        gradients: &mut Gradients<'_, E>,
        _: &mut Scratch<E>,
    ) {
        let Some(parameter) = gradients.of(0) else {
            return;
        };
        let outputs = self.sums.0.len();
        let columns = self.weight.len() / outputs;
        let mut total = vec![E::zero(); outputs];
        for y_bar in y_bar.chunks_exact(outputs) {
            (total.iter_mut().zip(y_bar)).for_each(|(sum, &y_bar)| *sum += y_bar);
        }
        let rows = self.weight.chunks_exact(columns).zip(total);
        let mut bars = parameter.sum().iter_mut();
        for (weight, total) in rows {
            for (&weight, bar) in weight.iter().zip(&mut bars) {
                if !weight.is_zero() {
                    *bar += total * E::one().copysign(weight);
                }
            }
        }
    }
}
