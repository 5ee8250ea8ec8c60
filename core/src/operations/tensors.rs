//! Any dfdx code.

use std::sync::Arc;

use dfdx::prelude::*;

use crate::operation::{At, Gradients, Reads, RowOperation, Scratch};
use crate::{
    from_host, separate, to_host, AnyTape, Backend, Element, Error, Matrix, Operation, Result,
    Scalar,
};

/// dfdx code that makes a value of values, where the vocabulary lacks a word.
///
/// On a device it is just called; on the CPU it is called for the rows of one block at a time, on all threads. It has no exact
/// tangents: solvers that want `J v` and penalties on the Jacobian take differences.
pub trait TensorCode<E: Scalar, D: Backend<E>>: Clone + Send + Sync + 'static {
    /// The result, with as many rows as the arguments; each row must depend on the same row of the arguments alone. Parameters take
    /// part as `parameter.retaped::<T>()`.
    fn run<T: AnyTape<E, D>>(&self, x: Vec<Matrix<E, D, T>>) -> Result<Matrix<E, D, T>>;

    /// Width of the result. Default: that of the first argument.
    fn width(&self, widths: &[usize]) -> usize {
        widths.first().copied().unwrap_or(0)
    }

    /// Parameters that take part; others have no gradient. Default: none.
    fn parameters(&self) -> Vec<Matrix<E, D>> {
        Vec::new()
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

    fn on_rows(&self, widths: &[usize]) -> Arc<dyn RowOperation<E>> {
        Arc::new(TensorsOfRows::<E, D, C> {
            code: self.0.clone(),
            widths: widths.to_vec(),
            parameters: self.0.parameters(),
            device: D::default(),
        })
    }

    fn parameters(&self) -> Vec<Matrix<E, D>> {
        self.0.parameters()
    }
}

struct TensorsOfRows<E: Scalar, D: Backend<E>, C> {
    code: C,
    widths: Vec<usize>,
    parameters: Vec<Matrix<E, D>>,
    device: D,
}

impl<E: Scalar, D: Backend<E>, C: TensorCode<E, D>> TensorsOfRows<E, D, C> {
    fn matrices(&self, x: &[&[E]]) -> Result<Vec<Matrix<E, D>>> {
        let matrix = |(x, &width): (&&[E], &usize)| {
            from_host(&self.device, x.to_vec(), (x.len() / width.max(1), width))
        };
        x.iter().zip(&self.widths).map(matrix).collect()
    }

    /// Gradients of ⟨ȳ, y⟩, and the arguments they belong to.
    #[allow(clippy::type_complexity)]
    fn backward(
        &self,
        x: &[&[E]],
        y_bar: &[E],
    ) -> Result<(dfdx::prelude::Gradients<E, D>, Vec<Matrix<E, D>>)> {
        let x = self.matrices(x)?;
        let mut traced = Vec::with_capacity(x.len());
        for x in &x {
            traced.push(match traced.is_empty() {
                true => x.leaky_trace(),
                false => x.retaped(),
            });
        }
        let y = self.code.run(traced)?;
        let y_bar = from_host(&self.device, y_bar.to_vec(), *y.shape())?;
        Ok(((y * y_bar).sum::<Rank0, _>().backward(), x))
    }
}

/// Only running out of memory can stop dfdx here, and nothing but NaN may stand for a number that is not known.
fn or_nan<E: Element>(result: Result<Vec<E>>, out: &mut [E]) {
    match result {
        Ok(values) if values.len() == out.len() => out.copy_from_slice(&values),
        _ => out.fill(E::nan()),
    }
}

impl<E: Scalar, D: Backend<E>, C: TensorCode<E, D>> RowOperation<E> for TensorsOfRows<E, D, C> {
    fn reads(&self) -> Reads {
        Reads {
            arguments: true,
            result: false,
        }
    }

    fn shares_parameter(&self) -> bool {
        true
    }

    fn has_tangents(&self) -> bool {
        false
    }

    fn apply(&self, x: &[&[E]], y: &mut [E], _: &mut [&mut [E]], _: &mut Scratch<E>) {
        let value = self.matrices(x).and_then(|x| self.code.run::<NoneTape>(x));
        or_nan(value.map(|y| to_host(&y)), y);
    }

    fn jvp(&self, _: &At<'_, E>, _: &[Option<&[E]>], y_dot: &mut [E], _: &mut Scratch<E>) {
        y_dot.fill(E::nan());
    }

    fn vjp(&self, at: &At<'_, E>, y_bar: &[E], x_bar: &mut [Option<&mut [E]>], _: &mut Scratch<E>) {
        let backward = self.backward(at.x, y_bar);
        let (mut gradients, x) = match backward {
            Ok((gradients, x)) => (Some(gradients), x),
            Err(_) => (None, Vec::new()),
        };
        for (index, x_bar) in x_bar.iter_mut().enumerate() {
            let Some(x_bar) = x_bar else { continue };
            let values = match (&mut gradients, x.get(index)) {
                (Some(gradients), Some(x)) => gradient(gradients, x),
                _ => Ok(Vec::new()),
            };
            or_nan(values, x_bar);
        }
    }

    fn pull_back(
        &self,
        at: &At<'_, E>,
        y_bar: &[E],
        own: &mut Gradients<'_, E>,
        _: &mut Scratch<E>,
    ) {
        if self.parameters.is_empty() {
            return;
        }
        let mut gradients = self
            .backward(at.x, y_bar)
            .ok()
            .map(|(gradients, _)| gradients);
        for (index, parameter) in self.parameters.iter().enumerate() {
            let Some(sum) = own.of(index).map(|gradient| gradient.sum()) else {
                continue;
            };
            let mut part = vec![E::zero(); sum.len()];
            let values = match &mut gradients {
                Some(gradients) => gradient(gradients, parameter),
                None => Ok(Vec::new()),
            };
            or_nan(values, &mut part);
            crate::simd::add_scaled(sum, E::one(), &part);
        }
    }
}

fn gradient<E: Scalar, D: Backend<E>>(
    gradients: &mut dfdx::prelude::Gradients<E, D>,
    of: &Matrix<E, D>,
) -> Result<Vec<E>> {
    D::with_gradient(gradients, of, |values| values.to_vec())
}
