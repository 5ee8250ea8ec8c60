//! Backpropagation through the iteration.

use equilibria_core::prelude::*;

use crate::trajectory;

plugin! {
    /// Unrolled gradient: backpropagation through damped Picard steps z ← (1 − β) z + β f(z) from the start of the solve.
    ///
    /// Not exact for z*: it is the exact gradient of the iterate after `steps` steps, whatever solver has found z*. The two
    /// agree once these steps have converged, as ρᵏ after k steps with ρ = max |1 − β + βλ| over the eigenvalues λ of
    /// J = ∂f/∂z. The output stays z*; the start is held constant. Where Picard iteration diverges, so does the gradient.
    ///
    /// Cost: k − 1 evaluations and products, k linearizations and pull-backs. Memory grows with the number of steps:
    /// k − 1 states. No report, since nothing is solved. For comparisons, and for short iterations whose result is not
    /// meant to be a fixed point; else `implicit` is cheaper in time and memory.
    ///
    /// Reference: S. Bai, J. Z. Kolter, V. Koltun, Deep Equilibrium Models, NeurIPS 2019, §3.1 (which replaces it).
    pub struct Unrolled: BackwardStrategy {
        /// Number of steps k, at least 1.
        pub steps: usize = 30,
        /// Factor β in (0, 1]; 1 is plain Picard iteration. Dimensionless.
        pub damping: f64 = 1.0,
    }
}

#[typetag::serde(name = "unrolled")]
impl BackwardStrategy for Unrolled {
    fn validate(&self) -> Result<()> {
        trajectory::validate("unrolled", self.steps, self.damping)
    }

    fn backward(
        &self,
        space: &mut dyn DifferentiableMap,
        solution: &Solution,
        v: Slot,
    ) -> Result<Report> {
        let start = solution.kept_start()?;
        trajectory::pull_back(space, start, v, (self.steps, self.damping))?;
        Ok(Report::default())
    }

    fn needs_start(&self) -> bool {
        true
    }
}
