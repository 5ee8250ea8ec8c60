//! Are the gradients of products with the Jacobian right?

use dfdx::prelude::{Cpu, HasShape};

use super::{random_values, relative_difference, worse, OnRows};
use equilibria_core::{to_host, ImplicitLayer, Matrix, Result, RowGradients};

/// Half the distance of the two points of a difference. Smaller than ∛ε, which would suit numbers and derivatives of order 1:
/// the third derivatives of normalized groups are large.
const STEP: f64 = 1e-6;

/// The largest relative difference between the gradients of `⟨u, f(z)⟩ + ⟨p, (∂f/∂z) v⟩` that the
/// [`pull_back_tangent`](equilibria_core::Tangents::pull_back_tangent) of a layer's map in rows gives and those that its `pull_back`
/// gives: of u, and as a central difference along v of p. `None` if there is no such map, or it has no tangents.
///
/// On the whole batch, and on the first half of the rows alone. The difference is good to about 1e-9, to 1e-7 where third
/// derivatives are large.
///
/// # Shapes
/// `z`: `[batch, state_dim]`; `x[i]`: `[batch, input_dims[i]]`.
pub fn check_tangent_gradients<L: ImplicitLayer<f64, Cpu>>(
    layer: &L,
    z: &Matrix<f64, Cpu>,
    x: &[Matrix<f64, Cpu>],
) -> Result<Option<f64>> {
    let Some(map) = layer.row_map() else {
        return Ok(None);
    };
    let (batch, dim) = *z.shape();
    let shapes: Vec<_> = layer.named().iter().map(|(_, p)| *p.shape()).collect();
    let zeros = || RowGradients::zeros(shapes.clone(), layer.input_dims(), batch);
    let z = to_host(z);
    let mut map = OnRows::new(map, dim, x);
    let mut worst = 0.0;
    for rows in [batch, batch.div_ceil(2)] {
        let z = &z[..rows * dim];
        let [u, p, v] = [1, 2, 3].map(|seed| random_values(z.len(), seed));
        map.linearize(z);
        let mut seen = zeros();
        if map.pull_back_tangent(&u, [&p, &v], &mut seen).is_none() {
            return Ok(None);
        }
        let mut expected = zeros();
        map.pull_back(&u, &mut expected);
        for sign in [1.0, -1.0] {
            let point = z.iter().zip(&v).map(|(z, v)| z + sign * STEP * v);
            map.linearize(&point.collect::<Vec<_>>());
            let slope = p.iter().map(|p| sign * p / (2.0 * STEP));
            map.pull_back(&slope.collect::<Vec<_>>(), &mut expected);
        }
        let pairs = expected.into_values().into_iter().zip(seen.into_values());
        for (expected, seen) in pairs {
            worst = worse(worst, relative_difference(&seen, &expected));
        }
    }
    Ok(Some(worst))
}
