//! Phantom gradients.

use equilibria_core::prelude::*;

use crate::trajectory;

plugin! {
    /// Phantom gradient: backpropagation through a few damped steps z ← (1 − β) z + β f(z) taken from z*.
    ///
    /// Not exact: with k steps and J = ∂f/∂z at z*, u = β Σ_{j < k} Bʲ v, B = (1 − β) I + β Jᵀ, which tends to
    /// (I − Jᵀ)⁻¹ v where the damped iteration converges, |1 − β + βλ| < 1 for every eigenvalue λ of J. The output stays z*,
    /// and z* as the start of the steps is held constant. One step with β = 1 is `jacobian-free`. Small β shortens the
    /// gradient: u tends to k β v.
    ///
    /// Cost: k − 1 evaluations and products, k linearizations and pull-backs; memory k − 1 states; no report, since nothing is
    /// solved. Not for gradient checks. Where f moves z*, because the forward solve was loose, the steps improve on it and
    /// the gradient is taken along them.
    ///
    /// Reference: Z. Geng et al., On Training Implicit Models, NeurIPS 2021.
    pub struct Phantom: BackwardStrategy {
        /// Number of steps k, at least 1.
        pub steps: usize = 5,
        /// Factor β in (0, 1]. Dimensionless.
        pub damping: f64 = 0.5,
    }
}

#[typetag::serde(name = "phantom")]
impl BackwardStrategy for Phantom {
    fn validate(&self) -> Result<()> {
        trajectory::validate("phantom", self.steps, self.damping)
    }

    fn backward(
        &self,
        space: &mut dyn DifferentiableMap,
        solution: &Solution,
        v: Slot,
    ) -> Result<Report> {
        trajectory::pull_back(space, solution.z, v, (self.steps, self.damping))?;
        Ok(Report::default())
    }
}
