//! BertAdam.

use equilibria_core::{Error, Result, Scalar, UpdateRule};
use serde::{Deserialize, Serialize};

use super::adam;
use super::share::{Factors, Share};

/// Adam without bias correction: `m ← β₁ m + (1 − β₁) g`, `v ← β₂ v + (1 − β₂) g²`, `w ← w − η (m / (√v + ε) + λ w)`.
///
/// The original also clips the gradient of every parameter to norm 1, and its learning rate follows a schedule: `clip_each = 1` and
/// the schedule `warmup-linear` of a training.
///
/// Reference: J. Devlin et al., BERT, NAACL 2019, appendix A.2, as in pytorch-pretrained-bert 0.6.1.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BertAdam {
    /// Learning rate η, above 0. Default: 2e-5, for the parameters of a trained BERT.
    pub rate: f64,
    /// Decay β₁ of the mean of g, in [0, 1). Default: 0.9.
    pub beta1: f64,
    /// Decay β₂ of the mean of g², in [0, 1). Default: 0.999.
    pub beta2: f64,
    /// ε, above 0, in units of g. Default: 1e-6.
    pub epsilon: f64,
    /// λ, at least 0: w shrinks by 1 − η λ. Default: 0.01.
    pub weight_decay: f64,
}

impl Default for BertAdam {
    fn default() -> Self {
        Self {
            rate: 2e-5,
            beta1: 0.9,
            beta2: 0.999,
            epsilon: 1e-6,
            weight_decay: 0.01,
        }
    }
}

impl BertAdam {
    pub(super) fn validate(&self) -> Result<()> {
        Error::require_positive("optimizer", "rate", self.rate)?;
        Error::require_fraction("optimizer", "beta1", self.beta1)?;
        Error::require_fraction("optimizer", "beta2", self.beta2)?;
        Error::require_positive("optimizer", "epsilon", self.epsilon)?;
        Error::require_not_negative("optimizer", "weight_decay", self.weight_decay)
    }

    /// The factors of one step of Adam, none of which corrects a mean.
    fn numbers(&self, factors: Factors) -> [f64; 10] {
        let rate = self.rate * factors.rate;
        [
            rate,
            1.0,
            self.epsilon,
            factors.gradient,
            0.0,
            1.0 - rate * self.weight_decay,
            self.beta1,
            self.beta2,
            1.0 - self.beta1,
            1.0 - self.beta2,
        ]
    }

    /// The rule for devices.
    pub(super) fn rule(&self, factors: Factors) -> UpdateRule {
        adam::rule_of(self.numbers(factors), factors)
    }

    pub(super) fn update<E: Scalar>(&self, share: &mut Share<'_, E>, factors: Factors) {
        adam::update_by(self.numbers(factors), share);
    }
}
