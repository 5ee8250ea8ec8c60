//! One optimizer step over all parameters.

use dfdx::prelude::{Gradients, HasShape};
use equilibria_core::{
    copy_to_host, parallel, registry, serde_json, Backend, Error, Matrix, Parameters, Result,
    Scalar, UpdateRule,
};
use serde::{Deserialize, Serialize};

use super::adam::{Adam, Decay};
use super::average::{follow, Average};
use super::bert_adam::BertAdam;
use super::clip::{clip_each, gradient_squares};
use super::groups::{settings, Group, Setting};
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
    /// Adam as BERT is trained: decoupled weight decay, no bias correction.
    #[serde(rename = "bert-adam")]
    BertAdam(BertAdam),
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
            Self::BertAdam(adam) => adam.validate(),
        }
    }

    /// Sets learning rate and weight decay, where they are given.
    pub(super) fn change(&mut self, new_rate: Option<f64>, new_decay: Option<f64>) {
        let (rate, decay) = match self {
            Self::Sgd(sgd) => (&mut sgd.rate, &mut sgd.weight_decay),
            Self::Adam(adam) | Self::AdamW(adam) => (&mut adam.rate, &mut adam.weight_decay),
            Self::BertAdam(adam) => (&mut adam.rate, &mut adam.weight_decay),
        };
        *rate = new_rate.unwrap_or(*rate);
        *decay = new_decay.unwrap_or(*decay);
    }

    /// Whether the rule has a first and a second running mean.
    fn has_means(&self) -> [bool; 2] {
        match self {
            Self::Sgd(_) => [true, false],
            Self::Adam(_) | Self::AdamW(_) | Self::BertAdam(_) => [true, true],
        }
    }

    /// The rule for devices.
    fn rule(&self, factors: Factors) -> UpdateRule {
        match self {
            Self::Sgd(sgd) => sgd.rule(factors),
            Self::Adam(adam) => adam.rule(factors, Decay::Penalty),
            Self::AdamW(adam) => adam.rule(factors, Decay::Decoupled),
            Self::BertAdam(adam) => adam.rule(factors),
        }
    }

    /// Updates some numbers of a parameter.
    fn update<E: Scalar>(&self, share: &mut Share<'_, E>, factors: Factors) {
        match self {
            Self::Sgd(sgd) => sgd.update(share, factors),
            Self::Adam(adam) => adam.update(share, factors, Decay::Penalty),
            Self::AdamW(adam) => adam.update(share, factors, Decay::Decoupled),
            Self::BertAdam(adam) => adam.update(share, factors),
        }
    }
}

/// An update rule at work: remembers its running means, one pair of vectors per parameter.
///
/// The update runs where the parameters are. [Running statistics](Parameters::visit_statistics) are left as they are.
pub struct Optimizer<E> {
    config: OptimizerConfig,
    groups: Vec<Group>,
    /// Largest norm of the gradient of a parameter.
    each: Option<f64>,
    /// How every parameter is trained; none before they have been seen.
    settings: Vec<Setting>,
    steps: i32,
    moments: Vec<Moments<E>>,
    /// Scratch memory: as many numbers as the largest parameter has.
    values: Vec<E>,
}

