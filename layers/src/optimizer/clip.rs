//! Gradient-norm clipping.

use dfdx::prelude::Gradients;
use equilibria_core::{parallel, simd, Backend, Parameters, Result, Scalar};

/// Numbers that one thread takes at a time.
const SHARE: usize = 1 << 15;

/// ‖g‖₂ over all parameters together, in f64.
pub fn gradient_norm<E: Scalar, D: Backend<E>>(
    parameters: &impl Parameters<E, D>,
    gradients: &mut Gradients<E, D>,
) -> Result<f64> {
    if let Some(device) = D::on_device() {
        let tensors: Vec<_> = parameters
            .named()
            .into_iter()
            .map(|(_, tensor)| tensor)
            .collect();
        let squares = device.gradient_squares(gradients, &tensors)?;
        return Ok(squares.iter().sum::<f64>().sqrt());
    }
    let (mut square, mut outcome) = (0.0, Ok(()));
    parameters.visit("", &mut |_, tensor| {
        let squares = D::with_gradient(gradients, tensor, |g| {
            let squares = parallel::map(g.chunks(SHARE), |g| simd::dot(g, g));
            squares.into_iter().sum::<f64>()
        });
        match squares {
            Ok(squares) => square += squares,
            Err(error) => outcome = Err(error),
        }
    });
    outcome.map(|()| square.sqrt())
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
