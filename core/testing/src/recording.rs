//! Looks over a solver's shoulder.

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
    equilibria_core::inner_map!(inner: vectors, linearize, jvp);

    fn apply(&mut self, z: Slot, out: Slot) -> Result<()> {
        self.inner.apply(z, out)?;
        let vectors = self.inner.vectors();
        self.arguments.extend(vectors.read(z)?);
        self.values.extend(vectors.read(out)?);
        Ok(())
    }
}
