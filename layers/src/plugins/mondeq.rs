//! The monotone operator equilibrium network.

use std::sync::Arc;

use dfdx::prelude::HasShape;
use equilibria_core::prelude::*;
use equilibria_core::AnyLayer;

use crate::certificates::{norm, rounding, sum, Dense, StronglyMonotone};
use crate::config::pairs;
use crate::modules::Linear;
use crate::operations::toward;
use crate::{one_input, Activation, LayerConfig, LayerRequest, Layers, Vocabulary};

plugin! {
    /// The monotone operator equilibrium network, f(z; x) = φ(W z + U x + b) with W = (1 − m) I − AᵀA + B − Bᵀ.
    ///
    /// The symmetric part of I − W is m I + AᵀA: for m > 0 there is exactly one z*, whatever the size of A and B. The plain map may expand
    /// by far: solve it by `newton-gmres`, which ends once it knows which entries of z* are 0.
    ///
    /// With `alpha` below 1, f is the step of forward-backward splitting, φ((1 − α) z + α (W z + U x + b)): the same z* and gradients, and a
    /// contraction for α < 2 m / ‖I − W‖₂². It takes one injected input of any width.
    ///
    /// Reference: E. Winston, J. Z. Kolter, Monotone Operator Equilibrium Networks, NeurIPS 2020, §4.
    pub struct MondeqConfig: LayerConfig {
        /// m, above 0. Dimensionless.
        pub margin: f64 = 1.0,
        /// α, in (0, 1]; below 1 only where φ is a projection: `identity`, `relu`, `relu6`. Dimensionless.
        pub alpha: f64 = 1.0,
        /// φ.
        pub activation: Activation = Activation::Relu,
    }
}

#[typetag::serde(name = "mondeq")]
impl LayerConfig for MondeqConfig {
    fn validate(&self) -> Result<()> {
        Error::require_positive("mondeq", "margin", self.margin)?;
        Error::require_share("mondeq", "alpha", self.alpha)?;
        let fits = self.alpha >= 1.0 || self.activation.is_projection();
        let expected = "identity, relu or relu6 where `alpha` is below 1";
        let got = format!("{:?}", self.activation);
        Error::require(fits, "mondeq", "activation", expected, got)
    }

    fn original_names(&self) -> Vec<(String, String)> {
        pairs(&[
            ("u.weight", "U.weight"),
            ("u.bias", "U.bias"),
            ("a", "A.weight"),
            ("b", "B.weight"),
        ])
    }
}

impl Build<Layers> for MondeqConfig {
    fn build<E: Scalar, D: Backend<E>>(
        &self,
        request: LayerRequest<'_, D>,
    ) -> Result<AnyLayer<E, D>> {
        self.validate()?;
        let (state, init) = (request.state, request.init);
        let limit = 1.0 / (state.max(1) as f64).sqrt();
        Ok(AnyLayer::new(Mondeq {
            u: Linear::uniform(state, one_input("mondeq", request.inputs)?, init)?,
            a: init.uniform((state, state), limit)?,
            b: init.uniform((state, state), limit)?,
            margin: self.margin,
            alpha: self.alpha,
            activation: self.activation,
        }))
    }
}

/// `f(z; x) = φ(W z + U x + b)`, `W = (1 − m) I − AᵀA + B − Bᵀ`.
#[derive(Clone)]
pub struct Mondeq<E: Scalar, D: Backend<E>> {
    /// U, `[dim, width of x]`, and b.
    pub u: Linear<E, D>,
    /// A, `[dim, dim]`.
    pub a: Matrix<E, D>,
    /// B, `[dim, dim]`.
    pub b: Matrix<E, D>,
    /// m.
    pub margin: f64,
    /// α.
    pub alpha: f64,
    /// φ.
    pub activation: Activation,
}

parameters!(Mondeq { u, a, b });

impl<E: Scalar, D: Backend<E>> ImplicitLayer<E, D> for Mondeq<E, D> {
    fn state_dim(&self) -> usize {
        self.a.shape().1
    }

    fn input_dims(&self) -> Vec<usize> {
        vec![self.u.inputs()]
    }

    /// AᵀA is never formed: four products of a row are less than one of matrices.
    fn step(&self, z: &Value<E, D>, x: &[Value<E, D>]) -> Result<Value<E, D>> {
        let square = z.product(&self.a).product_transposed(&self.a);
        let skew = z.product(&self.b) - z.product_transposed(&self.b);
        let wz = z * (1.0 - self.margin) - square + skew;
        let inner = wz + self.u.of(&x[0]);
        Ok(self.activation.of(&toward(z, inner, self.alpha)))
    }

