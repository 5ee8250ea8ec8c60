//! The positive concave equilibrium.

use std::sync::Arc;

use dfdx::prelude::HasShape;
use equilibria_core::prelude::*;
use equilibria_core::AnyLayer;

use crate::certificates::{norm, rounding, Dense};
use crate::config::pairs;
use crate::projection::{change_rows, project, ConvexSet};
use crate::{one_input_like_state, Activation, LayerConfig, LayerRequest, Layers, Vocabulary};

plugin! {
    /// The positive concave equilibrium, f(z; x) = φ(W z + p(x)) with W ≥ 0, φ increasing and concave above 0, and p(x) > 0.
    ///
    /// There is exactly one z* > 0, and `picard` converges to it geometrically, however large W is. Weights below 0 are set to 0 after
    /// every step of the optimizer. What is well posed need not train: where W is large, φ is flat and gradients vanish. It takes one injected
    /// input, as wide as the state.
    ///
    /// Reference: M. Gabor et al., Positive Concave Deep Equilibrium Models, ICML 2024, §3.
    pub struct PositiveConcaveConfig: LayerConfig {
        /// φ: `tanh`, `softsign`, `relu6`, or `sigmoid`.
        pub activation: Activation = Activation::Tanh,
        /// p: how injected inputs are made positive.
        pub injection: Injection = Injection::Softplus,
        /// Standard deviation of the initial weights before their signs are taken away, above 0.
        pub deviation: f64 = 0.01,
    }
}

/// How injected inputs are made positive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Injection {
    /// `ln(1 + exp 5 x) / 5`.
    Softplus,
    /// `max(x, 0)`: for φ with φ(0) > 0, which is `sigmoid`.
    Relu,
    /// They are positive already.
    Positive,
}

/// β of the softplus.
const SHARPNESS: f64 = 5.0;

#[typetag::serde(name = "positive-concave")]
impl LayerConfig for PositiveConcaveConfig {
    fn validate(&self) -> Result<()> {
        let name = "positive-concave";
        let concave = self.activation.concave_limit().is_some();
        let expected = "tanh, softsign, relu6 or sigmoid";
        let got = format!("{:?}", self.activation);
        Error::require(concave, name, "activation", expected, got)?;
        let fits = self.injection != Injection::Relu || self.activation == Activation::Sigmoid;
        let expected = "softplus or positive, or relu before a sigmoid";
        Error::require(fits, name, "injection", expected, "relu")?;
        Error::require_positive(name, "deviation", self.deviation)
    }

    fn needs_positive(&self) -> bool {
        true
    }

    fn original_names(&self) -> Vec<(String, String)> {
        pairs(&[("w", "W.weight")])
    }
}

impl Build<Layers> for PositiveConcaveConfig {
    fn build<E: Scalar, D: Backend<E>>(
        &self,
        request: LayerRequest<'_, D>,
    ) -> Result<AnyLayer<E, D>> {
        self.validate()?;
        let (state, name) = (request.state, "positive-concave");
        one_input_like_state(name, state, request.inputs)?;
        let mut w = request.init.normal((state, state), self.deviation)?;
        change_rows(&mut w, |row| {
            row.iter_mut().for_each(|w| *w = w.abs());
            true
        })?;
        Ok(AnyLayer::new(PositiveConcave {
            w,
            activation: self.activation,
            injection: self.injection,
        }))
    }
}

/// `f(z; x) = φ(W z + p(x))`.
#[derive(Clone)]
pub struct PositiveConcave<E: Scalar, D: Backend<E>> {
    /// W ≥ 0, `[dim, dim]`.
    pub w: Matrix<E, D>,
    /// φ.
    pub activation: Activation,
    /// p.
    pub injection: Injection,
}

parameters!(PositiveConcave { w }, project = onto_positive);

impl<E: Scalar, D: Backend<E>> PositiveConcave<E, D> {
    fn onto_positive(&mut self) -> Result<()> {
        project(&mut self.w, ConvexSet::AtLeast(0.0))
    }
}

