//! Are the gradients of products with the Jacobian right?

use dfdx::prelude::{Cpu, HasShape};

use super::{random_values, relative_difference, worse};
use equilibria_core::{to_host, ImplicitLayer, KernelGradients, Matrix, Result};

/// Half the distance of the two points of a difference. Smaller than ∛ε, which would suit numbers and derivatives of order 1:
/// the third derivatives of normalized groups are large.
const STEP: f64 = 1e-6;

/// The largest relative difference between the gradients of `⟨u, f(z)⟩ + ⟨p, (∂f/∂z) v⟩` that a kernel's
/// [`pull_back_tangent`](equilibria_core::KernelBlock::pull_back_tangent) gives and those that its `pull_back` gives: of u, and as a central
/// difference along v of p. `None` if there is no kernel, or an operation has no tangents.
///
/// On the whole batch, and on the first half of a block's rows alone. The difference is good to about 1e-9, to 1e-7 where third
/// derivatives are large.
///
/// # Shapes
/// `z`: `[batch, state_dim]`; `x[i]`: `[batch, input_dims[i]]`.
pub fn check_tangent_gradients<L: ImplicitLayer<f64, Cpu>>(
    layer: &L,
    z: &Matrix<f64, Cpu>,
    x: &[Matrix<f64, Cpu>],
) -> Result<Option<f64>> {
    let Some(kernel) = layer.kernel(x) else {
        return Ok(None);
    };
    let (batch, dim) = *z.shape();
    let shapes: Vec<_> = layer.named().iter().map(|(_, p)| *p.shape()).collect();
    let zeros = || KernelGradients::zeros(shapes.clone(), layer.input_dims(), batch);
    let z = to_host(z);
    let mut worst = 0.0;
    for rows in [batch, batch.div_ceil(2)] {
        let z = &z[..rows * dim];
        let [u, p, v] = [1, 2, 3].map(|seed| random_values(z.len(), seed));
        let mut value = vec![0.0; z.len()];
        let mut block = kernel.clone().block(0..batch);
        block.linearize(z, &mut value);
        let mut seen = zeros();
        if !block.pull_back_tangent(&u, &p, &v, &mut seen) {
            return Ok(None);
        }
        let mut expected = zeros();
        block.pull_back(&u, &mut expected);
        for sign in [1.0, -1.0] {
            let point = z.iter().zip(&v).map(|(z, v)| z + sign * STEP * v);
            block.linearize(&point.collect::<Vec<_>>(), &mut value);
            let slope = p.iter().map(|p| sign * p / (2.0 * STEP));
            block.pull_back(&slope.collect::<Vec<_>>(), &mut expected);
        }
        let pairs = expected.into_values().into_iter().zip(seen.into_values());
        for (expected, seen) in pairs {
            worst = worse(worst, relative_difference(&seen, &expected));
        }
    }
    Ok(Some(worst))
}
