//! Equilibria that do not need each other, solved and differentiated at the same time; a single one is the usual case.

use std::sync::Arc;

use dfdx::prelude::*;

use super::penalty::{penalize, Penalty};
use super::{method, prefix, Adjoint, Equilibrium, Solved};
use crate::blocks::{Purpose, Tangents};
use crate::bound::{Bound, Outcome, Run};
use crate::layer::AnyTape;
use crate::{
    from_host, solve_with_inverse, Backend, BackwardStrategy, DifferentiableSpace, ImplicitLayer,
    LowRank, Matrix, Report, Result, Scalar, Slot, Solution,
};

/// What [`Equilibrium::forward_each`] returns.
pub struct AllSolved<E: Scalar, D: Backend<E>, T> {
    /// One per equilibrium.
    pub solved: Vec<Solved<E, D, NoneTape>>,
    /// The penalty of each at its z*, `[1, 1]`; none if none were wanted.
    pub penalties: Vec<Matrix<E, D>>,
    /// The tape that all of these are on.
    pub tape: T,
}

/// Layers with their inputs, and the tape these are on.
type AllBound<E, D, L, T> = (Vec<Bound<E, D, L>>, T);

/// z*, the report, and the terms of an approximate inverse.
type Judged<E, D> = (Matrix<E, D>, Report, Vec<Matrix<E, D>>);

/// The report of a block and the terms of an approximate inverse.
type BlockSolution = (Report, Vec<[Vec<f64>; 2]>);

impl<L> Equilibrium<L> {
    /// [`forward_from`](Self::forward_from) of several equilibria, the k-th from `starts[k]` with the inputs `x[k]`. Where
    /// their layers have kernels they are solved at the same time, and so are their adjoint equations: no thread waits for
    /// the last sample of each.
    ///
    /// With `seeds`, one per equilibrium, the [`penalty`](Self::penalty) of each at its z* is computed as well. It shares the
    /// linearization with the adjoint equation, and the way back to parameters and inputs.
    ///
    /// `tape` is the one all inputs were computed on.
    ///
    /// # Errors
    /// Those of [`forward_from`](Self::forward_from), of the first equilibrium that has one.
    pub fn forward_each<E: Scalar, D: Backend<E>, T: AnyTape<E, D>>(
        equilibria: &[Self],
        starts: Vec<Matrix<E, D>>,
        x: &[&[Matrix<E, D>]],
        tape: T,
        seeds: Option<&[u64]>,
    ) -> Result<AllSolved<E, D, T>>
    where
        L: ImplicitLayer<E, D>,
    {
        let (mut bounds, tape) = bind_each(equilibria, x, tape)?;
        let jobs: Vec<_> = equilibria.iter().map(|e| e.job(T::OWNS_TAPE)).collect();
        let runs = bounds.iter_mut().zip(&starts).zip(&jobs);
        let runs = runs.map(|((bound, start), job)| Run {
            bound,
            given: vec![start.clone()],
            tangents: Tangents::Now,
            job,
        });
        let outcomes = Bound::run_each(Purpose::Solve, runs.collect());
        let judged = equilibria.iter().zip(outcomes);
        let judged = judged.map(|(equilibrium, outcome)| equilibrium.judged(outcome?));
        let judged: Vec<Judged<E, D>> = judged.collect::<Result<_>>()?;
        let mut penalties = Vec::new();
        if let Some(seeds) = seeds {
            let z: Vec<_> = judged.iter().map(|(z, ..)| z.clone()).collect();
            penalties = penalize(equilibria, &mut bounds, &z, seeds)?;
        }
        let mut all = AllSolved {
            solved: Vec::with_capacity(equilibria.len()),
            penalties: penalties.iter().map(|p| p.value.clone()).collect(),
            tape,
        };
        let (mut pending, mut penalties) = (Vec::new(), penalties.into_iter());
        let solves = equilibria.iter().zip(bounds).zip(starts).zip(judged);
        for (((equilibrium, bound), start), (z, report, inverse)) in solves {
            let adjoint = Adjoint::default();
            pending.push(Pending {
                name: equilibrium.name.clone(),
                backward: equilibrium.backward.clone(),
                bound,
                known: [vec![z.clone(), start], inverse].concat(),
                adjoint: adjoint.clone(),
                penalty: penalties.next(),
            });
            all.solved.push(Solved { z, report, adjoint });
        }
        if T::OWNS_TAPE {
            (all.tape).add_backward_op(move |gradients| pull_back(pending, gradients));
        }
        Ok(all)
    }

    /// Solves a block; keeps what the solver learns if gradients will want it.
    fn job(
        &self,
        gradients: bool,
    ) -> impl Fn(&mut dyn DifferentiableSpace, &[Slot]) -> Result<BlockSolution> + Sync + '_ {
        let (solver, stop) = (&*self.solver, &self.stop);
        let keep = gradients && self.backward.needs_inverse();
        move |space, slots| {
            let (report, inverse) = solve_with_inverse(solver, space, slots[0], stop)?;
            let terms = if keep { &inverse.terms[..] } else { &[] };
            let read = |&(a, b): &(Slot, Slot)| Ok([space.read(a)?, space.read(b)?]);
            let kept = terms.iter().map(read).collect::<Result<Vec<_>>>()?;
            inverse.release(space);
            Ok((report, kept))
        }
    }

    /// Puts the blocks together and judges how they went.
    fn judged<E: Scalar, D: Backend<E>>(
        &self,
        mut outcome: Outcome<E, D, BlockSolution>,
    ) -> Result<Judged<E, D>> {
        let (reports, inverse): (Vec<Report>, Vec<_>) = outcome.results.into_iter().unzip();
        let rows: Vec<usize> = reports.iter().map(|report| report.samples.len()).collect();
        let report: Report = reports.into_iter().collect();
        report.log(|| {
            let solver = self.solver.typetag_name();
            format!("{}forward solve by {solver}", prefix(&self.name))
        });
        self.stop.judge(&report, "forward")?;
        let z = outcome.states.swap_remove(0);
        let inverse = merge(&z, &rows, &inverse)?;
        Ok((z, report, inverse))
    }
}

