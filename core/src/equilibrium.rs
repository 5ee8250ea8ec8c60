//! An implicit layer on the dfdx tape: solve forward, differentiate through the solution.

mod adjoint;
mod inspect;
mod several;

use std::sync::Arc;

use dfdx::prelude::*;

use crate::blocks::Blocking;
use crate::bound::{Bound, Outcome};
use crate::layer::AnyTape;
use crate::seed::mix;
use crate::{
    parameters, solve_with_inverse, Backend, BackwardStrategy, DifferentiableSpace, Error,
    FixedPointSolver, ImplicitLayer, LowRank, Matrix, Regularizer, Report, Result, Scalar, Slot,
    Solution, Stop,
};

pub use adjoint::Adjoint;
pub use several::AllSolved;

/// A layer, a solver, a backward strategy and regularizers, together a differentiable function `x ↦ z*`.
///
/// Works in training and evaluation alike: whether gradients flow depends on the tape alone.
#[derive(Clone)]
pub struct Equilibrium<L> {
    /// What it is called in the log, e.g. `theta.1`; nothing by default.
    pub name: String,
    /// The map `f_θ(z; x)`.
    pub layer: L,
    /// Forward solver.
    pub solver: Arc<dyn FixedPointSolver>,
    /// When the forward solve ends, and what happens if it does not converge.
    pub stop: Stop,
    /// How gradients pass through the solution.
    pub backward: Arc<dyn BackwardStrategy>,
    /// Penalties at the solution; used by [`penalty`](Self::penalty) only.
    pub regularizers: Vec<Arc<dyn Regularizer>>,
}

/// What [`Equilibrium::forward`] returns.
pub struct Solved<E: Scalar, D: Backend<E>, T> {
    /// The equilibrium z*, `[batch, state_dim]`, on the tape of the call.
    pub z: Matrix<E, D, T>,
    /// How the forward solve went.
    pub report: Report,
    /// How the adjoint solve went, once the tape has run.
    pub adjoint: Adjoint,
}

parameters!(Equilibrium<L>.layer);

impl<L> Equilibrium<L> {
    /// Puts a layer and its plugins together, with the default [`Stop`] and no regularizers.
    pub fn new(
        layer: L,
        solver: impl Into<Arc<dyn FixedPointSolver>>,
        backward: impl Into<Arc<dyn BackwardStrategy>>,
    ) -> Self {
        Self {
            name: String::new(),
            layer,
            solver: solver.into(),
            stop: Stop::default(),
            backward: backward.into(),
            regularizers: Vec::new(),
        }
    }

    /// The same plugins for another layer.
    pub fn with_layer<M>(&self, layer: M) -> Equilibrium<M> {
        Equilibrium {
            name: self.name.clone(),
            layer,
            solver: self.solver.clone(),
            stop: self.stop.clone(),
            backward: self.backward.clone(),
            regularizers: self.regularizers.clone(),
        }
    }

    /// Checks the configuration of every plugin.
    pub fn validate(&self) -> Result<()> {
        self.solver.validate()?;
        self.stop.validate()?;
        self.backward.validate()?;
        self.regularizers.iter().try_for_each(|r| r.validate())
    }

    /// Solves `z* = f_θ(z*; x)` from `z = 0`, for every sample of the batch.
    ///
    /// Gradients reach every parameter and every input. The inputs come without a tape; `tape` is the one they were
    /// computed on (`NoneTape` in evaluation), and continues on `z`.
    ///
    /// # Shapes
    /// `x[i]`: `[batch, input_dims[i]]`; `z`: `[batch, state_dim]`.
    ///
    /// # Errors
    /// [`Error::Config`] for a plugin's field out of range, [`Error::Shape`], [`Error::NonFinite`] for bad inputs,
    /// [`Error::Unconverged`] if [`Stop::on_unconverged`] says so.
    pub fn forward<E: Scalar, D: Backend<E>, T: AnyTape<E, D>>(
        &self,
        x: &[Matrix<E, D>],
        tape: T,
    ) -> Result<Solved<E, D, T>>
    where
        L: ImplicitLayer<E, D>,
    {
        let start = self.zero_start(x)?;
        self.forward_from(start, x, tape)
    }

