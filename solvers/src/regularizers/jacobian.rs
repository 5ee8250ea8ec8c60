//! Jacobian regularization.

use equilibria_core::prelude::*;

plugin! {
    /// Jacobian regularization: ‖∂f/∂z‖²_F / d at z*, estimated with random probes.
    ///
    /// For ε ~ N(0, I), E‖εᵀJ‖² = ‖J‖²_F; averaged over the d entries of a state, the probes and the batch. The value is
    /// exact for its probes: w = Jᵀε is one product with the transposed Jacobian. The gradient, with z* held constant, is
    /// 2 ⟨ε, ∂J w⟩, and J w is the slope of f along w: a central difference of two pull-backs, so that no layer needs
    /// second derivatives. Its error is O(h²) where f is smooth between the two points.
    ///
    /// Keeps the spectral radius of J at bay during training, so that solves stay short. Cost per probe: one product, two
    /// linearizations and two pull-backs.
    ///
    /// Reference: S. Bai, V. Koltun, J. Z. Kolter, Stabilizing Equilibrium Models by Jacobian Regularization, ICML 2021,
    /// eq. 9; M. F. Hutchinson, 1989.
    pub struct Jacobian: Regularizer {
        /// Factor in the loss, at least 0. Dimensionless.
        pub weight: f64 = 1.0,
        /// Random probes per sample, at least 1.
        pub probes: usize = 1,
        /// Step h of the difference, root mean square over the entries of z, above 0. The default suits f32 states of order 1.
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
        let [probe, product, point, cotangent] = slots(space)?;
        let share = 1.0 / (space.dim() * self.probes) as f64;
        let length = self.step * (space.dim() as f64).sqrt();
        let mut norms = vec![0.0; space.batch()];
        let mut penalty = 0.0;
        for index in 0..self.probes {
            space.fill_normal(probe, seed.wrapping_add(index as u64))?;
            space.linearize(z)?;
            space.vjp(probe, product)?;
            space.dots(product, &[product], &mut norms)?;
            penalty += share * norms.iter().sum::<f64>();
            norms.iter_mut().for_each(|norm| *norm = norm.sqrt());

            // J w = ‖w‖ / 2L · (f(z + L w/‖w‖) − f(z − L w/‖w‖)); where w = 0, so is the gradient.
            for sign in [1.0, -1.0] {
                let shift = per_sample(&norms, |norm| sign * length / norm);
                space.combine(
                    point,
                    &[(Coef::Same(1.0), z), (Coef::PerSample(&shift), product)],
                )?;
                let slope = per_sample(&norms, |norm| 2.0 * share * sign * norm / (2.0 * length));
                space.combine(cotangent, &[(Coef::PerSample(&slope), probe)])?;
                space.linearize(point)?;
                space.pull_back(cotangent)?;
            }
        }
        for slot in [probe, product, point, cotangent] {
            space.release(slot);
        }
        Ok(penalty)
    }
}

/// A coefficient of each sample from its norm; 0 where that is 0.
fn per_sample(norms: &[f64], of: impl Fn(f64) -> f64) -> Vec<f64> {
    let coefficient = |&norm: &f64| if norm > 0.0 { of(norm) } else { 0.0 };
    norms.iter().map(coefficient).collect()
}

fn slots(space: &mut dyn DifferentiableSpace) -> Result<[Slot; 4]> {
    Ok([
        space.alloc()?,
        space.alloc()?,
        space.alloc()?,
        space.alloc()?,
    ])
}
