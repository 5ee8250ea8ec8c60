//! Jacobian regularization.

use equilibria_core::prelude::*;

plugin! {
    /// Jacobian regularization: ‖∂f/∂z‖²_F / d at z*, estimated with random probes.
    ///
    /// For ε ~ N(0, I), E‖Jε‖² = ‖J‖²_F, the same as E‖εᵀJ‖² of the usual estimator. The product Jε is the central
    /// difference (f(z + hε) − f(z − hε)) / 2h, so that its gradient needs first-order differentiation only; z* is held
    /// constant. Averaged over the d entries of a state and over the batch.
    ///
    /// Keeps the spectral radius of J at bay during training, so that solves stay short. Cost per probe: four
    /// evaluations of f and two pull-backs. The estimate is exact up to O(h²) where f is smooth between the two points.
    ///
    /// Reference: S. Bai, V. Koltun, J. Z. Kolter, Stabilizing Equilibrium Models by Jacobian Regularization, ICML 2021,
    /// eq. 9; M. F. Hutchinson, 1989.
    pub struct Jacobian: Regularizer {
        /// Factor in the loss, at least 0. Dimensionless.
        pub weight: f64 = 1.0,
        /// Random probes per sample, at least 1.
        pub probes: usize = 1,
        /// Step h of the difference along a probe, in units of z, above 0. The default suits f32 states of order 1.
        pub step: f64 = 5e-3,
    }
}

#[typetag::serde(name = "jacobian")]
impl Regularizer for Jacobian {
    fn validate(&self) -> Result<()> {
        let weight = self.weight >= 0.0 && self.weight.is_finite();
        let step = self.step > 0.0 && self.step.is_finite();
        Error::require(
            weight,
            "jacobian",
            "weight",
            "finite and at least 0",
            self.weight,
        )?;
        Error::require(
            self.probes >= 1,
            "jacobian",
            "probes",
            "at least 1",
            self.probes,
        )?;
        Error::require(step, "jacobian", "step", "finite and above 0", self.step)
    }

    fn weight(&self) -> f64 {
        self.weight
    }

    fn penalty(&self, space: &mut dyn DifferentiableSpace, z: Slot, seed: u64) -> Result<f64> {
        let [probe, forward, backward, product] = slots(space)?;
        let share = 1.0 / (space.dim() * self.probes) as f64;
        let mut squares = vec![0.0; space.batch()];
        let mut penalty = 0.0;
        for index in 0..self.probes {
            space.fill_normal(probe, seed.wrapping_add(index as u64))?;
            for (point, sign) in [(forward, 1.0), (backward, -1.0)] {
                let shift = (Coef::Same(sign * self.step), probe);
                space.combine(point, &[(Coef::Same(1.0), z), shift])?;
            }
            // The probe has done its part: its slot takes f(z − hε).
            space.apply(forward, product)?;
            space.apply(backward, probe)?;
            let slope = 0.5 / self.step;
            space.combine(
                product,
                &[(Coef::Same(slope), product), (Coef::Same(-slope), probe)],
            )?;
            space.dots(product, &[product], &mut squares)?;
            penalty += share * squares.iter().sum::<f64>();

            // d‖Jε‖² = 2⟨Jε, d(Jε)⟩, and d(Jε) is again a difference of two applications.
            for (point, sign) in [(forward, 1.0), (backward, -1.0)] {
                space.combine(probe, &[(Coef::Same(2.0 * share * sign * slope), product)])?;
                space.linearize(point)?;
                space.pull_back(probe)?;
            }
        }
        for slot in [probe, forward, backward, product] {
            space.release(slot);
        }
        Ok(penalty)
    }
}

fn slots(space: &mut dyn DifferentiableSpace) -> Result<[Slot; 4]> {
    Ok([
        space.alloc()?,
        space.alloc()?,
        space.alloc()?,
        space.alloc()?,
    ])
}
