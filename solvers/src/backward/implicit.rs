//! Implicit differentiation.

use equilibria_core::prelude::*;

use crate::forward::anderson::Anderson;

plugin! {
    /// Implicit differentiation: u = Jᵀu + v is solved by any registered solver, then pulled back.
    ///
    /// Exact up to the tolerance of the adjoint solve: by the implicit function theorem the gradient is (∂f/∂θ)ᵀ u with
    /// u = (I − Jᵀ)⁻¹ v, J = ∂f/∂z at z*. Cost: one Jᵀu per step of the solver, and one pull-back; memory does not depend
    /// on the number of steps of either solve.
    ///
    /// Where the adjoint solve does not converge the gradient is wrong: `stop.on_unconverged` says what happens then,
    /// and the report of the solve tells in any case.
    ///
    /// Reference: S. Bai, J. Z. Kolter, V. Koltun, Deep Equilibrium Models, NeurIPS 2019, §3.1.
    pub struct Implicit: BackwardStrategy {
        /// Solver of the adjoint equation.
        pub solver: Box<dyn FixedPointSolver> = Box::new(Anderson::default()),
        /// When the adjoint solve ends. Default: relative 1e-4, at most 100 evaluations, warn if unsolved.
        pub stop: Stop = Stop::default(),
    }
}

#[typetag::serde(name = "implicit")]
impl BackwardStrategy for Implicit {
    fn validate(&self) -> Result<()> {
        self.solver.validate()?;
        self.stop.validate()
    }

    fn backward(
        &self,
        space: &mut dyn DifferentiableMap,
        solution: &Solution,
        v: Slot,
    ) -> Result<Report> {
        space.linearize(solution.z)?;
        let u = space.alloc()?;
        // v is what the first Picard step from 0 would give; to start there saves one product.
        space.combine(u, &[(Coef::Same(1.0), v)])?;
        let report = solve(&*self.solver, &mut AdjointMap::new(space, v), u, &self.stop)?;
        space.pull_back(u)?;
        space.release(u);
        Ok(report)
    }

    fn solver(&self) -> Option<&dyn FixedPointSolver> {
        Some(&*self.solver)
    }

    fn on_unconverged(&self) -> OnUnconverged {
        self.stop.on_unconverged
    }
}
