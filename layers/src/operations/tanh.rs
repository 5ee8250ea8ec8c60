//! The hyperbolic tangent.

use equilibria_core::simd::functions;
use equilibria_core::{Element, Reads};

use super::pointwise::{pointwise, Pointwise, RESULT};

/// `y = tanh x`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Tanh;

pointwise!(Tanh, "tanh", |_this, x| Ok(x.tanh()), |this| *this);

impl<E: Element> Pointwise<E> for Tanh {
    const READS: Reads = RESULT;

    #[inline(always)]
    fn value(self, x: E) -> E {
        functions::tanh(x)
    }

    #[inline(always)]
    fn derivative(self, _x: E, y: E) -> E {
        E::one() - y * y
    }

    #[inline(always)]
    fn second(self, _x: E, y: E) -> E {
        E::of(-2.0) * y * (E::one() - y * y)
    }
}
