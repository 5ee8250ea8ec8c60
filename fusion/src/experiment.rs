//! The configuration of a training run, as it stands in a TOML file.

use equilibria_core::{Backend, DeviceName, Error, Parameters, Renamed, Result, Scalar};
use serde::{Deserialize, Serialize};

use crate::data::{DataError, Features, MinMax, Rows, Samples, SplitName};
use crate::head::Head;
use crate::heads::multi_class::MultiClass;
use crate::layers::modules::Linear;
use crate::layers::optimizer::{Group, Optimizer, OptimizerConfig, Schedule, StepDecay};
use crate::layers::Initializer;
use crate::model::{BackboneConfig, BackboneRequest, Backbones, DataSource, FusionConfig, Model};
use crate::slot::{Filled, Slot, Slots};

/// Everything a run depends on.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Experiment {
    /// Seed of initialization, validation rows, batches, dropout and probes.
    #[serde(default)]
    pub seed: u64,
    /// Element type.
    #[serde(default)]
    pub dtype: Dtype,
    /// Where it is computed: `cpu`, `cuda` or `cuda:N`. Default: `cpu`.
    #[serde(default, skip_serializing_if = "is_cpu")]
    pub device: DeviceName,
    /// Where data comes from.
    pub data: Box<dyn DataSource>,
    /// Numbers of the modalities that are used, from 1. Default: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub modalities: Option<Vec<usize>>,
    /// Encodes each modality.
    pub backbone: Box<dyn BackboneConfig>,
    /// Fuses the encoded modalities; a linear map to the outputs follows.
    pub fusion: Box<dyn FusionConfig>,
    /// What the outputs mean. Default: `multi-class`.
    #[serde(default = "multi_class")]
    pub head: Box<dyn Head>,
    /// How it is trained. Default: that of its fields.
    #[serde(default)]
    pub training: Training,
}

/// The device that need not be named.
fn is_cpu(device: &DeviceName) -> bool {
    *device == DeviceName::default()
}

/// A setting that need not be named.
#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_not(setting: &bool) -> bool {
    !setting
}

fn multi_class() -> Box<dyn Head> {
    Box::new(MultiClass::default())
}

/// Element type of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Dtype {
    /// Single precision.
    #[default]
    F32,
    /// Double precision.
    F64,
}

/// How a model is trained.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Training {
    /// Passes over the training rows, at least 1. Default: 100.
    pub epochs: usize,
    /// Rows per step, at least 2. Default: 64.
    pub batch: usize,
    /// Share of the training rows held out, in [0, 1). Above 0 the best epoch on them is kept; at 0 the last one.
    pub validation: f64,
    /// Update rule. Default: Adam.
    pub optimizer: OptimizerConfig,
    /// Step decay of the learning rate. Default: none.
    pub decay: Option<StepDecay>,
    /// What the learning rate is multiplied with, step by step, beside the decay. Default: nothing.
    pub schedule: Option<Schedule>,
    /// Largest gradient norm; larger gradients are scaled down. Default: no limit.
    pub clip: Option<f64>,
    /// Largest norm of the gradient of each parameter for itself, after `clip`; larger ones are scaled down. Default: no limit.
    pub clip_each: Option<f64>,
    /// Decay β per step of the moving average of the parameters, `a ← β a + (1 − β) w`, in (0, 1); the average is what is
    /// evaluated and kept. Default: none, the parameters themselves.
    ///
    /// Reference: B. T. Polyak, A. B. Juditsky, Acceleration of stochastic approximation by averaging, SIAM J. Control
    /// Optim. 30, 1992.
    pub average: Option<f64>,
    /// Whether the run gives the same model, to the last bit, on any number of ranks: rows are put together in chunks that do not depend on
    /// it, and gradients are added up in a fixed order. Default: no, which is quicker.
    #[serde(skip_serializing_if = "is_not")]
    pub reproducible: bool,
    /// Epochs from one checkpoint to the next; 0 for none but the one that an interruption leaves. Default: 10.
    pub checkpoint: usize,
    /// Parameters with a learning rate or weight decay of their own, or frozen. Default: none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub group: Vec<Group>,
}

impl Default for Training {
    fn default() -> Self {
        Self {
            epochs: 100,
            batch: 64,
            validation: 0.0,
            optimizer: OptimizerConfig::default(),
            decay: None,
            schedule: None,
            clip: None,
            clip_each: None,
            average: None,
            reproducible: false,
            checkpoint: 10,
            group: Vec::new(),
        }
    }
}

impl Training {
    /// The update rule, for each parameter in its group.
    ///
    /// # Errors
    /// [`Error::Config`] for a field out of range.
    pub(crate) fn optimizer<E: Scalar>(&self) -> Result<Optimizer<E>> {
        let optimizer = Optimizer::new(self.optimizer.clone())?;
        Ok(optimizer
            .with_groups(&self.group)?
            .with_clip_each(self.clip_each))
    }

