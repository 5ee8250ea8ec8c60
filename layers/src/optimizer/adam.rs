//! Adam and AdamW.

use equilibria_core::{vectorized, Error, Result, Scalar, UpdateRule};
use serde::{Deserialize, Serialize};

use super::share::{Factors, Share};

/// Adam: `m ← β₁ m + (1 − β₁) g`, `v ← β₂ v + (1 − β₂) g²`, `w ← w − η m̂ / (√v̂ + ε)` with bias-corrected means.
///
/// Reference: D. P. Kingma, J. Ba, Adam, ICLR 2015, algorithm 1. Decoupled weight decay: I. Loshchilov, F. Hutter,
/// Decoupled Weight Decay Regularization, ICLR 2019, algorithm 2.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Adam {
    /// Learning rate η, above 0. Default: 1e-3.
    pub rate: f64,
    /// Decay β₁ of the mean of g, in [0, 1). Default: 0.9.
    pub beta1: f64,
    /// Decay β₂ of the mean of g², in [0, 1). Default: 0.999.
    pub beta2: f64,
    /// ε, above 0, in units of g. Default: 1e-8.
    pub epsilon: f64,
    /// λ, at least 0: `adam` adds λ w to the gradient, `adamw` shrinks w by 1 − η λ instead. Default: 0.
    pub weight_decay: f64,
}

impl Default for Adam {
    fn default() -> Self {
        Self {
            rate: 1e-3,
            beta1: 0.9,
            beta2: 0.999,
            epsilon: 1e-8,
            weight_decay: 0.0,
        }
    }
}

/// Where weight decay enters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Decay {
    /// In the gradient, as an L2 penalty.
    Penalty,
    /// Beside the update.
    Decoupled,
}

impl Adam {
    pub(super) fn validate(&self) -> Result<()> {
        Error::require_positive("optimizer", "rate", self.rate)?;
        Error::require_fraction("optimizer", "beta1", self.beta1)?;
        Error::require_fraction("optimizer", "beta2", self.beta2)?;
        Error::require_positive("optimizer", "epsilon", self.epsilon)?;
        Error::require_not_negative("optimizer", "weight_decay", self.weight_decay)
    }

    /// The factors of one step, in the order of [`Rule`].
    fn numbers(&self, factors: Factors, decay: Decay) -> [f64; 10] {
        let rate = self.rate * factors.rate;
        let (penalty, shrink) = match decay {
            Decay::Penalty => (self.weight_decay, 1.0),
            Decay::Decoupled => (0.0, 1.0 - rate * self.weight_decay),
        };
        [
            rate / (1.0 - self.beta1.powi(factors.steps)),
            1.0 / (1.0 - self.beta2.powi(factors.steps)).sqrt(),
            self.epsilon,
            factors.gradient,
            penalty,
            shrink,
            self.beta1,
            self.beta2,
            1.0 - self.beta1,
            1.0 - self.beta2,
        ]
    }

    /// The rule for devices.
    pub(super) fn rule(&self, factors: Factors, decay: Decay) -> UpdateRule {
        rule_of(self.numbers(factors, decay), factors)
    }

    pub(super) fn update<E: Scalar>(
        &self,
        share: &mut Share<'_, E>,
        factors: Factors,
        decay: Decay,
    ) {
        update_by(self.numbers(factors, decay), share);
    }
}

/// The rule for devices with these factors, in the order of [`Rule`].
pub(super) fn rule_of(numbers: [f64; 10], factors: Factors) -> UpdateRule {
    UpdateRule {
        code: "g = c(3) * g + c(4) * w; m = c(6) * m + c(8) * g; v = c(7) * v + c(9) * g * g; \
               w = c(5) * w - c(0) * m / (sqrt(v) * c(1) + c(2))",
        numbers,
        decay: factors.decay,
    }
}

/// Updates some numbers with these factors, in the order of [`Rule`].
pub(super) fn update_by<E: Scalar>(numbers: [f64; 10], share: &mut Share<'_, E>) {
    let numbers = numbers.map(E::of);
    let [rate, correction, epsilon, scale, penalty, shrink, old1, old2, new1, new2] = numbers;
    let rule = Rule {
        rate,
        correction,
        epsilon,
        scale,
        penalty,
        shrink,
        old_shares: [old1, old2],
        new_shares: [new1, new2],
    };
    descend(
        share.values,
        share.gradient,
        share.first,
        share.second,
        &rule,
    );
}

/// The factors of one step.
struct Rule<E> {
    /// η over 1 − β₁ᵗ.
    rate: E,
    /// 1 over the root of 1 − β₂ᵗ.
    correction: E,
    epsilon: E,
    /// Of gradients.
    scale: E,
    penalty: E,
    /// What w is multiplied by beside the update.
    shrink: E,
    /// β₁ and β₂.
    old_shares: [E; 2],
    /// 1 − β₁ and 1 − β₂.
    new_shares: [E; 2],
}

vectorized! {
    fn descend<'a, E, S>(
        _simd: S,
        values: &'a mut [E],
        gradient: &'a [E],
        first: &'a mut [E],
        second: &'a mut [E],
        rule: &'a Rule<E>,
    ) {
        let Rule { rate, correction, epsilon, scale, penalty, shrink, old_shares, new_shares } = *rule;
        let means = first.iter_mut().zip(second);
        for ((w, &g), (first, second)) in values.iter_mut().zip(gradient).zip(means) {
            let g = scale * g + penalty * *w;
            *first = old_shares[0] * *first + new_shares[0] * g;
            *second = old_shares[1] * *second + new_shares[1] * g * g;
            *w = shrink * *w - rate * *first / (second.sqrt() * correction + epsilon);
        }
    }
}
