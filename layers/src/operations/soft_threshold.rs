//! Shrinkage.

use dfdx::prelude::*;
use equilibria_core::operations::{Pointwise, RESULT};
use equilibria_core::{AnyTape, Backend, Element, Error, Formulas, Matrix, Reads, Result, Scalar};

use crate::modules;

/// `y = sign(x) max(|x| − t, 0)`, the proximal operator of t |x|; NaN stays NaN. Where y is 0 the derivative is 0.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SoftThreshold {
    /// The threshold t ≥ 0, in units of x.
    pub by: f64,
}

impl Pointwise for SoftThreshold {
    const NAME: &'static str = "soft threshold";
    const READS: Reads = RESULT;

    fn formulas(&self) -> Option<Formulas> {
        let by = Formulas::number(self.by);
        Some(Formulas::new(
            &format!("fabs(x) <= {by} ? 0 : x < 0 ? x + {by} : x - {by}"),
            "y == 0 ? 0 : 1",
            "0",
        ))
    }

    #[inline(always)]
    fn value<E: Element>(&self, x: E) -> E {
        let left = x.abs() - E::of(self.by);
        if left <= E::zero() {
            E::zero()
        } else {
            left.copysign(x)
        }
    }

    #[inline(always)]
    fn derivative<E: Element>(&self, _x: E, y: E) -> E {
        if y.is_zero() {
            E::zero()
        } else {
            E::one()
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
        let by = E::of(self.by);
        let above = modules::relu(x.with_empty_tape() - by)?;
        let below = modules::relu(-x - by)?;
        above.try_sub(below).map_err(Error::device)
    }
}
