//! The reciprocal.

use super::{Pointwise, BOTH};
use crate::operation::Reads;
use crate::{AnyTape, Backend, Element, Error, Formulas, Matrix, Result, Scalar};

/// `y = c / x`, with a number c.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Reciprocal {
    /// c.
    pub of: f64,
}

impl Pointwise for Reciprocal {
    const NAME: &'static str = "/ of a number";
    const READS: Reads = BOTH;

    fn formulas(&self) -> Option<Formulas> {
        let value = format!("{} / x", Formulas::number(self.of));
        Some(Formulas::new(&value, "-y / x", "(y + y) / (x * x)"))
    }

    #[inline(always)]
    fn value<E: Element>(&self, x: E) -> E {
        E::of(self.of) / x
    }

    #[inline(always)]
    fn derivative<E: Element>(&self, x: E, y: E) -> E {
        -y / x
    }

    #[inline(always)]
    fn second<E: Element>(&self, x: E, y: E) -> E {
        (y + y) / (x * x)
    }

    fn on_tensor<E: Scalar, D: Backend<E>, T: AnyTape<E, D>>(
        &self,
        x: Matrix<E, D, T>,
    ) -> Result<Matrix<E, D, T>> {
        let reciprocal = x.try_recip().map_err(Error::device)?;
        Ok(reciprocal * E::of(self.of))
    }
}
