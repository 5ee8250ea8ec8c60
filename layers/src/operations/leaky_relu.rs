//! The leaky rectified linear unit.

use dfdx::prelude::*;
use equilibria_core::operations::{Pointwise, ARGUMENT};
use equilibria_core::{AnyTape, Backend, Element, Error, Formulas, Matrix, Reads, Result, Scalar};

use crate::modules;

/// `y = x` where x > 0, else `s x`. At 0 the derivative is s.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LeakyRelu {
    /// s. Dimensionless.
    pub slope: f64,
}

impl Pointwise for LeakyRelu {
    const NAME: &'static str = "leaky relu";
    const READS: Reads = ARGUMENT;

    fn formulas(&self) -> Option<Formulas> {
        let slope = Formulas::number(self.slope);
        Some(Formulas::new(
            &format!("x > 0 ? x : {slope} * x"),
            &format!("x > 0 ? (real)1 : {slope}"),
            "0",
        ))
    }

    #[inline(always)]
    fn value<E: Element>(&self, x: E) -> E {
        let below = E::of(self.slope) * x;
        if x > E::zero() {
            x
        } else {
            below
        }
    }

    #[inline(always)]
    fn derivative<E: Element>(&self, x: E, _y: E) -> E {
        if x > E::zero() {
            E::one()
        } else {
            E::of(self.slope)
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
        let above = modules::relu(x.with_empty_tape())? * E::of(1.0 - self.slope);
        (x * E::of(self.slope))
            .try_add(above)
            .map_err(Error::device)
    }
}
