//! The reversible iteration.

use equilibria_core::prelude::*;

plugin! {
    /// The reversible iteration: two states that move each other, y ← (1 − β) y + β f(z), then z ← (1 − β) z + β f(y).
    ///
    /// From the last two states all others can be computed again, so that the backward strategy `reversible` keeps none. It
    /// converges locally where the eigenvalues of J = ∂f/∂z lie in the ellipse around 0 with the semiaxes 1, real, and (2 − β) / β,
    /// imaginary: wherever f contracts, about as fast as `picard`. For solving alone, `anderson` is better.
    ///
    /// Cost per step: one evaluation of f, two for both states; one state of memory.
    ///
    /// Reference: S. McCallum, K. Arora, J. Foster, Reversible Deep Equilibrium Models, arXiv 2509.12917, eqs. 5-6.
    pub struct Reversible: FixedPointSolver {
        /// Mixing factor β in (0, 1): at 1, nothing is left to go back by. Dimensionless.
        pub damping: f64 = 0.8,
    }
}

#[typetag::serde(name = "reversible")]
impl FixedPointSolver for Reversible {
    fn validate(&self) -> Result<()> {
        Error::require_inner_fraction("reversible", "damping", self.damping)
    }

    fn start(&self, space: &mut dyn Map, _: Tolerance) -> Result<Box<dyn Iteration>> {
        Ok(Box::new(Pair {
            damping: self.damping,
            other: space.alloc()?,
            begun: false,
        }))
    }

    fn tolerates_rounding(&self) -> bool {
        true
    }
}

/// The state that was not evaluated last.
struct Pair {
    damping: f64,
    other: Slot,
    begun: bool,
}

impl Iteration for Pair {
    fn advance(&mut self, space: &mut dyn Map, at: &mut Evaluation, next: Slot) -> Result<()> {
        // Both states begin at the same point.
        let other = if self.begun { self.other } else { at.z };
        let shares = [Coef::Same(1.0 - self.damping), Coef::Same(self.damping)];
        space.combine(next, &[(shares[0], other), (shares[1], at.fz)])?;
        self.begun = true;
        space.combine(self.other, &[(Coef::Same(1.0), at.z)])
    }

    fn finish(&mut self, space: &mut dyn Map) -> LowRank {
        space.release(self.other);
        LowRank::default()
    }
}
