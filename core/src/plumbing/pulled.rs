//! What a backward strategy pulls back.

use crate::{DifferentiableMap, Map, Result, Slot};

/// A map that notes the adjoint vector that is pulled back, for a certificate to look at. A strategy that pulls back more than one has no
/// solution of an adjoint equation, and none is noted.
pub(crate) struct Pulled<'s> {
    inner: &'s mut dyn DifferentiableMap,
    vectors: Vec<Vec<f64>>,
}

impl<'s> Pulled<'s> {
    pub fn new(inner: &'s mut dyn DifferentiableMap) -> Self {
        let vectors = Vec::new();
        Self { inner, vectors }
    }

    /// The one vector that was pulled back, `[batch, dim]`.
    pub fn into_vector(mut self) -> Option<Vec<f64>> {
        self.vectors.pop().filter(|_| self.vectors.is_empty())
    }
}

impl Map for Pulled<'_> {
    crate::inner_map!(inner: vectors, apply, linearize, jvp, shortcuts);
}

impl DifferentiableMap for Pulled<'_> {
    crate::inner_map!(inner: vjp, pull_back_tangent);

    fn pull_back(&mut self, u: Slot) -> Result<()> {
        self.vectors.push(self.inner.vectors().read(u)?);
        self.inner.pull_back(u)
    }
}
