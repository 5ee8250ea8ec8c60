//! Stochastic gradient descent.

use equilibria_core::{vectorized, Error, Result, Scalar, UpdateRule};
use serde::{Deserialize, Serialize};

use super::share::{Factors, Share};

/// Stochastic gradient descent with momentum: `v ← μ v + g + λ w`, `w ← w − η v`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Sgd {
    /// Learning rate η, above 0. Default: 0.01.
    pub rate: f64,
    /// Momentum μ in [0, 1). Default: 0.
    pub momentum: f64,
    /// L2 penalty λ, at least 0. Default: 0.
    pub weight_decay: f64,
}

impl Default for Sgd {
    fn default() -> Self {
        Self {
            rate: 1e-2,
            momentum: 0.0,
            weight_decay: 0.0,
        }
    }
}

impl Sgd {
    pub(super) fn validate(&self) -> Result<()> {
        Error::require_positive("optimizer", "rate", self.rate)?;
        Error::require_fraction("optimizer", "momentum", self.momentum)?;
        Error::require_not_negative("optimizer", "weight_decay", self.weight_decay)
    }

    /// The update rule, for devices.
    pub(super) fn rule(&self, factors: Factors) -> UpdateRule {
        let mut numbers = [0.0; 10];
        let all = [
            self.rate * factors.rate,
            self.momentum,
            self.weight_decay,
            factors.gradient,
        ];
        numbers[..all.len()].copy_from_slice(&all);
        UpdateRule {
            code: "m = c(1) * m + c(3) * g + c(2) * w; w -= c(0) * m",
            numbers,
            decay: factors.decay,
        }
    }

    pub(super) fn update<E: Scalar>(&self, share: &mut Share<'_, E>, factors: Factors) {
        descend(
            share.values,
            share.gradient,
            share.first,
            E::of(self.rate * factors.rate),
            E::of(self.momentum),
            E::of(self.weight_decay),
            E::of(factors.gradient),
        );
    }
}

vectorized! {
    /// `v ← μ v + g + λ w`, `w ← w − η v`.
    fn descend<'a, E, S>(
        _simd: S,
        values: &'a mut [E],
        gradient: &'a [E],
        first: &'a mut [E],
        rate: E,
        momentum: E,
        decay: E,
        scale: E,
    ) {
        for ((w, &g), v) in values.iter_mut().zip(gradient).zip(first) {
            *v = momentum * *v + scale * g + decay * *w;
            *w -= rate * *v;
        }
    }
}
