//! The sigmoid linear unit.

use dfdx::prelude::*;
use equilibria_core::operations::{Pointwise, ARGUMENT};
use equilibria_core::simd::functions;
use equilibria_core::{AnyTape, Backend, Element, Error, Formulas, Matrix, Reads, Result, Scalar};

use crate::modules;

/// `y = x σ(x)`, with the logistic function σ; also called swish.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Silu;

impl Pointwise for Silu {
    const NAME: &'static str = "silu";
    const READS: Reads = ARGUMENT;

    fn formulas(&self) -> Option<Formulas> {
        Some(Formulas::new(
            "x / (1 + exp(-x))",
            "(1 + x / (1 + exp(x))) / (1 + exp(-x))",
            "(2 + x * (1 - 2 / (1 + exp(-x)))) / ((1 + exp(-x)) * (1 + exp(x)))",
        ))
    }

    #[inline(always)]
    fn value<E: Element>(&self, x: E) -> E {
        x * functions::sigmoid(x)
    }

    #[inline(always)]
    fn derivative<E: Element>(&self, x: E, _y: E) -> E {
        let s = functions::sigmoid(x);
        s * (E::one() + x * (E::one() - s))
    }

    #[inline(always)]
    fn second<E: Element>(&self, x: E, _y: E) -> E {
        let s = functions::sigmoid(x);
        s * (E::one() - s) * (E::of(2.0) + x * (E::one() - s - s))
    }

    fn on_tensor<E: Scalar, D: Backend<E>, T: AnyTape<E, D>>(
        &self,
        x: Matrix<E, D, T>,
    ) -> Result<Matrix<E, D, T>> {
        let gate = modules::sigmoid(x.with_empty_tape())?;
        x.try_mul(gate).map_err(Error::device)
    }
}
