//! The exponential function.

use equilibria_core::simd::functions;
use equilibria_core::{Element, Reads};

use super::pointwise::{pointwise, Pointwise, RESULT};

/// `y = exp x`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Exp;

pointwise!(Exp, "exp", |_this, x| Ok(x.exp()), |this| *this);

impl<E: Element> Pointwise<E> for Exp {
    const READS: Reads = RESULT;

    #[inline(always)]
    fn value(self, x: E) -> E {
        functions::exp(x)
    }

    #[inline(always)]
    fn derivative(self, _x: E, y: E) -> E {
        y
    }

    #[inline(always)]
    fn second(self, _x: E, y: E) -> E {
        y
    }
}