    /// The start at 0, `[batch, state_dim]`, for inputs `x`.
    ///
    /// # Errors
    /// [`Error::Shape`] if there are no inputs, which tell the batch size.
    pub fn zero_start<E: Scalar, D: Backend<E>>(&self, x: &[Matrix<E, D>]) -> Result<Matrix<E, D>>
    where
        L: ImplicitLayer<E, D>,
    {
        let first = x.first().ok_or_else(no_inputs)?;
        let shape = (first.shape().0, self.layer.state_dim());
        first.device().try_zeros_like(&shape).map_err(Error::device)
    }

    /// [`forward`](Self::forward) from a given start, `[batch, state_dim]`, which receives no gradient.
    pub fn forward_from<E: Scalar, D: Backend<E>, T: AnyTape<E, D>>(
        &self,
        start: Matrix<E, D>,
        x: &[Matrix<E, D>],
        tape: T,
    ) -> Result<Solved<E, D, T>>
    where
        L: ImplicitLayer<E, D>,
    {
        let (bound, tape) = self.bind(x, tape)?;
        let starts = std::slice::from_ref(&start);
        let outcome = bound.run(Blocking::Threads, starts, &self.solve_job(T::OWNS_TAPE))?;
        self.solved(bound, start, outcome, tape)
    }

    /// Checks everything and binds the inputs to the layer.
    fn bind<E: Scalar, D: Backend<E>, T: AnyTape<E, D>>(
        &self,
        x: &[Matrix<E, D>],
        tape: T,
    ) -> Result<(Bound<E, D, L>, T)>
    where
        L: ImplicitLayer<E, D>,
    {
        self.validate()?;
        let (x, tape) = contiguous(x, tape);
        Ok((Bound::new(&self.layer, x)?, tape))
    }

    /// Solves a block; keeps what the solver learns if gradients will want it.
    fn solve_job(
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

    /// Puts the blocks together, judges them, and lets the tape go on through z*.
    fn solved<E: Scalar, D: Backend<E>, T: AnyTape<E, D>>(
        &self,
        bound: Bound<E, D, L>,
        start: Matrix<E, D>,
        mut outcome: Outcome<E, D, BlockSolution>,
        mut tape: T,
    ) -> Result<Solved<E, D, T>>
    where
        L: ImplicitLayer<E, D>,
    {
        let (reports, inverse): (Vec<Report>, Vec<_>) = outcome.results.into_iter().unzip();
        let rows: Vec<usize> = reports.iter().map(|report| report.samples.len()).collect();
        let report: Report = reports.into_iter().collect();
        report.log(|| {
            let solver = self.solver.typetag_name();
            format!("{}forward solve by {solver}", prefix(&self.name))
        });
        self.stop.judge(&report, "forward")?;

        let z = outcome.states.swap_remove(0);
        let mut known = vec![z.clone(), start];
        known.extend(merge(&z, &rows, &inverse)?);
        let adjoint = Adjoint::default();
        if T::OWNS_TAPE {
            let (name, backward) = (self.name.clone(), self.backward.clone());
            let adjoint = adjoint.clone();
            tape.add_backward_op(move |gradients| {
                let outcome = pull_back(&name, &bound, &*backward, known, gradients);
                if outcome.is_err() {
                    bound.poison(gradients);
                }
                adjoint.set(outcome);
                Ok(())
            });
        }
        Ok(Solved {
            z: z.put_tape(tape),
            report,
            adjoint,
        })
    }

    /// The regularization loss at `z`, `Σ_r weight_r · mean over samples of penalty_r`, a `[1, 1]` matrix on `tape`.
    ///
    /// Its gradient reaches parameters and inputs; `z` is held constant. `seed` fixes the random probes.
    pub fn penalty<E: Scalar, D: Backend<E>, T: AnyTape<E, D>>(
        &self,
        z: &Matrix<E, D>,
        x: &[Matrix<E, D>],
        tape: T,
        seed: u64,
    ) -> Result<Matrix<E, D, T>>
    where
        L: ImplicitLayer<E, D>,
    {
        let (bound, mut tape) = self.bind(x, tape)?;
        let scale = 1.0 / z.shape().0.max(1) as f64;
        let mut value = 0.0;
        let mut parts = Vec::with_capacity(self.regularizers.len());
        for (index, regularizer) in self.regularizers.iter().enumerate() {
            let seed = mix(seed, index as u64);
            let states = std::slice::from_ref(z);
            let outcome = bound.run(Blocking::Fixed, states, &|space, slots| {
                regularizer.penalty(space, slots[0], seed)
            })?;
            let factor = regularizer.weight() * scale;
            value += factor * outcome.results.iter().sum::<f64>();
            parts.push((factor, outcome.gradients));
        }
        let value = crate::from_host(z.device(), vec![E::of(value)], (1, 1))?;
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
        Ok(value.put_tape(tape))
    }
}

/// The report of a block and the terms of an approximate inverse.
type BlockSolution = (Report, Vec<[Vec<f64>; 2]>);

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
        matrices.push(crate::from_host(z.device(), values, (batch, dim))?);
    }
    Ok(matrices)
}

