//! One optimizer step over all parameters.

use dfdx::prelude::{Gradients, HasShape};
use equilibria_core::{
    copy_to_host, parallel, registry, serde_json, Backend, Matrix, Parameters, Result, Scalar,
    UpdateRule,
};
use serde::{Deserialize, Serialize};

use super::adam::{Adam, Decay};
use super::average::{follow, Average};
use super::sgd::Sgd;
use super::share::{Factors, Share};
use super::Kept;

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

    /// Whether the rule has a first and a second running mean.
    fn has_means(&self) -> [bool; 2] {
        match self {
            Self::Sgd(_) => [true, false],
            Self::Adam(_) | Self::AdamW(_) => [true, true],
        }
    }

    /// The rule for devices.
    fn rule(&self, factors: Factors) -> UpdateRule {
        match self {
            Self::Sgd(sgd) => sgd.rule(factors),
            Self::Adam(adam) => adam.rule(factors, Decay::Penalty),
            Self::AdamW(adam) => adam.rule(factors, Decay::Decoupled),
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
/// The update runs where the parameters are.
pub struct Optimizer<E> {
    config: OptimizerConfig,
    steps: i32,
    moments: Vec<Moments<E>>,
    /// Scratch memory: as many numbers as the largest parameter has.
    values: Vec<E>,
}

/// An optimizer by name, `sgd`, `adam` or `adamw`, with its default rate and the rest.
///
/// # Errors
/// [`Error::Parse`](equilibria_core::Error::Parse) for another name; it lists the known ones.
pub fn optimizer<E: Scalar>(name: &str) -> Result<Optimizer<E>> {
    Optimizer::new(registry::parse(serde_json::json!({ "type": name }))?)
}

/// Running means of one parameter; empty until they are needed.
struct Moments<E> {
    first: Kept<E>,
    second: Kept<E>,
}

impl<E> Default for Moments<E> {
    fn default() -> Self {
        Self {
            first: Kept::default(),
            second: Kept::default(),
        }
    }
}

impl<E: Scalar> Moments<E> {
    /// The means that there are, 0 at first.
    fn means(&mut self, has_means: [bool; 2]) -> [Option<&mut Kept<E>>; 2] {
        let [first, second] = has_means;
        [
            first.then_some(&mut self.first),
            second.then_some(&mut self.second),
        ]
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
            values: Vec::new(),
        })
    }

    /// What the next step depends on beside the parameters: the number of steps so far, and the running means of every
    /// parameter, first and second; empty where the rule has none.
    pub fn state(&self) -> (usize, impl Iterator<Item = [Vec<E>; 2]> + '_) {
        let moments = self.moments.iter();
        (
            self.steps as usize,
            moments.map(|moments| [moments.first.to_host(), moments.second.to_host()]),
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
                .map(|means| means.map(Kept::from))
                .map(|[first, second]| Moments { first, second })
                .collect(),
            ..Self::new(config)?
        })
    }

    /// Updates every parameter, by all threads. The learning rate is multiplied by `rate_factor` (schedule), the gradients by
    /// `gradient_factor` (clipping). A parameter without a gradient counts as having a zero one. Then the parameters are
    /// [projected](Parameters::project).
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
            decay: average.as_mut().map_or(0.0, |average| average.advance()),
        };
        let (mut index, mut outcome) = (0, Ok(()));
        parameters.visit_mut("", &mut |_, tensor| {
            if outcome.is_ok() {
                let average = average.as_mut().map(|all| all.of(index));
                outcome = self.update(index, tensor, gradients, factors, average);
                index += 1;
            }
        });
        outcome?;
        parameters.project()
    }

    /// Updates the parameter of this number; its `average`, if there is one, follows.
    fn update<D: Backend<E>>(
        &mut self,
        index: usize,
        tensor: &mut Matrix<E, D>,
        gradients: &mut Gradients<E, D>,
        factors: Factors,
        average: Option<&mut Kept<E>>,
    ) -> Result<()> {
        let (config, length) = (&self.config, count(tensor));
        if self.moments.len() == index {
            self.moments.push(Moments::default());
        }
        let [first, second] = self.moments[index].means(config.has_means());
        if let Some(device) = D::on_device() {
            let mut kept = [None, None, None];
            for (place, kept) in kept.iter_mut().zip([first, second, average]) {
                *place = kept.map(|kept| kept.on_device(tensor)).transpose()?;
            }
            return device.update(&config.rule(factors), tensor, gradients, kept);
        }
        let [first, second, average] = [first, second, average].map(|kept| on_host(kept, length));
        self.values.resize(self.values.len().max(length), E::zero());
        let values = &mut self.values[..length];
        copy_to_host(tensor, values);
        D::with_gradient(gradients, tensor, |gradient| {
            let whole = Share {
                values,
                gradient,
                first,
                second,
                average,
            };
            let shares: Vec<_> = whole.split().collect();
            parallel::map(shares.into_iter(), |mut share| {
                config.update(&mut share, factors);
                follow(share.average, share.values, factors.decay);
            });
        })?;
        D::overwrite(tensor, values)
    }
}

/// The numbers on the host; none where nothing is kept.
fn on_host<E: Scalar>(kept: Option<&mut Kept<E>>, length: usize) -> &mut [E] {
    match kept {
        Some(kept) => kept.on_host(length),
        None => &mut [],
    }
}

/// How many numbers a matrix has.
fn count<E: Scalar, D: Backend<E>>(matrix: &Matrix<E, D>) -> usize {
    let (rows, columns) = *matrix.shape();
    rows * columns
}

#[cfg(test)]
mod tests {
    use super::*;
    use approx::assert_relative_eq;
    use dfdx::prelude::{Cpu, TensorFromVec};
    use equilibria_core::to_host;
    use equilibria_testing::{random_matrix, random_values};

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
        average.exchange(&mut w).expect("memory");
        for ((mean, first), last) in numbers(&w).iter().zip(means.concat()).zip(&trained) {
            assert_relative_eq!(*mean, (2.0 * first + 9.0 * last) / 11.0, epsilon = 1e-14);
        }
        average.exchange(&mut w).expect("memory");
        assert_eq!(numbers(&w), trained);
    }

    /// A parameter that is named twice is updated by the same gradient under both names, in every step.
    #[test]
    fn clones_of_a_parameter_stay_equal() {
        let w: Matrix<f64, Cpu> = random_matrix(&Cpu::default(), (2, 3), 1).expect("memory");
        let mut both = vec![w.clone(), w.clone()];
        let mut optimizer = Optimizer::new(OptimizerConfig::Adam(adam(0.1))).expect("in range");
        for step in 0..3 {
            let before = to_host(&both[0]);
            let mut gradients = Gradients::leaky();
            let g = random_values(6, 2 + step);
            Cpu::put_gradient(&mut gradients, &both[0], g).expect("memory");
            let taken = optimizer.step(&mut both, &mut gradients, 1.0, 1.0);
            taken.expect("memory");
            assert_ne!(to_host(&both[0]), before);
            assert_eq!(to_host(&both[0]), to_host(&both[1]));
        }
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
