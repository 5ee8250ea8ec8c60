//! Equilibria that do not need each other, solved and differentiated at the same time; a single one is the usual case.

use std::sync::Arc;

use dfdx::prelude::*;

use super::{method, prefix, Adjoint, Equilibrium, Solved};
use crate::blocks::Blocking;
use crate::bound::{Bound, Job, Outcome};
use crate::layer::AnyTape;
use crate::seed::mix;
use crate::{
    from_host, solve_with_inverse, Backend, BackwardStrategy, DifferentiableSpace, ImplicitLayer,
    LowRank, Matrix, Report, Result, Scalar, Slot, Solution,
};

/// Several equilibria without a tape, and the tape they are all on.
pub type AllSolved<E, D, T> = (Vec<Solved<E, D, NoneTape>>, T);

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
    /// `tape` is the one all inputs were computed on; it is returned, and every z* is on it.
    ///
    /// # Errors
    /// Those of [`forward_from`](Self::forward_from), of the first equilibrium that has one.
    pub fn forward_each<E: Scalar, D: Backend<E>, T: AnyTape<E, D>>(
        equilibria: &[Self],
        starts: Vec<Matrix<E, D>>,
        x: &[&[Matrix<E, D>]],
        tape: T,
    ) -> Result<AllSolved<E, D, T>>
    where
        L: ImplicitLayer<E, D>,
    {
        let (bounds, mut tape) = bind_each(equilibria, x, tape)?;
        let given: Vec<Vec<_>> = starts.iter().map(|start| vec![start.clone()]).collect();
        let jobs: Vec<_> = equilibria.iter().map(|e| e.job(T::OWNS_TAPE)).collect();
        let outcomes = run_each(&bounds, Blocking::Threads, &given, &jobs);
        let (mut all, mut pending) = (Vec::new(), Vec::new());
        let solves = equilibria.iter().zip(bounds).zip(starts).zip(outcomes);
        for (((equilibrium, bound), start), outcome) in solves {
            let (z, report, inverse) = equilibrium.judged(outcome?)?;
            let adjoint = Adjoint::default();
            pending.push(Pending {
                name: equilibrium.name.clone(),
                backward: equilibrium.backward.clone(),
                bound,
                known: [vec![z.clone(), start], inverse].concat(),
                adjoint: adjoint.clone(),
            });
            all.push(Solved { z, report, adjoint });
        }
        if T::OWNS_TAPE {
            tape.add_backward_op(move |gradients| pull_back(pending, gradients));
        }
        Ok((all, tape))
    }

    /// [`penalty`](Self::penalty) of several equilibria at the same time, the k-th at `z[k]` with the inputs `x[k]` and the
    /// probes of `seeds[k]`. The tape is handed on.
    pub fn penalty_each<E: Scalar, D: Backend<E>, T: AnyTape<E, D>>(
        equilibria: &[Self],
        z: &[Matrix<E, D>],
        x: &[&[Matrix<E, D>]],
        tape: T,
        seeds: &[u64],
    ) -> Result<(Vec<Matrix<E, D>>, T)>
    where
        L: ImplicitLayer<E, D>,
    {
        let (bounds, mut tape) = bind_each(equilibria, x, tape)?;
        let (mut owners, mut given, mut jobs) = (Vec::new(), Vec::new(), Vec::new());
        for ((equilibrium, (bound, z)), &seed) in
            equilibria.iter().zip(bounds.iter().zip(z)).zip(seeds)
        {
            for (index, regularizer) in equilibrium.regularizers.iter().enumerate() {
                let seed = mix(seed, index as u64);
                owners.push(bound);
                given.push(vec![z.clone()]);
                jobs.push(move |space: &mut dyn DifferentiableSpace, slots: &[Slot]| {
                    regularizer.penalty(space, slots[0], seed)
                });
            }
        }
        let mut outcomes = run_each(owners, Blocking::Fixed, &given, &jobs).into_iter();
        let mut values = Vec::with_capacity(equilibria.len());
        for ((equilibrium, bound), z) in equilibria.iter().zip(bounds).zip(z) {
            let scale = 1.0 / z.shape().0.max(1) as f64;
            let (mut sum, mut parts) = (0.0, Vec::new());
            for (regularizer, outcome) in equilibrium.regularizers.iter().zip(&mut outcomes) {
                let (outcome, factor) = (outcome?, regularizer.weight() * scale);
                sum += factor * outcome.results.iter().sum::<f64>();
                parts.push((factor, outcome.gradients));
            }
            let value = from_host(z.device(), vec![E::of(sum)], (1, 1))?;
            if T::OWNS_TAPE {
                let value = value.clone();
                tape.add_backward_op(move |gradients| {
                    gradients.try_alloc_for(&value)?;
                    let cotangent = gradients.get(&value).as_vec()[0].wide();
                    for (factor, part) in parts {
                        // Only running out of device memory can stop this, and dfdx reports that by itself.
                        let _ = bound.accumulate(gradients, part, cotangent * factor);
                    }
                    Ok(())
                });
            }
            values.push(value);
        }
        Ok((values, tape))
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

/// [`Bound::run_each`] of jobs of one type.
fn run_each<'b, E: Scalar, D: Backend<E>, L: ImplicitLayer<E, D>, R: Send>(
    bounds: impl IntoIterator<Item = &'b Bound<E, D, L>>,
    blocking: Blocking,
    given: &[Vec<Matrix<E, D>>],
    jobs: &[impl Fn(&mut dyn DifferentiableSpace, &[Slot]) -> Result<R> + Sync],
) -> Vec<Result<Outcome<E, D, R>>> {
    let bounds: Vec<_> = bounds.into_iter().collect();
    let jobs: Vec<&Job<'_, R>> = jobs.iter().map(|job| job as &Job<'_, R>).collect();
    Bound::run_each(&bounds, blocking, given, &jobs)
}

