//! All equilibria of DEQ fusion as one.

use equilibria::prelude::*;

use super::{Fuse, Make, Residual, MODALITIES};

/// `(u_1, …, u_N, f_fuse(z_fuse; Σ u_i, x_fuse))` with `u_i = f_θi(z_i; x_i)`.
#[derive(Clone)]
pub struct Joint<E: Scalar, D: Backend<E>> {
    theta: Vec<Residual<E, D>>,
    fuse: Fuse<E, D>,
}

parameters!(Joint { theta, fuse });

impl<E: Scalar, D: Backend<E>> Make<E, D> for Joint<E, D> {
    fn make(width: usize, init: &mut Initializer<D>) -> Result<Self> {
        Ok(Self {
            theta: (0..MODALITIES)
                .map(|_| Residual::make(width, init))
                .collect::<Result<_>>()?,
            fuse: Fuse::make(width, init)?,
        })
    }
}

impl<E: Scalar, D: Backend<E>> ImplicitLayer<E, D> for Joint<E, D> {
    fn state_dim(&self) -> usize {
        self.fuse.state_dim() * (MODALITIES + 1)
    }

    fn input_dims(&self) -> Vec<usize> {
        vec![self.fuse.state_dim(); MODALITIES + 1]
    }

    fn step(&self, z: &Value<E, D>, x: &[Value<E, D>]) -> Result<Value<E, D>> {
        let width = self.fuse.state_dim();
        let part = |index: usize| z.columns(index * width..(index + 1) * width);
        let blocks = self.theta.iter().zip(x).enumerate();
        let mut states: Vec<_> = blocks
            .map(|(index, (theta, x))| theta.block(&part(index), x, None))
            .collect();
        let sum = states.iter().cloned().reduce(|sum, u| sum + u);
        let sum = sum.unwrap_or_else(|| x[0].clone());
        states.push((self.fuse).fused(&part(MODALITIES), &sum, &x[MODALITIES]));
        Ok(concatenate(states))
    }
}
