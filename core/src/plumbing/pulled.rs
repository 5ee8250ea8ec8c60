//! What a backward strategy pulls back.

use super::{Shortcuts, Store};
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
    fn vectors(&self) -> &dyn Store {
        self.inner.vectors()
    }

    fn vectors_mut(&mut self) -> &mut dyn Store {
        self.inner.vectors_mut()
    }

    fn apply(&mut self, z: Slot, out: Slot) -> Result<()> {
        self.inner.apply(z, out)
    }

    fn linearize(&mut self, z: Slot) -> Result<()> {
        self.inner.linearize(z)
    }

    fn jvp(&mut self, v: Slot, out: Slot) -> Result<usize> {
        self.inner.jvp(v, out)
    }

    fn shortcuts(&mut self) -> Option<&mut dyn Shortcuts> {
        self.inner.shortcuts()
    }
}

impl DifferentiableMap for Pulled<'_> {
    fn vjp(&mut self, u: Slot, out: Slot) -> Result<()> {
        self.inner.vjp(u, out)
    }

    fn pull_back(&mut self, u: Slot) -> Result<()> {
        self.vectors.push(self.inner.vectors().read(u)?);
        self.inner.pull_back(u)
    }

    fn pull_back_tangent(&mut self, p: Slot, v: Slot, factors: &[f64], step: f64) -> Result<()> {
        self.inner.pull_back_tangent(p, v, factors, step)
    }
}
