//! Counts what a solve spends on each sample.

use crate::{Map, Result, Slot};

/// A map as the solve loop drives it: it counts evaluations of `f` and products with its Jacobian, for the samples that are
/// active then. The solver gets it without shortcuts.
pub(crate) struct Counted<'s> {
    inner: &'s mut dyn Map,
    /// Evaluations and products so far, by sample.
    spent: Vec<usize>,
    /// Whether the solver has linearized.
    pub linearized: bool,
}

impl<'s> Counted<'s> {
    pub fn new(inner: &'s mut dyn Map) -> Self {
        let spent = vec![0; inner.vectors().samples().len()];
        Self {
            inner,
            spent,
            linearized: false,
        }
    }

    /// Evaluations and products so far of the sample in a row.
    pub fn spent(&self, row: usize) -> usize {
        self.spent[self.inner.vectors().samples()[row]]
    }

    fn count(&mut self, evaluations: usize) {
        let vectors = self.inner.vectors();
        for &sample in &vectors.samples()[..vectors.batch()] {
            self.spent[sample] += evaluations;
        }
    }

    /// See [`Shortcuts::apply_keeping`](crate::plumbing::Shortcuts::apply_keeping).
    pub fn apply_keeping(&mut self, z: Slot, out: Slot) -> Result<bool> {
        self.count(1);
        match self.inner.shortcuts() {
            Some(shortcuts) => shortcuts.apply_keeping(z, out),
            None => self.inner.apply(z, out).map(|()| false),
        }
    }

    /// See [`Shortcuts::keep_linearization`](crate::plumbing::Shortcuts::keep_linearization).
    pub fn keep_linearization(&mut self, z: Slot) {
        if let Some(shortcuts) = self.inner.shortcuts() {
            shortcuts.keep_linearization(z);
        }
    }

    /// See [`Shortcuts::allow_rounding`](crate::plumbing::Shortcuts::allow_rounding).
    pub fn allow_rounding(&mut self, from: usize) -> bool {
        let shortcuts = self.inner.shortcuts();
        shortcuts.is_some_and(|shortcuts| shortcuts.allow_rounding(from))
    }

    /// See [`Shortcuts::rounding_errors`](crate::plumbing::Shortcuts::rounding_errors).
    pub fn rounding_errors(&mut self, errors: &mut [f64]) {
        if let Some(shortcuts) = self.inner.shortcuts() {
            shortcuts.rounding_errors(errors);
        }
    }
}

impl Map for Counted<'_> {
    crate::inner_map!(inner: vectors);

    fn apply(&mut self, z: Slot, out: Slot) -> Result<()> {
        self.count(1);
        self.inner.apply(z, out)
    }

    fn linearize(&mut self, z: Slot) -> Result<()> {
        self.linearized = true;
        self.inner.linearize(z)
    }

    fn jvp(&mut self, v: Slot, out: Slot) -> Result<usize> {
        let evaluations = self.inner.jvp(v, out)?;
        self.count(evaluations);
        Ok(evaluations)
    }
}