/// Binds the inputs of every equilibrium.
fn bind_each<E: Scalar, D: Backend<E>, T: AnyTape<E, D>, L: ImplicitLayer<E, D>>(
    equilibria: &[Equilibrium<L>],
    x: &[&[Matrix<E, D>]],
    mut tape: T,
) -> Result<AllBound<E, D, L, T>> {
    let mut bounds = Vec::with_capacity(equilibria.len());
    for (equilibrium, x) in equilibria.iter().zip(x) {
        let (bound, next) = equilibrium.bind(x, tape)?;
        bounds.push(bound);
        tape = next;
    }
    Ok((bounds, tape))
}

/// An equilibrium that waits for its cotangent.
struct Pending<E: Scalar, D: Backend<E>, L> {
    name: String,
    backward: Arc<dyn BackwardStrategy>,
    bound: Bound<E, D, L>,
    /// z*, the start, and the terms of an approximate inverse.
    known: Vec<Matrix<E, D>>,
    adjoint: Adjoint,
    penalty: Option<Penalty<E, D>>,
}

/// Gradients of parameters and inputs due to the cotangents that have arrived at the equilibria and their penalties.
fn pull_back<E: Scalar, D: Backend<E>, L: ImplicitLayer<E, D>>(
    mut all: Vec<Pending<E, D, L>>,
    gradients: &mut Gradients<E, D>,
) -> std::result::Result<(), D::Err> {
    let (mut factors, mut jobs) = (Vec::new(), Vec::new());
    for pending in &mut all {
        gradients.try_alloc_for(&pending.known[0])?;
        pending.known.push(gradients.get(&pending.known[0]));
        let penalty = pending.penalty.as_ref();
        factors.push(penalty.map_or(Ok(Vec::new()), |p| p.factors(gradients))?);
        let backward = pending.backward.clone();
        jobs.push(move |space: &mut dyn DifferentiableSpace, slots: &[Slot]| {
            differentiate(&*backward, space, slots)
        });
    }
    let runs = all.iter_mut().zip(&factors).zip(&jobs);
    let runs = runs.map(|((pending, factors), job)| Run {
        bound: &mut pending.bound,
        given: std::mem::take(&mut pending.known),
        tangents: Tangents::Join(factors),
        job,
    });
    let outcomes = Bound::run_each(Purpose::Differentiate, runs.collect());
    for ((pending, outcome), factors) in all.into_iter().zip(outcomes).zip(factors) {
        pending.accumulate(outcome, &factors, gradients);
    }
    Ok(())
}

/// Pulls the cotangent of a block back; the slots are those of z*, the start, an approximate inverse, and the cotangent.
fn differentiate(
    backward: &dyn BackwardStrategy,
    space: &mut dyn DifferentiableSpace,
    slots: &[Slot],
) -> Result<Report> {
    let (known, v) = slots.split_at(slots.len() - 1);
    let pairs = known[2..].chunks_exact(2);
    let solution = Solution {
        z: known[0],
        start: known[1],
        inverse: LowRank {
            terms: pairs.map(|pair| (pair[0], pair[1])).collect(),
        },
    };
    backward.backward(space, &solution, v[0])
}

impl<E: Scalar, D: Backend<E>, L: ImplicitLayer<E, D>> Pending<E, D, L> {
    /// Judges the adjoint solve and adds what it has found to the gradients, with those of the penalty.
    fn accumulate(
        self,
        outcome: Result<Outcome<E, D, Report>>,
        factors: &[f64],
        gradients: &mut Gradients<E, D>,
    ) {
        let report = outcome.and_then(|outcome| {
            let report: Report = outcome.results.into_iter().collect();
            let (name, backward) = (prefix(&self.name), &*self.backward);
            report.log(|| format!("{name}adjoint solve by {}", method(backward)));
            backward.judge(&report)?;
            self.bound.accumulate(gradients, outcome.gradients, 1.0)?;
            if let Some(penalty) = self.penalty {
                penalty.accumulate(&self.bound, factors, gradients)?;
            }
            Ok(report)
        });
        if report.is_err() {
            self.bound.poison(gradients);
        }
        self.adjoint.set(report);
    }
}

/// Puts the terms of the blocks' approximate inverses together to matrices like `z`, `a_1, b_1, a_2, …`. A block that has
/// fewer terms than another one gets zeros for its `rows`.
fn merge<E: Scalar, D: Backend<E>>(
    z: &Matrix<E, D>,
    rows: &[usize],
    blocks: &[Vec<[Vec<f64>; 2]>],
) -> Result<Vec<Matrix<E, D>>> {
    let rank = blocks.iter().map(Vec::len).max().unwrap_or(0);
    let mut matrices = Vec::with_capacity(2 * rank);
    let (batch, dim) = *z.shape();
    for (term, side) in (0..rank).flat_map(|term| [(term, 0), (term, 1)]) {
        let mut values: Vec<E> = Vec::with_capacity(batch * dim);
        for (block, rows) in blocks.iter().zip(rows) {
            match block.get(term) {
                Some(pair) => values.extend(pair[side].iter().map(|&value| E::of(value))),
                None => {
                    values.resize(values.len() + rows * dim, E::zero());
                }
            }
        }
        matrices.push(from_host(z.device(), values, (batch, dim))?);
    }
    Ok(matrices)
}
