//! The exponential function.

use equilibria_core::operations::{Pointwise, RESULT};
use equilibria_core::simd::functions;
use equilibria_core::{AnyTape, Backend, Element, Error, Formulas, Matrix, Reads, Result, Scalar};

/// `y = exp x`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Exp;

impl Pointwise for Exp {
    const NAME: &'static str = "exp";
    const READS: Reads = RESULT;

    fn formulas(&self) -> Option<Formulas> {
        Some(Formulas::new("exp(x)", "y", "y"))
    }

    #[inline(always)]
    fn value<E: Element>(&self, x: E) -> E {
        functions::exp(x)
    }

    #[inline(always)]
    fn derivative<E: Element>(&self, _x: E, y: E) -> E {
        y
    }

    #[inline(always)]
    fn second<E: Element>(&self, _x: E, y: E) -> E {
        y
    }

    fn on_tensor<E: Scalar, D: Backend<E>, T: AnyTape<E, D>>(
        &self,
        x: Matrix<E, D, T>,
    ) -> Result<Matrix<E, D, T>> {
        x.try_exp().map_err(Error::device)
    }
}
