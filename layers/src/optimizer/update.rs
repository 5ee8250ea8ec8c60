//! Update rules: SGD with momentum, Adam and AdamW.

use dfdx::prelude::Gradients;
use equilibria_core::{to_host, Backend, Error, Parameters, Result, Scalar};
use serde::{Deserialize, Serialize};

/// An update rule with its hyperparameters. Defaults are those of PyTorch.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case", deny_unknown_fields)]
pub enum OptimizerConfig {
    /// `v ← μ v + g + λ w`, `w ← w − η v`.
    Sgd {
        /// Learning rate η, above 0.
        rate: f64,
        /// Momentum μ in [0, 1).
        #[serde(default)]
        momentum: f64,
        /// L2 penalty λ, at least 0.
        #[serde(default)]
        weight_decay: f64,
    },
    /// Adam with L2 penalty: `λ w` is added to the gradient.
    ///
    /// Reference: D. P. Kingma, J. Ba, Adam, ICLR 2015, algorithm 1.
    Adam {
        /// Learning rate η, above 0.
        rate: f64,
        /// Decay of the mean of g, in [0, 1).
        #[serde(default = "beta1")]
        beta1: f64,
        /// Decay of the mean of g², in [0, 1).
        #[serde(default = "beta2")]
        beta2: f64,
        /// Added to the root of the mean of g², above 0, in units of g.
        #[serde(default = "epsilon")]
        epsilon: f64,
        /// L2 penalty λ, at least 0.
        #[serde(default)]
        weight_decay: f64,
    },
    /// Adam with decoupled weight decay: `w ← (1 − η λ) w` beside the update.
    ///
    /// Reference: I. Loshchilov, F. Hutter, Decoupled Weight Decay Regularization, ICLR 2019, algorithm 2.
    #[serde(rename = "adamw")]
    AdamW {
        /// Learning rate η, above 0.
        rate: f64,
        /// Decay of the mean of g, in [0, 1).
        #[serde(default = "beta1")]
        beta1: f64,
        /// Decay of the mean of g², in [0, 1).
        #[serde(default = "beta2")]
        beta2: f64,
        /// Added to the root of the mean of g², above 0, in units of g.
        #[serde(default = "epsilon")]
        epsilon: f64,
        /// Decoupled decay λ, at least 0.
        #[serde(default)]
        weight_decay: f64,
    },
}

fn beta1() -> f64 {
    0.9
}

fn beta2() -> f64 {
    0.999
}

fn epsilon() -> f64 {
    1e-8
}

impl OptimizerConfig {
    /// Checks the ranges of all fields.
    pub fn validate(&self) -> Result<()> {
        let check = |holds, field, expected, got: f64| {
            Error::require(holds, "optimizer", field, expected, got)
        };
        let fraction =
            |field, value: f64| check((0.0..1.0).contains(&value), field, "in [0, 1)", value);
        let positive = |field, value: f64| {
            check(
                value > 0.0 && value.is_finite(),
                field,
                "finite and above 0",
                value,
            )
        };
        let (rate, weight_decay) = match *self {
            Self::Sgd {
                rate,
                momentum,
                weight_decay,
            } => {
                fraction("momentum", momentum)?;
                (rate, weight_decay)
            }
            Self::Adam {
                rate,
                beta1,
                beta2,
                epsilon,
                weight_decay,
            }
            | Self::AdamW {
                rate,
                beta1,
                beta2,
                epsilon,
                weight_decay,
            } => {
                fraction("beta1", beta1)?;
                fraction("beta2", beta2)?;
                positive("epsilon", epsilon)?;
                (rate, weight_decay)
            }
        };
        positive("rate", rate)?;
        let decays = weight_decay >= 0.0 && weight_decay.is_finite();
        check(
            decays,
            "weight_decay",
            "finite and at least 0",
            weight_decay,
        )
    }
}

/// An update rule at work: remembers its running means, one pair of vectors per parameter.
///
/// The update runs on the host; on CUDA that costs one transfer of parameters and gradients per step.
pub struct Optimizer<E> {
    config: OptimizerConfig,
    steps: i32,
    moments: Vec<Moments<E>>,
}

/// Running means of one parameter.
#[derive(Default)]
struct Moments<E> {
    first: Vec<E>,
    second: Vec<E>,
}

impl<E: Scalar> Optimizer<E> {
    /// A fresh optimizer.
    ///
    /// # Errors
    /// [`Error::Config`] for a field out of range.
    pub fn new(config: OptimizerConfig) -> Result<Self> {
        config.validate()?;
        Ok(Self {
            config,
            steps: 0,
            moments: Vec::new(),
        })
    }

    /// Updates every parameter. The learning rate is multiplied by `rate_factor` (schedule), the gradients by
    /// `gradient_factor` (clipping). A parameter without a gradient counts as having a zero one.
    pub fn step<D: Backend<E>>(
        &mut self,
        parameters: &mut impl Parameters<E, D>,
        gradients: &mut Gradients<E, D>,
        rate_factor: f64,
        gradient_factor: f64,
    ) -> Result<()> {
        self.steps += 1;
        let mut index = 0;
        let mut outcome = Ok(());
        parameters.visit_mut("", &mut |_, tensor| {
            if outcome.is_err() {
                return;
            }
            if let Err(error) = gradients.try_alloc_for(tensor) {
                outcome = Err(Error::device(error));
                return;
            }
            let mut gradient = to_host(&gradients.get(tensor));
            let factor = E::of(gradient_factor);
            gradient.iter_mut().for_each(|g| *g *= factor);
            let mut values = to_host(tensor);
            if self.moments.len() == index {
                self.moments.push(Moments::default());
            }
            self.config.update(
                &mut values,
                &gradient,
                &mut self.moments[index],
                rate_factor,
                self.steps,
            );
            tensor.copy_from(&values);
            index += 1;
        });
        outcome
    }
}

