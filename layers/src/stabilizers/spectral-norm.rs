//! Spectral normalization.

use dfdx::prelude::*;
use equilibria_core::prelude::*;
use equilibria_core::seed::fill_normal;
use equilibria_core::{from_host, to_host};

use crate::stabilizer::{all_weights, Stabilizer, StabilizerConfig, Stabilizers, Traced};

plugin! {
    /// Spectral normalization: a matrix is scaled to a given largest singular value, W = V · bound / σ(V).
    ///
    /// With `clip`, only where σ(V) is larger. σ = uᵀV v comes from power steps in f64 that always start
    /// from the same vector: nothing is kept between calls. Gradients flow through σ with u and v held constant, which is
    /// exact at the singular vectors.
    ///
    /// Power steps approach σ from below, the slower the closer the second singular value: the relative error shrinks like
    /// (σ₂ / σ₁)⁴ per step.
    ///
    /// Reference: T. Miyato et al., Spectral Normalization for Generative Adversarial Networks, ICLR 2018, algorithm 1.
    pub struct SpectralNorm: StabilizerConfig {
        /// Ends of the names of the parameters it applies to; vectors are never touched.
        pub parameters: Vec<String> = all_weights(),
        /// Largest singular value of W, above 0. Below 1, W z contracts.
        pub bound: f64 = 0.95,
        /// Whether matrices below the bound are left as they are.
        pub clip: bool = true,
        /// Power steps, at least 1.
        pub iterations: usize = 20,
    }
}

#[typetag::serde(name = "spectral-norm")]
impl StabilizerConfig for SpectralNorm {
    fn validate(&self) -> Result<()> {
        let name = "spectral-norm";
        Error::require_positive(name, "bound", self.bound)?;
        Error::require_at_least_one(name, "iterations", self.iterations)
    }
}

impl Build<Stabilizers> for SpectralNorm {
    fn build<E: Scalar, D: Backend<E>>(&self, (): ()) -> Result<Box<dyn Stabilizer<E, D>>> {
        self.validate()?;
        Ok(Box::new(self.clone()))
    }
}

impl<E: Scalar, D: Backend<E>> Stabilizer<E, D> for SpectralNorm {
    fn name(&self) -> &'static str {
        "spectral-norm"
    }

    fn parameters(&self) -> &[String] {
        &self.parameters
    }

    fn effective(&self, raw: Traced<E, D>) -> Result<Traced<E, D>> {
        let shape = *raw.shape();
        let (raw, tape) = raw.split_tape();
        let (sigma, outer) = match D::on_device() {
            Some(device) => device.leading(&raw, STREAM, self.iterations)?,
            None => {
                let values: Vec<f64> = to_host(&raw).into_iter().map(E::wide).collect();
                let (u, v, sigma) = leading(&values, shape, self.iterations);
                let outer = u.iter().flat_map(|u| v.iter().map(move |v| E::of(u * v)));
                (sigma, from_host(raw.device(), outer.collect(), shape)?)
            }
        };
        if sigma <= 0.0 || (self.clip && sigma <= self.bound) {
            return Ok(raw.put_tape(tape));
        }
        let sigma = (raw.retaped::<OwnedTape<E, D>>() * outer).sum::<Rank0, Axes2<0, 1>>();
        let factor = (sigma / E::of(self.bound)).recip();
        Ok(raw.put_tape(tape) * factor.broadcast_like::<_, Axes2<0, 1>>(&shape))
    }
}

/// Singular vectors u, v and singular value σ = uᵀV v of the row-major matrix `values` after `iterations` power steps.
fn leading(
    values: &[f64],
    (rows, columns): (usize, usize),
    iterations: usize,
) -> (Vec<f64>, Vec<f64>, f64) {
    let mut v = vec![0.0; columns];
    fill_normal(STREAM, &mut v);
    let (mut u, mut sigma) = (vec![0.0; rows], 0.0);
    for _ in 0..iterations {
        for (u, row) in u.iter_mut().zip(values.chunks_exact(columns.max(1))) {
            *u = row.iter().zip(&v).map(|(a, v)| a * v).sum();
        }
        normalize(&mut u);
        v.fill(0.0);
        for (u, row) in u.iter().zip(values.chunks_exact(columns.max(1))) {
            v.iter_mut().zip(row).for_each(|(v, a)| *v += u * a);
        }
        // ‖Vᵀu‖ = uᵀV v for the new v.
        sigma = normalize(&mut v);
    }
    (u, v, sigma)
}

/// Of the numbers that power steps start from. Any vector with a part along the first singular vector will do; a random one has it, a
/// simple one may not.
const STREAM: u64 = 0;

/// Scales a vector to length 1, but for the zero vector, and returns the length it had.
fn normalize(vector: &mut [f64]) -> f64 {
    let length = vector.iter().map(|x| x * x).sum::<f64>().sqrt();
    if length > 0.0 {
        vector.iter_mut().for_each(|x| *x /= length);
    }
    length
}
