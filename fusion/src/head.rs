//! What the outputs of a model mean: what is learned, measured and predicted.

use std::borrow::Cow;
use std::fmt::Debug;

use equilibria_core::{registry, Backend, BuildAny, Family, Matrix, Result, Scalar};
use serde::ser::Serializer;

use crate::data::{DataError, Rows, Samples, TargetKind, Targets};
use crate::detection::{Judged, ProposalRows};
use crate::metrics::{ConfusionMatrix, MetricsError, MultiLabel, Regression, VqaAccuracy};
use crate::pass::Traced;
use crate::standardization::Standardization;

/// The end of a model. A linear map from the fused feature to some outputs per row precedes it, or none, if it takes proposals; the head says how many
/// there are, by which loss they learn from the targets, how good they are, and what they predict.
///
/// The loss is generic over dtype and device: it comes from [`Build<Losses>`](equilibria_core::Build). Everything else
/// works on plain numbers.
#[equilibria_core::typetag::serde(tag = "type")]
pub trait Head: BuildAny<Losses> + Debug + Send + Sync + dyn_clone::DynClone {
    /// Checks the ranges of all fields. Default: everything is allowed.
    fn validate(&self) -> Result<()> {
        Ok(())
    }

    /// What it learns from.
    fn targets(&self) -> TargetKind;

    /// Makes sure that it can learn from some data. Default: from all whose targets are of its kind.
    ///
    /// # Errors
    /// [`DataError::Head`] for targets of another kind.
    fn check(&self, data: &Samples) -> Result<(), DataError> {
        data.require(self.typetag_name(), self.targets())
    }

    /// Number of outputs for data with so many classes, or labels. Default: one for each.
    fn outputs(&self, classes: usize) -> usize {
        classes
    }

    /// The boxes that are proposed, where the outputs are proposals: the backbone makes them, and no linear map follows. Default: none.
    fn proposals(&self, _classes: usize) -> Option<ProposalRows> {
        None
    }

    /// The scale on which numbers are learned. Default: none, outputs say what they are.
    fn standardization(&self) -> Option<Standardization> {
        None
    }

    /// Learns numbers on this scale from now on. Default: does nothing, as do heads that learn none.
    fn standardize(&mut self, _scale: Standardization) {}

    /// What the loss is called.
    fn loss_name(&self) -> &'static str;

    /// The loss of numbers as they are, where it is 1 on the [scale](Self::standardization) they are learned on. Default: 1.
    fn loss_unit(&self) -> f64 {
        1.0
    }

    /// What is measured. The first chooses the best epoch.
    fn metrics(&self) -> &'static [Metric];

    /// Compares outputs, row after row, with the targets of these rows, which are in their own units. Gives the values of [`metrics`](Self::metrics) in
    /// their order, NaN where one is not defined, and what they come from.
    ///
    /// # Errors
    /// [`MetricsError`] for what cannot be compared, e.g. because outputs are not finite.
    fn score(
        &self,
        outputs: &[f64],
        targets: &Targets,
    ) -> Result<(Vec<f64>, Comparison), MetricsError>;

    /// Headings of what [`predict`](Self::predict) gives, for classes or labels of these names.
    fn columns(&self, classes: &[String]) -> Vec<String>;

    /// What the outputs of one row say, in one line or, where that may be several things, any number of them: names as they are, numbers
    /// in decimal.
    fn predict(&self, outputs: &[f64], classes: &[String]) -> Vec<Vec<String>>;
}

equilibria_core::kind!(dyn Head, "head", validate);

/// A head by name, with its default configuration.
///
/// # Errors
/// [`UnknownPlugin`](equilibria_core::Error::UnknownPlugin), which names the nearest known one.
pub fn head(name: &str) -> Result<Box<dyn Head>> {
    registry::default(name)
}

