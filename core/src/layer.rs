//! Implicit layers: the map `f_θ(z; x)` whose fixed point is the output.

use std::sync::Arc;

use dfdx::prelude::{NoneTape, OwnedTape};

use crate::{parameters, Backend, Input, Kernel, Matrix, Parameters, Result, Scalar};

/// A layer defined by an equation, `z* = f_θ(z*; x)`.
///
/// `step` alone is enough: the layer then works on any device, with every solver and backward strategy.
///
/// # Contract
/// - Row `s` of the result depends on row `s` of `z` and of the inputs alone.
/// - `step` is deterministic: the same arguments give the same result.
/// - `clone` is cheap and keeps parameter identities, as a clone of dfdx tensors does.
pub trait ImplicitLayer<E: Scalar, D: Backend<E>>: Parameters<E, D> + Clone + 'static {
    /// Dimension of one sample's state.
    fn state_dim(&self) -> usize;

    /// Width of each injected input, in order.
    fn input_dims(&self) -> Vec<usize>;

    /// One application of `f_θ(z; x)`, written in dfdx operations, traced or not.
    ///
    /// An input takes part as `x[i].value()`, a parameter `w` as `w.retaped::<T>()`, so that operations on it alone are traced
    /// as well.
    ///
    /// # Shapes
    /// `z` and the result: `[batch, state_dim]`; `x[i]`: `[batch, input_dims[i]]`.
    fn step<T: AnyTape<E, D>>(
        &self,
        z: Matrix<E, D, T>,
        x: &[Input<E, D, T>],
    ) -> Result<Matrix<E, D, T>>;

    /// A hand-written CPU implementation of the same map with the inputs bound. Default: none.
    fn kernel(&self, _x: &[Matrix<E, D>]) -> Option<Arc<dyn Kernel<E>>> {
        None
    }
}

/// A dfdx tape, traced (`OwnedTape`) or not (`NoneTape`), that can also run a layer known only at run time.
pub trait AnyTape<E: Scalar, D: Backend<E>>:
    dfdx::prelude::Tape<E, D> + std::fmt::Debug + 'static
{
    /// Runs the `step` of `layer` on this kind of tape.
    fn step(
        layer: &dyn DynLayer<E, D>,
        z: Matrix<E, D, Self>,
        x: &[Input<E, D, Self>],
    ) -> Result<Matrix<E, D, Self>>;
}

impl<E: Scalar, D: Backend<E>> AnyTape<E, D> for NoneTape {
    fn step(
        layer: &dyn DynLayer<E, D>,
        z: Matrix<E, D>,
        x: &[Input<E, D, Self>],
    ) -> Result<Matrix<E, D>> {
        layer.step_plain(z, x)
    }
}

impl<E: Scalar, D: Backend<E>> AnyTape<E, D> for OwnedTape<E, D> {
    fn step(
        layer: &dyn DynLayer<E, D>,
        z: Matrix<E, D, Self>,
        x: &[Input<E, D, Self>],
    ) -> Result<Matrix<E, D, Self>> {
        layer.step_traced(z, x)
    }
}

/// [`ImplicitLayer`] without generic methods, so that a configuration can choose the layer. Implemented for every layer.
pub trait DynLayer<E: Scalar, D: Backend<E>>: Parameters<E, D> {
    /// See [`ImplicitLayer::state_dim`].
    fn dyn_state_dim(&self) -> usize;
    /// See [`ImplicitLayer::input_dims`].
    fn dyn_input_dims(&self) -> Vec<usize>;
    /// [`ImplicitLayer::step`] without a tape.
    fn step_plain(&self, z: Matrix<E, D>, x: &[Input<E, D, NoneTape>]) -> Result<Matrix<E, D>>;
    /// [`ImplicitLayer::step`] on a tape.
    fn step_traced(
        &self,
        z: Matrix<E, D, OwnedTape<E, D>>,
        x: &[Input<E, D, OwnedTape<E, D>>],
    ) -> Result<Matrix<E, D, OwnedTape<E, D>>>;
    /// See [`ImplicitLayer::kernel`].
    fn dyn_kernel(&self, x: &[Matrix<E, D>]) -> Option<Arc<dyn Kernel<E>>>;
    /// A clone with the same parameter identities.
    fn clone_box(&self) -> Box<dyn DynLayer<E, D>>;
}

