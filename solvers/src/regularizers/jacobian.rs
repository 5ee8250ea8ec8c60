//! Jacobian regularization.

use equilibria_core::prelude::*;
use equilibria_core::seed::mix;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::squared_product;

plugin! {
    /// Jacobian regularization: ‖∂f/∂z‖²_F / d at z*, estimated with random probes.
    ///
    /// For ε ~ N(0, I), E‖εᵀJ‖² = ‖J‖²_F; averaged over the d entries of a state, the probes and the batch. The value is
    /// exact for its probes: w = Jᵀε is one product with the transposed Jacobian. The gradient, with z* held constant, is
    /// 2 ⟨ε, ∂J w⟩. It is exact where all operations of a layer have tangents; elsewhere J w is the slope of f along w, a central
    /// difference of two pull-backs, so that no layer needs second derivatives. Its error is O(h²) where f is smooth between
    /// the two points.
    ///
    /// Keeps the spectral radius of J at bay during training, so that solves stay short. Cost per probe: one product, and a
    /// gradient that takes as long as some four of them, or two linearizations and two pull-backs. A `frequency` below 1 saves
    /// the cost of most training steps; the penalty of the others is not scaled up, as in the reference implementation.
    ///
    /// Reference: S. Bai, V. Koltun, J. Z. Kolter, Stabilizing Equilibrium Models by Jacobian Regularization, ICML 2021,
    /// eq. 9; M. F. Hutchinson, 1989.
    pub struct Jacobian: Regularizer {
        /// Factor in the loss, at least 0. Dimensionless.
        pub weight: f64 = 1.0,
        /// Random probes per sample, at least 1.
        pub probes: usize = 1,
        /// Probability that the penalty is applied in a training step, in (0, 1]. Drawn from the seed for the whole batch;
        /// otherwise the penalty is 0 and costs nothing.
        pub frequency: f64 = 1.0,
        /// Step h of the difference, where one is taken: root mean square over the entries of z, above 0. The default suits f32
        /// states of order 1.
        pub step: f64 = 5e-3,
    }
}

#[typetag::serde(name = "jacobian")]
impl Regularizer for Jacobian {
    fn validate(&self) -> Result<()> {
        Error::require_not_negative("jacobian", "weight", self.weight)?;
        Error::require_at_least_one("jacobian", "probes", self.probes)?;
        Error::require_share("jacobian", "frequency", self.frequency)?;
        Error::require_positive("jacobian", "step", self.step)
    }

    fn weight(&self) -> f64 {
        self.weight
    }

    fn penalty(&self, space: &mut dyn DifferentiableMap, z: Slot, seed: u64) -> Result<f64> {
        // No sample's probes are drawn from the bare seed, so the decision tells nothing about them.
        if !StdRng::seed_from_u64(seed).gen_bool(self.frequency) {
            return Ok(0.0);
        }
        let [probe, product] = [space.alloc()?, space.alloc()?];
        let shares = vec![1.0 / (space.dim() * self.probes) as f64; space.batch()];
        let mut penalty = 0.0;
        for index in 0..self.probes {
            space.fill_normal(probe, mix(seed, index as u64))?;
            space.linearize(z)?;
            space.vjp(probe, product)?;
            let squares = squared_product::lengths(space, product)?;
            penalty += squares.iter().zip(&shares).map(|(s, c)| s * c).sum::<f64>();
            squared_product::pull_back(space, [probe, product], &shares, self.step)?;
        }
        space.release(probe);
        space.release(product);
        Ok(penalty)
    }
}
