//! Looks over a solver's shoulder.

use equilibria_core::plumbing::Store;
use equilibria_core::{Map, Result, Slot};

/// A map that records every evaluation of `f` that is asked for: arguments and values, row-major, call after call.
pub struct Recording<'s> {
    inner: &'s mut dyn Map,
    /// Arguments, `[calls, active samples, dim]`.
    pub arguments: Vec<f64>,
    /// Values, `[calls, active samples, dim]`.
    pub values: Vec<f64>,
}

impl<'s> Recording<'s> {
    /// Watches `inner`.
    pub fn new(inner: &'s mut dyn Map) -> Self {
        Self {
            inner,
            arguments: Vec::new(),
            values: Vec::new(),
        }
    }
}

impl Map for Recording<'_> {
    fn vectors(&self) -> &dyn Store {
        self.inner.vectors()
    }

    fn vectors_mut(&mut self) -> &mut dyn Store {
        self.inner.vectors_mut()
    }

    fn apply(&mut self, z: Slot, out: Slot) -> Result<()> {
        self.inner.apply(z, out)?;
        let vectors = self.inner.vectors();
        self.arguments.extend(vectors.read(z)?);
        self.values.extend(vectors.read(out)?);
        Ok(())
    }

    fn linearize(&mut self, z: Slot) -> Result<()> {
        self.inner.linearize(z)
    }

    fn jvp(&mut self, v: Slot, out: Slot) -> Result<usize> {
        self.inner.jvp(v, out)
    }
}
