//! Affine map.

use std::sync::Arc;

use dfdx::prelude::*;
use equilibria_core::{parameters, AnyTape, Backend, Matrix, Result, Scalar};

use crate::kernel::{Affine, AffineCache};
use crate::Initializer;

/// `y = x Wᵀ + b`.
#[derive(Clone)]
pub struct Linear<E: Scalar, D: Backend<E>> {
    /// W, `[outputs, inputs]`.
    pub weight: Matrix<E, D>,
    /// b, `[1, outputs]`.
    pub bias: Matrix<E, D>,
    cache: AffineCache<E, D>,
}

parameters!(Linear { weight, bias });

impl<E: Scalar, D: Backend<E>> Linear<E, D> {
    /// W, `[outputs, inputs]`, and b, `[1, outputs]`.
    pub fn new(weight: Matrix<E, D>, bias: Matrix<E, D>) -> Self {
        Self {
            weight,
            bias,
            cache: AffineCache::default(),
        }
    }

    /// Normal weights of the given deviation, zero bias.
    pub fn normal(
        outputs: usize,
        inputs: usize,
        deviation: f64,
        init: &mut Initializer<D>,
    ) -> Result<Self> {
        let weight = init.normal((outputs, inputs), deviation)?;
        Ok(Self::new(weight, init.constant((1, outputs), 0.0)?))
    }

    /// Xavier-normal weights, zero bias.
    pub fn xavier(outputs: usize, inputs: usize, init: &mut Initializer<D>) -> Result<Self> {
        let weight = init.xavier_normal(outputs, inputs)?;
        Ok(Self::new(weight, init.constant((1, outputs), 0.0)?))
    }

    /// Width of `x`.
    pub fn inputs(&self) -> usize {
        self.weight.shape().1
    }

    /// Width of `y`.
    pub fn outputs(&self) -> usize {
        self.weight.shape().0
    }

    /// The same map on slices, packed once until a parameter changes.
    pub fn affine(&self) -> Arc<Affine<E>> {
        self.cache.get(&self.weight, &self.bias)
    }

    /// `x Wᵀ + b`. Shapes: `x` `[batch, inputs]`, result `[batch, outputs]`.
    pub fn forward<T: AnyTape<E, D>>(&self, x: Matrix<E, D, T>) -> Matrix<E, D, T> {
        let shape = (x.shape().0, self.outputs());
        let weight = self.weight.retaped::<T>().permute::<_, Axes2<1, 0>>();
        let bias = self.bias.retaped::<T>().reshape_like(&(shape.1,));
        x.matmul(weight) + bias.broadcast_like::<_, Axis<0>>(&shape)
    }
}
