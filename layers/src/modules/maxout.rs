//! Maxout.

use equilibria_core::{AnyTape, Backend, Matrix, Operation, Parameters, Result, Scalar};

use super::Linear;
use crate::operations::max::Max;
use crate::Initializer;

/// `y_j = max_k (x Wᵀ + b)_{j K + k}`: the largest of each group of K adjacent outputs of an affine map.
///
/// Reference: I. J. Goodfellow et al., Maxout Networks, ICML 2013, section 3.
pub struct Maxout<E: Scalar, D: Backend<E>> {
    /// W, `[K · units, inputs]`, and b; they have their names in the parameters.
    pub map: Linear<E, D>,
    /// Number of groups.
    pub units: usize,
}

impl<E: Scalar, D: Backend<E>> Maxout<E, D> {
    /// Pairs of outputs, K = 2, with weights and bias as PyTorch has them.
    pub fn pairs(units: usize, inputs: usize, init: &mut Initializer<D>) -> Result<Self> {
        Ok(Self {
            map: Linear::uniform(2 * units, inputs, init)?,
            units,
        })
    }

    /// Shapes: `x` `[batch, inputs]`, result `[batch, units]`.
    ///
    /// # Errors
    /// [`Error::Device`](equilibria_core::Error::Device) if memory runs out.
    pub fn forward<T: AnyTape<E, D>>(&self, x: Matrix<E, D, T>) -> Result<Matrix<E, D, T>> {
        let largest = Max { groups: self.units };
        largest.on_tensors(vec![self.map.forward(x)])
    }
}

impl<E: Scalar, D: Backend<E>> Parameters<E, D> for Maxout<E, D> {
    fn visit(&self, path: &str, visitor: &mut dyn FnMut(&str, &Matrix<E, D>)) {
        self.map.visit(path, visitor);
    }

    fn visit_mut(&mut self, path: &str, visitor: &mut dyn FnMut(&str, &mut Matrix<E, D>)) {
        self.map.visit_mut(path, visitor);
    }
}

#[cfg(test)]
mod tests {
    use super::{Linear, Maxout};
    use dfdx::prelude::*;
    use equilibria_core::{from_host, Matrix, Parameters};

    /// Outputs x, −x, 2 and x: the larger of the first two is |x|, that of the others max(2, x).
    #[test]
    fn the_largest_of_each_pair_has_the_gradient() {
        let device = Cpu::default();
        let matrix = |values: Vec<f64>, shape| from_host(&device, values, shape).expect("memory");
        let map = Linear::new(
            matrix(vec![1.0, -1.0, 0.0, 1.0], (4, 1)),
            matrix(vec![0.0, 0.0, 2.0, 0.0], (1, 4)),
        );
        let maxout = Maxout { map, units: 2 };
        let x: Matrix<f64, Cpu> = matrix(vec![-3.0, 5.0], (2, 1));
        let y = maxout.forward(x.leaky_trace()).expect("memory");
        assert_eq!(y.as_vec(), [3.0, 2.0, 5.0, 5.0]);
        let gradients = y.sum::<Rank0, _>().backward();
        assert_eq!(gradients.get(&x).as_vec(), [-1.0, 2.0]);
        assert_eq!(maxout.named()[0].0, "weight");
    }
}
