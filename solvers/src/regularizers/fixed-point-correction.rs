//! Fixed-point correction.

use equilibria_core::prelude::*;

plugin! {
    /// Fixed-point correction: Σ_k decay^(states − k) ‖f(z_k) − z*‖² / d, which draws intermediate states toward z*.
    ///
    /// z_k, k = 1..states, is the state after k · `spacing` damped steps z ← (1 − β) z + β f(z) from 0, whatever solver has
    /// found z*; d is the dimension of the state. Samples start at 0 also where the forward solve did not. z_k and z* are held
    /// constant; the gradient goes through that one application of f, and is exact for it. Later states weigh more.
    ///
    /// Teaches f to lead to z* in a few steps, so that a short budget suffices. Not where Picard iteration diverges: the
    /// states then leave z* behind, and the penalty grows without bound. Take a smaller `damping` there, or `jacobian` first.
    ///
    /// The reference penalizes the loss of the task at z_k; the distance to z* stands for it where the layer does not know the
    /// task. Cost: states · spacing + 1 evaluations, one linearization and one pull-back per state; no random numbers.
    ///
    /// Reference: S. Bai et al., Deep Equilibrium Optical Flow Estimation, CVPR 2022.
    pub struct FixedPointCorrection: Regularizer {
        /// Factor in the loss, at least 0. Dimensionless.
        pub weight: f64 = 1.0,
        /// Number of penalized states, at least 1.
        pub states: usize = 3,
        /// Steps from one penalized state to the next, at least 1.
        pub spacing: usize = 1,
        /// Weight of a state relative to the next one, in (0, 1]. Dimensionless.
        pub decay: f64 = 0.8,
        /// Factor β of the steps, in (0, 1]; 1 is plain Picard iteration. Dimensionless.
        pub damping: f64 = 1.0,
    }
}

#[typetag::serde(name = "fixed-point-correction")]
impl Regularizer for FixedPointCorrection {
    fn validate(&self) -> Result<()> {
        const NAME: &str = "fixed-point-correction";
        Error::require_not_negative(NAME, "weight", self.weight)?;
        Error::require_at_least_one(NAME, "states", self.states)?;
        Error::require_at_least_one(NAME, "spacing", self.spacing)?;
        Error::require_share(NAME, "decay", self.decay)?;
        Error::require_share(NAME, "damping", self.damping)
    }

    fn weight(&self) -> f64 {
        self.weight
    }

    fn penalty(&self, space: &mut dyn DifferentiableMap, z: Slot, _seed: u64) -> Result<f64> {
        let (old_share, new_share) = (Coef::Same(1.0 - self.damping), Coef::Same(self.damping));
        let [point, value, error] = [space.alloc()?, space.alloc()?, space.alloc()?];
        let mut squares = vec![0.0; space.batch()];
        let mut penalty = 0.0;
        space.combine(point, &[])?;
        space.apply(point, value)?;
        for state in 1..=self.states {
            for _ in 0..self.spacing {
                space.combine(point, &[(old_share, point), (new_share, value)])?;
                space.apply(point, value)?;
            }
            let share = self.decay.powf((self.states - state) as f64) / space.dim() as f64;
            space.combine(error, &[(Coef::Same(1.0), value), (Coef::Same(-1.0), z)])?;
            space.dots(error, &[error], &mut squares)?;
            penalty += share * squares.iter().sum::<f64>();
            space.combine(error, &[(Coef::Same(2.0 * share), error)])?;
            space.linearize(point)?;
            space.pull_back(error)?;
        }
        for slot in [point, value, error] {
            space.release(slot);
        }
        Ok(penalty)
    }
}
