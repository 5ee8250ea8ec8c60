//! The sine.

use equilibria_core::operations::{Pointwise, ARGUMENT};
use equilibria_core::simd::functions;
use equilibria_core::{AnyTape, Backend, Element, Error, Formulas, Matrix, Reads, Result, Scalar};

/// `y = sin x`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sin;

impl Pointwise for Sin {
    const NAME: &'static str = "sin";
    const READS: Reads = ARGUMENT;

    fn formulas(&self) -> Option<Formulas> {
        Some(Formulas::new("sin(x)", "cos(x)", "-sin(x)"))
    }

    #[inline(always)]
    fn value<E: Element>(&self, x: E) -> E {
        functions::sin(x)
    }

    #[inline(always)]
    fn derivative<E: Element>(&self, x: E, _y: E) -> E {
        functions::cos(x)
    }

    #[inline(always)]
    fn second<E: Element>(&self, x: E, _y: E) -> E {
        -functions::sin(x)
    }

    fn on_tensor<E: Scalar, D: Backend<E>, T: AnyTape<E, D>>(
        &self,
        x: Matrix<E, D, T>,
    ) -> Result<Matrix<E, D, T>> {
        x.try_sin().map_err(Error::device)
    }
}
