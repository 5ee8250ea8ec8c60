//! The natural logarithm.

use equilibria_core::operations::{Pointwise, ARGUMENT};
use equilibria_core::simd::functions;
use equilibria_core::{AnyTape, Backend, Element, Error, Formulas, Matrix, Reads, Result, Scalar};

/// `y = ln x`, for x > 0.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ln;

impl Pointwise for Ln {
    const NAME: &'static str = "ln";
    const READS: Reads = ARGUMENT;

    fn formulas(&self) -> Option<Formulas> {
        Some(Formulas::new("log(x)", "1 / x", "-1 / (x * x)"))
    }

    #[inline(always)]
    fn value<E: Element>(&self, x: E) -> E {
        functions::ln(x)
    }

    #[inline(always)]
    fn derivative<E: Element>(&self, x: E, _y: E) -> E {
        x.recip()
    }

    #[inline(always)]
    fn second<E: Element>(&self, x: E, _y: E) -> E {
        -(x * x).recip()
    }

    fn on_tensor<E: Scalar, D: Backend<E>, T: AnyTape<E, D>>(
        &self,
        x: Matrix<E, D, T>,
    ) -> Result<Matrix<E, D, T>> {
        x.try_ln().map_err(Error::device)
    }
}
