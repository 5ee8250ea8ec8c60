//! The square.

use equilibria_core::operations::{Pointwise, ARGUMENT};
use equilibria_core::{AnyTape, Backend, Element, Error, Formulas, Matrix, Reads, Result, Scalar};

/// `y = x²`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Square;

impl Pointwise for Square {
    const NAME: &'static str = "square";
    const READS: Reads = ARGUMENT;

    fn formulas(&self) -> Option<Formulas> {
        Some(Formulas::new("x * x", "x + x", "2"))
    }

    #[inline(always)]
    fn value<E: Element>(&self, x: E) -> E {
        x * x
    }

    #[inline(always)]
    fn derivative<E: Element>(&self, x: E, _y: E) -> E {
        x + x
    }

    #[inline(always)]
    fn second<E: Element>(&self, _x: E, _y: E) -> E {
        E::of(2.0)
    }

    fn on_tensor<E: Scalar, D: Backend<E>, T: AnyTape<E, D>>(
        &self,
        x: Matrix<E, D, T>,
    ) -> Result<Matrix<E, D, T>> {
        x.try_square().map_err(Error::device)
    }
}
