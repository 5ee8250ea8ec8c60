//! Damped Picard iteration.

use equilibria_core::prelude::*;

use crate::Compat;

plugin! {
    /// Damped Picard (fixed-point) iteration, z ← (1 − β) z + β f(z).
    ///
    /// With β = 1 and ‖∂f/∂z‖ ≤ L < 1 the error shrinks by at least L each step (Banach). Damping also helps where J has
    /// eigenvalues below −1: the iteration converges locally if |1 − β + βλ| < 1 for every eigenvalue λ of J.
    ///
    /// Cost per step: one evaluation of f; no memory. Not for maps whose spectral radius is near 1, where it takes
    /// hundreds of steps: use `anderson`.
    ///
    /// Reference: C. T. Kelley, Iterative Methods for Linear and Nonlinear Equations, SIAM 1995, §4.2.
    pub struct Picard: FixedPointSolver {
        /// Mixing factor β in (0, 1]; 1 is the plain iteration. Dimensionless.
        pub damping: f64 = 1.0,
        /// `"torchdeq"`: its iterates are these, only its residuals are β times ours.
        pub compat: Option<Compat> = None,
    }
}

#[typetag::serde(name = "picard")]
impl FixedPointSolver for Picard {
    fn validate(&self) -> Result<()> {
        Error::require_share("picard", "damping", self.damping)
    }

    fn start(&self, _: &mut dyn Map, _: Tolerance) -> Result<Box<dyn Iteration>> {
        Ok(Box::new(self.clone()))
    }

    fn tolerates_rounding(&self) -> bool {
        self.compat.is_none()
    }
}

impl Iteration for Picard {
    fn advance(&mut self, space: &mut dyn Map, at: &mut Evaluation, next: Slot) -> Result<()> {
        let terms = [
            (Coef::Same(1.0), at.z),
            (Coef::Same(self.damping), at.residual),
        ];
        space.combine(next, &terms)
    }
}
