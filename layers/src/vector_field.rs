//! Vector fields: the right-hand sides of ordinary differential equations, whose steady states are equilibria.

use equilibria_core::prelude::*;

/// `dz/dt = g(z; x)`. [`Euler`] makes a layer of it, the equilibria of which are the points that stand still.
pub trait VectorField<E: Scalar, D: Backend<E>>: Parameters<E, D> + Clone + 'static {
    /// Dimension of one sample's state.
    fn state_dim(&self) -> usize;

    /// Width of each injected input, in order.
    fn input_dims(&self) -> Vec<usize>;

    /// `g(z; x)`, in units of z per unit of time.
    ///
    /// # Shapes
    /// `z` and the result: `[batch, state_dim]`; `x[i]`: `[batch, input_dims[i]]`.
    fn velocity(&self, z: &Value<E, D>, x: &[Value<E, D>]) -> Result<Value<E, D>>;
}

/// `f(z; x) = z + h g(z; x)`, a step of the explicit Euler method: the zeros of g are its fixed points.
///
/// Plain iteration converges to those that the flow approaches, for small h: an eigenvalue λ of ∂g/∂z needs |1 + h λ| < 1. Other solvers
/// find the others as well: a fixed point need not be stable. Gradients do not depend on h.
#[derive(Clone)]
pub struct Euler<F> {
    /// g.
    pub field: F,
    /// h, above 0, in units of time.
    pub step: f64,
}

parameters!(Euler<F>.field);

impl<E: Scalar, D: Backend<E>, F: VectorField<E, D>> ImplicitLayer<E, D> for Euler<F> {
    fn state_dim(&self) -> usize {
        self.field.state_dim()
    }

    fn input_dims(&self) -> Vec<usize> {
        self.field.input_dims()
    }

    fn step(&self, z: &Value<E, D>, x: &[Value<E, D>]) -> Result<Value<E, D>> {
        Ok(z + self.field.velocity(z, x)? * self.step)
    }
}
