//! Fixed-point solvers: asked for the next point, never for when to stop.

use std::fmt::Debug;

use crate::{Result, Slot, StateSpace};

/// A fixed-point solver: a plain configuration that starts an [`Iteration`] for each solve.
///
/// A solver never looks inside a state, never evaluates `f` on its own account unless its method needs it, and never
/// decides to stop: [`solve`](crate::solve()) evaluates, measures, stops and keeps the books for every solver alike.
///
/// # Contract
/// - Nothing is kept between solves: all memory lives in the [`Iteration`].
/// - The next point of a sample depends on that sample alone.
#[typetag::serde(tag = "type")]
pub trait FixedPointSolver: Debug + Send + Sync + dyn_clone::DynClone {
    /// Checks the ranges of all fields. Default: everything is allowed.
    fn validate(&self) -> Result<()> {
        Ok(())
    }

    /// Begins a solve in `space`.
    fn start(&self, space: &mut dyn StateSpace) -> Result<Box<dyn Iteration>>;
}

dyn_clone::clone_trait_object!(FixedPointSolver);

impl crate::registry::Kind for dyn FixedPointSolver {
    const NAME: &'static str = "solver";
}

/// One evaluation of the map, for all active samples.
#[derive(Debug, Clone, Copy)]
pub struct Evaluation {
    /// The point `z`.
    pub z: Slot,
    /// `f(z)`.
    pub fz: Slot,
    /// `f(z) − z`.
    pub residual: Slot,
}

/// The running state of one solve.
pub trait Iteration {
    /// Writes the next point to evaluate into `next`.
    fn advance(&mut self, space: &mut dyn StateSpace, at: Evaluation, next: Slot) -> Result<()>;

    /// Follows [`StateSpace::permute`] in whatever is kept per sample on the host. Default: nothing is kept.
    fn permute(&mut self, _swaps: &[(usize, usize)], _batch: usize) {}

    /// Gives all slots back at the end of the solve. Default: none were taken.
    fn finish(&mut self, _space: &mut dyn StateSpace) {}
}