    fn certificate(&self) -> Option<Arc<dyn Certificate>> {
        Some(Arc::new(MondeqCertificate {
            u: Dense::new(&self.u.weight),
            bias: Dense::new(&self.u.bias),
            a: Dense::new(&self.a),
            b: Dense::new(&self.b),
            margin: self.margin,
            activation: self.activation,
        }))
    }
}

/// Strong monotonicity of I − W, by the plain map: it holds for any state, by whichever splitting it was found.
struct MondeqCertificate {
    u: Dense,
    bias: Dense,
    a: Dense,
    b: Dense,
    margin: f64,
    activation: Activation,
}

impl MondeqCertificate {
    /// `H z`, where H = m I + AᵀA is the symmetric part of I − W.
    fn symmetric(&self, z: &[f64]) -> Vec<f64> {
        sum(&self.a.transposed_times(&self.a.times(z)), self.margin, z)
    }

    /// `(B − Bᵀ) z`.
    fn skew(&self, z: &[f64]) -> Vec<f64> {
        sum(&self.b.times(z), -1.0, &self.b.transposed_times(z))
    }

    /// An upper bound of ‖I − W‖₂.
    fn norm(&self) -> f64 {
        let a = self.a.norm();
        self.margin + a * a + 2.0 * self.b.norm()
    }

    /// `W z + U x + b`, and what rounding may have changed of it, in the 2-norm.
    fn inner(&self, z: &[f64], x: &[f64]) -> (Vec<f64>, f64) {
        let sz = sum(&self.symmetric(z), -1.0, &self.skew(z));
        let inner = sum(&sum(z, -1.0, &sz), 1.0, &self.u.times(x));
        let inner = sum(&inner, 1.0, self.bias.values());
        let size =
            (1.0 + self.norm()) * norm(z) + self.u.norm() * norm(x) + norm(self.bias.values());
        (inner, rounding(2 * z.len() + x.len(), size))
    }
}

impl Certificate for MondeqCertificate {
    fn bound(&self, z: &[f64], x: &[&[f64]]) -> f64 {
        let (inner, rounding) = self.inner(z, x[0]);
        let value = inner.iter().map(|&v| self.activation.at(v));
        let residual: Vec<f64> = z.iter().zip(value).map(|(z, f)| z - f).collect();
        // (I + Sᵀ) r, with Sᵀ = H + (B − Bᵀ).
        let slope = sum(&self.symmetric(&residual), 1.0, &self.skew(&residual));
        let bound = StronglyMonotone {
            margin: self.margin,
            step: 1.0,
            symmetric: &|v| self.symmetric(v),
            norm: self.norm(),
            residual: &residual,
            slope: &sum(&slope, 1.0, &residual),
            rounding,
        };
        bound.bound()
    }

    /// ‖u − u*‖ ≤ ‖r‖ + ‖W‖ ‖D r‖ / m, with D the slopes of φ and r = Wᵀ D u + v − u: D u* solves a strongly monotone equation as well.
    /// Known where φ is made of straight lines, none of which ends between z and z*.
    fn adjoint_bound(&self, z: &[f64], x: &[&[f64]], u: &[f64], v: &[f64]) -> Option<f64> {
        let (inner, off) = self.inner(z, x[0]);
        let pieces: Option<Vec<(f64, f64)>> = (inner.iter())
            .map(|&v| self.activation.straight(v))
            .collect();
        let pieces = pieces?;
        let size = 1.0 + self.norm();
        let reach = size * self.bound(z, x) + off;
        if pieces.iter().any(|&(_, room)| room <= reach) {
            return Some(f64::INFINITY);
        }
        let sloped: Vec<f64> = pieces.iter().zip(u).map(|((d, _), u)| d * u).collect();
        // Wᵀ y = y − Sᵀ y.
        let transposed = sum(&self.symmetric(&sloped), 1.0, &self.skew(&sloped));
        let product = sum(&sum(&sloped, -1.0, &transposed), 1.0, v);
        let residual = sum(&product, -1.0, u);
        let rounding = rounding(2 * u.len(), size * norm(u) + norm(v));
        let sloped: Vec<f64> = pieces
            .iter()
            .zip(&residual)
            .map(|((d, _), r)| d * r)
            .collect();
        let [whole, part] = [norm(&residual), norm(&sloped)].map(|r| r + rounding);
        Some(whole + size * part / self.margin)
    }
}