/// An optimizer by name, `sgd`, `adam`, `adamw` or `bert-adam`, with its default rate and the rest.
///
/// # Errors
/// [`Error::Parse`] for another name; it lists the known ones.
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
    /// [`Error::Config`] for a field out of range.
    pub fn new(config: OptimizerConfig) -> Result<Self> {
        config.validate()?;
        Ok(Self {
            config,
            groups: Vec::new(),
            each: None,
            settings: Vec::new(),
            steps: 0,
            moments: Vec::new(),
            values: Vec::new(),
        })
    }

    /// This optimizer, with groups of parameters that are trained in a way of their own.
    ///
    /// # Errors
    /// [`Error::Config`] for a field out of range.
    pub fn with_groups(mut self, groups: &[Group]) -> Result<Self> {
        groups.iter().try_for_each(Group::validate)?;
        self.groups = groups.to_vec();
        Ok(self)
    }

    /// This optimizer, with the gradient of every parameter [scaled down](clip_each) to at most the norm `limit`, if there is one, after it
    /// has been multiplied by the factor of a step.
    #[must_use]
    pub fn with_clip_each(mut self, limit: Option<f64>) -> Self {
        self.each = limit;
        self
    }

    /// Learns how every parameter is trained.
    fn settle<D: Backend<E>>(&mut self, parameters: &(impl Parameters<E, D> + ?Sized)) {
        if self.settings.is_empty() {
            self.settings = settings::<E, D>(&self.config, &self.groups, parameters);
        }
    }

    /// ‖g‖₂ over all parameters that are trained, in f64.
    ///
    /// # Errors
    /// [`Error::Device`] if memory runs out.
    pub fn gradient_norm<D: Backend<E>>(
        &mut self,
        parameters: &(impl Parameters<E, D> + ?Sized),
        gradients: &mut Gradients<E, D>,
    ) -> Result<f64> {
        self.settle(parameters);
        let squares = gradient_squares(parameters, gradients)?;
        let trained = squares.iter().zip(&self.settings);
        let trained = trained.filter(|(_, setting)| setting.trained);
        Ok(trained.map(|(square, _)| square).sum::<f64>().sqrt())
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

    /// This optimizer, going on from a [`state`](Self::state).
    #[must_use]
    pub fn continued(self, steps: usize, means: impl IntoIterator<Item = [Vec<E>; 2]>) -> Self {
        let moments = means.into_iter();
        Self {
            steps: i32::try_from(steps).unwrap_or(i32::MAX),
            moments: moments
                .map(|means| means.map(Kept::from))
                .map(|[first, second]| Moments { first, second })
                .collect(),
            ..self
        }
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
        Ok(Self::new(config)?.continued(steps, means))
    }

    /// Updates every parameter, by all threads. The learning rate is multiplied by `rate_factor` (schedule), the gradients by
    /// `gradient_factor` (clipping). A parameter without a gradient counts as having a zero one. Then the parameters are
    /// [projected](Parameters::project).
    ///
    /// # Errors
    /// [`Error::Missing`] if there are more parameters than in the first step, [`Error::Device`] if memory runs out.
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
    ///
    /// # Errors
    /// Those of [`step`](Self::step).
    pub fn averaged_step<D: Backend<E>>(
        &mut self,
        parameters: &mut (impl Parameters<E, D> + ?Sized),
        gradients: &mut Gradients<E, D>,
        rate_factor: f64,
        gradient_factor: f64,
        mut average: Option<&mut Average<E>>,
    ) -> Result<()> {
        self.settle(parameters);
        let each = self.clips(parameters, gradients, gradient_factor)?;
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
                let own = each.get(index).copied().unwrap_or(1.0);
                let factors = Factors {
                    gradient: factors.gradient * own,
                    ..factors
                };
                outcome = self.update(index, tensor, gradients, factors, average);
                index += 1;
            }
        });
        outcome?;
        parameters.project()
    }

    /// What the gradient of each parameter is multiplied by, beside the factor of the step; nothing where it is not clipped.
    fn clips<D: Backend<E>>(
        &self,
        parameters: &(impl Parameters<E, D> + ?Sized),
        gradients: &mut Gradients<E, D>,
        factor: f64,
    ) -> Result<Vec<f64>> {
        let Some(limit) = self.each else {
            return Ok(Vec::new());
        };
        let squares = gradient_squares(parameters, gradients)?;
        let norms = squares.iter().map(|square| factor * square.sqrt());
        Ok(norms.map(|norm| clip_each(norm, limit)).collect())
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
        let length = count(tensor);
        let Some(Setting { config, trained }) = self.settings.get(index) else {
            return Err(Error::Missing {
                what: format!("parameter {} of an optimizer", index + 1),
                remedy: "give an optimizer the same parameters in every step",
            });
        };
        // The average of a frozen parameter is updated as well.
        let trained = *trained;
        let factors = match trained {
            true => factors,
            false => Factors {
                rate: 0.0,
                gradient: 0.0,
                ..factors
            },
        };
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
                if trained {
                    config.update(&mut share, factors);
                }
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
