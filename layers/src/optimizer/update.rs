//! One optimizer step over all parameters.

use dfdx::prelude::Gradients;
use equilibria_core::{to_host, Backend, Parameters, Result, Scalar};
use serde::{Deserialize, Serialize};

use super::adam::{Adam, Decay};
use super::sgd::Sgd;

/// An update rule with its hyperparameters, by name: `{ type = "adam", rate = 1e-3 }`. Defaults are those of PyTorch.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
#[serde(expecting = "a table such as `{ type = \"adam\", rate = 1e-3 }`")]
pub enum OptimizerConfig {
    /// Stochastic gradient descent with momentum.
    Sgd(Sgd),
    /// Adam with an L2 penalty.
    Adam(Adam),
    /// Adam with decoupled weight decay.
    AdamW(Adam),
}

impl Default for OptimizerConfig {
    fn default() -> Self {
        Self::Adam(Adam::default())
    }
}

impl OptimizerConfig {
    /// Checks the ranges of all fields.
    pub fn validate(&self) -> Result<()> {
        match self {
            Self::Sgd(sgd) => sgd.validate(),
            Self::Adam(adam) | Self::AdamW(adam) => adam.validate(),
        }
    }

    /// Updates one parameter; `steps` counts this one.
    fn update<E: Scalar>(
        &self,
        values: &mut [E],
        gradient: &[E],
        moments: &mut Moments<E>,
        factors: Factors,
        steps: i32,
    ) {
        match self {
            Self::Sgd(sgd) => sgd.update(values, gradient, moments, factors),
            Self::Adam(adam) => {
                adam.update(values, gradient, moments, factors, steps, Decay::Penalty);
            }
            Self::AdamW(adam) => {
                adam.update(values, gradient, moments, factors, steps, Decay::Decoupled);
            }
        }
    }
}

/// What one step multiplies by, for all parameters.
#[derive(Debug, Clone, Copy)]
pub(super) struct Factors {
    /// The learning rate: the schedule.
    pub rate: f64,
    /// Gradients: clipping.
    pub gradient: f64,
}

/// An update rule at work: remembers its running means, one pair of vectors per parameter.
///
/// The update runs on the host; on CUDA that costs one transfer of parameters and gradients per step.
pub struct Optimizer<E> {
    config: OptimizerConfig,
    steps: i32,
    moments: Vec<Moments<E>>,
}

/// Running means of one parameter; empty until they are needed.
#[derive(Default)]
pub(super) struct Moments<E> {
    pub first: Vec<E>,
    pub second: Vec<E>,
}

impl<E: Scalar> Optimizer<E> {
    /// A fresh optimizer.
    ///
    /// # Errors
    /// [`Error::Config`](equilibria_core::Error::Config) for a field out of range.
    pub fn new(config: OptimizerConfig) -> Result<Self> {
        config.validate()?;
        Ok(Self {
            config,
            steps: 0,
            moments: Vec::new(),
        })
    }

    /// What the next step depends on beside the parameters: the number of steps so far, and the running means of every
    /// parameter, first and second; empty where the rule keeps none.
    pub fn state(&self) -> (usize, impl Iterator<Item = [&[E]; 2]>) {
        let moments = self.moments.iter();
        (
            self.steps as usize,
            moments.map(|moments| [&moments.first[..], &moments.second[..]]),
        )
    }

    /// An optimizer that goes on from a [`state`](Self::state).
    ///
    /// # Errors
    /// Those of [`new`](Self::new).
    pub fn resume(
        config: OptimizerConfig,
        steps: usize,
        means: impl IntoIterator<Item = [Vec<E>; 2]>,
    ) -> Result<Self> {
        let moments = means.into_iter();
        Ok(Self {
            steps: i32::try_from(steps).unwrap_or(i32::MAX),
            moments: moments
                .map(|[first, second]| Moments { first, second })
                .collect(),
            ..Self::new(config)?
        })
    }

