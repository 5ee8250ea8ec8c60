//! Equilibria that do not need each other, solved and differentiated at the same time; a single one is the usual case.

use std::sync::Arc;

use dfdx::prelude::*;

use super::penalty::{penalize, Penalty, Probes};
use super::{method, prefix, Adjoint, Equilibrium, Solved};
use crate::certificate::{certify, certify_adjoint};
use crate::layer::AnyTape;
use crate::plumbing::blocks::{Partition, Products};
use crate::plumbing::bound::{Bound, JobOutput, LayerJob, Purpose};
use crate::plumbing::gradients::{accumulate, WeightedGradients};
use crate::plumbing::pulled::Pulled;
use crate::requirement::require;
use crate::{
    solve_with_inverse, AnyLayer, Backend, BackwardStrategy, Coef, DifferentiableMap, Error,
    ImplicitLayer, LowRank, Matrix, Report, Result, Scalar, Slot, Solution, Vectors,
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
type AllBound<E, D, T> = (Vec<Bound<E, D>>, T);

impl<L> Equilibrium<L> {
    /// [`forward_from`](Self::forward_from) of several equilibria, the k-th from `starts[k]` with the inputs `x[k]`. On the
    /// CPU they are solved at the same time, and so are their adjoint equations: no thread waits for
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
        Self::forward_part(equilibria, starts, x, tape, seeds, 0)
    }

    /// [`forward_each`](Self::forward_each) of the rows of a batch that begin with number `first`, which the probes of penalties depend
    /// on: all parts together get those of the whole batch. A penalty is the mean over the rows of the part.
    ///
    /// # Errors
    /// Those of [`forward_each`](Self::forward_each).
    pub fn forward_part<E: Scalar, D: Backend<E>, T: AnyTape<E, D>>(
        equilibria: &[Self],
        starts: Vec<Matrix<E, D>>,
        x: &[&[Matrix<E, D>]],
        tape: T,
        seeds: Option<&[u64]>,
        first: usize,
    ) -> Result<AllSolved<E, D, T>>
    where
        L: ImplicitLayer<E, D>,
    {
        let equilibria: Vec<_> = equilibria.iter().map(Self::of_any_layer).collect();
        let probes = seeds.map(|seeds| Probes { seeds, first });
        Equilibrium::solve_and_wait(&equilibria, starts, x, tape, probes)
    }
}

// Compiled once for all layers.
impl<E: Scalar, D: Backend<E>> Equilibrium<AnyLayer<E, D>> {
    /// [`forward_each`](Self::forward_each); a way back waits for the cotangents.
    fn solve_and_wait<T: AnyTape<E, D>>(
        equilibria: &[Self],
        starts: Vec<Matrix<E, D>>,
        x: &[&[Matrix<E, D>]],
        tape: T,
        probes: Option<Probes<'_>>,
    ) -> Result<AllSolved<E, D, T>> {
        let (mut bounds, tape) = bind_each(equilibria, x, tape, probes.is_some())?;
        let solutions = Self::solve_each(equilibria, &mut bounds, starts, x, T::OWNS_TAPE)?;
        let penalties = match probes {
            Some(probes) => penalize(equilibria, &mut bounds, &[], probes)?,
            None => Vec::new(),
        };
        let mut all = AllSolved {
            solved: Vec::with_capacity(equilibria.len()),
            penalties: penalties.iter().map(|p| p.value.clone()).collect(),
            tape,
        };
        let (mut pending, mut penalties) = (Vec::new(), penalties.into_iter());
        let solves = equilibria.iter().zip(bounds).zip(solutions);
        for ((equilibrium, bound), (z, report)) in solves {
            let adjoint = Adjoint::default();
            pending.push(Pending {
                bound,
                z: z.clone(),
                penalty: penalties.next(),
                name: equilibrium.name.clone(),
                backward: equilibrium.backward.clone(),
                certifies: equilibrium.certifies(),
                adjoint: adjoint.clone(),
            });
            all.solved.push(Solved { z, report, adjoint });
        }
        if T::OWNS_TAPE {
            (all.tape).add_backward_op(move |gradients| pull_back(pending, gradients));
        }
        Ok(all)
    }

