//! Implicit layers: the map `f_θ(z; x)` whose fixed point is the output.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use dfdx::prelude::{NoneTape, OwnedTape, Tape};

use crate::program::record;
use crate::value::SharedTape;
use crate::{
    parameters, Backend, Certificate, Matrix, Parameters, Requirement, Result, RowMap, Scalar,
    Value,
};

/// A layer defined by an equation, `z* = f_θ(z*; x)`.
///
/// `step` is written once, with the operations of [`Value`]. It runs in dfdx tensors on any device, and on the CPU as a program of
/// row operations, with every solver and backward strategy.
///
/// # Contract
/// - Row `s` of the result depends on row `s` of `z` and of the inputs alone.
/// - `step` is deterministic: the same arguments give the same result.
/// - `clone` is cheap and keeps parameter identities, as a clone of dfdx tensors does.
pub trait ImplicitLayer<E: Scalar, D: Backend<E>>:
    Parameters<E, D> + dyn_clone::DynClone + 'static
{
    /// Dimension of one sample's state.
    fn state_dim(&self) -> usize;

    /// Width of each injected input, in order. Default: one input, as wide as the state.
    fn input_dims(&self) -> Vec<usize> {
        vec![self.state_dim()]
    }

    /// One application of `f_θ(z; x)`.
    ///
    /// # Shapes
    /// `z` and the result: `[batch, state_dim]`; `x[i]`: `[batch, input_dims[i]]`.
    fn step(&self, z: &Value<E, D>, x: &[Value<E, D>]) -> Result<Value<E, D>>;

    /// The output of the layer at the equilibrium z*, e.g. the argument of an optimization problem without its multipliers. Default:
    /// z* itself.
    ///
    /// It is evaluated once, after the solve, on the tape of the caller ([`output`]): gradients reach parameters and inputs through it
    /// directly, and through z*.
    ///
    /// # Shapes
    /// `z`: `[batch, state_dim]`; `x[i]`: `[batch, input_dims[i]]`; the result: `[batch, output_dim]`.
    fn output(&self, z: &Value<E, D>, x: &[Value<E, D>]) -> Result<Value<E, D>> {
        let _ = x;
        Ok(z.clone())
    }

    /// Width of one sample's [`output`](Self::output). Default: that of the state.
    fn output_dim(&self) -> usize {
        self.state_dim()
    }

    /// The layer with matrices that depend on its parameters alone, such as W = I − AᵀA, and that every step would make again. They are
    /// formed once per solve, on the tape, so that their gradients reach the parameters by one product after the solve. Default: nothing is
    /// formed.
    ///
    /// An [`Equilibrium`](crate::Equilibrium) solves and differentiates the layer that this returns. It must have the same map. The solve is
    /// differentiated by its [parameters](Parameters::visit), the formed matrices among them.
    ///
    /// # Errors
    /// [`Error::Device`](crate::Error::Device) if memory runs out, and those of the layer.
    fn formed(&self, tape: OwnedTape<E, D>) -> Result<Formed<E, D>> {
        Ok((None, tape))
    }

    /// Whether gradients reach injected input `index`. `false` saves their cost for an input that is large and data, such as the edges of a
    /// graph; its gradient is 0 then. Default: gradients reach all inputs.
    fn reaches_input(&self, _index: usize) -> bool {
        true
    }

    /// What bounds the distance of any state from z*, for the parameters as they are now. Default: none, for nothing is known.
    fn certificate(&self) -> Option<Arc<dyn Certificate>> {
        None
    }

    /// What a state has to satisfy to count as a solution, beside a small residual, for the parameters as they are now. Default: nothing.
    fn requirement(&self) -> Option<Arc<dyn Requirement>> {
        None
    }

    /// The same map on the CPU, in rows. Default: a program recorded from [`step`](Self::step); none if that fails, and then solves
    /// run in tensors.
    fn row_map(&self) -> Option<Arc<dyn RowMap<E>>> {
        record(self).ok().map(|program| Arc::new(program) as _)
    }

    /// Whether devices with kernels of their own may record the step as well, see [`DeviceCode`](crate::DeviceCode). Default: they may.
    fn is_recorded(&self) -> bool {
        true
    }
}

/// A layer with what its parameters form, if it [forms](ImplicitLayer::formed) anything, and the tape that leads back to them.
pub type Formed<E, D> = (Option<AnyLayer<E, D>>, OwnedTape<E, D>);

/// The layer that a solve uses: with what its parameters form, on the given tape, or as it is.
pub(crate) fn form<E: Scalar, D: Backend<E>, T: AnyTape<E, D>>(
    layer: &AnyLayer<E, D>,
    tape: T,
) -> Result<(AnyLayer<E, D>, T)> {
    tape.share(|shared| {
        let own = shared.map(|tape| tape.take()).unwrap_or_default();
        let (formed, grown) = layer.formed(own)?;
        if let Some(tape) = shared {
            tape.replace(grown);
        }
        Ok(formed.unwrap_or_else(|| layer.clone()))
    })
}

dyn_clone::clone_trait_object!(<E, D> ImplicitLayer<E, D> where E: Scalar, D: Backend<E>);

/// The step of a layer in dfdx tensors, on the tape that z brings along, or on none.
///
/// # Errors
/// Those of the step.
pub fn apply<E: Scalar, D: Backend<E>, T: AnyTape<E, D>>(
    layer: &(impl ImplicitLayer<E, D> + ?Sized),
    z: Matrix<E, D, T>,
    x: &[Matrix<E, D>],
) -> Result<Matrix<E, D, T>> {
    Value::on_tape(z, x, |z, x| layer.step(z, x))
}

