//! The exponential linear unit.

use equilibria_core::operations::{Pointwise, RESULT};
use equilibria_core::simd::functions;
use equilibria_core::{Element, Formulas, Reads};

/// `y = x` where x > 0, else `α (exp x − 1)`.
///
/// Reference: D.-A. Clevert et al., Fast and Accurate Deep Network Learning by Exponential Linear Units, ICLR 2016, eq. 15.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Elu {
    /// α > 0, in units of x.
    pub alpha: f64,
}

impl Pointwise for Elu {
    const NAME: &'static str = "elu";
    const READS: Reads = RESULT;

    fn formulas(&self) -> Option<Formulas> {
        let alpha = Formulas::number(self.alpha);
        Some(Formulas::new(
            &format!("x > 0 ? x : {alpha} * expm1(x)"),
            &format!("y > 0 ? 1 : y + {alpha}"),
            &format!("y > 0 ? 0 : y + {alpha}"),
        ))
    }

    #[inline(always)]
    fn value<E: Element>(&self, x: E) -> E {
        let below = E::of(self.alpha) * functions::expm1(x);
        if x > E::zero() {
            x
        } else {
            below
        }
    }

    #[inline(always)]
    fn derivative<E: Element>(&self, _x: E, y: E) -> E {
        let below = y + E::of(self.alpha);
        if y > E::zero() {
            E::one()
        } else {
            below
        }
    }

    #[inline(always)]
    fn second<E: Element>(&self, _x: E, y: E) -> E {
        let below = y + E::of(self.alpha);
        if y > E::zero() {
            E::zero()
        } else {
            below
        }
    }
}
