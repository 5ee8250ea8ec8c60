//! The rectified linear unit.

use equilibria_core::{Element, Neighbor, Reads};

use super::pointwise::{pointwise, Pointwise, RESULT};
use crate::modules;

/// `y = max(x, 0)`; NaN stays NaN.
///
/// The sign of x decides, not that of a state that a solver has left close to it; at 0 the derivative is 0.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Relu;

pointwise!(Relu, "relu", |_this, x| modules::relu(x), |this| *this);

impl<E: Element> Pointwise<E> for Relu {
    const READS: Reads = RESULT;
    const NEIGHBOR: Option<Neighbor> = Some(Neighbor::Rectifier);

    #[inline(always)]
    fn value(self, x: E) -> E {
        if x < E::zero() {
            E::zero()
        } else {
            x
        }
    }

    #[inline(always)]
    fn derivative(self, _x: E, y: E) -> E {
        if y <= E::zero() {
            E::zero()
        } else {
            E::one()
        }
    }

    #[inline(always)]
    fn second(self, _x: E, _y: E) -> E {
        E::zero()
    }
}
