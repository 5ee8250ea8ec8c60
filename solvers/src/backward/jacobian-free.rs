//! Jacobian-free backpropagation.

use equilibria_core::prelude::*;

plugin! {
    /// Jacobian-free backpropagation: u = v, the gradient of one application of f at z*.
    ///
    /// Not exact: it is the first term of u = Σ_k (Jᵀ)ᵏ v. Where ‖J‖ is well below 1 the result is still a descent
    /// direction. Cost: one pull-back, no adjoint solve. Not for gradient checks, nor where J is large.
    ///
    /// Reference: S. Wu Fung et al., JFB: Jacobian-Free Backpropagation for Implicit Networks, AAAI 2022, Theorem 3.1.
    pub struct JacobianFree: BackwardStrategy {}
}

#[typetag::serde(name = "jacobian-free")]
impl BackwardStrategy for JacobianFree {
    fn backward(
        &self,
        space: &mut dyn DifferentiableMap,
        solution: &Solution,
        v: Slot,
    ) -> Result<Report> {
        space.linearize(solution.z)?;
        space.pull_back(v)?;
        Ok(Report::default())
    }
}
