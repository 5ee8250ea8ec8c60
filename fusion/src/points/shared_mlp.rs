//! A network that is applied to every row for itself.

use equilibria_core::parameters::join;
use equilibria_core::{Backend, Matrix, Parameters, Result, Scalar};

use crate::layers::modules::{relu, BatchNorm, Linear};
use crate::layers::Initializer;
use crate::pass::Pass;

/// Affine maps one after the other, most of them followed by batch normalization and ReLU: a convolution of size 1 over points.
///
/// `h ← ReLU(BN_i(W_i h + b_i))` for the maps that are normalized, which come first, and `h ← W_i h + b_i` for the others. Parameters
/// have the names `1.weight`, `1.bias`, `bn1.weight` and so on; without biases, these are 0 and no parameters.
pub struct SharedMlp<E: Scalar, D: Backend<E>> {
    /// W_i and b_i.
    pub map: Vec<Linear<E, D>>,
    /// BN_i, ε = 1e-5, of the first maps.
    pub norm: Vec<BatchNorm<E, D>>,
    /// Whether there are biases.
    pub biased: bool,
}

impl<E: Scalar, D: Backend<E>> SharedMlp<E, D> {
    /// Maps from the first of the `widths` to the second and so on, all normalized, without biases.
    ///
    /// # Errors
    /// [`Error::Memory`](equilibria_core::Error::Memory) if there is no room for them.
    pub fn unbiased(widths: &[usize], init: &mut Initializer<D>) -> Result<Self> {
        let mut mlp = Self::biased(widths, init)?;
        for map in &mut mlp.map {
            *map = Linear::new(map.weight.clone(), init.constant((1, map.outputs()), 0.0)?);
        }
        mlp.biased = false;
        Ok(mlp)
    }

    /// The same with biases.
    ///
    /// # Errors
    /// [`Error::Memory`](equilibria_core::Error::Memory) if there is no room for them.
    pub fn biased(widths: &[usize], init: &mut Initializer<D>) -> Result<Self> {
        let (mut map, mut norm) = (Vec::new(), Vec::new());
        for pair in widths.windows(2) {
            map.push(Linear::uniform(pair[1], pair[0], init)?);
            norm.push(BatchNorm::new(pair[1], 1e-5, init)?);
        }
        Ok(Self {
            map,
            norm,
            biased: true,
        })
    }

    /// The same with biases, and with an affine map to `outputs` behind them.
    ///
    /// # Errors
    /// [`Error::Memory`](equilibria_core::Error::Memory) if there is no room for them.
    pub fn to_outputs(widths: &[usize], outputs: usize, init: &mut Initializer<D>) -> Result<Self> {
        let mut mlp = Self::biased(widths, init)?;
        let inputs = widths.last().copied().unwrap_or(0);
        mlp.map.push(Linear::uniform(outputs, inputs, init)?);
        Ok(mlp)
    }

    /// Width of the result.
    pub fn outputs(&self) -> usize {
        self.map.last().map_or(0, Linear::outputs)
    }

    /// The results of all rows, `[rows, outputs]`.
    ///
    /// # Errors
    /// [`Error::Shape`](equilibria_core::Error::Shape) for rows of another width, and for a single row in training.
    pub fn forward(&self, x: &Matrix<E, D>, pass: &mut Pass<E, D>) -> Result<Matrix<E, D>> {
        let training = pass.trains();
        pass.try_run(x, |mut h| {
            for (index, map) in self.map.iter().enumerate() {
                h = map.forward(h);
                if let Some(norm) = self.norm.get(index) {
                    h = relu(norm.forward(h, training)?)?;
                }
            }
            Ok(h)
        })
    }

    /// Sets the share of a batch in the running statistics.
    pub fn set_momentum(&mut self, momentum: f64) {
        for norm in &mut self.norm {
            norm.momentum = momentum;
        }
    }
}

impl<E: Scalar, D: Backend<E>> Parameters<E, D> for SharedMlp<E, D> {
    fn visit(&self, path: &str, visitor: &mut dyn FnMut(&str, &Matrix<E, D>)) {
        for (number, map) in (1..).zip(&self.map) {
            let own = join(path, &number.to_string());
            visitor(&join(&own, "weight"), &map.weight);
            if self.biased {
                visitor(&join(&own, "bias"), &map.bias);
            }
            if let Some(norm) = self.norm.get(number - 1) {
                norm.visit(&join(path, &format!("bn{number}")), visitor);
            }
        }
    }

    fn visit_mut(&mut self, path: &str, visitor: &mut dyn FnMut(&str, &mut Matrix<E, D>)) {
        for (number, map) in (1..).zip(&mut self.map) {
            let own = join(path, &number.to_string());
            visitor(&join(&own, "weight"), &mut map.weight);
            if self.biased {
                visitor(&join(&own, "bias"), &mut map.bias);
            }
            if let Some(norm) = self.norm.get_mut(number - 1) {
                norm.visit_mut(&join(path, &format!("bn{number}")), visitor);
            }
        }
    }

    fn visit_statistics(&self, path: &str, visitor: &mut dyn FnMut(&str)) {
        for (number, norm) in (1..).zip(&self.norm) {
            norm.visit_statistics(&join(path, &format!("bn{number}")), visitor);
        }
    }
}
