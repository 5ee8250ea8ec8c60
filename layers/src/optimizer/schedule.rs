//! Schedules of the learning rate: what it is multiplied with, step by step.

mod linear;
mod milestones;
mod step_decay;
mod warmup_linear;

pub use linear::Linear;
pub use milestones::Milestones;
pub use step_decay::StepDecay;
pub use warmup_linear::WarmupLinear;

use equilibria_core::Result;
use serde::{Deserialize, Serialize};

/// How far a training has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// Number of the epoch, from 0.
    pub epoch: usize,
    /// Number of the step in the whole training, from 0.
    pub step: usize,
    /// Steps of whole batches in the whole training, at least 1; there are more where rows are left over.
    pub steps: usize,
}

impl Moment {
    /// The share of the training that is over: 0 in the first step.
    pub fn share(&self) -> f64 {
        self.step as f64 / self.steps.max(1) as f64
    }
}

/// A schedule by name: `{ type = "warmup-linear", warmup = 0.1 }`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
#[serde(expecting = "a table such as `{ type = \"linear\" }`")]
pub enum Schedule {
    /// Falls to 0.
    Linear(Linear),
    /// Rises from 0, then falls to 0.
    WarmupLinear(WarmupLinear),
    /// Rises for some epochs, and falls at some.
    Milestones(Milestones),
}

impl Schedule {
    /// Checks the ranges of all fields.
    ///
    /// # Errors
    /// [`Error::Config`](equilibria_core::Error::Config), with the field.
    pub fn validate(&self) -> Result<()> {
        match self {
            Self::Linear(_) => Ok(()),
            Self::WarmupLinear(schedule) => schedule.validate(),
            Self::Milestones(schedule) => schedule.validate(),
        }
    }

    /// The factor at a moment.
    pub fn at(&self, moment: Moment) -> f64 {
        match self {
            Self::Linear(schedule) => schedule.at(moment),
            Self::WarmupLinear(schedule) => schedule.at(moment),
            Self::Milestones(schedule) => schedule.at(moment),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use equilibria_core::serde_json;

    #[test]
    fn names_and_unknown_keys() {
        let parse = serde_json::from_str::<Schedule>;
        let linear = parse(r#"{"type": "linear"}"#).expect("known");
        assert_eq!(linear, Schedule::Linear(Linear {}));
        let warm = parse(r#"{"type": "warmup-linear"}"#).expect("known");
        assert_eq!(warm, Schedule::WarmupLinear(WarmupLinear::default()));
        assert!(parse(r#"{"type": "linear", "warmup": 1}"#).is_err());
        assert!(parse(r#"{"type": "cosine"}"#).is_err());
    }
}
