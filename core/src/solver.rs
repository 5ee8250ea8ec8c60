//! Fixed-point solvers: asked for the next point, never for when to stop.

use std::fmt::Debug;

use crate::{Map, Result, Slot, Tolerance, Vectors};

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

    /// Begins a solve in `space`. Whether `tolerance` is met is not for the solver to judge; it may use it so as not to
    /// work harder than needed.
    fn start(&self, space: &mut dyn Map, tolerance: Tolerance) -> Result<Box<dyn Iteration>>;

    /// Whether the method gets by with evaluations that are rounded at first, see [`Stop::rounded`](crate::Stop::rounded):
    /// it must not take differences of evaluations of nearly the same point for derivatives, and must not trust the first
    /// evaluations later on more than the last. Default: it does not.
    fn tolerates_rounding(&self) -> bool {
        false
    }

    /// The solvers to be tried in turn, each on the samples the one before gave up. Default: none but this one.
    fn stages(&self) -> &[Box<dyn FixedPointSolver>] {
        &[]
    }

    /// How often the method begins, each time on the samples that it gave up the time before; at least once. Default: once.
    fn attempts(&self) -> usize {
        1
    }

    /// Where attempt `number` begins, from 0: `point` holds the best iterates so far, at first the start of the solve. As all that a
    /// solver does, it must not depend on which samples are in the batch, nor on their order. Default: there.
    fn place(&self, _number: usize, _space: &mut dyn Map, _point: Slot) -> Result<()> {
        Ok(())
    }
}

crate::kind!(dyn FixedPointSolver, "solver", validate);

/// One evaluation of the map, for all active samples.
#[derive(Debug, Clone, Copy)]
pub struct Evaluation<'a> {
    /// The point `z`.
    pub z: Slot,
    /// `f(z)`.
    pub fz: Slot,
    /// `f(z) − z`.
    pub residual: Slot,
    /// ‖f(z) − z‖₂ of every active sample: the loop has measured it already.
    pub residual_norms: &'a [f64],
    /// ‖f(z)‖₂ of every active sample.
    pub value_norms: &'a [f64],
}

/// The running state of one solve.
pub trait Iteration {
    /// Writes the next point to evaluate into `next`. It may keep the slots of `f(z)` and the residual, if it leaves others
    /// in their place: what those hold is overwritten.
    fn advance(&mut self, space: &mut dyn Map, at: &mut Evaluation<'_>, next: Slot) -> Result<()>;

    /// Follows [`Store::permute`](crate::plumbing::Store::permute) in whatever is kept per sample on the host. Default: nothing is kept.
    fn permute(&mut self, _swaps: &[(usize, usize)], _batch: usize) {}

    /// Gives all slots back at the end of the solve, but for those of an approximate inverse, which the caller takes
    /// over. Default: no slots were taken, nothing was learned.
    fn finish(&mut self, _space: &mut dyn Map) -> LowRank {
        LowRank::default()
    }
}

/// `(I − J)⁻¹ ≈ I + Σ_k a_k b_kᵀ` with `J = ∂f/∂z` near the solution, per sample: what a quasi-Newton solver has learned.
#[derive(Debug, Clone, Default)]
pub struct LowRank {
    /// The pairs `(a_k, b_k)`.
    pub terms: Vec<(Slot, Slot)>,
}

impl LowRank {
    /// Gives the slots back.
    pub fn release(self, vectors: &mut (impl Vectors + ?Sized)) {
        for (a, b) in self.terms {
            vectors.release(a);
            vectors.release(b);
        }
    }
}