impl<E: Scalar, D: Backend<E>, L: ImplicitLayer<E, D>> DynLayer<E, D> for L {
    fn dyn_state_dim(&self) -> usize {
        self.state_dim()
    }

    fn dyn_input_dims(&self) -> Vec<usize> {
        self.input_dims()
    }

    fn step_plain(&self, z: Matrix<E, D>, x: &[Input<E, D, NoneTape>]) -> Result<Matrix<E, D>> {
        self.step(z, x)
    }

    fn step_traced(
        &self,
        z: Matrix<E, D, OwnedTape<E, D>>,
        x: &[Input<E, D, OwnedTape<E, D>>],
    ) -> Result<Matrix<E, D, OwnedTape<E, D>>> {
        self.step(z, x)
    }

    fn dyn_kernel(&self, x: &[Matrix<E, D>]) -> Option<Arc<dyn Kernel<E>>> {
        self.kernel(x)
    }

    fn clone_box(&self) -> Box<dyn DynLayer<E, D>> {
        Box::new(self.clone())
    }
}

/// A layer chosen at run time; itself an [`ImplicitLayer`].
pub struct AnyLayer<E: Scalar, D: Backend<E>>(Box<dyn DynLayer<E, D>>);

impl<E: Scalar, D: Backend<E>> AnyLayer<E, D> {
    /// Forgets the type of `layer`.
    pub fn new(layer: impl ImplicitLayer<E, D>) -> Self {
        Self(Box::new(layer))
    }
}

impl<E: Scalar, D: Backend<E>> Clone for AnyLayer<E, D> {
    fn clone(&self) -> Self {
        Self(self.0.clone_box())
    }
}

impl<E: Scalar, D: Backend<E>> Parameters<E, D> for AnyLayer<E, D> {
    fn visit(&self, path: &str, visitor: &mut dyn FnMut(&str, &Matrix<E, D>)) {
        self.0.visit(path, visitor);
    }

    fn visit_mut(&mut self, path: &str, visitor: &mut dyn FnMut(&str, &mut Matrix<E, D>)) {
        self.0.visit_mut(path, visitor);
    }
}

impl<E: Scalar, D: Backend<E>> ImplicitLayer<E, D> for AnyLayer<E, D> {
    fn state_dim(&self) -> usize {
        self.0.dyn_state_dim()
    }

    fn input_dims(&self) -> Vec<usize> {
        self.0.dyn_input_dims()
    }

    fn step<T: AnyTape<E, D>>(
        &self,
        z: Matrix<E, D, T>,
        x: &[Input<E, D, T>],
    ) -> Result<Matrix<E, D, T>> {
        T::step(&*self.0, z, x)
    }

    fn kernel(&self, x: &[Matrix<E, D>]) -> Option<Arc<dyn Kernel<E>>> {
        self.0.dyn_kernel(x)
    }
}

/// Hides the kernel of a layer, so that `step` alone is used: for comparisons and debugging.
#[derive(Clone)]
pub struct StepOnly<L>(pub L);

parameters!(StepOnly<L>.0);

impl<E: Scalar, D: Backend<E>, L: ImplicitLayer<E, D>> ImplicitLayer<E, D> for StepOnly<L> {
    fn state_dim(&self) -> usize {
        self.0.state_dim()
    }

    fn input_dims(&self) -> Vec<usize> {
        self.0.input_dims()
    }

    fn step<T: AnyTape<E, D>>(
        &self,
        z: Matrix<E, D, T>,
        x: &[Input<E, D, T>],
    ) -> Result<Matrix<E, D, T>> {
        self.0.step(z, x)
    }
}
