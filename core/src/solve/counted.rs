//! Counts what a solve spends.

use crate::{delegate_to_inner, Coef, Result, Slot, StateSpace};

/// A space that counts evaluations of `f` and products with its Jacobian. The same for every active sample, so a sample
/// that leaves has spent what has been counted until then.
pub(super) struct Counted<'s> {
    inner: &'s mut dyn StateSpace,
    /// Evaluations and products so far.
    pub spent: usize,
}

impl<'s> Counted<'s> {
    pub fn new(inner: &'s mut dyn StateSpace) -> Self {
        Self { inner, spent: 0 }
    }
}

impl StateSpace for Counted<'_> {
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
        linearize
    );

    fn apply(&mut self, z: Slot, out: Slot) -> Result<()> {
        self.spent += 1;
        self.inner.apply(z, out)
    }

    fn jvp(&mut self, v: Slot, out: Slot) -> Result<bool> {
        let exact = self.inner.jvp(v, out)?;
        self.spent += usize::from(exact);
        Ok(exact)
    }
}
