//! Operations on every part of a row.

use std::sync::Arc;

use dfdx::prelude::*;
use equilibria_core::{
    try_contiguous, AnyTape, At, Backend, DeviceCode, Element, Error, Gradients, Matrix, Neighbor,
    Neighbors, Operation, Reads, Result, RowOperation, Scalar, Scratch,
};

/// An operation on each of so many equal parts of every row, called tokens, as if each were a row of its own.
pub struct PerToken<'o, O> {
    /// What is done to each of them.
    pub operation: &'o O,
    /// Tokens in a row.
    pub count: usize,
}

impl<O> PerToken<'_, O> {
    /// Widths of tokens, from those of rows.
    fn token_widths(&self, name: &str, widths: &[usize]) -> Result<Vec<usize>> {
        let divides = |width: &usize| self.count > 0 && width.is_multiple_of(self.count);
        match widths.iter().all(divides) {
            true => Ok(widths.iter().map(|width| width / self.count).collect()),
            false => Err(Error::Shape {
                what: format!("the tokens of {name}"),
                expected: format!("widths that {} tokens divide", self.count),
                got: format!("{widths:?}"),
            }),
        }
    }
}

impl<E: Scalar, D: Backend<E>, O: Operation<E, D>> Operation<E, D> for PerToken<'_, O> {
    const NAME: &'static str = O::NAME;

    fn width(&self, widths: &[usize]) -> Result<usize> {
        let widths = self.token_widths(O::NAME, widths)?;
        Ok(self.operation.width(&widths)? * self.count)
    }

    fn on_tensors<T: AnyTape<E, D>>(&self, x: Vec<Matrix<E, D, T>>) -> Result<Matrix<E, D, T>> {
        let batch = x.first().map_or(0, |x| x.shape().0);
        let tokens = x.into_iter().map(|x| {
            let width = x.shape().1 / self.count;
            let x = try_contiguous(x)?;
            Ok(x.reshape_like(&(batch * self.count, width)))
        });
        let y = (self.operation).on_tensors(tokens.collect::<Result<Vec<_>>>()?)?;
        let width = y.shape().1 * self.count;
        let y = try_contiguous(y)?;
        Ok(y.reshape_like(&(batch, width)))
    }

    fn device_code(&self) -> Option<DeviceCode> {
        let code = self.operation.device_code()?;
        Some(DeviceCode::PerToken {
            count: self.count,
            of: Box::new(code),
        })
    }

    fn on_rows(&self, widths: &[usize]) -> Arc<dyn RowOperation<E>> {
        let widths: Vec<usize> = widths.iter().map(|width| width / self.count).collect();
        Arc::new(RowsOfTokens {
            operation: self.operation.on_rows(&widths),
            count: self.count,
        })
    }

    fn parameters(&self) -> Vec<Matrix<E, D>> {
        self.operation.parameters()
    }
}

/// In memory, `[rows, count · width]` is `[rows · count, width]`: only what an operation records per row is more.
struct RowsOfTokens<E> {
    operation: Arc<dyn RowOperation<E>>,
    count: usize,
}

impl<E: Element> RowOperation<E> for RowsOfTokens<E> {
    fn check(&self) -> Result<()> {
        self.operation.check()
    }

    fn reads(&self) -> Reads {
        self.operation.reads()
    }

    fn record(&self) -> Vec<usize> {
        let per_token = self.operation.record().into_iter();
        per_token.map(|width| width * self.count).collect()
    }

    fn passes(&self, argument: usize) -> bool {
        self.operation.passes(argument)
    }

    fn neighbor(&self) -> Option<Neighbor> {
        self.operation.neighbor()
    }

    fn taking_along(&self, neighbors: Neighbors) -> Option<Arc<dyn RowOperation<E>>> {
        let operation = self.operation.taking_along(neighbors)?;
        let count = self.count;
        Some(Arc::new(Self { operation, count }))
    }

    fn shares_parameter(&self) -> bool {
        self.operation.shares_parameter()
    }

    fn parts(&self) -> usize {
        self.count * self.operation.parts()
    }

    fn has_tangents(&self) -> bool {
        self.operation.has_tangents()
    }

    fn rounded(&self) -> Option<&dyn RowOperation<E>> {
        self.operation.rounded()
    }

    fn apply(&self, x: &[&[E]], y: &mut [E], record: &mut [&mut [E]], scratch: &mut Scratch<E>) {
        self.operation.apply(x, y, record, scratch);
    }

    fn jvp(
        &self,
        at: &At<'_, E>,
        x_dot: &[Option<&[E]>],
        y_dot: &mut [E],
        scratch: &mut Scratch<E>,
    ) {
        self.operation.jvp(at, x_dot, y_dot, scratch);
    }

    fn vjp(
        &self,
        at: &At<'_, E>,
        y_bar: &[E],
        x_bar: &mut [Option<&mut [E]>],
        scratch: &mut Scratch<E>,
    ) {
        self.operation.vjp(at, y_bar, x_bar, scratch);
    }

    fn back(
        &self,
        at: &At<'_, E>,
        y_bar: &[E],
        x_bar: &mut [Option<&mut [E]>],
        gradients: &mut Gradients<'_, E>,
        scratch: &mut Scratch<E>,
    ) {
        self.operation.back(at, y_bar, x_bar, gradients, scratch);
    }

    fn back_with_tangent(
        &self,
        at: &At<'_, E>,
        bars: [&[E]; 2],
        x_dot: &[Option<&[E]>],
        argument_bars: [&mut [Option<&mut [E]>]; 2],
        gradients: &mut Gradients<'_, E>,
        scratch: &mut Scratch<E>,
    ) {
        self.operation
            .back_with_tangent(at, bars, x_dot, argument_bars, gradients, scratch);
    }
}
