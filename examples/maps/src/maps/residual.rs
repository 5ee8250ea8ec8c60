//! The residual block of DEQ fusion, eq. 8 of arXiv 2306.16645, with its skip connection.

use equilibria::modules::{GroupNorm, Linear};
use equilibria::prelude::*;

use super::{linear, Make, GROUPS};

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

    fn step(&self, z: &Value<E, D>, x: &[Value<E, D>]) -> Result<Value<E, D>> {
        Ok(self.block(z, &x[0], None))
    }
}

impl<E: Scalar, D: Backend<E>> Residual<E, D> {
    /// The block; what is between its affine maps is masked, where there is a mask.
    pub fn block(
        &self,
        z: &Value<E, D>,
        x: &Value<E, D>,
        mask: Option<&Value<E, D>>,
    ) -> Value<E, D> {
        let hat = self.gn1.of(&self.hat.of(z)).relu();
        let hat = mask.map_or(hat.clone(), |mask| &hat * mask);
        let tilde = self.gn2.of(&(self.tilde.of(&hat) + x));
        self.gn3.of(&(tilde + z).relu())
    }
}

/// [`Residual`] with a dropout mask, an input, between its affine maps.
#[derive(Clone)]
pub struct Masked<L>(L);

parameters!(Masked<L>.0);

impl<E: Scalar, D: Backend<E>> Make<E, D> for Masked<Residual<E, D>> {
    fn make(width: usize, init: &mut Initializer<D>) -> Result<Self> {
        Residual::make(width, init).map(Self)
    }
}

impl<E: Scalar, D: Backend<E>> ImplicitLayer<E, D> for Masked<Residual<E, D>> {
    fn state_dim(&self) -> usize {
        self.0.state_dim()
    }

    fn input_dims(&self) -> Vec<usize> {
        vec![self.state_dim(); 2]
    }

    fn step(&self, z: &Value<E, D>, x: &[Value<E, D>]) -> Result<Value<E, D>> {
        Ok(self.0.block(z, &x[0], Some(&x[1])))
    }
}
