//! Affine map.

use std::sync::Arc;

use dfdx::prelude::*;
use equilibria_core::simd::{self, Packed};
use equilibria_core::{
    contiguous, parallel, parameters, separate, to_host, AnyTape, Backend, Matrix, Result, Scalar,
};

use crate::kernel::{add_rows, add_to_rows, Weight, WeightCache};
use crate::Initializer;

use super::row_like;
use super::scratch::{Copied, Scratch};
use equilibria_core::recorded;

/// `y = x Wᵀ + b`.
#[derive(Clone)]
pub struct Linear<E: Scalar, D: Backend<E>> {
    /// W, `[outputs, inputs]`.
    pub weight: Matrix<E, D>,
    /// b, `[1, outputs]`.
    pub bias: Matrix<E, D>,
    cache: WeightCache<E, D>,
    scratch: Scratch<E>,
}

parameters!(Linear { weight, bias });

impl<E: Scalar, D: Backend<E>> Linear<E, D> {
    /// W, `[outputs, inputs]`, and b, `[1, outputs]`.
    pub fn new(weight: Matrix<E, D>, bias: Matrix<E, D>) -> Self {
        Self {
            weight,
            bias,
            cache: WeightCache::default(),
            scratch: Scratch::default(),
        }
    }

    /// Normal weights of the given standard deviation, zero bias.
    ///
    /// # Errors
    /// [`Error::Memory`](equilibria_core::Error::Memory) if there is no room.
    pub fn normal(
        outputs: usize,
        inputs: usize,
        deviation: f64,
        init: &mut Initializer<D>,
    ) -> Result<Self> {
        let weight = init.normal((outputs, inputs), deviation)?;
        Ok(Self::new(weight, init.constant((1, outputs), 0.0)?))
    }

    /// Xavier-normal weights, of deviation √(2 / (inputs + outputs)), zero bias.
    ///
    /// # Errors
    /// [`Error::Memory`](equilibria_core::Error::Memory) if there is no room.
    pub fn xavier(outputs: usize, inputs: usize, init: &mut Initializer<D>) -> Result<Self> {
        let weight = init.xavier_normal(outputs, inputs)?;
        Ok(Self::new(weight, init.constant((1, outputs), 0.0)?))
    }

    /// Weights and bias uniform in ±1/√inputs, as PyTorch has them.
    ///
    /// # Errors
    /// [`Error::Memory`](equilibria_core::Error::Memory) if there is no room.
    pub fn uniform(outputs: usize, inputs: usize, init: &mut Initializer<D>) -> Result<Self> {
        let limit = 1.0 / (inputs.max(1) as f64).sqrt();
        let weight = init.uniform((outputs, inputs), limit)?;
        Ok(Self::new(weight, init.uniform((1, outputs), limit)?))
    }

    /// Width of `x`.
    pub fn inputs(&self) -> usize {
        self.weight.shape().1
    }

    /// Width of `y`.
    pub fn outputs(&self) -> usize {
        self.weight.shape().0
    }

    /// W on slices, packed once until it changes.
    pub fn packed(&self) -> Arc<Weight<E>> {
        self.cache.get(&self.weight)
    }

    /// `x Wᵀ + b`. Shapes: `x` `[batch, inputs]`, result `[batch, outputs]`.
    ///
    /// On the CPU all threads multiply.
    ///
    /// # Panics
    /// If x has another width than the weight, or, as operators of dfdx do, if memory runs out.
    pub fn forward<T: AnyTape<E, D>>(&self, x: Matrix<E, D, T>) -> Matrix<E, D, T> {
        if !D::ON_HOST {
            return self.in_tensor_operations(x);
        }
        // dfdx keeps the gradient of a view in the order of the tensor behind it.
        let (x, tape) = contiguous(x).split_tape();
        self.on_host(&x, tape, Sends::Gradient)
    }

    /// [`forward`](Self::forward) of data, whose gradient is left out.
    ///
    /// # Panics
    /// As [`forward`](Self::forward).
    pub fn forward_data<T: AnyTape<E, D>>(&self, x: &Matrix<E, D>, tape: T) -> Matrix<E, D, T> {
        if !D::ON_HOST {
            return self.in_tensor_operations(x.clone().put_tape(tape));
        }
        self.on_host(x, tape, Sends::Nothing)
    }

