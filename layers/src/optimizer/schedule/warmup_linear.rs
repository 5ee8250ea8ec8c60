//! Warm-up and linear decay, as BERT is trained.

use equilibria_core::{Error, Result};
use serde::{Deserialize, Serialize};

use super::Moment;

/// Learning rate × x / warmup while x < warmup, then × (1 − x), where x is the share of the training that is over.
///
/// The first step has rate 0, and the rate falls by a jump from 1 to 1 − warmup. Where rows are left over the last rates are slightly
/// negative, since x counts steps of whole batches: so it is in the original.
///
/// Reference: `warmup_linear` of pytorch-pretrained-bert 0.6.1.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WarmupLinear {
    /// Share of the training in which the rate rises, in [0, 1). Default: 0.1.
    pub warmup: f64,
}

impl Default for WarmupLinear {
    fn default() -> Self {
        Self { warmup: 0.1 }
    }
}

impl WarmupLinear {
    /// Checks the range of its field.
    ///
    /// # Errors
    /// [`Error::Config`], with the field.
    pub fn validate(&self) -> Result<()> {
        Error::require_fraction("schedule", "warmup", self.warmup)
    }

    /// The factor at a moment.
    pub fn at(&self, moment: Moment) -> f64 {
        let x = moment.share();
        match x < self.warmup {
            true => x / self.warmup,
            false => 1.0 - x,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 16 rows in batches of 5: steps of whole batches are 3 of 4.
    #[test]
    fn the_rate_rises_jumps_and_falls_below_zero() {
        let schedule = WarmupLinear { warmup: 0.5 };
        let at = |step| {
            schedule.at(Moment {
                epoch: 0,
                step,
                steps: 4,
            })
        };
        let factors: Vec<f64> = (0..6).map(at).collect();
        assert_eq!(factors, [0.0, 0.5, 0.5, 0.25, 0.0, -0.25]);
        assert!(WarmupLinear { warmup: 1.0 }.validate().is_err());
    }
}
