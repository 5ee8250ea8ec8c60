//! An implicit layer on the dfdx tape: solve forward, differentiate through the solution.

mod adjoint;
mod inspect;
mod penalty;
mod several;

use std::sync::Arc;

use dfdx::prelude::*;

use crate::layer::{form, output, AnyTape};
use crate::plumbing::blocks::Partition;
use crate::plumbing::bound::Bound;
use crate::{
    parameters, try_contiguous, AnyLayer, Backend, BackwardStrategy, Error, FixedPointSolver,
    ImplicitLayer, Matrix, Regularizer, Report, Result, Scalar, Stop,
};

pub use adjoint::Adjoint;
pub use several::AllSolved;

/// A layer, a solver, a backward strategy and regularizers, together a differentiable function `x ↦ z*`.
///
/// Works in training and evaluation alike: whether gradients flow depends on the tape alone.
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
    /// Penalties at the solution; used by [`penalty`](Self::penalty), and by [`forward_each`](Self::forward_each) with seeds.
    pub regularizers: Vec<Arc<dyn Regularizer>>,
}

/// What [`Equilibrium::forward`] returns.
pub struct Solved<E: Scalar, D: Backend<E>, T> {
    /// The equilibrium z*, `[batch, state_dim]`, on the tape of the call; what the layer makes of it is its
    /// [output](Equilibrium::output).
    pub z: Matrix<E, D, T>,
    /// How the forward solve went.
    pub report: Report,
    /// How the adjoint solve went, once the tape has run.
    pub adjoint: Adjoint,
}

parameters!(Equilibrium<L>.layer);

impl<L: dyn_clone::DynClone> Clone for Equilibrium<L> {
    fn clone(&self) -> Self {
        self.with_layer(dyn_clone::clone(&self.layer))
    }
}

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
    ///
    /// # Errors
    /// [`Error::Config`] for a field out of range.
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
    /// [`Error::Unconverged`] if [`Stop::on_unconverged`] says so; within [`Error::Equilibrium`] where this one has a name.
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
    /// [`Error::Missing`] if there are no inputs, which tell the batch size.
    pub fn zero_start<E: Scalar, D: Backend<E>>(&self, x: &[Matrix<E, D>]) -> Result<Matrix<E, D>>
    where
        L: ImplicitLayer<E, D>,
    {
        let first = x.first().ok_or_else(no_inputs)?;
        let shape = (first.shape().0, self.layer.state_dim());
        first.device().try_zeros_like(&shape).map_err(Error::device)
    }

    /// [`forward`](Self::forward) from a given start, `[batch, state_dim]`, which receives no gradient.
    ///
    /// # Errors
    /// Those of [`forward`](Self::forward), and [`Error::Shape`] for a start of another shape.
    pub fn forward_from<E: Scalar, D: Backend<E>, T: AnyTape<E, D>>(
        &self,
        start: Matrix<E, D>,
        x: &[Matrix<E, D>],
        tape: T,
    ) -> Result<Solved<E, D, T>>
    where
        L: ImplicitLayer<E, D>,
    {
        let all = std::slice::from_ref(self);
        let mut all = Self::forward_each(all, vec![start], &[x], tape, None)?;
        let solved = all.solved.swap_remove(0);
        Ok(Solved {
            z: solved.z.put_tape(all.tape),
            report: solved.report,
            adjoint: solved.adjoint,
        })
    }

    /// What the layer [gives away](ImplicitLayer::output) at z*, `[batch, output_dim]`: z* itself for most. The tape goes on, so that
    /// gradients pass through z* and, where the output depends on them, directly to parameters and inputs.
    ///
    /// # Errors
    /// Those of the layer.
    pub fn output<E: Scalar, D: Backend<E>, T: AnyTape<E, D>>(
        &self,
        z: Matrix<E, D, T>,
        x: &[Matrix<E, D>],
    ) -> Result<Matrix<E, D, T>>
    where
        L: ImplicitLayer<E, D>,
    {
        output(&self.layer, z, x)
    }

    /// The same equilibrium, whose layer has forgotten its type.
    fn of_any_layer<E: Scalar, D: Backend<E>>(&self) -> Equilibrium<AnyLayer<E, D>>
    where
        L: ImplicitLayer<E, D>,
    {
        self.with_layer(AnyLayer::new(dyn_clone::clone(&self.layer)))
    }
}

impl<E: Scalar, D: Backend<E>> Equilibrium<AnyLayer<E, D>> {
    /// Checks everything and binds the inputs to the layer.
    fn bind<T: AnyTape<E, D>>(
        &self,
        x: &[Matrix<E, D>],
        tape: T,
        partition: Partition,
    ) -> Result<(Bound<E, D>, T)> {
        self.validate()?;
        let (x, tape) = all_contiguous(x, tape)?;
        let (layer, tape) = form(&self.layer, tape)?;
        Ok((Bound::new(layer, x, partition)?, tape))
    }
}

/// The inputs in row-major order; a copy, where one is needed, is recorded on the tape.
fn all_contiguous<E: Scalar, D: Backend<E>, T: AnyTape<E, D>>(
    x: &[Matrix<E, D>],
    mut tape: T,
) -> Result<(Vec<Matrix<E, D>>, T)> {
    let mut inputs = Vec::with_capacity(x.len());
    for x in x {
        let (x, next) = try_contiguous(x.clone().put_tape(tape))?.split_tape();
        inputs.push(x);
        tape = next;
    }
    Ok((inputs, tape))
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
    match backward.solver() {
        Some(solver) => format!("{name} with {}", solver.typetag_name()),
        None => name.to_owned(),
    }
}

fn no_inputs() -> Error {
    Error::Missing {
        what: "an injected input".to_owned(),
        remedy: "give at least one matrix, to tell the batch size",
    }
}
