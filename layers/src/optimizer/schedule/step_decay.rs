//! Step decay of the learning rate.

use equilibria_core::{Error, Result};
use serde::{Deserialize, Serialize};

/// Learning rate × `factor`^⌊epoch / `every`⌋.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StepDecay {
    /// Epochs between two decays, at least 1.
    pub every: usize,
    /// What the learning rate is multiplied with, in (0, 1].
    pub factor: f64,
}

impl StepDecay {
    /// Checks the ranges of both fields.
    pub fn validate(&self) -> Result<()> {
        Error::require_at_least_one("decay", "every", self.every)?;
        Error::require_share("decay", "factor", self.factor)
    }

    /// The factor in epoch `epoch`, counted from 0.
    pub fn at(&self, epoch: usize) -> f64 {
        self.factor.powi((epoch / self.every) as i32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_drops_at_multiples_of_every() {
        let decay = StepDecay {
            every: 3,
            factor: 0.5,
        };
        let factors: Vec<f64> = (0..7).map(|epoch| decay.at(epoch)).collect();
        assert_eq!(factors, [1.0, 1.0, 1.0, 0.5, 0.5, 0.5, 0.25]);
        assert!(StepDecay {
            every: 0,
            factor: 0.5
        }
        .validate()
        .is_err());
        assert!(StepDecay {
            every: 1,
            factor: 1.5
        }
        .validate()
        .is_err());
    }
}
