//! The quadratic program.

use std::sync::Arc;

use dfdx::prelude::HasShape;
use equilibria_core::prelude::*;
use equilibria_core::AnyLayer;

use crate::certificates::{norm, Dense};
use crate::config::pairs;
use crate::{concatenate, LayerConfig, LayerRequest, Layers, Sizes, Vocabulary};

plugin! {
    /// The quadratic program, argmin zᵀQ z / 2 + pᵀz subject to A z = b and G z ≤ h, with Q = L Lᵀ + ε I of the lower triangle of a parameter
    /// L.
    ///
    /// The state holds the argument and the multipliers, [z | ν | λ], and f is a step of the primal-dual method of Condat and Vu:
    /// z⁺ = z − τ (Q z + p + Aᵀν + Gᵀλ), ν⁺ = ν + σ (A (2 z⁺ − z) − b), λ⁺ = max(λ + σ (G (2 z⁺ − z) − h), 0). Its output is z. p, b and h are
    /// injected, in this order (p alone without constraints); L, G and A are learned. τ and σ follow from Frobenius norms, which are upper
    /// bounds; neither z* nor gradients depend on them. Solve it by `newton-gmres`.
    ///
    /// Gradients are those of the KKT conditions at the active constraints: 0 for a constraint that is not active, and a one-sided one for a
    /// constraint that is weakly active. Where active constraints depend on each other, multipliers are not unique and I − J is singular: solve
    /// the adjoint equation by `gmres` then, which starts at 0 and finds a solution. Where no z is feasible the multipliers grow without bound,
    /// and any residual is small beside them: a state whose z misses the constraints by more than ten times the tolerance counts as diverged.
    ///
    /// It has no certificate: a bound of ‖z − z*‖ needs a point well inside the constraints, which a state does not give.
    ///
    /// Reference: B. Amos, J. Z. Kolter, OptNet: Differentiable Optimization as a Layer in Neural Networks, ICML 2017, §3; L. Condat, A Primal-Dual
    /// Splitting Method, Journal of Optimization Theory and Applications 158 (2013), algorithm 3.1, for the iteration.
    pub struct QuadraticProgramConfig: LayerConfig {
        /// n, variables of the argument, at least 1.
        pub variables: usize = 4,
        /// Rows of A.
        pub equalities: usize = 1,
        /// Rows of G.
        pub inequalities: usize = 3,
        /// ε, above 0: without it the argument need not be unique.
        pub ridge: f64 = 0.1,
        /// τ, above 0; by default from norms, so that 1/τ − σ ‖C‖² ≥ ‖Q‖ / 2 with C = [A; G].
        pub tau: Option<f64> = None,
        /// σ, above 0; by default 1 / ‖C‖.
        pub sigma: Option<f64> = None,
    }
}

const NAME: &str = "quadratic-program";

#[typetag::serde(name = "quadratic-program")]
impl LayerConfig for QuadraticProgramConfig {
    fn validate(&self) -> Result<()> {
        Error::require_at_least_one(NAME, "variables", self.variables)?;
        Error::require_positive(NAME, "ridge", self.ridge)?;
        Error::require_positive(NAME, "tau", self.tau.unwrap_or(1.0))?;
        Error::require_positive(NAME, "sigma", self.sigma.unwrap_or(1.0))
    }

    fn sizes(&self) -> Option<Sizes> {
        let widths = [self.variables, self.equalities, self.inequalities];
        Some(Sizes {
            state: widths.iter().sum(),
            inputs: widths.into_iter().filter(|&width| width > 0).collect(),
        })
    }

    fn original_names(&self) -> Vec<(String, String)> {
        pairs(&[("l", "L"), ("a", "A"), ("g", "G")])
    }
}

