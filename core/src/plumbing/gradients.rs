//! Pulled-back gradients on their way to the tape.

use dfdx::prelude::Gradients;

use crate::parallel;
use crate::simd::add_scaled;
use crate::{Backend, Matrix, ParameterGradient, Result, Scalar};

/// The gradient of one parameter or input, or what is known of it.
pub(crate) enum TensorGradient<E: Scalar, D: Backend<E>> {
    /// Nothing was pulled back.
    Zero,
    /// From rows on the host.
    Host(HostGradient<E>),
    /// From tensors.
    Device(Matrix<E, D>),
}

/// What one job has pulled back to parameters and inputs, and the factor it counts with.
pub(crate) type WeightedGradients<E, D> = (f64, Vec<TensorGradient<E, D>>);

/// A gradient as the blocks of a batch leave it.
pub(crate) enum HostGradient<E> {
    Parameter(ParameterGradient<E>),
    /// Of an input: the rows of every block, in order.
    Input(Vec<Vec<E>>),
}

impl<E: Scalar> HostGradient<E> {
    /// Whether nothing was pulled back.
    pub fn is_zero(&self) -> bool {
        matches!(self, Self::Parameter(gradient) if gradient.is_zero())
    }

    /// Adds `factor` times the gradient to row-major values; none at all stand for 0.
    fn add_to(self, values: &mut Vec<E>, factor: E) {
        match self {
            Self::Parameter(gradient) => gradient.add_to(values, factor),
            Self::Input(blocks) => {
                values.resize(blocks.iter().map(Vec::len).sum(), E::zero());
                let mut first = 0;
                for block in blocks {
                    add_scaled(&mut values[first..], factor, &block);
                    first += block.len();
                }
            }
        }
    }
}

/// Adds each gradient, times its factor, to that of its tensor on the tape. What blocks have left is added up by all threads, and
/// products of weight gradients are written to their place at once.
pub(crate) fn accumulate<'t, E: Scalar, D: Backend<E>>(
    gradients: &mut Gradients<E, D>,
    pulled: impl Iterator<Item = (&'t Matrix<E, D>, TensorGradient<E, D>, f64)>,
) -> Result<()> {
    let (mut tensors, mut sums) = (Vec::new(), Vec::new());
    for (tensor, gradient, factor) in pulled {
        let factor = E::of(factor);
        match gradient {
            TensorGradient::Zero => {}
            TensorGradient::Device(gradient) => {
                D::accumulate(gradients, tensor, &(gradient * factor))?;
            }
            TensorGradient::Host(gradient) => {
                tensors.push(tensor);
                sums.push((D::take_gradient(gradients, tensor)?, gradient, factor));
            }
        }
    }
    let sums = parallel::map(sums.into_iter(), |(mut sum, gradient, factor)| {
        gradient.add_to(&mut sum, factor);
        sum
    });
    let mut sums = tensors.into_iter().zip(sums);
    sums.try_for_each(|(tensor, sum)| D::put_gradient(gradients, tensor, sum))
}
