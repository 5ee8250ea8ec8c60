//! Linear decay.

use serde::{Deserialize, Serialize};

use super::Moment;

/// Learning rate × max(1 − x, 0), where x is the share of the training that is over.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Linear {}

impl Linear {
    /// The factor at a moment.
    pub fn at(&self, moment: Moment) -> f64 {
        (1.0 - moment.share()).max(0.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_falls_to_zero() {
        let at = |step| {
            Linear {}.at(Moment {
                epoch: 0,
                step,
                steps: 4,
            })
        };
        let factors: Vec<f64> = [0, 1, 4, 5].into_iter().map(at).collect();
        assert_eq!(factors, [1.0, 0.75, 0.0, 0.0]);
    }
}
