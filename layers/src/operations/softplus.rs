//! A smooth `max(x, 0)`.

use equilibria_core::operations::{Pointwise, RESULT};
use equilibria_core::simd::functions;
use equilibria_core::{Element, Formulas, Reads};

/// `y = ln(1 + exp x)`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Softplus;

impl Pointwise for Softplus {
    const NAME: &'static str = "softplus";
    const READS: Reads = RESULT;

    fn formulas(&self) -> Option<Formulas> {
        Some(Formulas::new(
            "(x > 0 ? x : 0) + log1p(exp(-fabs(x)))",
            "-expm1(-y)",
            "-exp(-y) * expm1(-y)",
        ))
    }

    #[inline(always)]
    fn value<E: Element>(&self, x: E) -> E {
        functions::softplus(x)
    }

    #[inline(always)]
    fn derivative<E: Element>(&self, _x: E, y: E) -> E {
        // 1 − e⁻ʸ, the logistic function of x.
        -functions::expm1(-y)
    }

    #[inline(always)]
    fn second<E: Element>(&self, _x: E, y: E) -> E {
        let rest = functions::exp(-y);
        rest * -functions::expm1(-y)
    }
}
