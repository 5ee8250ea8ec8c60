//! GMRES.

use equilibria_core::prelude::*;

use crate::krylov::Gmres as Krylov;

plugin! {
    /// Restarted GMRES: for affine maps, in particular adjoint equations.
    ///
    /// Where f(z) = Jz + b, the fixed point solves (I − J) z = b. Each step finds the correction d that minimizes
    /// ‖r − (I − J) d‖ over the Krylov space of the residual r = f(z) − z, as large as needed but no larger than `restart`,
    /// and moves to z + d; per sample, until the tolerance of the solve is met. It needs no contraction: the residual never
    /// grows, and reaches zero after as many products as I − J has distinct eigenvalues.
    ///
    /// Cost per step: up to `restart` products with J and one evaluation of f, which measures the true residual; memory
    /// `restart` + 2 vectors. On a map that is not affine every step is a Newton step without safeguards, solved more
    /// accurately than pays: use `newton-gmres` there.
    ///
    /// Reference: Y. Saad, M. H. Schultz, GMRES, SIAM J. Sci. Stat. Comput. 7, 1986.
    pub struct Gmres: FixedPointSolver {
        /// Largest dimension of the Krylov space, at least 1.
        pub restart: usize = 30,
    }
}

#[typetag::serde(name = "gmres")]
impl FixedPointSolver for Gmres {
    fn validate(&self) -> Result<()> {
        let restart = self.restart;
        Error::require_at_least_one("gmres", "restart", restart)
    }

    fn start(&self, space: &mut dyn Map, tolerance: Tolerance) -> Result<Box<dyn Iteration>> {
        let batch = space.batch();
        Ok(Box::new(Cycle {
            krylov: Krylov::new(self.restart.min(space.dim()), batch),
            tolerance,
            targets: vec![0.0; batch],
        }))
    }
}

struct Cycle {
    krylov: Krylov,
    tolerance: Tolerance,
    targets: Vec<f64>,
}

/// The residual that GMRES aims at, in units of the largest that counts as solved: the true one, measured afterwards,
/// differs by rounding, and the norm it is relative to changes with the step.
const AIM: f64 = 0.99;

impl Iteration for Cycle {
    fn advance(&mut self, space: &mut dyn Map, at: &mut Evaluation, next: Slot) -> Result<()> {
        let targets = &mut self.targets[..space.batch()];
        for (target, &norm) in targets.iter_mut().zip(at.value_norms) {
            *target = AIM * self.tolerance.bound(norm);
        }
        space.linearize(at.z)?;
        self.krylov.solve(space, at.residual, next, targets)?;
        space.combine(next, &[(Coef::Same(1.0), at.z), (Coef::Same(1.0), next)])
    }

    fn finish(&mut self, space: &mut dyn Map) -> LowRank {
        self.krylov.release(space);
        LowRank::default()
    }
}
