//! The non-Euclidean monotone operator network.

use std::sync::Arc;

use dfdx::prelude::HasShape;
use equilibria_core::prelude::*;
use equilibria_core::AnyLayer;

use crate::certificates::{rounding, sum, Dense};
use crate::config::pairs;
use crate::modules::Linear;
use crate::operations::toward;
use crate::{one_input, Activation, LayerConfig, LayerRequest, Layers, Vocabulary};

plugin! {
    /// The non-Euclidean monotone operator network, f(z; x) = φ(W z + U x + b) with W = m I + e^−d A e^d − diag(|A| 1).
    ///
    /// Its measure in the norm max_i e^{d_i} |z_i| is at most m < 1, so that there is exactly one z*, whatever the size of A. The plain map
    /// may expand by far; `alpha` averages it, (1 − α) z + α f(z), which contracts by 1 − α (1 − m) for α ≤ 1 / (1 − min_i W_ii): `picard` and
    /// `anderson` converge then. Without, solve by `newton-gmres`. It takes one injected input of any width.
    ///
    /// Reference: S. Jafarpour et al., Robust Implicit Networks via Non-Euclidean Contractions, NeurIPS 2021, §4-5. Its m is the measure
    /// itself, that of `mondeq` what is left to 1: 0.05 here is 0.95 there.
    pub struct NemonConfig: LayerConfig {
        /// m, below 1. Dimensionless.
        pub measure: f64 = 0.05,
        /// α, in (0, 1]. Dimensionless.
        pub alpha: f64 = 1.0,
        /// φ.
        pub activation: Activation = Activation::Relu,
    }
}

#[typetag::serde(name = "nemon")]
impl LayerConfig for NemonConfig {
    fn validate(&self) -> Result<()> {
        let proper = self.measure < 1.0 && self.measure.is_finite();
        Error::require(
            proper,
            "nemon",
            "measure",
            "finite and below 1",
            self.measure,
        )?;
        Error::require_share("nemon", "alpha", self.alpha)
    }

    fn original_names(&self) -> Vec<(String, String)> {
        pairs(&[
            ("u.weight", "U.weight"),
            ("u.bias", "U.bias"),
            ("a", "A.weight"),
            ("d", "d"),
        ])
    }
}

impl Build<Layers> for NemonConfig {
    fn build<E: Scalar, D: Backend<E>>(
        &self,
        request: LayerRequest<'_, D>,
    ) -> Result<AnyLayer<E, D>> {
        self.validate()?;
        let (state, init) = (request.state, request.init);
        let limit = 1.0 / (state.max(1) as f64).sqrt();
        Ok(AnyLayer::new(Nemon {
            u: Linear::uniform(state, one_input("nemon", request.inputs)?, init)?,
            a: init.uniform((state, state), limit)?,
            d: init.constant((1, state), 0.0)?,
            measure: self.measure,
            alpha: self.alpha,
            activation: self.activation,
        }))
    }
}

/// `f(z; x) = φ(W z + U x + b)`, `W = m I + e^−d A e^d − diag(|A| 1)`.
#[derive(Clone)]
pub struct Nemon<E: Scalar, D: Backend<E>> {
    /// U, `[dim, width of x]`, and b.
    pub u: Linear<E, D>,
    /// A, `[dim, dim]`.
    pub a: Matrix<E, D>,
    /// d, `[1, dim]`.
    pub d: Matrix<E, D>,
    /// m.
    pub measure: f64,
    /// α.
    pub alpha: f64,
    /// φ.
    pub activation: Activation,
}

parameters!(Nemon { u, a, d });

impl<E: Scalar, D: Backend<E>> ImplicitLayer<E, D> for Nemon<E, D> {
    fn state_dim(&self) -> usize {
        self.a.shape().1
    }

    fn input_dims(&self) -> Vec<usize> {
        vec![self.u.inputs()]
    }

    fn step(&self, z: &Value<E, D>, x: &[Value<E, D>]) -> Result<Value<E, D>> {
        let weight = z.broadcast(&self.d).exp();
        let mixed = (z * &weight).product(&self.a) / weight;
        let wz = z * self.measure + mixed - z * z.row_norms(&self.a);
        let value = self.activation.of(&(wz + self.u.of(&x[0])));
        Ok(toward(z, value, self.alpha))
    }

    fn certificate(&self) -> Option<Arc<dyn Certificate>> {
        let (a, d) = (Dense::new(&self.a), Dense::new(&self.d));
        let sums = a.rows().map(|row| row.iter().map(|a| a.abs()).sum());
        Some(Arc::new(WeightedContraction {
            u: Dense::new(&self.u.weight),
            bias: Dense::new(&self.u.bias),
            sums: sums.collect(),
            weight: d.values().iter().map(|d| d.exp()).collect(),
            a,
            measure: self.measure,
            activation: self.activation,
        }))
    }
}

/// `|z − z*| ≤ |z − f(z)| / (1 − m)` in the norm max_i e^{d_i} |z_i|, by the plain map.
struct WeightedContraction {
    u: Dense,
    bias: Dense,
    a: Dense,
    /// `|A| 1`.
    sums: Vec<f64>,
    /// `e^d`.
    weight: Vec<f64>,
    measure: f64,
    activation: Activation,
}

impl Certificate for WeightedContraction {
    fn bound(&self, z: &[f64], x: &[&[f64]]) -> f64 {
        let weighted: Vec<f64> = z.iter().zip(&self.weight).map(|(z, w)| z * w).collect();
        let injected = sum(&self.u.times(x[0]), 1.0, self.bias.values());
        let rows = self.a.rows().zip(self.u.rows()).enumerate();
        let mut bound: f64 = 0.0;
        for (i, (a, u)) in rows {
            let (w, z_i) = (self.weight[i], z[i]);
            let mixed: f64 = a.iter().zip(&weighted).map(|(a, z)| a * z).sum();
            let inner = (self.measure - self.sums[i]) * z_i + mixed / w + injected[i];
            let sizes = a.iter().zip(&weighted).map(|(a, z)| (a * z).abs());
            let size = sizes.sum::<f64>() / w
                + (1.0 + self.measure.abs() + self.sums[i]) * z_i.abs()
                + u.iter().zip(x[0]).map(|(u, x)| (u * x).abs()).sum::<f64>()
                + self.bias.values()[i].abs();
            let off = rounding(z.len() + x[0].len(), size);
            let residual = (z_i - self.activation.at(inner)).abs() + off;
            if !residual.is_finite() {
                return f64::INFINITY;
            }
            bound = bound.max(w * residual);
        }
        bound / (1.0 - self.measure) * (1.0 + rounding(z.len(), 1.0))
    }

    fn norm(&self, difference: &[f64]) -> f64 {
        let weighted = difference.iter().zip(&self.weight);
        weighted.map(|(e, w)| w * e.abs()).fold(0.0, f64::max)
    }
}
