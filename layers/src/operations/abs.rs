//! The absolute value.

use equilibria_core::operations::{Pointwise, ARGUMENT};
use equilibria_core::{AnyTape, Backend, Element, Error, Formulas, Matrix, Reads, Result, Scalar};

/// `y = |x|`; at 0 the derivative is 0.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Abs;

impl Pointwise for Abs {
    const NAME: &'static str = "abs";
    const READS: Reads = ARGUMENT;

    fn formulas(&self) -> Option<Formulas> {
        Some(Formulas::new("fabs(x)", "x == 0 ? 0 : x < 0 ? -1 : 1", "0"))
    }

    #[inline(always)]
    fn value<E: Element>(&self, x: E) -> E {
        x.abs()
    }

    #[inline(always)]
    fn derivative<E: Element>(&self, x: E, _y: E) -> E {
        let sign = E::one().copysign(x);
        if x.is_zero() {
            E::zero()
        } else {
            sign
        }
    }

    #[inline(always)]
    fn second<E: Element>(&self, _x: E, _y: E) -> E {
        E::zero()
    }

    fn on_tensor<E: Scalar, D: Backend<E>, T: AnyTape<E, D>>(
        &self,
        x: Matrix<E, D, T>,
    ) -> Result<Matrix<E, D, T>> {
        x.try_abs().map_err(Error::device)
    }
}
