//! The hyperbolic tangent.

use equilibria_core::operations::{Pointwise, RESULT};
use equilibria_core::simd::functions;
use equilibria_core::{AnyTape, Backend, Element, Error, Formulas, Matrix, Reads, Result, Scalar};

/// `y = tanh x`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Tanh;

impl Pointwise for Tanh {
    const NAME: &'static str = "tanh";
    const READS: Reads = RESULT;

    fn formulas(&self) -> Option<Formulas> {
        Some(Formulas::new(
            "tanh(x)",
            "1 - y * y",
            "-2 * y * (1 - y * y)",
        ))
    }

    #[inline(always)]
    fn value<E: Element>(&self, x: E) -> E {
        functions::tanh(x)
    }

    #[inline(always)]
    fn derivative<E: Element>(&self, _x: E, y: E) -> E {
        E::one() - y * y
    }

    #[inline(always)]
    fn second<E: Element>(&self, _x: E, y: E) -> E {
        E::of(-2.0) * y * (E::one() - y * y)
    }

    fn on_tensor<E: Scalar, D: Backend<E>, T: AnyTape<E, D>>(
        &self,
        x: Matrix<E, D, T>,
    ) -> Result<Matrix<E, D, T>> {
        x.try_tanh().map_err(Error::device)
    }
}
