//! Counts what a solve spends on each sample.

use crate::{delegate_to_inner, Coef, Result, Slot, StateSpace};

/// A space that counts evaluations of `f` and products with its Jacobian, for the samples that are active then.
pub(super) struct Counted<'s> {
    inner: &'s mut dyn StateSpace,
    /// Evaluations and products so far, ordered like the rows.
    pub spent: Vec<usize>,
    /// Whether the solver has linearized.
    pub linearized: bool,
}

impl<'s> Counted<'s> {
    pub fn new(inner: &'s mut dyn StateSpace) -> Self {
        let spent = vec![0; inner.batch()];
        Self {
            inner,
            spent,
            linearized: false,
        }
    }

    fn count(&mut self) {
        let batch = self.inner.batch();
        self.spent[..batch].iter_mut().for_each(|spent| *spent += 1);
    }
}

impl StateSpace for Counted<'_> {
    delegate_to_inner!(
        batch,
        dim,
        epsilon,
        alloc,
        release,
        allow_rounding,
        rounding_errors,
        dots,
        difference,
        combine,
        copy_rows,
        fill_normal,
        write,
        read,
        keep_linearization
    );

    fn apply(&mut self, z: Slot, out: Slot) -> Result<()> {
        self.count();
        self.inner.apply(z, out)
    }

    fn apply_keeping(&mut self, z: Slot, out: Slot) -> Result<bool> {
        self.count();
        self.inner.apply_keeping(z, out)
    }

    fn linearize(&mut self, z: Slot) -> Result<()> {
        self.linearized = true;
        self.inner.linearize(z)
    }

    fn jvp(&mut self, v: Slot, out: Slot) -> Result<bool> {
        let computed = self.inner.jvp(v, out)?;
        if computed {
            self.count();
        }
        Ok(computed)
    }

    fn permute(&mut self, swaps: &[(usize, usize)], batch: usize) -> Result<()> {
        for &(a, b) in swaps {
            self.spent.swap(a, b);
        }
        self.inner.permute(swaps, batch)
    }
}
