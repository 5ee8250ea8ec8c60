//! The rectified linear unit.

use equilibria_core::operations::{Pointwise, RESULT};
use equilibria_core::{
    AnyTape, Backend, Element, Formulas, Matrix, Neighbor, Reads, Result, Scalar,
};

use crate::modules;

/// `y = max(x, 0)`; NaN stays NaN.
///
/// The sign of x decides, not that of a state that a solver has left close to it; at 0 the derivative is 0.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Relu;

impl Pointwise for Relu {
    const NAME: &'static str = "relu";
    const READS: Reads = RESULT;
    const NEIGHBOR: Option<Neighbor> = Some(Neighbor::Rectifier);

    fn formulas(&self) -> Option<Formulas> {
        Some(Formulas::relu())
    }

    #[inline(always)]
    fn value<E: Element>(&self, x: E) -> E {
        if x < E::zero() {
            E::zero()
        } else {
            x
        }
    }

    #[inline(always)]
    fn derivative<E: Element>(&self, _x: E, y: E) -> E {
        if y <= E::zero() {
            E::zero()
        } else {
            E::one()
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
        modules::relu(x)
    }
}
