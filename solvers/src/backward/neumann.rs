//! Truncated Neumann series.

use equilibria_core::prelude::*;

plugin! {
    /// Truncated Neumann series: u = Σ_{k < terms} (Jᵀ)ᵏ v.
    ///
    /// Not exact: the series for (I − Jᵀ)⁻¹ v is cut off, and the residual of u is (Jᵀ)ᵗ v after t terms. It shrinks like
    /// ρᵗ with the spectral radius ρ of J = ∂f/∂z at z*; at ρ ≥ 1 the series diverges and more terms make it worse. One
    /// term is `jacobian-free`.
    ///
    /// Cost: terms − 1 products Jᵀu and one pull-back, the same for every sample; no report, since nothing is solved. Not
    /// for gradient checks, nor where ρ is near 1: there `implicit` gives the exact gradient for little more.
    ///
    /// Reference: J. Lorraine, P. Vicol, D. Duvenaud, Optimizing Millions of Hyperparameters by Implicit Differentiation,
    /// AISTATS 2020.
    pub struct Neumann: BackwardStrategy {
        /// Number of terms, at least 1.
        pub terms: usize = 10,
    }
}

#[typetag::serde(name = "neumann")]
impl BackwardStrategy for Neumann {
    fn validate(&self) -> Result<()> {
        Error::require_at_least_one("neumann", "terms", self.terms)
    }

    fn backward(
        &self,
        space: &mut dyn DifferentiableMap,
        solution: &Solution,
        v: Slot,
    ) -> Result<Report> {
        space.linearize(solution.z)?;
        let [mut u, mut next] = [space.alloc()?, space.alloc()?];
        space.combine(u, &[(Coef::Same(1.0), v)])?;
        // Horner's rule, u ← Jᵀu + v, is the adjoint equation iterated.
        for _ in 1..self.terms {
            AdjointMap::new(space, v).apply(u, next)?;
            std::mem::swap(&mut u, &mut next);
        }
        space.pull_back(u)?;
        space.release(u);
        space.release(next);
        Ok(Report::default())
    }
}
