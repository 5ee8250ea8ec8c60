//! Checks for authors of layers, operations and solvers.
//!
//! | question | answer |
//! |---|---|
//! | does the map of my layer in rows compute what its `step` does in tensors? | [`check_row_map`] |
//! | are its gradients of products with the Jacobian right? | [`check_tangent_gradients`] |
//! | are the gradients of my equilibrium right? | [`check_equilibrium`] |
//! | are the gradients of any loss right? | [`central_difference`] |
//! | which points does my solver visit? | [`Recording`], a map that records every evaluation |
//! | does my solver solve? | [`AffineMap`], a map with a chosen spectrum and a known fixed point |
//! | what does a map in rows compute, call by call? | [`OnRows`] |
//! | what can it solve? | [`problems`], by name |
//! | does it keep its contract? | [`conformance`] |
//! | what does a computation ask of a GPU? | [`Counters`] |
//! | does every plugin have a file of its name? | [`misplaced`] |
//!
//! All checks return a number to be compared with a tolerance; NaN, which no tolerance admits, means that something
//! was not finite or that there was nothing to compare.

pub mod conformance;
pub mod problems;

mod affine;
mod counters;
mod files;
mod gradient;
mod on_rows;
mod recording;
mod row_map;
mod tangent;

pub use affine::AffineMap;
pub use counters::{print_kernels, run_backwards, Counters};
pub use equilibria_core::measure::{relative_difference, worse};
pub use files::misplaced;
pub use gradient::{central_difference, check_equilibrium, Loss};
pub use on_rows::OnRows;
pub use recording::Recording;
pub use row_map::check_row_map;
pub use tangent::check_tangent_gradients;

use dfdx::prelude::HasShape;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use rand_distr::StandardNormal;

use equilibria_core::{from_host, to_host, Backend, Matrix, Parameters, Result, Scalar};

/// Independent standard normal numbers; the same seed gives the same ones.
pub fn random_values(count: usize, seed: u64) -> Vec<f64> {
    let mut rng = StdRng::seed_from_u64(seed);
    (0..count).map(|_| rng.sample(StandardNormal)).collect()
}

/// A matrix of independent standard normal entries; the same seed gives the same one, up to rounding to `E`.
pub fn random_matrix<E: Scalar, D: Backend<E>>(
    device: &D,
    shape: (usize, usize),
    seed: u64,
) -> Result<Matrix<E, D>> {
    let values = random_values(shape.0 * shape.1, seed);
    from_host(device, values.into_iter().map(E::of).collect(), shape)
}

/// Adds independent normal numbers of the given deviation to every parameter.
///
/// Fresh layers have biases of 0 and scales of 1, behind which many a mistake hides.
pub fn perturb<E: Scalar, D: Backend<E>>(
    model: &mut impl Parameters<E, D>,
    deviation: f64,
    seed: u64,
) -> Result<()> {
    let (mut outcome, mut seed) = (Ok(()), seed);
    model.visit_mut("", &mut |_, tensor| {
        seed = seed.wrapping_add(1);
        let values = to_host(tensor);
        let noise = random_values(values.len(), seed);
        let sums = values
            .iter()
            .zip(noise)
            .map(|(&value, noise)| value + E::of(deviation * noise));
        match from_host(&tensor.device().clone(), sums.collect(), *tensor.shape()) {
            Ok(new) => *tensor = new,
            Err(error) => outcome = Err(error),
        }
    });
    outcome
}