    /// Updates every parameter. The learning rate is multiplied by `rate_factor` (schedule), the gradients by
    /// `gradient_factor` (clipping). A parameter without a gradient counts as having a zero one.
    pub fn step<D: Backend<E>>(
        &mut self,
        parameters: &mut (impl Parameters<E, D> + ?Sized),
        gradients: &mut Gradients<E, D>,
        rate_factor: f64,
        gradient_factor: f64,
    ) -> Result<()> {
        self.steps += 1;
        let factors = Factors {
            rate: rate_factor,
            gradient: gradient_factor,
        };
        let mut index = 0;
        let mut outcome = Ok(());
        parameters.visit_mut("", &mut |_, tensor| {
            if outcome.is_err() {
                return;
            }
            let mut values = to_host(tensor);
            if self.moments.len() == index {
                self.moments.push(Moments::default());
            }
            let (config, moments) = (&self.config, &mut self.moments[index]);
            outcome = D::with_gradient(gradients, tensor, |gradient| {
                config.update(&mut values, gradient, moments, factors, self.steps);
            });
            tensor.copy_from(&values);
            index += 1;
        });
        outcome
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use approx::assert_relative_eq;

    fn run(config: OptimizerConfig, gradients: &[f64]) -> f64 {
        let (mut w, mut moments) = ([1.0], Moments::default());
        for (step, &g) in gradients.iter().enumerate() {
            let factors = Factors {
                rate: 1.0,
                gradient: 1.0,
            };
            config.update(&mut w, &[g], &mut moments, factors, step as i32 + 1);
        }
        w[0]
    }

    fn adam(weight_decay: f64) -> Adam {
        Adam {
            rate: 0.1,
            weight_decay,
            ..Adam::default()
        }
    }

    /// v₁ = 2, w = 0.8; v₂ = 0.5·2 + 1 = 2, w = 0.6.
    #[test]
    fn sgd_accumulates_momentum() {
        let config = OptimizerConfig::Sgd(Sgd {
            rate: 0.1,
            momentum: 0.5,
            weight_decay: 0.0,
        });
        assert_relative_eq!(run(config, &[2.0, 1.0]), 0.6, epsilon = 1e-15);
    }

    /// The first step of Adam is η g / (|g| + ε), whatever the size of g.
    #[test]
    fn the_first_step_of_adam_is_the_learning_rate() {
        let config = |decay| OptimizerConfig::Adam(adam(decay));
        assert_relative_eq!(run(config(0.0), &[3.0]), 0.9, epsilon = 1e-8);
        // With λ = 1 the gradient −1 is cancelled by the penalty on w = 1: no step.
        assert_relative_eq!(run(config(1.0), &[-1.0]), 1.0, epsilon = 1e-8);
    }

    /// Decoupled decay shrinks w by (1 − η λ) and leaves the step alone.
    #[test]
    fn adamw_decays_apart_from_the_gradient() {
        let config = OptimizerConfig::AdamW(adam(0.5));
        assert_relative_eq!(run(config, &[3.0]), 0.95 - 0.1, epsilon = 1e-8);
    }

    #[test]
    fn fields_out_of_range_are_named() {
        let config = OptimizerConfig::Sgd(Sgd {
            momentum: 1.0,
            ..Sgd::default()
        });
        let message = config.validate().expect_err("momentum 1").to_string();
        assert_eq!(message, "`optimizer`: `momentum` must be in [0, 1), got 1");
    }

    #[test]
    fn names_and_unknown_keys() {
        let parse = serde_json::from_str::<OptimizerConfig>;
        let adamw = parse(r#"{"type": "adamw", "rate": 0.1, "weight_decay": 0.5}"#);
        assert_eq!(adamw.expect("known"), OptimizerConfig::AdamW(adam(0.5)));
        let error = parse(r#"{"type": "sgd", "momntum": 0.5}"#).expect_err("unknown");
        assert!(
            error.to_string().contains("unknown field `momntum`"),
            "{error}"
        );
    }
}
