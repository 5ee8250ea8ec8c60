//! Gradient-norm clipping.

use dfdx::prelude::Gradients;
use equilibria_core::{parallel, simd, Backend, Parameters, Result, Scalar};

/// Numbers that one thread takes at a time.
const SHARE: usize = 1 << 15;

/// ‖g‖₂² of every parameter, in f64, in the order of [`Parameters::named`].
///
/// # Errors
/// [`Error::Device`](equilibria_core::Error::Device) if memory runs out.
pub fn gradient_squares<E: Scalar, D: Backend<E>>(
    parameters: &(impl Parameters<E, D> + ?Sized),
    gradients: &mut Gradients<E, D>,
) -> Result<Vec<f64>> {
    let named = parameters.named().into_iter();
    let tensors: Vec<_> = named.map(|(_, tensor)| tensor).collect();
    if let Some(device) = D::on_device() {
        return device.gradient_squares(gradients, &tensors);
    }
    let square = |tensor| {
        D::with_gradient(gradients, tensor, |g| {
            let squares = parallel::map(g.chunks(SHARE), |g| simd::dot(g, g));
            squares.into_iter().sum::<f64>()
        })
    };
    tensors.iter().map(square).collect()
}

/// ‖g‖₂ over all parameters together, in f64.
///
/// # Errors
/// [`Error::Device`](equilibria_core::Error::Device) if memory runs out.
pub fn gradient_norm<E: Scalar, D: Backend<E>>(
    parameters: &(impl Parameters<E, D> + ?Sized),
    gradients: &mut Gradients<E, D>,
) -> Result<f64> {
    let squares = gradient_squares(parameters, gradients)?;
    Ok(squares.iter().sum::<f64>().sqrt())
}

/// The factor that brings a gradient of norm `norm` down to at most `limit`: `min(1, limit / norm)`.
///
/// Reference: R. Pascanu, T. Mikolov, Y. Bengio, On the difficulty of training recurrent neural networks, ICML 2013.
pub fn clip_norm(norm: f64, limit: f64) -> f64 {
    if norm > limit {
        limit / norm
    } else {
        1.0
    }
}

/// The factor for the gradient of one parameter, as PyTorch's `clip_grad_norm_` has it: `min(1, limit / (norm + 1e-6))`.
pub fn clip_each(norm: f64, limit: f64) -> f64 {
    (limit / (norm + 1e-6)).min(1.0)
}