impl<E: Scalar, D: Backend<E>> ImplicitLayer<E, D> for PositiveConcave<E, D> {
    fn state_dim(&self) -> usize {
        self.w.shape().1
    }

    fn step(&self, z: &Value<E, D>, x: &[Value<E, D>]) -> Result<Value<E, D>> {
        let injected = match self.injection {
            Injection::Softplus => (&x[0] * SHARPNESS).softplus() / SHARPNESS,
            Injection::Relu => x[0].relu(),
            Injection::Positive => x[0].clone(),
        };
        Ok(self.activation.of(&(z.product(&self.w) + injected)))
    }

    fn certificate(&self) -> Option<Arc<dyn Certificate>> {
        Some(Arc::new(Enclosure {
            w: Dense::new(&self.w),
            limit: self.activation.concave_limit()?,
            activation: self.activation,
            injection: self.injection,
        }))
    }
}

/// Lower and upper states between which z* is: the map is monotone, so that it takes the ones to better ones.
struct Enclosure {
    w: Dense,
    limit: f64,
    activation: Activation,
    injection: Injection,
}

/// Applications to either end.
const STEPS: usize = 10;

impl Enclosure {
    fn injected(&self, x: f64) -> f64 {
        match self.injection {
            Injection::Softplus => Activation::Softplus.at(SHARPNESS * x) / SHARPNESS,
            Injection::Relu => x.max(0.0),
            Injection::Positive => x,
        }
    }

    /// f, and how far rounding may have changed an entry, times `sign`.
    fn apply(&self, z: &[f64], injected: &[f64], sign: f64) -> Vec<f64> {
        let inner = self.w.times(z).into_iter().zip(injected);
        // All terms are positive: the sum is its own size, and φ has slopes of at most 1.
        let off = |size: f64| sign * rounding(z.len(), 1.0 + size);
        inner
            .map(|(wz, x)| self.activation.at(wz + x) + off(wz + x))
            .collect()
    }
}

impl Certificate for Enclosure {
    fn bound(&self, z: &[f64], x: &[&[f64]]) -> f64 {
        let injected: Vec<f64> = x[0].iter().map(|&x| self.injected(x)).collect();
        let positive = |values: &[f64]| values.iter().all(|&v| v >= 0.0 && v.is_finite());
        if !(positive(&injected) && positive(self.w.values())) {
            return f64::INFINITY;
        }
        let from = z.iter().map(|z| z.max(0.0)).collect::<Vec<_>>();
        let (value, least) = (
            self.apply(&from, &injected, 0.0),
            self.apply(&vec![0.0; z.len()], &injected, -1.0),
        );
        // By concavity f(λ z) ≥ λ f(z) + (1 − λ) f(0) ≥ λ z for small λ, and the other way round for large ones.
        let (mut small, mut large) = (1.0_f64, 1.0_f64);
        for ((z, f), least) in from.iter().zip(&value).zip(&least) {
            let off = rounding(from.len(), 1.0 + z + f);
            let least = least.max(0.0);
            small = small.min(least / (least + (z - f).max(0.0) + off));
            let room = least - (f - z).max(0.0) - off;
            large = large.max(if room > 0.0 {
                least / room
            } else {
                f64::INFINITY
            });
        }
        let mut lower: Vec<f64> = from.iter().map(|z| small * z).collect();
        let mut upper: Vec<f64> = (from.iter())
            .map(|&z| {
                if z > 0.0 {
                    (large * z).min(self.limit)
                } else {
                    self.limit
                }
            })
            .collect();
        for _ in 0..STEPS {
            let better = self.apply(&lower, &injected, -1.0);
            (lower.iter_mut().zip(better)).for_each(|(old, new)| *old = old.max(new));
            let better = self.apply(&upper, &injected, 1.0);
            (upper.iter_mut().zip(better)).for_each(|(old, new)| *old = old.min(new));
        }
        let ends = z.iter().zip(lower.iter().zip(&upper));
        let errors = ends.map(|(z, (lower, upper))| (z - lower).max(upper - z).max(0.0));
        norm(&errors.collect::<Vec<_>>()) * (1.0 + rounding(z.len(), 1.0))
    }
}