    /// z* of every equilibrium and how its solve went, once all have been judged. `gradients` as in
    /// [`block_solve`](Self::block_solve).
    fn solve_each(
        equilibria: &[Self],
        bounds: &mut [Bound<E, D>],
        starts: Vec<Matrix<E, D>>,
        x: &[&[Matrix<E, D>]],
        gradients: bool,
    ) -> Result<Vec<(Matrix<E, D>, Report)>> {
        let block_jobs: Vec<_> = (equilibria.iter())
            .map(|equilibrium| equilibrium.block_solve(gradients))
            .collect();
        let jobs = bounds.iter_mut().zip(starts).zip(&block_jobs);
        let jobs = jobs.map(|((bound, start), block_job)| LayerJob {
            bound,
            given: vec![start],
            products: Products::Now,
            block_job,
        });
        let outputs = Bound::run_each(Purpose::Solve, jobs.collect());
        let judged = equilibria.iter().zip(outputs).zip(x);
        let judged = judged.map(|((equilibrium, output), x)| {
            let output = output.map_err(|error| error.of_equilibrium(&equilibrium.name))?;
            equilibrium.judged(output, x)
        });
        judged.collect()
    }

    /// Solves a block. If `gradients` will be wanted, z* is held for them, and, if the backward strategy needs them, the start
    /// and what the solver has learned of the inverse.
    fn block_solve(
        &self,
        gradients: bool,
    ) -> impl Fn(&mut dyn DifferentiableMap, &mut Vec<Slot>) -> Result<Report> + Sync + '_ {
        let (solver, stop) = (&*self.solver, &self.stop);
        let starts = gradients && self.backward.needs_start();
        let learns = gradients && self.backward.needs_inverse();
        move |space, slots| {
            let z = slots[0];
            if starts {
                let start = space.alloc()?;
                space.combine(start, &[(Coef::Same(1.0), z)])?;
                slots.push(start);
            }
            let (report, inverse) = solve_with_inverse(solver, space, z, stop)?;
            if learns {
                slots.extend(inverse.terms.iter().flat_map(|&(a, b)| [a, b]));
            } else {
                inverse.release(space);
            }
            Ok(report)
        }
    }

    /// Whether reports are to bound errors.
    fn certifies(&self) -> bool {
        self.stop.certify || log::log_enabled!(log::Level::Debug)
    }

    /// Puts the blocks together and judges how they went.
    fn judged(
        &self,
        output: JobOutput<E, D, Report>,
        x: &[Matrix<E, D>],
    ) -> Result<(Matrix<E, D>, Report)> {
        let mut report: Report = output.results.into_iter().collect();
        let z = output.state.expect("a solve leaves its state");
        require(&self.layer, &z, x, &self.stop.tolerance, &mut report);
        if self.certifies() {
            certify(&self.layer, &z, x, &mut report);
        }
        report.log(|| {
            let solver = self.solver.typetag_name();
            format!("{}forward solve by {solver}", prefix(&self.name))
        });
        (self.stop.on_unconverged).judge(&report, "forward", &self.name)?;
        Ok((z, report))
    }
}

/// Binds the inputs of every equilibrium for a solve and, if the tape is to be used or if they are `penalized`, for gradients.
fn bind_each<E: Scalar, D: Backend<E>, T: AnyTape<E, D>>(
    equilibria: &[Equilibrium<AnyLayer<E, D>>],
    x: &[&[Matrix<E, D>]],
    mut tape: T,
    penalized: bool,
) -> Result<AllBound<E, D, T>> {
    let partition = match T::OWNS_TAPE || penalized {
        true => Partition::Sizes {
            together: equilibria.len(),
        },
        false => Partition::Threads,
    };
    let mut bounds = Vec::with_capacity(equilibria.len());
    for (equilibrium, x) in equilibria.iter().zip(x) {
        let (bound, next) = equilibrium.bind(x, tape, partition)?;
        bounds.push(bound);
        tape = next;
    }
    Ok((bounds, tape))
}

/// An equilibrium that waits for its cotangent.
struct Pending<E: Scalar, D: Backend<E>> {
    name: String,
    backward: Arc<dyn BackwardStrategy>,
    certifies: bool,
    /// Holds z*, and the start and the terms of an approximate inverse where the strategy needs them.
    bound: Bound<E, D>,
    z: Matrix<E, D>,
    adjoint: Adjoint,
    penalty: Option<Penalty<E, D>>,
}

/// Gradients of parameters and inputs due to the cotangents that have arrived at the equilibria and their penalties.
fn pull_back<E: Scalar, D: Backend<E>>(
    mut all: Vec<Pending<E, D>>,
    gradients: &mut Gradients<E, D>,
) -> std::result::Result<(), D::Err> {
    let (mut cotangents, mut factors) = (Vec::new(), Vec::new());
    for pending in &all {
        gradients.try_alloc_for(&pending.z)?;
        cotangents.push(gradients.get(&pending.z));
        let penalty = pending.penalty.as_ref();
        factors.push(penalty.map_or(Ok(Vec::new()), |p| p.factors(gradients))?);
    }
    let differentiated = differentiate_each(&mut all, cotangents, &factors);
    let (reports, pulled): (Vec<_>, Vec<_>) = differentiated.into_iter().unzip();
    let pulled = all.iter().zip(pulled);
    let pulled = pulled.flat_map(|(pending, pulled)| pending.bound.by_tensor(pulled));
    let failure = accumulate(gradients, pulled).err();
    for (pending, mut report) in all.into_iter().zip(reports) {
        if let (Some(failure), Ok(_)) = (&failure, &report) {
            report = Err(Error::device(failure));
        }
        if report.is_err() {
            pending.bound.poison(gradients);
        }
        pending.adjoint.set(report);
    }
    Ok(())
}