impl Build<Layers> for QuadraticProgramConfig {
    fn build<E: Scalar, D: Backend<E>>(
        &self,
        request: LayerRequest<'_, D>,
    ) -> Result<AnyLayer<E, D>> {
        self.validate()?;
        Sizes::require(self.sizes(), NAME, request.state, request.inputs)?;
        let (n, init) = (self.variables, request.init);
        let mut rows = |count: usize| match count {
            0 => Ok(None),
            count => init.uniform((count, n), 1.0).map(Some),
        };
        let (a, g) = (rows(self.equalities)?, rows(self.inequalities)?);
        let limit = 1.0 / (n as f64).sqrt();
        Ok(AnyLayer::new(QuadraticProgram {
            l: init.uniform((n, n), limit)?,
            a,
            g,
            ridge: self.ridge,
            tau: self.tau,
            sigma: self.sigma,
        }))
    }
}

/// A step of the method of Condat and Vu on `[z | ν | λ]`.
#[derive(Clone)]
pub struct QuadraticProgram<E: Scalar, D: Backend<E>> {
    /// L, `[n, n]`; what is above the diagonal is not used.
    pub l: Matrix<E, D>,
    /// A, `[equalities, n]`, if there are any.
    pub a: Option<Matrix<E, D>>,
    /// G, `[inequalities, n]`, if there are any.
    pub g: Option<Matrix<E, D>>,
    /// ε.
    pub ridge: f64,
    /// τ, unless it follows from norms.
    pub tau: Option<f64>,
    /// σ, unless it follows from norms.
    pub sigma: Option<f64>,
}

parameters!(QuadraticProgram { l, a, g });

impl<E: Scalar, D: Backend<E>> QuadraticProgram<E, D> {
    fn variables(&self) -> usize {
        self.l.shape().1
    }

    fn rows(constraints: &Option<Matrix<E, D>>) -> usize {
        constraints.as_ref().map_or(0, |c| c.shape().0)
    }

    /// τ for every variable and σ for every multiplier; by default 1/τ − σ ‖C‖² ≥ ‖Q‖ / 2 for C = [A; G], with σ = 1 / ‖C‖.
    ///
    /// Where they follow from parameters their derivatives are those of f, and vanish at z*.
    fn steps(&self, z: &Value<E, D>) -> (Value<E, D>, Value<E, D>) {
        let squares = |all: Value<E, D>| all.square().sum(1);
        let parts = [&self.a, &self.g].into_iter().flatten();
        let parts = parts.map(|c| squares(z.broadcast(c)));
        // Without constraints any number will do.
        let norm = parts.reduce(|sum, part| sum + part);
        let norm = norm.unwrap_or_else(|| z.constant(&[1.0])).sqrt();
        let sigma = match self.sigma {
            Some(sigma) => z.constant(&[sigma]),
            None => 1.0 / &norm,
        };
        let tau = match self.tau {
            Some(tau) => z.constant(&[tau]),
            None => {
                let q = squares(self.lower(z)) + self.ridge;
                1.0 / (q * 0.5 + &sigma * norm.square())
            }
        };
        let multipliers = Self::rows(&self.a) + Self::rows(&self.g);
        (
            tau.repeat(self.variables()),
            sigma.repeat(multipliers.max(1)),
        )
    }

    /// The lower triangle of L, row after row.
    fn lower(&self, z: &Value<E, D>) -> Value<E, D> {
        let n = self.variables();
        let place = |index: usize| f64::from(u8::from(index % n <= index / n));
        z.broadcast(&self.l) * z.constant(&(0..n * n).map(place).collect::<Vec<_>>())
    }

    /// `Q z = L Lᵀz + ε z` with the lower triangle of L.
    fn quadratic(&self, z: &Value<E, D>) -> Value<E, D> {
        let n = self.variables();
        let lower = self.lower(z).tokens(n);
        let column = lower.transpose().matmul(&z.tokens(n));
        lower.matmul(&column).into_value() + z * self.ridge
    }
}

