//! The one solve loop: evaluates, measures, stops and keeps the books for every solver.

mod books;
mod norm;
mod stop;

pub use stop::{OnUnconverged, Stop, Tolerance};

use crate::plumbing::Counted;
use crate::report::Report;
use crate::solver::LowRank;
use crate::{Coef, Evaluation, FixedPointSolver, Iteration, Map, Result, Slot, Vectors};

use books::Books;

/// Solves `z = f(z)` for every active sample of `space`.
///
/// `z` holds the start on entry and the iterate with the smallest residual on return, chosen per sample. A sample
/// that is done leaves the batch, so the others are evaluated alone; every sample's result is what it would be in any
/// other batch, to the last bit in a [`SliceSpace`](crate::plumbing::SliceSpace) and up to rounding in tensors, whose
/// products may sum in another order. A sample that one of several [stages](FixedPointSolver::stages) gives up goes on to
/// the next, from its best iterate; one that one of several [attempts](FixedPointSolver::attempts) of a solver gives up, to the next
/// attempt, from where that [begins](FixedPointSolver::place).
///
/// # Errors
/// Those of the space and the solver. An unsolved sample is no error here: see [`Stop::judge`].
pub fn solve(
    solver: &dyn FixedPointSolver,
    space: &mut dyn Map,
    z: Slot,
    stop: &Stop,
) -> Result<Report> {
    let (report, inverse) = solve_with_inverse(solver, space, z, stop)?;
    inverse.release(space);
    Ok(report)
}

/// [`solve()`] that also returns what the solver has learned of `(I − J)⁻¹`: no terms for most solvers, nor for a chain,
/// where each solver has seen some of the samples only. The caller gives the slots back.
pub fn solve_with_inverse(
    solver: &dyn FixedPointSolver,
    space: &mut dyn Map,
    z: Slot,
    stop: &Stop,
) -> Result<(Report, LowRank)> {
    let batch = space.batch();
    let space = &mut Counted::new(space);
    let mut books = Books::new(batch, stop);
    let (mut swaps, mut inverse) = (Vec::with_capacity(batch), LowRank::default());
    let mut stages = Vec::new();
    flatten(solver, &mut stages);
    let count: usize = stages.iter().map(Stage::attempts).sum();
    let attempts = stages.iter().flat_map(Stage::each);
    for (number, stage) in attempts.enumerate() {
        let rounded = stop.rounded && stage.solver.tolerates_rounding() && space.allow_rounding(0);
        let first = swaps.len();
        books.begin(number, number + 1 == count, rounded, &mut swaps);
        if swaps.len() > first {
            let active = space.batch();
            space.vectors_mut().permute(&swaps[first..], active)?;
        }
        let outcome = run(stage, space, z, &mut books, &mut swaps);
        // Also where the solve has failed: the space may be used again.
        space.allow_rounding(usize::MAX);
        inverse = outcome?;
        if count > 1 {
            std::mem::take(&mut inverse).release(space);
        }
        let first = swaps.len();
        let waiting = books.readmit(&mut swaps);
        space.vectors_mut().permute(&swaps[first..], waiting)?;
        if waiting == 0 {
            break;
        }
    }
    swaps.reverse();
    space.vectors_mut().permute(&swaps, batch)?;
    if books.all_linearized() && !space.linearized {
        space.keep_linearization(z);
    }
    Ok((books.into_report(), inverse))
}

/// One attempt of one of the solvers that are tried in turn.
#[derive(Clone, Copy)]
struct Stage<'s> {
    solver: &'s dyn FixedPointSolver,
    /// The attempt, from 0.
    attempt: usize,
}

impl<'s> Stage<'s> {
    fn attempts(&self) -> usize {
        self.solver.attempts().max(1)
    }

    /// All attempts of this solver, one after the other.
    fn each(&self) -> impl Iterator<Item = Stage<'s>> {
        let solver = self.solver;
        (0..self.attempts()).map(move |attempt| Stage { solver, attempt })
    }
}

/// A chain may hold chains.
fn flatten<'s>(solver: &'s dyn FixedPointSolver, stages: &mut Vec<Stage<'s>>) {
    match solver.stages() {
        [] => stages.push(Stage { solver, attempt: 0 }),
        inner => inner.iter().for_each(|stage| flatten(&**stage, stages)),
    }
}

/// Runs one attempt of a solver until no sample is active. Appends the exchanges of rows to `swaps`.
fn run(
    Stage { solver, attempt }: Stage<'_>,
    space: &mut Counted<'_>,
    z: Slot,
    books: &mut Books<'_>,
    swaps: &mut Vec<(usize, usize)>,
) -> Result<LowRank> {
    let mut iteration = solver.start(space, books.stop.tolerance)?;
    let [mut point, mut fz, mut residual] = [space.alloc()?, space.alloc()?, space.alloc()?];
    let [mut next, mut best] = [space.alloc()?, space.alloc()?];
    space.combine(point, &[(Coef::Same(1.0), z)])?;
    space.combine(best, &[(Coef::Same(1.0), z)])?;
    solver.place(attempt, space, point)?;
    loop {
        let linearized = evaluate(space, (point, fz), books)?;
        books.record(space, (point, fz), residual, next, linearized)?;
        let all_improved = save_best(space, &mut point, &mut best, &books.improved)?;
        space.copy_rows(best, z, &books.ended)?;
        let active = retire(space, &mut *iteration, books, swaps)?;
        if active == 0 {
            break;
        }
        let mut at = Evaluation {
            z: if all_improved { best } else { point },
            fz,
            residual,
            residual_norms: &books.residuals[..active],
            value_norms: &books.norms[..active],
        };
        iteration.advance(space, &mut at, next)?;
        (fz, residual) = (at.fz, at.residual);
        std::mem::swap(&mut point, &mut next);
    }
    for slot in [point, fz, residual, next, best] {
        space.release(slot);
    }
    Ok(iteration.finish(space))
}

/// Evaluates `f(point)`; returns whether the space has linearized there.
fn evaluate(space: &mut Counted<'_>, (point, fz): (Slot, Slot), books: &Books<'_>) -> Result<bool> {
    if books.rounds {
        space.allow_rounding(books.exact_rows);
    }
    // If the solver has linearized at a point of its own, that linearization must stay.
    match books.near && !space.linearized {
        true => space.apply_keeping(point, fz),
        false => space.apply(point, fz).map(|()| false),
    }
}

/// Saves the rows that have improved in `best`. Where all have, which is nearly always so, the slots change places and nothing is
/// copied; returns whether they do.
fn save_best(
    space: &mut Counted<'_>,
    point: &mut Slot,
    best: &mut Slot,
    improved: &[usize],
) -> Result<bool> {
    let all_improved = improved.len() == space.batch();
    if all_improved {
        std::mem::swap(point, best);
    } else {
        space.copy_rows(*point, *best, improved)?;
    }
    Ok(all_improved)
}

/// Lets the samples leave that are no longer active. Returns how many are left.
fn retire(
    space: &mut Counted<'_>,
    iteration: &mut dyn Iteration,
    books: &mut Books<'_>,
    swaps: &mut Vec<(usize, usize)>,
) -> Result<usize> {
    let first = swaps.len();
    let active = books.retire(swaps);
    if swaps.len() > first || active < space.batch() {
        space.vectors_mut().permute(&swaps[first..], active)?;
        iteration.permute(&swaps[first..], active);
    }
    Ok(active)
}
