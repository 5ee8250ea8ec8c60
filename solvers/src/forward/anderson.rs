//! Anderson acceleration.

use equilibria_core::prelude::*;

use crate::mixing::Mixing;
use crate::Compat;

plugin! {
    /// Anderson acceleration: the next point mixes the last m evaluations so that the mixed residual is smallest.
    ///
    /// With residuals r_j = f(z_j) − z_j of the last m points, per sample:
    /// minimize ‖Σ_j α_j r_j‖² + ridge subject to Σ_j α_j = 1, then z ← Σ_j α_j (z_j + β r_j).
    ///
    /// On affine maps it is equivalent to restarted GMRES; on smooth ones it converges at least as fast as Picard near
    /// the solution, and also where the spectral radius is moderately above 1. Cost per step: one evaluation of f, m
    /// inner products, one combination of m vectors; memory 2m vectors. The small systems are solved per sample on the
    /// host in f64; one that is singular falls back to a Picard step for that sample alone.
    ///
    /// A sample whose residual has grown beyond `growth` times its smallest forgets all points but the last.
    ///
    /// The ridge is *relative* by default: the Gram matrix is divided by its largest diagonal entry first. With
    /// `ridge = "absolute"`, `regularization = 1e-4` and `compat = "torchdeq"` the iterates are those of TorchDEQ, whose
    /// convergence flattens once ‖r‖² falls below the regularization.
    ///
    /// Reference: H. F. Walker, P. Ni, Anderson acceleration for fixed-point iterations, SIAM J. Numer. Anal. 49, 2011.
    pub struct Anderson: FixedPointSolver {
        /// Number of points mixed, m, from 1 to 100; 1 is Picard iteration.
        pub memory: usize = 6,
        /// Mixing β in (0, 2]: 1 mixes values of f only. Dimensionless.
        pub mixing: f64 = 1.0,
        /// Whether `regularization` is relative to the largest squared residual norm, or absolute in units of z².
        pub ridge: Ridge = Ridge::Relative,
        /// The number added to the diagonal of the Gram matrix, at least 0.
        pub regularization: f64 = 1e-8,
        /// Growth of the residual over its smallest value that restarts a sample, above 1. Dimensionless.
        pub growth: f64 = 1e3,
        /// `"torchdeq"`: its recurrence, whose first step is not damped and which never restarts.
        pub compat: Option<Compat> = None,
    }
}

/// What the regularization is measured against.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(crate = "equilibria_core::serde", rename_all = "kebab-case")]
pub enum Ridge {
    /// The largest diagonal entry of the Gram matrix.
    Relative,
    /// 1, as in TorchDEQ.
    Absolute,
}

#[typetag::serde(name = "anderson")]
impl FixedPointSolver for Anderson {
    fn validate(&self) -> Result<()> {
        let mixing = self.mixing > 0.0 && self.mixing <= 2.0;
        Error::require_at_least_one("anderson", "memory", self.memory)?;
        Error::require(
            self.memory <= 100,
            "anderson",
            "memory",
            "at most 100",
            self.memory,
        )?;
        Error::require(mixing, "anderson", "mixing", "in (0, 2]", self.mixing)?;
        Error::require_not_negative("anderson", "regularization", self.regularization)?;
        Error::require_above_one("anderson", "growth", self.growth)?;
        let fits = self.compat.is_none() || self.ridge == Ridge::Absolute;
        let got = "relative";
        Error::require(
            fits,
            "anderson",
            "ridge",
            "absolute with compat = \"torchdeq\"",
            got,
        )
    }

    fn start(&self, space: &mut dyn Map, _: Tolerance) -> Result<Box<dyn Iteration>> {
        Ok(Box::new(Mixing::new(self.clone(), space)))
    }

    fn tolerates_rounding(&self) -> bool {
        self.compat.is_none()
    }
}