    fn on_host<T: AnyTape<E, D>>(
        &self,
        x: &Matrix<E, D>,
        tape: T,
        sends: Sends,
    ) -> Matrix<E, D, T> {
        let (inputs, shape) = (self.inputs(), (x.shape().0, self.outputs()));
        assert_eq!(x.shape().1, inputs, "the width of x and of the weight");
        let map = if self.is_packed() || !(FEW..shape.1).contains(&shape.0) {
            Map::Packed(self.packed())
        } else {
            Map::Rows(self.scratch.copy(&self.weight))
        };
        let values = to_host(x);
        let y = map.forward(&values, inputs, &to_host(&self.bias));
        let y = x.device().tensor_from_vec(y, shape);
        let (x, weight, bias) = (x.clone(), self.weight.clone(), self.bias.clone());
        // The backward pass needs the weights only to send a gradient back.
        let map = match sends {
            Sends::Gradient => Some(map),
            Sends::Nothing => None,
        };
        recorded(y, tape, move |gradients, cotangent| {
            if let Some(map) = map {
                D::put_gradient(gradients, &x, map.backward(cotangent, shape.1))?;
            }
            D::add_to_gradient(gradients, &bias, |bias_bar| add_rows(bias_bar, cotangent))?;
            D::add_to_gradient(gradients, &weight, |weight_bar| {
                simd::add_transposed_product(&[[cotangent, &values]], weight_bar, inputs);
            })
        })
    }

    fn is_packed(&self) -> bool {
        self.cache.holds(&self.weight)
    }

    fn in_tensor_operations<T: AnyTape<E, D>>(&self, x: Matrix<E, D, T>) -> Matrix<E, D, T> {
        let shape = (x.shape().0, self.outputs());
        // dfdx does not multiply broadcast tensors on CUDA, nor a tensor with itself on any device.
        let weight = contiguous(self.weight.retaped::<T>());
        let x = contiguous(x);
        let is_weight = D::same_storage(&x.retaped::<NoneTape>(), &weight.retaped::<NoneTape>());
        let x = if is_weight { separate(x) } else { x };
        x.matmul(weight.permute::<_, Axes2<1, 0>>()) + row_like::<T, _, _>(&self.bias, shape)
    }
}

/// Rows of x that are too few to be the packed factor.
const FEW: usize = 16;

/// Rows of y that one thread writes at a time: a cache line of the other matrix.
const TURNED: usize = 16;

/// The map on the host. A weight that changes from step to step is not worth packing: where x is smaller, x is packed instead.
/// Both give the same numbers.
enum Map<E> {
    Packed(Arc<Weight<E>>),
    /// W.
    Rows(Copied<E>),
}

impl<E: Scalar> Map<E> {
    /// `y = x Wᵀ + b`, x with rows of so many `inputs`.
    fn forward(&self, x: &[E], inputs: usize, bias: &[E]) -> Vec<E> {
        let rows = x.len() / inputs;
        let mut y = vec![E::zero(); rows * bias.len()];
        match self {
            Self::Packed(weight) => {
                weight.multiply_shared(false, x, &mut y);
                add_to_rows(&mut y, bias);
                y
            }
            Self::Rows(weight) => {
                Packed::transposed(x, inputs, rows).multiply_shared(weight, &mut y);
                turned_sum(&y, bias)
            }
        }
    }

    /// `x̄ = ȳ W`, ȳ with rows of so many `outputs`.
    fn backward(&self, cotangent: &[E], outputs: usize) -> Vec<E> {
        let rows = cotangent.len() / outputs;
        let zeros = |inputs: usize| vec![E::zero(); rows * inputs];
        match self {
            Self::Packed(weight) => {
                let mut x_bar = zeros(weight.inputs());
                weight.multiply_shared(true, cotangent, &mut x_bar);
                x_bar
            }
            Self::Rows(weight) => {
                let inputs = weight.len() / outputs;
                let mut x_bar = zeros(inputs);
                let weight = Packed::new(weight, outputs, inputs);
                weight.multiply_shared(cotangent, &mut x_bar);
                x_bar
            }
        }
    }
}

/// `y = tᵀ + b`: t is `[outputs, batch]`, y `[batch, outputs]`.
fn turned_sum<E: Scalar>(turned: &[E], bias: &[E]) -> Vec<E> {
    let (rows, width) = (turned.len() / bias.len(), bias.len());
    let mut y = vec![E::zero(); turned.len()];
    let blocks = y.chunks_mut(TURNED * width).enumerate();
    parallel::map(blocks, |(block, y)| {
        for (column, (turned, &bias)) in turned.chunks_exact(rows).zip(bias).enumerate() {
            let turned = &turned[block * TURNED..];
            let places = y[column..].iter_mut().step_by(width);
            for (y, &turned) in places.zip(turned) {
                *y = turned + bias;
            }
        }
    });
    y
}

/// What the way back sends to the input of a map.
#[derive(Clone, Copy)]
enum Sends {
    Gradient,
    Nothing,
}
