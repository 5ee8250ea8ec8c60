//! Bounds.

use equilibria_core::operations::{Pointwise, RESULT};
use equilibria_core::{Element, Formulas, Reads};

/// `y = min(max(x, low), high)`; NaN stays NaN. At the bounds the derivative is 0.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Clamp {
    /// The lower bound; −∞ for none.
    pub low: f64,
    /// The upper bound; ∞ for none. It holds where `low` exceeds it.
    pub high: f64,
}

impl Pointwise for Clamp {
    const NAME: &'static str = "clamp";
    const READS: Reads = RESULT;

    fn formulas(&self) -> Option<Formulas> {
        let [low, high] = [self.low, self.high].map(Formulas::number);
        let above = format!("(x < {low} ? {low} : x)");
        Some(Formulas::new(
            &format!("{above} > {high} ? {high} : {above}"),
            &format!("(y <= {low} || y >= {high}) ? 0 : 1"),
            "0",
        ))
    }

    #[inline(always)]
    fn value<E: Element>(&self, x: E) -> E {
        let (low, high) = (E::of(self.low), E::of(self.high));
        let x = if x < low { low } else { x };
        if x > high {
            high
        } else {
            x
        }
    }

    #[inline(always)]
    fn derivative<E: Element>(&self, _x: E, y: E) -> E {
        let outside = (y <= E::of(self.low)) | (y >= E::of(self.high));
        if outside {
            E::zero()
        } else {
            E::one()
        }
    }

    #[inline(always)]
    fn second<E: Element>(&self, _x: E, _y: E) -> E {
        E::zero()
    }
}