impl<E: Scalar, D: Backend<E>> ImplicitLayer<E, D> for QuadraticProgram<E, D> {
    fn state_dim(&self) -> usize {
        self.variables() + Self::rows(&self.a) + Self::rows(&self.g)
    }

    fn input_dims(&self) -> Vec<usize> {
        let rows = [&self.a, &self.g].map(Self::rows);
        let widths = [self.variables()].into_iter().chain(rows);
        widths.filter(|&width| width > 0).collect()
    }

    fn step(&self, state: &Value<E, D>, x: &[Value<E, D>]) -> Result<Value<E, D>> {
        let (n, (tau, sigma)) = (self.variables(), self.steps(state));
        let z = state.columns(0..n);
        let mut slope = self.quadratic(&z) + &x[0];
        let (mut from, mut inputs) = (n, x[1..].iter());
        // Multipliers, matrix and right-hand side of either kind of constraint.
        let mut parts = Vec::new();
        for (constraints, signed) in [(&self.a, false), (&self.g, true)] {
            if let Some(c) = constraints {
                let multipliers = state.columns(from..from + c.shape().0);
                from += c.shape().0;
                slope = slope + multipliers.product_transposed(c);
                let right = inputs.next().ok_or_else(missing)?;
                parts.push((multipliers, c, right, signed));
            }
        }
        let moved = &z - slope * tau;
        let ahead = &moved * 2.0 - &z;
        let mut next = vec![moved];
        for (multipliers, c, right, signed) in parts {
            let width = c.shape().0;
            let new = multipliers + (ahead.product(c) - right) * sigma.columns(0..width);
            next.push(if signed { new.relu() } else { new });
        }
        Ok(concatenate(next))
    }

    /// z.
    fn output(&self, state: &Value<E, D>, _: &[Value<E, D>]) -> Result<Value<E, D>> {
        Ok(state.columns(0..self.variables()))
    }

    fn output_dim(&self) -> usize {
        self.variables()
    }

    fn requirement(&self) -> Option<Arc<dyn Requirement>> {
        let dense = |rows: &Option<Matrix<E, D>>| rows.as_ref().map(Dense::new);
        Some(Arc::new(Feasibility {
            equalities: dense(&self.a),
            inequalities: dense(&self.g),
            variables: self.variables(),
        }))
    }
}

/// That z satisfies the constraints to the tolerance, beside z and the right-hand sides: where no z does, multipliers grow until any
/// residual is small beside them.
struct Feasibility {
    equalities: Option<Dense>,
    inequalities: Option<Dense>,
    variables: usize,
}

/// By how much more than the tolerance constraints may be missed: a residual of r in the multipliers leaves one of r / σ, and 2 ‖C‖ r in
/// the others.
const MISSED: f64 = 10.0;

impl Requirement for Feasibility {
    fn is_met(&self, z: &[f64], x: &[&[f64]], tolerance: &Tolerance) -> bool {
        let z = &z[..self.variables];
        let mut right = x[1..].iter();
        let (mut missed, mut norms, mut sides) = (0.0, 0.0, 0.0);
        for (rows, one_sided) in [(&self.equalities, false), (&self.inequalities, true)] {
            let Some(rows) = rows else { continue };
            let right = right.next().copied().unwrap_or_default();
            for (value, right) in rows.times(z).into_iter().zip(right) {
                let over = value - right;
                let over = if one_sided { over.max(0.0) } else { over };
                missed += over * over;
            }
            norms += rows.norm() * rows.norm();
            sides += norm(right) * norm(right);
        }
        let (rows, sides) = (f64::sqrt(norms), f64::sqrt(sides));
        let scale =
            tolerance.absolute * rows.max(1.0) + tolerance.relative * (rows * norm(z) + sides);
        f64::sqrt(missed) <= MISSED * scale
    }
}

fn missing() -> Error {
    Error::Missing {
        what: "the right-hand sides of the constraints".to_owned(),
        remedy: "inject p, then b where there are equalities, then h where there are inequalities",
    }
}
