//! The square root.

use equilibria_core::operations::{Pointwise, RESULT};
use equilibria_core::{AnyTape, Backend, Element, Error, Formulas, Matrix, Reads, Result, Scalar};

/// `y = √x`, for x > 0: at 0 the derivative is infinite.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sqrt;

impl Pointwise for Sqrt {
    const NAME: &'static str = "sqrt";
    const READS: Reads = RESULT;

    fn formulas(&self) -> Option<Formulas> {
        Some(Formulas::new(
            "sqrt(x)",
            "(real)0.5 / y",
            "(real)-0.25 / (y * y * y)",
        ))
    }

    #[inline(always)]
    fn value<E: Element>(&self, x: E) -> E {
        x.sqrt()
    }

    #[inline(always)]
    fn derivative<E: Element>(&self, _x: E, y: E) -> E {
        E::of(0.5) / y
    }

    #[inline(always)]
    fn second<E: Element>(&self, _x: E, y: E) -> E {
        E::of(-0.25) / (y * y * y)
    }

    fn on_tensor<E: Scalar, D: Backend<E>, T: AnyTape<E, D>>(
        &self,
        x: Matrix<E, D, T>,
    ) -> Result<Matrix<E, D, T>> {
        x.try_sqrt().map_err(Error::device)
    }
}
