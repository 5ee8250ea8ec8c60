//! The report of an adjoint solve, which is known only after the call that set it up.

use std::sync::{Arc, Mutex};

use crate::parallel::lock;
use crate::{Report, Result};

/// The outcome of one backward pass; empty until the tape has run.
#[derive(Debug, Clone, Default)]
pub struct Adjoint(Arc<Mutex<Option<Result<Report>>>>);

impl Adjoint {
    /// Takes the report of the adjoint solve; `None` if the tape has not run yet.
    ///
    /// # Errors
    /// What stopped the backward pass. dfdx offers no way to return it from `backward()`; the gradients of this
    /// equilibrium are then NaN, so that it cannot go unnoticed.
    pub fn take(&self) -> Result<Option<Report>> {
        lock(&self.0).take().transpose()
    }

    pub(super) fn set(&self, outcome: Result<Report>) {
        *lock(&self.0) = Some(outcome);
    }
}
