//! Affine map.

use dfdx::prelude::*;
use equilibria_core::{parameters, AnyTape, Backend, Matrix, Result, Scalar};

use crate::Initializer;

/// `y = x Wᵀ + b`.
#[derive(Clone)]
pub struct Linear<E: Scalar, D: Backend<E>> {
    /// W, `[outputs, inputs]`.
    pub weight: Matrix<E, D>,
    /// b, `[1, outputs]`.
    pub bias: Matrix<E, D>,
}

parameters!(Linear { weight, bias });

impl<E: Scalar, D: Backend<E>> Linear<E, D> {
    /// Normal weights of the given deviation, zero bias.
    pub fn normal(
        outputs: usize,
        inputs: usize,
        deviation: f64,
        init: &mut Initializer<D>,
    ) -> Result<Self> {
        Ok(Self {
            weight: init.normal((outputs, inputs), deviation)?,
            bias: init.constant((1, outputs), 0.0)?,
        })
    }

    /// Xavier-normal weights, zero bias.
    pub fn xavier(outputs: usize, inputs: usize, init: &mut Initializer<D>) -> Result<Self> {
        Ok(Self {
            weight: init.xavier_normal(outputs, inputs)?,
            bias: init.constant((1, outputs), 0.0)?,
        })
    }

    /// Width of `x`.
    pub fn inputs(&self) -> usize {
        self.weight.shape().1
    }

    /// Width of `y`.
    pub fn outputs(&self) -> usize {
        self.weight.shape().0
    }

    /// `x Wᵀ + b`. Shapes: `x` `[batch, inputs]`, result `[batch, outputs]`.
    pub fn forward<T: AnyTape<E, D>>(&self, x: Matrix<E, D, T>) -> Matrix<E, D, T> {
        let shape = (x.shape().0, self.outputs());
        let weight = self.weight.retaped::<T>().permute::<_, Axes2<1, 0>>();
        let bias = self.bias.retaped::<T>().reshape_like(&(shape.1,));
        x.matmul(weight) + bias.broadcast_like::<_, Axis<0>>(&shape)
    }
}
