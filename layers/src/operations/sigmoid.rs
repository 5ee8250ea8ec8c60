//! The logistic function.

use equilibria_core::operations::{Pointwise, RESULT};
use equilibria_core::simd::functions;
use equilibria_core::{AnyTape, Backend, Element, Formulas, Matrix, Reads, Result, Scalar};

use crate::modules;

/// `y = 1 / (1 + exp(−x))`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sigmoid;

impl Pointwise for Sigmoid {
    const NAME: &'static str = "sigmoid";
    const READS: Reads = RESULT;

    fn formulas(&self) -> Option<Formulas> {
        Some(Formulas::new(
            "1 / (1 + exp(-x))",
            "y * (1 - y)",
            "y * (1 - y) * (1 - y - y)",
        ))
    }

    #[inline(always)]
    fn value<E: Element>(&self, x: E) -> E {
        functions::sigmoid(x)
    }

    #[inline(always)]
    fn derivative<E: Element>(&self, _x: E, y: E) -> E {
        y * (E::one() - y)
    }

    #[inline(always)]
    fn second<E: Element>(&self, _x: E, y: E) -> E {
        y * (E::one() - y) * (E::one() - y - y)
    }

    fn on_tensor<E: Scalar, D: Backend<E>, T: AnyTape<E, D>>(
        &self,
        x: Matrix<E, D, T>,
    ) -> Result<Matrix<E, D, T>> {
        modules::sigmoid(x)
    }
}