impl OptimizerConfig {
    fn update<E: Scalar>(
        &self,
        values: &mut [E],
        gradient: &[E],
        moments: &mut Moments<E>,
        rate_factor: f64,
        steps: i32,
    ) {
        moments.first.resize(values.len(), E::zero());
        match *self {
            Self::Sgd {
                rate,
                momentum,
                weight_decay,
            } => {
                let (rate, momentum) = (E::of(rate * rate_factor), E::of(momentum));
                let decay = E::of(weight_decay);
                for ((w, &g), v) in values.iter_mut().zip(gradient).zip(&mut moments.first) {
                    *v = momentum * *v + g + decay * *w;
                    *w -= rate * *v;
                }
            }
            Self::Adam {
                rate,
                beta1,
                beta2,
                epsilon,
                weight_decay,
            } => {
                let betas = (beta1, beta2);
                adam(
                    values,
                    gradient,
                    moments,
                    rate * rate_factor,
                    betas,
                    epsilon,
                    weight_decay,
                    steps,
                );
            }
            Self::AdamW {
                rate,
                beta1,
                beta2,
                epsilon,
                weight_decay,
            } => {
                let keep = E::of(1.0 - rate * rate_factor * weight_decay);
                values.iter_mut().for_each(|w| *w *= keep);
                let betas = (beta1, beta2);
                adam(
                    values,
                    gradient,
                    moments,
                    rate * rate_factor,
                    betas,
                    epsilon,
                    0.0,
                    steps,
                );
            }
        }
    }
}

/// Algorithm 1 of Kingma and Ba, with an L2 penalty.
#[allow(clippy::too_many_arguments)]
fn adam<E: Scalar>(
    values: &mut [E],
    gradient: &[E],
    moments: &mut Moments<E>,
    rate: f64,
    (beta1, beta2): (f64, f64),
    epsilon: f64,
    penalty: f64,
    steps: i32,
) {
    moments.second.resize(values.len(), E::zero());
    let rate = E::of(rate / (1.0 - beta1.powi(steps)));
    let correction = E::of(1.0 / (1.0 - beta2.powi(steps)).sqrt());
    let (epsilon, penalty) = (E::of(epsilon), E::of(penalty));
    let (keep1, keep2) = (E::of(beta1), E::of(beta2));
    let (take1, take2) = (E::of(1.0 - beta1), E::of(1.0 - beta2));
    let means = moments.first.iter_mut().zip(&mut moments.second);
    for ((w, &g), (first, second)) in values.iter_mut().zip(gradient).zip(means) {
        let g = g + penalty * *w;
        *first = keep1 * *first + take1 * g;
        *second = keep2 * *second + take2 * g * g;
        *w -= rate * *first / (second.sqrt() * correction + epsilon);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use approx::assert_relative_eq;

    fn run(config: OptimizerConfig, gradients: &[f64]) -> f64 {
        let (mut w, mut moments) = ([1.0], Moments::default());
        for (step, &g) in gradients.iter().enumerate() {
            config.update(&mut w, &[g], &mut moments, 1.0, step as i32 + 1);
        }
        w[0]
    }

    /// v₁ = 2, w = 0.8; v₂ = 0.5·2 + 1 = 2, w = 0.6.
    #[test]
    fn sgd_accumulates_momentum() {
        let config = OptimizerConfig::Sgd {
            rate: 0.1,
            momentum: 0.5,
            weight_decay: 0.0,
        };
        assert_relative_eq!(run(config, &[2.0, 1.0]), 0.6, epsilon = 1e-15);
    }

    /// The first step of Adam is η g / (|g| + ε), whatever the size of g.
    #[test]
    fn the_first_step_of_adam_is_the_learning_rate() {
        let config = |decay| OptimizerConfig::Adam {
            rate: 0.1,
            beta1: 0.9,
            beta2: 0.999,
            epsilon: 1e-8,
            weight_decay: decay,
        };
        assert_relative_eq!(run(config(0.0), &[3.0]), 0.9, epsilon = 1e-8);
        // With λ = 1 the gradient −1 is cancelled by the penalty on w = 1: no step.
        assert_relative_eq!(run(config(1.0), &[-1.0]), 1.0, epsilon = 1e-8);
    }

    /// Decoupled decay shrinks w by (1 − η λ) and leaves the step alone.
    #[test]
    fn adamw_decays_apart_from_the_gradient() {
        let config = OptimizerConfig::AdamW {
            rate: 0.1,
            beta1: 0.9,
            beta2: 0.999,
            epsilon: 1e-8,
            weight_decay: 0.5,
        };
        assert_relative_eq!(run(config, &[3.0]), 0.95 - 0.1, epsilon = 1e-8);
    }

    #[test]
    fn fields_out_of_range_are_named() {
        let config = OptimizerConfig::Sgd {
            rate: 0.1,
            momentum: 1.0,
            weight_decay: 0.0,
        };
        let message = config.validate().expect_err("momentum 1").to_string();
        assert_eq!(message, "`optimizer`: `momentum` must be in [0, 1), got 1");
    }
}
