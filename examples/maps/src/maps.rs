//! Maps in the vocabulary, as a user writes them.

use equilibria::modules::{GroupNorm, Linear};
use equilibria::prelude::*;

/// Groups of every normalization.
pub const GROUPS: usize = 4;

/// Makes a layer of the given width.
pub trait Make<E: Scalar, D: Backend<E>>: Sized {
    /// With weights of any kind, which are read from a file afterwards.
    fn make(width: usize, init: &mut Initializer<D>) -> Result<Self>;
}

fn linear<E: Scalar, D: Backend<E>>(d: usize, init: &mut Initializer<D>) -> Result<Linear<E, D>> {
    Linear::normal(d, d, 0.1, init)
}

/// `tanh(W z + b + U x)`.
#[derive(Clone)]
pub struct Tanh<E: Scalar, D: Backend<E>> {
    w: Linear<E, D>,
    u: Matrix<E, D>,
}

parameters!(Tanh { w, u });

impl<E: Scalar, D: Backend<E>> Make<E, D> for Tanh<E, D> {
    fn make(width: usize, init: &mut Initializer<D>) -> Result<Self> {
        Ok(Self {
            w: linear(width, init)?,
            u: init.normal((width, width), 0.1)?,
        })
    }
}

impl<E: Scalar, D: Backend<E>> ImplicitLayer<E, D> for Tanh<E, D> {
    fn state_dim(&self) -> usize {
        self.w.outputs()
    }

    fn input_dims(&self) -> Vec<usize> {
        vec![self.state_dim()]
    }

    fn step(&self, z: &Value<E, D>, x: &[Value<E, D>]) -> Result<Value<E, D>> {
        Ok((self.w.of(z) + x[0].product(&self.u)).tanh())
    }
}

/// `GN₃(ReLU(z + GN₂(θ̃ ReLU(GN₁(θ̂ z + b̂)) + x + b̃)))`.
#[derive(Clone)]
pub struct Residual<E: Scalar, D: Backend<E>> {
    hat: Linear<E, D>,
    tilde: Linear<E, D>,
    gn1: GroupNorm<E, D>,
    gn2: GroupNorm<E, D>,
    gn3: GroupNorm<E, D>,
}

parameters!(Residual {
    hat,
    tilde,
    gn1,
    gn2,
    gn3
});

impl<E: Scalar, D: Backend<E>> Make<E, D> for Residual<E, D> {
    fn make(width: usize, init: &mut Initializer<D>) -> Result<Self> {
        Ok(Self {
            hat: linear(width, init)?,
            tilde: linear(width, init)?,
            gn1: GroupNorm::new(width, GROUPS, init)?,
            gn2: GroupNorm::new(width, GROUPS, init)?,
            gn3: GroupNorm::new(width, GROUPS, init)?,
        })
    }
}

impl<E: Scalar, D: Backend<E>> ImplicitLayer<E, D> for Residual<E, D> {
    fn state_dim(&self) -> usize {
        self.hat.outputs()
    }

    fn input_dims(&self) -> Vec<usize> {
        vec![self.state_dim()]
    }

    fn step(&self, z: &Value<E, D>, x: &[Value<E, D>]) -> Result<Value<E, D>> {
        let hat = self.gn1.of(&self.hat.of(z)).relu();
        let tilde = self.gn2.of(&(self.tilde.of(&hat) + &x[0]));
        Ok(self.gn3.of(&(tilde + z).relu()))
    }
}