/// The [output](ImplicitLayer::output) of a layer in dfdx tensors, on the tape that z* brings along, or on none.
///
/// # Errors
/// Those of the output.
pub fn output<E: Scalar, D: Backend<E>, T: AnyTape<E, D>>(
    layer: &(impl ImplicitLayer<E, D> + ?Sized),
    z: Matrix<E, D, T>,
    x: &[Matrix<E, D>],
) -> Result<Matrix<E, D, T>> {
    Value::on_tape(z, x, |z, x| layer.output(z, x))
}

/// A dfdx tape, traced (`OwnedTape`) or not (`NoneTape`).
pub trait AnyTape<E: Scalar, D: Backend<E>>: Tape<E, D> + std::fmt::Debug + 'static {
    /// Lets `job` record on this tape, if it is one, and returns it.
    #[doc(hidden)]
    fn share<R>(
        self,
        job: impl FnOnce(Option<&SharedTape<E, D>>) -> Result<R>,
    ) -> Result<(R, Self)>;
}

impl<E: Scalar, D: Backend<E>> AnyTape<E, D> for NoneTape {
    fn share<R>(
        self,
        job: impl FnOnce(Option<&SharedTape<E, D>>) -> Result<R>,
    ) -> Result<(R, Self)> {
        Ok((job(None)?, self))
    }
}

impl<E: Scalar, D: Backend<E>> AnyTape<E, D> for OwnedTape<E, D> {
    fn share<R>(
        self,
        job: impl FnOnce(Option<&SharedTape<E, D>>) -> Result<R>,
    ) -> Result<(R, Self)> {
        let tape = Rc::new(RefCell::new(self));
        let result = job(Some(&tape))?;
        Ok((result, tape.take()))
    }
}

/// A layer chosen at run time; itself an [`ImplicitLayer`].
pub struct AnyLayer<E: Scalar, D: Backend<E>>(Box<dyn ImplicitLayer<E, D>>);

impl<E: Scalar, D: Backend<E>> AnyLayer<E, D> {
    /// Forgets the type of `layer`.
    pub fn new(layer: impl ImplicitLayer<E, D>) -> Self {
        Self(Box::new(layer))
    }
}

impl<E: Scalar, D: Backend<E>> Clone for AnyLayer<E, D> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<E: Scalar, D: Backend<E>> Parameters<E, D> for AnyLayer<E, D> {
    fn visit(&self, path: &str, visitor: &mut dyn FnMut(&str, &Matrix<E, D>)) {
        self.0.visit(path, visitor);
    }

    fn visit_mut(&mut self, path: &str, visitor: &mut dyn FnMut(&str, &mut Matrix<E, D>)) {
        self.0.visit_mut(path, visitor);
    }

    fn project(&mut self) -> Result<()> {
        Parameters::<E, D>::project(&mut *self.0)
    }
}

impl<E: Scalar, D: Backend<E>> ImplicitLayer<E, D> for AnyLayer<E, D> {
    fn state_dim(&self) -> usize {
        self.0.state_dim()
    }

    fn input_dims(&self) -> Vec<usize> {
        self.0.input_dims()
    }

    fn step(&self, z: &Value<E, D>, x: &[Value<E, D>]) -> Result<Value<E, D>> {
        self.0.step(z, x)
    }

    fn output(&self, z: &Value<E, D>, x: &[Value<E, D>]) -> Result<Value<E, D>> {
        self.0.output(z, x)
    }

    fn output_dim(&self) -> usize {
        self.0.output_dim()
    }

    fn formed(&self, tape: OwnedTape<E, D>) -> Result<Formed<E, D>> {
        self.0.formed(tape)
    }

    fn reaches_input(&self, index: usize) -> bool {
        self.0.reaches_input(index)
    }

    fn certificate(&self) -> Option<Arc<dyn Certificate>> {
        self.0.certificate()
    }

    fn requirement(&self) -> Option<Arc<dyn Requirement>> {
        self.0.requirement()
    }

    fn row_map(&self) -> Option<Arc<dyn RowMap<E>>> {
        self.0.row_map()
    }

    fn is_recorded(&self) -> bool {
        self.0.is_recorded()
    }
}

/// Hides the program of a layer, so that `step` runs in dfdx tensors alone: for comparisons and debugging.
#[derive(Clone)]
pub struct StepOnly<L>(pub L);

parameters!(StepOnly<L>.0);

impl<E: Scalar, D: Backend<E>, L: ImplicitLayer<E, D> + Clone> ImplicitLayer<E, D> for StepOnly<L> {
    fn state_dim(&self) -> usize {
        self.0.state_dim()
    }

    fn input_dims(&self) -> Vec<usize> {
        self.0.input_dims()
    }

    fn step(&self, z: &Value<E, D>, x: &[Value<E, D>]) -> Result<Value<E, D>> {
        self.0.step(z, x)
    }

    fn output(&self, z: &Value<E, D>, x: &[Value<E, D>]) -> Result<Value<E, D>> {
        self.0.output(z, x)
    }

    fn output_dim(&self) -> usize {
        self.0.output_dim()
    }

    fn formed(&self, tape: OwnedTape<E, D>) -> Result<Formed<E, D>> {
        let (formed, tape) = self.0.formed(tape)?;
        Ok((formed.map(|layer| AnyLayer::new(StepOnly(layer))), tape))
    }

    fn reaches_input(&self, index: usize) -> bool {
        self.0.reaches_input(index)
    }

    fn certificate(&self) -> Option<Arc<dyn Certificate>> {
        self.0.certificate()
    }

    fn requirement(&self) -> Option<Arc<dyn Requirement>> {
        self.0.requirement()
    }

    fn row_map(&self) -> Option<Arc<dyn RowMap<E>>> {
        None
    }

    fn is_recorded(&self) -> bool {
        false
    }
}
