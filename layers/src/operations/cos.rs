//! The cosine.

use equilibria_core::operations::{Pointwise, ARGUMENT};
use equilibria_core::simd::functions;
use equilibria_core::{AnyTape, Backend, Element, Error, Formulas, Matrix, Reads, Result, Scalar};

/// `y = cos x`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Cos;

impl Pointwise for Cos {
    const NAME: &'static str = "cos";
    const READS: Reads = ARGUMENT;

    fn formulas(&self) -> Option<Formulas> {
        Some(Formulas::new("cos(x)", "-sin(x)", "-cos(x)"))
    }

    #[inline(always)]
    fn value<E: Element>(&self, x: E) -> E {
        functions::cos(x)
    }

    #[inline(always)]
    fn derivative<E: Element>(&self, x: E, _y: E) -> E {
        -functions::sin(x)
    }

    #[inline(always)]
    fn second<E: Element>(&self, x: E, _y: E) -> E {
        -functions::cos(x)
    }

    fn on_tensor<E: Scalar, D: Backend<E>, T: AnyTape<E, D>>(
        &self,
        x: Matrix<E, D, T>,
    ) -> Result<Matrix<E, D, T>> {
        x.try_cos().map_err(Error::device)
    }
}
