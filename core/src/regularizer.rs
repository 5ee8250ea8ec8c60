//! Regularizers: penalties on the map at its equilibrium.

use std::fmt::Debug;

use crate::{DifferentiableMap, Result, Slot};

/// A differentiable penalty on the map `f` at z*, added to the training loss. z* itself is held constant.
#[typetag::serde(tag = "type")]
pub trait Regularizer: Debug + Send + Sync + dyn_clone::DynClone {
    /// Checks the ranges of all fields. Default: everything is allowed.
    fn validate(&self) -> Result<()> {
        Ok(())
    }

    /// Factor of the penalty in the loss, dimensionless.
    fn weight(&self) -> f64;

    /// The penalty at `z`, without weight, summed over the samples of the space; its gradient with respect to
    /// parameters and inputs is added through [`pull_back`](DifferentiableMap::pull_back).
    /// Random numbers depend on `seed` alone.
    fn penalty(&self, space: &mut dyn DifferentiableMap, z: Slot, seed: u64) -> Result<f64>;
}

crate::kind!(dyn Regularizer, "regularizer", validate);
