//! Spectral-radius regularization.

use equilibria_core::prelude::*;

use crate::squared_product;

plugin! {
    /// Spectral-radius regularization: max(0, ρ̂² − bound²) per sample, ρ̂ an estimate of the spectral radius of ∂f/∂z at z*.
    ///
    /// ρ̂ = ‖Jᵀw‖₂ with J = ∂f/∂z, where w is the unit vector after a number of power steps w ← Jᵀw / ‖Jᵀw‖₂ from a random
    /// normal probe. For a normal J (JJᵀ = JᵀJ) ρ̂ grows toward the spectral radius with the number of steps and never exceeds
    /// it, also where the dominant eigenvalues are a complex pair. For any other J it is an estimate only: at most ‖J‖₂, it may
    /// lie above the spectral radius, and it may oscillate with the number of steps. `spectrum::spectral_radius` measures the
    /// spectral radius of any J.
    ///
    /// The gradient, with z* and w held constant, is 2 ⟨w, ∂J Jᵀw⟩: exact where all operations of a layer have tangents, else a
    /// central difference of two pull-backs with an error of O(h²). For a normal J and a w that has converged to a real
    /// eigenvector, it is the gradient of ρ² as well.
    ///
    /// Leaves maps alone that contract well enough, where `jacobian` shrinks all of J at any size. Cost: `iterations` + 1
    /// products, and the gradient where a sample exceeds the bound, as for `jacobian`.
    ///
    /// Reference: R. von Mises, H. Pollaczek-Geiringer, Praktische Verfahren der Gleichungsauflösung, ZAMM 9, 1929; as a
    /// penalty on norms, Y. Yoshida, T. Miyato, Spectral Norm Regularization, arXiv 1705.10941, 2017.
    pub struct SpectralRadius: Regularizer {
        /// Factor in the loss, at least 0. Dimensionless.
        pub weight: f64 = 1.0,
        /// Spectral radius that costs nothing, at least 0. Dimensionless.
        pub bound: f64 = 0.95,
        /// Power steps, at least 1.
        pub iterations: usize = 10,
        /// Step h of the difference, where one is taken: root mean square over the entries of z, above 0. The default suits f32
        /// states of order 1.
        pub step: f64 = 5e-3,
    }
}

#[typetag::serde(name = "spectral-radius")]
impl Regularizer for SpectralRadius {
    fn validate(&self) -> Result<()> {
        const NAME: &str = "spectral-radius";
        Error::require_not_negative(NAME, "weight", self.weight)?;
        Error::require_not_negative(NAME, "bound", self.bound)?;
        Error::require_at_least_one(NAME, "iterations", self.iterations)?;
        Error::require_positive(NAME, "step", self.step)
    }

    fn weight(&self) -> f64 {
        self.weight
    }

    fn penalty(&self, space: &mut dyn DifferentiableMap, z: Slot, seed: u64) -> Result<f64> {
        let [w, product] = [space.alloc()?, space.alloc()?];
        space.linearize(z)?;
        space.fill_normal(w, seed)?;
        space.vjp(w, product)?;
        let mut squares = squared_product::lengths(space, product)?;
        for _ in 0..self.iterations {
            // A nilpotent J ends at w = 0, and stays there.
            let scale = |&square: &f64| {
                if square > 0.0 {
                    1.0 / square.sqrt()
                } else {
                    0.0
                }
            };
            let scales: Vec<f64> = squares.iter().map(scale).collect();
            space.combine(w, &[(Coef::PerSample(&scales), product)])?;
            space.vjp(w, product)?;
            squares = squared_product::lengths(space, product)?;
        }
        let mut penalty = 0.0;
        // 1 where the bound is exceeded, and where NaN must not pass for a small number.
        let mut factors = Vec::with_capacity(squares.len());
        for square in squares {
            let excess = (square - self.bound * self.bound).clamp(0.0, f64::INFINITY);
            penalty += excess;
            factors.push(f64::from(u8::from(excess.is_nan() || excess > 0.0)));
        }
        if factors.iter().any(|&factor| factor > 0.0) {
            squared_product::pull_back(space, [w, product], &factors, self.step)?;
        }
        space.release(w);
        space.release(product);
        Ok(penalty)
    }
}