/// An equilibrium that waits for its cotangent.
struct Pending<E: Scalar, D: Backend<E>, L> {
    name: String,
    backward: Arc<dyn BackwardStrategy>,
    bound: Bound<E, D, L>,
    /// z*, the start, and the terms of an approximate inverse.
    known: Vec<Matrix<E, D>>,
    adjoint: Adjoint,
}

/// Gradients of parameters and inputs due to the cotangents that have arrived at the equilibria.
fn pull_back<E: Scalar, D: Backend<E>, L: ImplicitLayer<E, D>>(
    mut all: Vec<Pending<E, D, L>>,
    gradients: &mut Gradients<E, D>,
) -> std::result::Result<(), D::Err> {
    let mut given = Vec::with_capacity(all.len());
    for pending in &mut all {
        let mut states = std::mem::take(&mut pending.known);
        gradients.try_alloc_for(&states[0])?;
        states.push(gradients.get(&states[0]));
        given.push(states);
    }
    let jobs: Vec<_> = all.iter().map(Pending::job).collect();
    let bounds = all.iter().map(|pending| &pending.bound);
    let outcomes = run_each(bounds, Blocking::Fixed, &given, &jobs);
    for (pending, outcome) in all.iter().zip(outcomes) {
        let report = outcome.and_then(|outcome| pending.accumulate(outcome, gradients));
        if report.is_err() {
            pending.bound.poison(gradients);
        }
        pending.adjoint.set(report);
    }
    Ok(())
}

impl<E: Scalar, D: Backend<E>, L: ImplicitLayer<E, D>> Pending<E, D, L> {
    /// Pulls the cotangent of a block back; the slots are those of the known states, and then that of the cotangent.
    fn job(&self) -> impl Fn(&mut dyn DifferentiableSpace, &[Slot]) -> Result<Report> + Sync + '_ {
        let backward = &*self.backward;
        move |space, slots| {
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
    }

    /// Judges the adjoint solve and adds what it has found to the gradients.
    fn accumulate(
        &self,
        outcome: Outcome<E, D, Report>,
        gradients: &mut Gradients<E, D>,
    ) -> Result<Report> {
        let report: Report = outcome.results.into_iter().collect();
        let (name, backward) = (prefix(&self.name), &*self.backward);
        report.log(|| format!("{name}adjoint solve by {}", method(backward)));
        backward.judge(&report)?;
        self.bound.accumulate(gradients, outcome.gradients, 1.0)?;
        Ok(report)
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
