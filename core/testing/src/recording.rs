//! Looks over a solver's shoulder.

use equilibria_core::{delegate_to_inner, Coef, Result, Slot, StateSpace};

/// A space that records every evaluation of `f`: arguments and values, row-major, call after call.
pub struct Recording<'s> {
    inner: &'s mut dyn StateSpace,
    /// Arguments, `[calls, active samples, dim]`.
    pub arguments: Vec<f64>,
    /// Values, `[calls, active samples, dim]`.
    pub values: Vec<f64>,
}

impl<'s> Recording<'s> {
    /// Watches `inner`.
    pub fn new(inner: &'s mut dyn StateSpace) -> Self {
        Self {
            inner,
            arguments: Vec::new(),
            values: Vec::new(),
        }
    }
}

impl StateSpace for Recording<'_> {
    delegate_to_inner!(
        batch,
        dim,
        epsilon,
        alloc,
        release,
        dots,
        combine,
        copy_rows,
        permute,
        fill_normal,
        write,
        read,
        linearize,
        jvp
    );

    fn apply(&mut self, z: Slot, out: Slot) -> Result<()> {
        self.inner.apply(z, out)?;
        self.arguments.extend(self.inner.read(z)?);
        self.values.extend(self.inner.read(out)?);
        Ok(())
    }
}
