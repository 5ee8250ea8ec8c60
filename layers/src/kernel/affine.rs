//! Affine map with its weights in both orders.

use equilibria_core::{to_host, Backend, Scalar};

use super::matmul::{matmul, matmul_add, matmul_transposed_add};
use super::{add, add_rows};
use crate::modules::Linear;

/// `y = x Wᵀ + b`. W is transposed once, when the kernel is made: the product is then several times faster.
pub struct Affine<E> {
    /// W, `[outputs, inputs]`.
    weight: Vec<E>,
    /// Wᵀ, `[inputs, outputs]`.
    transposed: Vec<E>,
    bias: Vec<E>,
}

impl<E: Scalar> Affine<E> {
    /// Copies the parameters of a module.
    pub fn new<D: Backend<E>>(linear: &Linear<E, D>) -> Self {
        let (inputs, outputs) = (linear.inputs(), linear.outputs());
        let weight = to_host(&linear.weight);
        let mut transposed = vec![E::zero(); weight.len()];
        for (output, row) in weight.chunks_exact(inputs).enumerate() {
            for (input, &value) in row.iter().enumerate() {
                transposed[input * outputs + output] = value;
            }
        }
        Self {
            weight,
            transposed,
            bias: to_host(&linear.bias),
        }
    }

    fn inputs(&self) -> usize {
        self.weight.len() / self.bias.len()
    }

    /// b, `[outputs]`.
    pub fn bias(&self) -> &[E] {
        &self.bias
    }

    /// `y = x Wᵀ + b`, `[rows, inputs]` to `[rows, outputs]`.
    pub fn forward(&self, x: &[E], y: &mut [E]) {
        self.product(x, y);
        for row in y.chunks_exact_mut(self.bias.len()) {
            add(row, &self.bias);
        }
    }

    /// `y = x Wᵀ`, without bias.
    pub fn product(&self, x: &[E], y: &mut [E]) {
        matmul(x, &self.transposed, y, self.inputs(), self.bias.len());
    }

    /// `x̄ = u W`: the cotangent of `x` due to the cotangent `u` of `y`.
    pub fn backward(&self, u: &[E], x_bar: &mut [E]) {
        matmul(u, &self.weight, x_bar, self.bias.len(), self.inputs());
    }

    /// `x̄ = x̄ + u W`.
    pub fn backward_add(&self, u: &[E], x_bar: &mut [E]) {
        matmul_add(u, &self.weight, x_bar, self.bias.len(), self.inputs());
    }

    /// Adds the gradients of weight, `uᵀ x`, and bias, the sum of the rows of `u`.
    pub fn parameters_backward(&self, x: &[E], u: &[E], weight: &mut [E], bias: &mut [E]) {
        self.weight_backward(x, u, weight);
        add_rows(bias, u);
    }

    /// Adds the gradient of the weight, `uᵀ x`.
    pub fn weight_backward(&self, x: &[E], u: &[E], weight: &mut [E]) {
        matmul_transposed_add(u, x, weight, self.bias.len(), self.inputs());
    }
}
