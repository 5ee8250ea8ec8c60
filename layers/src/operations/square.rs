//! The square.

use equilibria_core::{Element, Reads};

use super::pointwise::{pointwise, Pointwise, ARGUMENT};

/// `y = x²`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Square;

pointwise!(Square, "square", |_this, x| Ok(x.square()), |this| *this);

impl<E: Element> Pointwise<E> for Square {
    const READS: Reads = ARGUMENT;

    #[inline(always)]
    fn value(self, x: E) -> E {
        x * x
    }

    #[inline(always)]
    fn derivative(self, x: E, _y: E) -> E {
        x + x
    }

    #[inline(always)]
    fn second(self, _x: E, _y: E) -> E {
        E::of(2.0)
    }
}