/// The report of the adjoint solves of a block, and the vector that was pulled back, if it is to be certified.
type Adjoined = (Report, Option<Vec<f64>>);

/// The report of an adjoint solve, and what was pulled back to parameters and inputs.
type Differentiated<E, D> = (Result<Report>, Vec<WeightedGradients<E, D>>);

/// Pulls the cotangents of the equilibria back, and with them what waits of their penalties, times its factors.
fn differentiate_each<E: Scalar, D: Backend<E>>(
    all: &mut [Pending<E, D>],
    cotangents: Vec<Matrix<E, D>>,
    factors: &[Vec<f64>],
) -> Vec<Differentiated<E, D>> {
    let strategies = (all.iter()).map(|pending| (pending.backward.clone(), pending.certifies));
    let strategies: Vec<_> = strategies.collect();
    let block_jobs: Vec<_> = (strategies.iter())
        .map(|(backward, certifies)| {
            move |space: &mut dyn DifferentiableMap, slots: &mut Vec<Slot>| -> Result<_> {
                if !certifies {
                    return Ok((differentiate(&**backward, space, slots)?, None));
                }
                let mut space = Pulled::new(space);
                let report = differentiate(&**backward, &mut space, slots)?;
                Ok((report, space.into_vector()))
            }
        })
        .collect();
    let given = cotangents.clone();
    let jobs = all.iter_mut().zip(cotangents).zip(factors).zip(&block_jobs);
    let jobs = jobs.map(|(((pending, v), factors), block_job)| LayerJob {
        bound: &mut pending.bound,
        given: vec![v],
        products: Products::Join(factors),
        block_job,
    });
    let outputs = Bound::run_each(Purpose::Differentiate, jobs.collect());
    let judged = all.iter_mut().zip(outputs).zip(&given).zip(factors);
    let judged =
        judged.map(
            |(((pending, output), v), factors)| match pending.judge(output, v, factors) {
                Ok((report, pulled)) => (Ok(report), pulled),
                Err(error) => (Err(error), Vec::new()),
            },
        );
    judged.collect()
}

/// Pulls the cotangent of a block back; the slots are those of z*, of the start and of an approximate inverse where the strategy
/// needs them, and of the cotangent.
fn differentiate(
    backward: &dyn BackwardStrategy,
    space: &mut dyn DifferentiableMap,
    slots: &[Slot],
) -> Result<Report> {
    let (known, v) = slots.split_at(slots.len() - 1);
    let (z, rest) = (known[0], &known[1..]);
    let (start, inverse) = rest.split_at(usize::from(backward.needs_start()));
    let pairs = inverse.chunks_exact(2);
    let solution = Solution {
        z,
        start: start.first().copied(),
        inverse: LowRank {
            terms: pairs.map(|pair| (pair[0], pair[1])).collect(),
        },
    };
    backward.backward(space, &solution, v[0])
}

impl<E: Scalar, D: Backend<E>> Pending<E, D> {
    /// Judges the adjoint solve for the cotangent v. Returns its report and what was pulled back, by the penalty as well, with its factor.
    fn judge(
        &mut self,
        output: Result<JobOutput<E, D, Adjoined>>,
        v: &Matrix<E, D>,
        factors: &[f64],
    ) -> Result<(Report, Vec<WeightedGradients<E, D>>)> {
        let output = output.map_err(|error| error.of_equilibrium(&self.name))?;
        let (reports, u): (Vec<_>, Vec<_>) = output.results.into_iter().unzip();
        let mut report: Report = reports.into_iter().collect();
        if let Some(u) = u.into_iter().collect::<Option<Vec<_>>>() {
            let (layer, x) = self.bound.parts();
            certify_adjoint(layer, (&self.z, x), (u.concat(), v), &mut report);
        }
        let (name, backward) = (prefix(&self.name), &*self.backward);
        report.log(|| format!("{name}adjoint solve by {}", method(backward)));
        (backward.on_unconverged()).judge(&report, "adjoint", &self.name)?;
        let mut pulled = vec![(1.0, output.gradients)];
        if let Some(penalty) = self.penalty.take() {
            pulled.extend(penalty.pulled(factors));
        }
        Ok((report, pulled))
    }
}
