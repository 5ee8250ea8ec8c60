//! One optimizer step over all parameters.

use dfdx::prelude::{Gradients, HasShape};
use equilibria_core::{copy_to_host, from_host, parallel, Backend, Parameters, Result, Scalar};
use serde::{Deserialize, Serialize};

use super::adam::{Adam, Decay};
use super::average::{follow, Average};
use super::sgd::Sgd;
use super::share::{Factors, Share};

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

    /// Whether the rule keeps a first and a second running mean.
    fn keeps(&self) -> [bool; 2] {
        match self {
            Self::Sgd(_) => [true, false],
            Self::Adam(_) | Self::AdamW(_) => [true, true],
        }
    }

    /// Updates some numbers of a parameter.
    fn update<E: Scalar>(&self, share: &mut Share<'_, E>, factors: Factors) {
        match self {
            Self::Sgd(sgd) => sgd.update(share, factors),
            Self::Adam(adam) => adam.update(share, factors, Decay::Penalty),
            Self::AdamW(adam) => adam.update(share, factors, Decay::Decoupled),
        }
    }
}

/// An update rule at work: remembers its running means, one pair of vectors per parameter.
///
/// The update runs on the host; on CUDA that costs one transfer of parameters and gradients per step.
pub struct Optimizer<E> {
    config: OptimizerConfig,
    steps: i32,
    moments: Vec<Moments<E>>,
    /// Work space: the parameters before a step.
    old: Vec<Vec<E>>,
}

/// Running means of one parameter; empty until they are needed.
#[derive(Default)]
struct Moments<E> {
    pub first: Vec<E>,
    pub second: Vec<E>,
}

impl<E: Scalar> Moments<E> {
    /// The means that are kept, `length` numbers each, 0 at first.
    fn room(&mut self, keeps: [bool; 2], length: usize) -> [&mut [E]; 2] {
        let mut kept = [(&mut self.first, keeps[0]), (&mut self.second, keeps[1])].into_iter();
        std::array::from_fn(|_| match kept.next() {
            Some((mean, true)) => {
                mean.resize(length, E::zero());
                &mut mean[..]
            }
            _ => &mut [],
        })
    }
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
            old: Vec::new(),
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

    /// Updates every parameter, by all threads. The learning rate is multiplied by `rate_factor` (schedule), the gradients by
    /// `gradient_factor` (clipping). A parameter without a gradient counts as having a zero one.
    ///
    /// The gradients are used up, their memory becomes that of the new parameters, which are tensors of their own: what was
    /// cloned from a parameter before keeps the old numbers.
    pub fn step<D: Backend<E>>(
        &mut self,
        parameters: &mut (impl Parameters<E, D> + ?Sized),
        gradients: &mut Gradients<E, D>,
        rate_factor: f64,
        gradient_factor: f64,
    ) -> Result<()> {
        self.averaged_step(parameters, gradients, rate_factor, gradient_factor, None)
    }

    /// [`step`](Self::step), and `average`, if there is one, follows.
    pub fn averaged_step<D: Backend<E>>(
        &mut self,
        parameters: &mut (impl Parameters<E, D> + ?Sized),
        gradients: &mut Gradients<E, D>,
        rate_factor: f64,
        gradient_factor: f64,
        mut average: Option<&mut Average<E>>,
    ) -> Result<()> {
        self.steps += 1;
        let factors = Factors {
            rate: rate_factor,
            gradient: gradient_factor,
            steps: self.steps,
        };
        let (mut gradients, mut outcome) = (self.take(parameters, gradients)?, Ok(()));

        self.moments.resize_with(gradients.len(), Moments::default);
        let decay = average.as_mut().map_or(0.0, |average| average.advance());
        let averages = average.map(|average| average.of(self.old.iter().map(Vec::len)));
        let mut averages = averages.into_iter().flatten();
        let parts = self.old.iter().zip(&mut gradients).zip(&mut self.moments);
        let shares: Vec<_> = parts
            .flat_map(|((old, new), moments)| {
                let [first, second] = moments.room(self.config.keeps(), old.len());
                let average = averages.next();
                let average = average.map_or(&mut [][..], |average| &mut average[..]);
                let whole = Share {
                    old,
                    new,
                    first,
                    second,
                    average,
                };
                whole.split()
            })
            .collect();
        let config = &self.config;
        parallel::map(shares.into_iter(), |mut share| {
            config.update(&mut share, factors);
            follow(share.average, share.new, decay);
        });

        let mut new = gradients.into_iter();
        parameters.visit_mut("", &mut |_, tensor| {
            let Some(new) = new.next() else { return };
            match from_host(tensor.device(), new, *tensor.shape()) {
                Ok(new) => *tensor = new,
                Err(error) => outcome = Err(error),
            }
        });
        outcome
    }

