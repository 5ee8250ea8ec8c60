//! Any dfdx code.

use std::sync::Arc;

use dfdx::prelude::*;

use crate::operation::{At, RowOperation, Scratch};
use crate::{separate, AnyTape, Backend, Element, Error, Matrix, Operation, Result, Scalar};

/// dfdx code that makes a value of values, where the vocabulary lacks a word.
///
/// A step with such an operation runs in tensors, on the CPU as well: it has no program. It has no exact tangents either: solvers
/// that want `J v` and penalties on the Jacobian take differences.
pub trait TensorCode<E: Scalar, D: Backend<E>>: Clone + 'static {
    /// The result, with as many rows as the arguments; each row must depend on the same row of the arguments alone. Parameters take
    /// part as `parameter.retaped::<T>()`.
    fn run<T: AnyTape<E, D>>(&self, x: Vec<Matrix<E, D, T>>) -> Result<Matrix<E, D, T>>;

    /// Width of the result. Default: that of the first argument.
    fn width(&self, widths: &[usize]) -> usize {
        widths.first().copied().unwrap_or(0)
    }
}

/// The operation that runs some [`TensorCode`].
#[derive(Debug, Clone)]
pub struct Tensors<C>(pub C);

impl<E: Scalar, D: Backend<E>, C: TensorCode<E, D>> Operation<E, D> for Tensors<C> {
    const NAME: &'static str = "an operation in dfdx code";

    fn width(&self, widths: &[usize]) -> Result<usize> {
        Ok(self.0.width(widths))
    }

    fn on_tensors<T: AnyTape<E, D>>(&self, x: Vec<Matrix<E, D, T>>) -> Result<Matrix<E, D, T>> {
        let widths: Vec<usize> = x.iter().map(|x| x.shape().1).collect();
        let batch = x.first().map_or(0, |x| x.shape().0);
        let y = self.0.run(x)?;
        let expected = (batch, self.0.width(&widths));
        if *y.shape() != expected {
            return Err(Error::Shape {
                what: "the result of an operation in dfdx code".to_owned(),
                expected: format!("{expected:?}"),
                got: format!("{:?}", y.shape()),
            });
        }
        // It may be an argument itself.
        Ok(separate(y))
    }

    const RECORDS: bool = false;

    fn on_rows(&self, _widths: &[usize]) -> Arc<dyn RowOperation<E>> {
        Arc::new(NoRows)
    }
}

/// Nothing: the operation is not recorded.
struct NoRows;

impl<E: Element> RowOperation<E> for NoRows {
    fn has_tangents(&self) -> bool {
        false
    }

    fn apply(&self, _: &[&[E]], y: &mut [E], _: &mut [&mut [E]], _: &mut Scratch<E>) {
        y.fill(E::nan());
    }

    fn jvp(&self, _: &At<'_, E>, _: &[Option<&[E]>], y_dot: &mut [E], _: &mut Scratch<E>) {
        y_dot.fill(E::nan());
    }

    fn vjp(&self, _: &At<'_, E>, _: &[E], x_bar: &mut [Option<&mut [E]>], _: &mut Scratch<E>) {
        x_bar
            .iter_mut()
            .flatten()
            .for_each(|x_bar| x_bar.fill(E::nan()));
    }
}
