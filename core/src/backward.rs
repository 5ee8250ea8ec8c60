//! Backward strategies: from the cotangent at z* to gradients of parameters and inputs.

use std::fmt::Debug;

use crate::{Coef, DifferentiableSpace, Report, Result, Slot, StateSpace};

/// How gradients pass through an equilibrium.
///
/// By the implicit function theorem the gradient of a loss is `(∂f/∂θ)ᵀ u` with `u = (I − Jᵀ)⁻¹ v`, where `v` is the
/// cotangent at z* and `J = ∂f/∂z` there. A strategy computes this `u`, or something cheaper, and pulls it back.
#[typetag::serde(tag = "type")]
pub trait BackwardStrategy: Debug + Send + Sync + dyn_clone::DynClone {
    /// Checks the ranges of all fields. Default: everything is allowed.
    fn validate(&self) -> Result<()> {
        Ok(())
    }

    /// Adds the gradients due to cotangent `v` at the equilibrium `z` by calls of
    /// [`linearize`](DifferentiableSpace::linearize) and [`pull_back`](DifferentiableSpace::pull_back).
    /// Returns the report of the adjoint solve, or an empty one if there is none to report on.
    fn backward(&self, space: &mut dyn DifferentiableSpace, z: Slot, v: Slot) -> Result<Report>;

    /// Applies the strategy's own policy to the report of the whole batch. Default: whatever happened is accepted.
    fn judge(&self, _report: &Report) -> Result<()> {
        Ok(())
    }
}

dyn_clone::clone_trait_object!(BackwardStrategy);

impl crate::registry::Kind for dyn BackwardStrategy {
    const NAME: &'static str = "backward";
}

/// The adjoint equation `u = Jᵀu + v` as a fixed-point problem, so that every solver also solves adjoints.
pub struct AdjointSpace<'s> {
    inner: &'s mut dyn DifferentiableSpace,
    v: Slot,
}

impl<'s> AdjointSpace<'s> {
    /// The adjoint equation at the linearization point of `inner`, with right-hand side `v`.
    pub fn new(inner: &'s mut dyn DifferentiableSpace, v: Slot) -> Self {
        Self { inner, v }
    }
}

impl StateSpace for AdjointSpace<'_> {
    fn batch(&self) -> usize {
        self.inner.batch()
    }

    fn dim(&self) -> usize {
        self.inner.dim()
    }

    fn alloc(&mut self) -> Result<Slot> {
        self.inner.alloc()
    }

    fn release(&mut self, slot: Slot) {
        self.inner.release(slot);
    }

    fn apply(&mut self, u: Slot, out: Slot) -> Result<()> {
        self.inner.vjp(u, out)?;
        self.inner
            .combine(out, &[(Coef::Same(1.0), out), (Coef::Same(1.0), self.v)])
    }

    fn dots(&mut self, a: Slot, bs: &[Slot], out: &mut [f64]) -> Result<()> {
        self.inner.dots(a, bs, out)
    }

    fn combine(&mut self, out: Slot, terms: &[(Coef<'_>, Slot)]) -> Result<()> {
        self.inner.combine(out, terms)
    }

    fn copy_rows(&mut self, from: Slot, to: Slot, rows: &[usize]) -> Result<()> {
        self.inner.copy_rows(from, to, rows)
    }

    fn permute(&mut self, swaps: &[(usize, usize)], batch: usize) -> Result<()> {
        self.inner.permute(swaps, batch)
    }

    fn fill_normal(&mut self, slot: Slot, seed: u64) -> Result<()> {
        self.inner.fill_normal(slot, seed)
    }

    fn write(&mut self, slot: Slot, values: &[f64]) -> Result<()> {
        self.inner.write(slot, values)
    }

    fn read(&mut self, slot: Slot) -> Result<Vec<f64>> {
        self.inner.read(slot)
    }
}