    /// Notes all parameters, and takes the gradients.
    fn take<D: Backend<E>>(
        &mut self,
        parameters: &(impl Parameters<E, D> + ?Sized),
        gradients: &mut Gradients<E, D>,
    ) -> Result<Vec<Vec<E>>> {
        let (mut taken, mut outcome) = (Vec::new(), Ok(()));
        parameters.visit("", &mut |_, tensor| {
            if self.old.len() == taken.len() {
                self.old.push(Vec::new());
            }
            let old = &mut self.old[taken.len()];
            copy_to_host(tensor, old);
            match D::take_gradient(gradients, tensor) {
                Ok(mut gradient) => {
                    gradient.resize(old.len(), E::zero());
                    taken.push(gradient);
                }
                Err(error) => outcome = Err(error),
            };
        });
        self.old.truncate(taken.len());
        outcome.map(|()| taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use approx::assert_relative_eq;
    use dfdx::prelude::{Cpu, TensorFromVec};
    use equilibria_core::testing::{random_matrix, random_values};
    use equilibria_core::{to_host, Matrix};

    use crate::optimizer::share::SHARE;

    fn run(config: OptimizerConfig, gradients: &[f64]) -> f64 {
        let mut w: Matrix<f64, Cpu> = Cpu::default().tensor_from_vec(vec![1.0], (1, 1));
        let mut optimizer = Optimizer::new(config).expect("in range");
        for &g in gradients {
            let mut gradient = Gradients::leaky();
            Cpu::put_gradient(&mut gradient, &w, vec![g]).expect("memory");
            let step = optimizer.step(&mut w, &mut gradient, 1.0, 1.0);
            step.expect("memory");
        }
        w.as_vec()[0]
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

    /// Parameters of several shares and of less than one: every number goes its own way, w − η g for plain descent, and the
    /// average is that of each. Step 1 of a young average: β = 2 / 11.
    #[test]
    fn every_number_is_updated_and_averaged() {
        let (device, sizes) = (Cpu::default(), [(3, SHARE), (1, 5)]);
        let new = |seed, shape| random_matrix(&device, shape, seed).expect("memory");
        let mut w: Vec<Matrix<f64, Cpu>> = vec![new(1, sizes[0]), new(2, sizes[1])];
        let mut expected: Vec<Vec<f64>> = w.iter().map(to_host).collect();
        let mut means = Vec::new();
        let config = OptimizerConfig::Sgd(Sgd {
            rate: 0.5,
            momentum: 0.0,
            weight_decay: 0.0,
        });
        let mut optimizer = Optimizer::new(config).expect("in range");
        let mut average = Average::new(0.9);
        for step in 0..2 {
            let mut gradients = Gradients::leaky();
            for (w, expected) in w.iter().zip(&mut expected) {
                let g = random_values(expected.len(), 3 + step);
                Cpu::put_gradient(&mut gradients, w, g.clone()).expect("memory");
                expected.iter_mut().zip(g).for_each(|(w, g)| *w -= 0.5 * g);
            }
            let taken =
                optimizer.averaged_step(&mut w, &mut gradients, 1.0, 1.0, Some(&mut average));
            taken.expect("memory");
            if step == 0 {
                means = expected.clone();
            }
        }
        let numbers = |w: &[Matrix<f64, Cpu>]| w.iter().flat_map(to_host).collect::<Vec<_>>();
        let trained = numbers(&w);
        assert_eq!(trained, expected.concat());
        average.exchange(&mut w);
        for ((mean, first), last) in numbers(&w).iter().zip(means.concat()).zip(&trained) {
            assert_relative_eq!(*mean, (2.0 * first + 9.0 * last) / 11.0, epsilon = 1e-14);
        }
        average.exchange(&mut w);
        assert_eq!(numbers(&w), trained);
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
