//! Products with a matrix.

use std::sync::Arc;

use dfdx::prelude::*;
use equilibria_core::operations::arguments;
use equilibria_core::{
    try_contiguous, AnyTape, At, Backend, DeviceCode, Element, Error, Gradients, Matrix, Operation,
    Reads, Result, RowOperation, Scalar, Scratch,
};

use crate::kernel::Weight;

/// `y = x Wᵀ`, row by row `y = W x`; or `y = x W`, the product with the transpose.
pub struct Product<E: Scalar, D: Backend<E>> {
    /// W, `[outputs, inputs]`; `[inputs, outputs]` where it is transposed.
    pub weight: Matrix<E, D>,
    /// Whether the product is that with the transpose of W.
    pub transposed: bool,
    /// W packed, if it is already.
    pub packed: Option<Arc<Weight<E>>>,
}

impl<E: Scalar, D: Backend<E>> Product<E, D> {
    /// `[inputs, outputs]`.
    fn shape(&self) -> [usize; 2] {
        let (outputs, inputs) = *self.weight.shape();
        match self.transposed {
            false => [inputs, outputs],
            true => [outputs, inputs],
        }
    }
}

impl<E: Scalar, D: Backend<E>> Operation<E, D> for Product<E, D> {
    const NAME: &'static str = "a product with a matrix";

    fn width(&self, widths: &[usize]) -> Result<usize> {
        let [inputs, outputs] = self.shape();
        match widths {
            [width] if *width == inputs && outputs > 0 => Ok(outputs),
            _ => Err(Error::Shape {
                what: format!(
                    "the argument of a product with a matrix {:?}",
                    self.weight.shape()
                ),
                expected: format!("width {inputs}"),
                got: format!("{widths:?}"),
            }),
        }
    }

    fn on_tensors<T: AnyTape<E, D>>(&self, x: Vec<Matrix<E, D, T>>) -> Result<Matrix<E, D, T>> {
        let [x] = arguments(x)?;
        let weight = try_contiguous(self.weight.retaped::<T>())?;
        Ok(match self.transposed {
            false => x.matmul(weight.permute::<_, Axes2<1, 0>>()),
            true => x.matmul(weight),
        })
    }

    fn device_code(&self) -> Option<DeviceCode> {
        let transposed = self.transposed;
        Some(DeviceCode::Product { transposed })
    }

    fn on_rows(&self, _widths: &[usize]) -> Arc<dyn RowOperation<E>> {
        let packed = self.packed.clone();
        let weight = packed.unwrap_or_else(|| Arc::new(Weight::new(&self.weight)));
        let rows = ProductOfRows {
            weight,
            transposed: self.transposed,
            rounded: None,
        };
        let rounds = rows.weight.rounds();
        Arc::new(ProductOfRows {
            rounded: rounds.then(|| RoundedProduct(rows.weight.clone(), rows.transposed)),
            ..rows
        })
    }

    fn parameters(&self) -> Vec<Matrix<E, D>> {
        vec![self.weight.clone()]
    }
}

struct ProductOfRows<E> {
    weight: Arc<Weight<E>>,
    transposed: bool,
    rounded: Option<RoundedProduct<E>>,
}

impl<E: Element> RowOperation<E> for ProductOfRows<E> {
    fn reads(&self) -> Reads {
        Reads {
            arguments: true,
            result: false,
        }
    }

    fn shares_parameter(&self) -> bool {
        true
    }

    fn rounded(&self) -> Option<&dyn RowOperation<E>> {
        self.rounded.as_ref().map(|rounded| rounded as _)
    }

    fn apply(&self, x: &[&[E]], y: &mut [E], _: &mut [&mut [E]], _: &mut Scratch<E>) {
        self.weight.multiply_equal(self.transposed, x[0], y);
    }

    fn jvp(&self, _: &At<'_, E>, x_dot: &[Option<&[E]>], y_dot: &mut [E], _: &mut Scratch<E>) {
        if let [Some(x_dot)] = x_dot {
            self.weight.multiply(self.transposed, x_dot, y_dot);
        }
    }

    fn vjp(&self, _: &At<'_, E>, y_bar: &[E], x_bar: &mut [Option<&mut [E]>], _: &mut Scratch<E>) {
        if let [Some(x_bar)] = x_bar {
            self.weight.multiply(!self.transposed, y_bar, x_bar);
        }
    }

    fn pull_back(
        &self,
        at: &At<'_, E>,
        y_bar: &[E],
        gradients: &mut Gradients<'_, E>,
        _: &mut Scratch<E>,
    ) {
        if let Some(weight) = gradients.of(0) {
            match self.transposed {
                false => weight.add_product(y_bar, at.x[0]),
                true => weight.add_product(at.x[0], y_bar),
            }
        }
    }

    fn bend(
        &self,
        _: &At<'_, E>,
        p: &[E],
        x_dot: &[Option<&[E]>],
        _: &mut [Option<&mut [E]>],
        gradients: &mut Gradients<'_, E>,
        _: &mut Scratch<E>,
    ) -> bool {
        if let (Some(weight), [Some(x_dot)]) = (gradients.of(0), x_dot) {
            match self.transposed {
                false => weight.add_product(p, x_dot),
                true => weight.add_product(x_dot, p),
            }
        }
        false
    }
}

/// The product with factors rounded to bf16. Its derivatives by parameters are those of the exact one.
struct RoundedProduct<E>(Arc<Weight<E>>, bool);

impl<E: Element> RowOperation<E> for RoundedProduct<E> {
    fn apply(&self, x: &[&[E]], y: &mut [E], _: &mut [&mut [E]], scratch: &mut Scratch<E>) {
        self.0
            .multiply_rounded(self.1, x[0], y, &mut scratch.rounded);
    }

    fn jvp(
        &self,
        _: &At<'_, E>,
        x_dot: &[Option<&[E]>],
        y_dot: &mut [E],
        scratch: &mut Scratch<E>,
    ) {
        if let [Some(x_dot)] = x_dot {
            self.0
                .multiply_rounded(self.1, x_dot, y_dot, &mut scratch.rounded);
        }
    }

    fn vjp(
        &self,
        _: &At<'_, E>,
        y_bar: &[E],
        x_bar: &mut [Option<&mut [E]>],
        scratch: &mut Scratch<E>,
    ) {
        if let [Some(x_bar)] = x_bar {
            self.0
                .multiply_rounded(!self.1, y_bar, x_bar, &mut scratch.rounded);
        }
    }
}
