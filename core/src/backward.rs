//! Backward strategies: from the cotangent at z* to gradients of parameters and inputs.

use std::fmt::Debug;

use crate::solver::LowRank;
use crate::{DifferentiableMap, Error, FixedPointSolver, OnUnconverged, Report, Result, Slot};

/// How gradients pass through an equilibrium.
///
/// By the implicit function theorem the gradient of a loss is `(∂f/∂θ)ᵀ u` with `u = (I − Jᵀ)⁻¹ v`, where `v` is the
/// cotangent at z* and `J = ∂f/∂z` there. A strategy computes this `u`, or something cheaper, and pulls it back.
#[typetag::serde(tag = "type")]
pub trait BackwardStrategy: Debug + Send + Sync + dyn_clone::DynClone {
    /// Checks the ranges of all fields. Default: everything is allowed.
    fn validate(&self) -> Result<()> {
        Ok(())
    }

    /// Adds the gradients due to cotangent `v` at the equilibrium by calls of [`linearize`](crate::Map::linearize) and
    /// [`pull_back`](DifferentiableMap::pull_back). Returns the report of the adjoint solve, or an empty one if there is
    /// none to report on.
    fn backward(
        &self,
        space: &mut dyn DifferentiableMap,
        solution: &Solution,
        v: Slot,
    ) -> Result<Report>;

    /// Whether [`Solution::start`] is to be kept from the forward solve. Default: it is not.
    fn needs_start(&self) -> bool {
        false
    }

    /// Whether [`Solution::inverse`] is to be kept from the forward solve. Default: it is not.
    fn needs_inverse(&self) -> bool {
        false
    }

    /// The solver of its adjoint equation, if it has one, for logs. Default: none.
    fn solver(&self) -> Option<&dyn FixedPointSolver> {
        None
    }

    /// What happens when the adjoint solve leaves samples of the batch unsolved. Default: whatever there is is accepted.
    fn on_unconverged(&self) -> OnUnconverged {
        OnUnconverged::Accept
    }
}

/// The forward solve that is differentiated.
#[derive(Debug, Clone)]
pub struct Solution {
    /// The equilibrium z*.
    pub z: Slot,
    /// Where the solve started; none unless [`BackwardStrategy::needs_start`] asks for it.
    pub start: Option<Slot>,
    /// What the solver learned of `(I − J)⁻¹`; empty unless [`BackwardStrategy::needs_inverse`] asks for it and the solver
    /// learns anything.
    pub inverse: LowRank,
}

impl Solution {
    /// [`start`](Self::start), for strategies that need it.
    ///
    /// # Errors
    /// [`Error::Missing`] if nobody has asked for it.
    pub fn kept_start(&self) -> Result<Slot> {
        self.start.ok_or_else(|| Error::Missing {
            what: "the start of the forward solve".to_owned(),
            remedy: "let `needs_start` return true",
        })
    }
}

crate::kind!(dyn BackwardStrategy, "backward", validate);
