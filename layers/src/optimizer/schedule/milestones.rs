//! Warm-up by epochs, and a decay at some of them, as MCAN is trained.

use equilibria_core::{Error, Result};
use serde::{Deserialize, Serialize};

use super::Moment;

/// Learning rate × (e + 1) / (warmup + 1) in the first `warmup` epochs e = 0, 1, …, and × `factor` from each epoch in `at` on.
///
/// Reference: Z. Yu et al., Deep Modular Co-Attention Networks, CVPR 2019, section 5.2, as in its authors' program: 3 epochs of warm-up,
/// and a factor of 0.2 from epochs 10 and 12 on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Milestones {
    /// Epochs in which the rate rises. Default: 0.
    #[serde(default)]
    pub warmup: usize,
    /// Epochs, from 0, from which on it is lower.
    pub at: Vec<usize>,
    /// What it is multiplied with there, in (0, 1].
    pub factor: f64,
}

impl Milestones {
    /// Checks the ranges of all fields.
    ///
    /// # Errors
    /// [`Error::Config`], with the field.
    pub fn validate(&self) -> Result<()> {
        Error::require_share("schedule", "factor", self.factor)
    }

    /// The factor at a moment.
    pub fn at(&self, moment: Moment) -> f64 {
        let epoch = moment.epoch;
        let risen = (epoch + 1).min(self.warmup + 1) as f64 / (self.warmup + 1) as f64;
        let passed = self.at.iter().filter(|&&from| epoch >= from).count();
        risen * self.factor.powi(passed as i32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_rises_for_some_epochs_and_falls_at_some() {
        let schedule = Milestones {
            warmup: 3,
            at: vec![5, 6],
            factor: 0.5,
        };
        let at = |epoch| {
            schedule.at(Moment {
                epoch,
                step: 7,
                steps: 9,
            })
        };
        let expected = [0.25, 0.5, 0.75, 1.0, 1.0, 0.5, 0.25, 0.25];
        let factors: Vec<f64> = (0..8).map(at).collect();
        assert_eq!(factors, expected);
        let wrong = Milestones {
            factor: 0.0,
            ..schedule
        };
        assert!(wrong.validate().is_err());
    }
}