impl dyn Head + '_ {
    /// Learns numbers on the scale of the training targets, unless there is a scale already.
    pub fn fit(&mut self, targets: &Targets) {
        if let (None, Targets::Numbers(numbers)) = (self.standardization(), targets) {
            self.standardize(Standardization::fit(numbers));
        }
    }

    /// `fit` to rows wherever they are.
    ///
    /// # Errors
    /// Those of reading them.
    pub fn fit_rows(&mut self, rows: &dyn Rows) -> Result<(), DataError> {
        if self.standardization().is_some() || rows.kind() != TargetKind::Number {
            return Ok(());
        }
        let scale = Standardization::fit_passes(|see| {
            rows.scan_targets(&mut |_, targets| {
                if let Targets::Numbers(numbers) = targets {
                    numbers.iter().copied().for_each(&mut *see);
                }
                Ok(())
            })
        })?;
        self.standardize(scale);
        Ok(())
    }

    /// The targets on the scale on which they are learned: what the [outputs](crate::Model::outputs) are to be.
    pub fn scaled<'t>(&self, targets: &'t Targets) -> Cow<'t, Targets> {
        match (self.standardization(), targets) {
            (Some(scale), Targets::Numbers(numbers)) => {
                let numbers = numbers.iter().map(|&number| scale.output(number));
                Cow::Owned(Targets::Numbers(numbers.collect()))
            }
            _ => Cow::Borrowed(targets),
        }
    }

    /// The metrics that are followed over the epochs.
    pub fn tracked(&self) -> impl Iterator<Item = &'static Metric> {
        self.metrics().iter().filter(|metric| metric.tracked)
    }
}

/// The family of losses.
pub struct Losses;

impl Family for Losses {
    type Request<'a, D: 'a> = ();
    type Product<E: Scalar, D: Backend<E>> = Loss<E, D>;
}

/// From outputs and targets, both `[batch, outputs]`, to the loss, `[1, 1]`; see [`loss`](crate::loss).
pub type Loss<E, D> = Box<dyn Fn(Traced<E, D>, &Matrix<E, D>) -> Result<Traced<E, D>>>;

/// A number that tells how good predictions are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Metric {
    /// Its key in JSON and CSV, e.g. `weighted_f1`.
    pub key: &'static str,
    /// Its name in print, e.g. `weighted F1`.
    pub label: &'static str,
    /// Whether it is in percent.
    pub percent: bool,
    /// Whether more is better.
    pub rises: bool,
    /// Whether it is followed over the epochs, on validation rows.
    pub tracked: bool,
}

impl Metric {
    /// A share in percent of what is right.
    pub const fn percent(key: &'static str, label: &'static str) -> Self {
        Self {
            key,
            label,
            percent: true,
            rises: true,
            tracked: true,
        }
    }

    /// A number without a unit.
    pub const fn number(key: &'static str, label: &'static str, rises: bool) -> Self {
        Self {
            percent: false,
            rises,
            ..Self::percent(key, label)
        }
    }

    /// The same, measured at the end alone.
    pub const fn untracked(self) -> Self {
        Self {
            tracked: false,
            ..self
        }
    }

    /// Its name with the unit after `separator`, if it has one: `accuracy, %`.
    pub fn heading(&self, separator: &str) -> String {
        match self.percent {
            true => format!("{}{separator}%", self.label),
            false => self.label.to_owned(),
        }
    }

    /// A value with its unit, in print.
    pub fn show(&self, value: f64) -> String {
        match (value.is_nan(), self.percent) {
            (true, _) => "undefined".to_owned(),
            (_, true) => format!("{value:.2} %"),
            (_, false) => format!("{value:.4}"),
        }
    }

    /// The value, or its negative, so that more is better; what is undefined is worst.
    pub fn merit(&self, value: f64) -> f64 {
        match (value.is_nan(), self.rises) {
            (true, _) => f64::NEG_INFINITY,
            (_, true) => value,
            (_, false) => -value,
        }
    }
}

/// Predictions and targets side by side.
#[derive(Debug, Clone, PartialEq)]
pub enum Comparison {
    /// Of one class per row.
    Classes(ConfusionMatrix),
    /// Of several labels per row.
    LabelSets(MultiLabel),
    /// Of one number per row.
    Numbers(Regression),
    /// Of one answer per row with those of ten people.
    Answers(VqaAccuracy),
    /// Of any number of boxes per row.
    Boxes(Judged),
}

impl Comparison {
    /// Adds what is known beside the scores to a table of them: of boxes the average precision of each class.
    pub(crate) fn details<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Boxes(judged) => serializer.collect_map(judged.of_classes()),
            _ => serializer.collect_map(std::iter::empty::<((), ())>()),
        }
    }
}

/// The value of a metric.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Score {
    /// What is measured.
    pub metric: Metric,
    /// Its value, NaN where it is not defined.
    pub value: f64,
}

/// Writes scores as a table from keys to values.
pub(crate) fn by_key<S: Serializer>(scores: &[Score], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(scores.iter().map(|score| (score.metric.key, score.value)))
}