    fn validate(&self) -> Result<()> {
        Error::require_at_least_one("training", "epochs", self.epochs)?;
        Error::require(
            self.batch >= 2,
            "training",
            "batch",
            "at least 2",
            self.batch,
        )?;
        Error::require_fraction("training", "validation", self.validation)?;
        for (key, clip) in [("clip", self.clip), ("clip_each", self.clip_each)] {
            if let Some(clip) = clip {
                Error::require_positive("training", key, clip)?;
            }
        }
        if let Some(average) = self.average {
            Error::require_inner_fraction("training", "average", average)?;
        }
        if let Some(decay) = &self.decay {
            decay.validate()?;
        }
        if let Some(schedule) = &self.schedule {
            schedule.validate()?;
        }
        self.group.iter().try_for_each(Group::validate)?;
        self.optimizer.validate()
    }
}

impl Experiment {
    /// Checks the ranges of all fields and of every plugin.
    pub fn validate(&self) -> Result<()> {
        self.backbone.validate()?;
        self.fusion.validate()?;
        self.head.validate()?;
        self.backbone.check_targets(self.head.targets())?;
        if let Some(chosen) = &self.modalities {
            self.backbone.check_modalities(chosen)?;
        }
        self.training.validate()
    }

    /// Makes sure that the numbers of a split, of the modalities used, are numbers of the type `E`, as they are and scaled;
    /// those to predict as well, where there are some.
    ///
    /// # Errors
    /// [`DataError::OutOfRange`], which names the file.
    pub fn check_range<E: Scalar>(
        &self,
        scaling: &MinMax,
        part: SplitName,
        modalities: &dyn Features,
        targets: Option<&dyn Rows>,
    ) -> Result<(), DataError> {
        let place = |part, modality: Option<usize>, cell| {
            let chosen = |k: usize| self.modalities.as_ref().map_or(k, |chosen| chosen[k - 1]);
            self.data.place(part, modality.map(chosen), cell)
        };
        scaling.check_range::<E>(part, modalities, &place)?;
        let Some(rows) = targets else {
            return Ok(());
        };
        rows.scan_targets(&mut |first, targets| targets.check_range_from::<E>(first, part, &place))
    }

    /// Makes sure that the head learns from targets such as those of `data`, which are all of one split where there is a `part`.
    ///
    /// # Errors
    /// Those of [`Head::check`]; rows are named as in the files.
    pub fn check_targets(&self, data: &Samples, part: Option<SplitName>) -> Result<(), DataError> {
        self.head.check(data).map_err(|error| match error {
            DataError::NotASentiment {
                part: found,
                row,
                value,
                ..
            } => {
                let part = part.unwrap_or(found);
                let (file, row) = self.data.place(part, None, (row - 1, 1));
                DataError::NotASentiment {
                    part,
                    file,
                    row,
                    value,
                }
            }
            other => other,
        })
    }

    /// The parameters of a model under the names that the original system of the backbone gives them, see
    /// [`BackboneConfig::original_name`]: what loads its state dicts.
    pub fn under_original_names<E: Scalar, D: Backend<E>>(
        &self,
        model: Model<E, D>,
    ) -> Renamed<Model<E, D>> {
        let named = model.named().into_iter();
        let pair = |(name, _): (String, _)| {
            let original = self.backbone.original_name(&name);
            (name, original)
        };
        let names = named.map(pair).collect();
        Renamed::new(model, names)
    }

    /// Builds the model for the given numbers of features and of classes or labels.
    pub fn model<E: Scalar, D: Backend<E>>(
        &self,
        device: &D,
        modalities: &[usize],
        classes: usize,
    ) -> Result<Model<E, D>> {
        let mut init = Initializer::new(device, self.seed);
        let mut filled: Vec<Filled<E, D>> = Vec::new();
        let mut fill = |slot: Slot, init: &mut Initializer<D>| -> Result<usize> {
            let new = Filled::new(slot, &*self.fusion, init)?;
            let width = new.output_dim();
            filled.push(new);
            Ok(width)
        };
        let proposals = self.head.proposals(classes);
        let backbone = <D as Backend<E>>::build::<Backbones>(
            &*self.backbone,
            BackboneRequest {
                modalities,
                classes,
                proposals: proposals.as_ref(),
                init: &mut init,
                slot: &mut fill,
            },
        )?;
        if filled.is_empty() {
            let widths = vec![self.backbone.width(); modalities.len()];
            let slot = Slot::new("fusion", widths);
            filled.push(Filled::new(slot, &*self.fusion, &mut init)?);
        }
        let fusion = Slots(filled);
        let width = backbone.output_dim(fusion.output_dim());
        let outputs = self.head.outputs(classes);
        let linear = match proposals {
            Some(_) if width == outputs => None,
            Some(_) => {
                return Err(Error::Shape {
                    what: "what the backbone hands to the head".to_owned(),
                    expected: format!("proposals, {outputs} numbers"),
                    got: format!("{width} numbers"),
                })
            }
            None => Some(Linear::xavier(outputs, width, &mut init)?),
        };
        Ok(Model {
            backbone,
            fusion,
            linear,
            head: self.head.clone(),
        })
    }
}
