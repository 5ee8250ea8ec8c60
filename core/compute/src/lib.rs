//! What the framework computes with on the CPU: loops and products for every instruction set, and the threads that share them.

pub mod parallel;
pub mod simd;

mod compiled;
mod element;

pub use element::Element;

/// Independent standard normal numbers; the same seed gives the same ones.
#[cfg(test)]
fn random_values(count: usize, seed: u64) -> Vec<f64> {
    use rand::{rngs::StdRng, Rng, SeedableRng};
    let mut rng = StdRng::seed_from_u64(seed);
    (0..count)
        .map(|_| rng.sample(rand_distr::StandardNormal))
        .collect()
}