/// Gradients of parameters and inputs due to the cotangent that has arrived at the equilibrium. `known` are z*, the
/// start, and the terms of an approximate inverse.
fn pull_back<E: Scalar, D: Backend<E>, L: ImplicitLayer<E, D>>(
    name: &str,
    bound: &Bound<E, D, L>,
    backward: &dyn BackwardStrategy,
    mut known: Vec<Matrix<E, D>>,
    gradients: &mut Gradients<E, D>,
) -> Result<Report> {
    gradients.try_alloc_for(&known[0]).map_err(Error::device)?;
    known.push(gradients.get(&known[0]));
    let outcome = bound.run(Blocking::Fixed, &known, &|space, slots| {
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
    })?;
    let report: Report = outcome.results.into_iter().collect();
    report.log(|| format!("{}adjoint solve by {}", prefix(name), method(backward)));
    backward.judge(&report)?;
    bound.accumulate(gradients, outcome.gradients, 1.0)?;
    Ok(report)
}

/// The inputs in row-major order; a copy, where one is needed, is recorded on the tape.
fn contiguous<E: Scalar, D: Backend<E>, T: AnyTape<E, D>>(
    x: &[Matrix<E, D>],
    mut tape: T,
) -> (Vec<Matrix<E, D>>, T) {
    let mut inputs = Vec::with_capacity(x.len());
    for x in x {
        let (x, next) = x.clone().put_tape(tape).contiguous().split_tape();
        inputs.push(x);
        tape = next;
    }
    (inputs, tape)
}

/// What the name of an equilibrium adds to a line of the log.
fn prefix(name: &str) -> String {
    match name {
        "" => String::new(),
        name => format!("{name}: "),
    }
}

/// A backward strategy by name, with its solver if its configuration has one.
fn method(backward: &dyn BackwardStrategy) -> String {
    let name = backward.typetag_name();
    let config = serde_json::to_value(backward).unwrap_or_default();
    match config["solver"]["type"].as_str() {
        Some(solver) => format!("{name} with {solver}"),
        None => name.to_owned(),
    }
}

fn no_inputs() -> Error {
    Error::Shape {
        what: "the injected inputs".to_owned(),
        expected: "at least one matrix, to tell the batch size".to_owned(),
        got: "none".to_owned(),
    }
}
