//! The cosine.

use equilibria_core::simd::functions;
use equilibria_core::{Element, Reads};

use super::pointwise::{pointwise, Pointwise, ARGUMENT};

/// `y = cos x`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Cos;

pointwise!(Cos, "cos", |_this, x| Ok(x.cos()), |this| *this);

impl<E: Element> Pointwise<E> for Cos {
    const READS: Reads = ARGUMENT;

    #[inline(always)]
    fn value(self, x: E) -> E {
        functions::cos(x)
    }

    #[inline(always)]
    fn derivative(self, x: E, _y: E) -> E {
        -functions::sin(x)
    }

    #[inline(always)]
    fn second(self, x: E, _y: E) -> E {
        -functions::cos(x)
    }
}
