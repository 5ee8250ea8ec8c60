//! The logistic function.

use equilibria_core::simd::functions;
use equilibria_core::{Element, Reads};

use super::pointwise::{pointwise, Pointwise, RESULT};
use crate::modules;

/// `y = 1 / (1 + exp(−x))`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sigmoid;

pointwise!(Sigmoid, "sigmoid", |_this, x| modules::sigmoid(x), |this| {
    *this
});

impl<E: Element> Pointwise<E> for Sigmoid {
    const READS: Reads = RESULT;

    #[inline(always)]
    fn value(self, x: E) -> E {
        functions::sigmoid(x)
    }

    #[inline(always)]
    fn derivative(self, _x: E, y: E) -> E {
        y * (E::one() - y)
    }

    #[inline(always)]
    fn second(self, _x: E, y: E) -> E {
        y * (E::one() - y) * (E::one() - y - y)
    }
}
