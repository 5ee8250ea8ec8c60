//! One number per row.

use equilibria_core::prelude::*;

use crate::data::{DataError, Samples, SplitName, TargetKind, Targets};
use crate::head::{Comparison, Head, Loss, Losses, Metric};
use crate::loss::{absolute_error, squared_error};
use crate::metrics::{MetricsError, Regression as Pairs, Zero};
use crate::standardization::Standardization;

plugin! {
    /// One number per row, trained by the squared or the absolute error.
    ///
    /// The output x says the number p = μ + σ x with mean μ and standard deviation σ of the training numbers. Loss: (p − y)² or
    /// |p − y| of this and the true number y, mean over rows; what is trained, x against (y − μ) / σ, is that in units of σ² or σ. Metrics: mean absolute error, which chooses the
    /// best epoch, Pearson's correlation and, for sentiments from −3 to 3, the accuracy of seven classes (Acc-7, both numbers
    /// rounded) and of two (Acc-2, the signs), and the F1 of the two, weighted by their true frequencies and, as CM-BERT's program does, by
    /// those of the predictions. Prediction: p. One output.
    ///
    /// Reference: the CMU-MOSI experiment of arXiv 2306.16645, table 3.
    pub struct Regression: Head {
        /// `l2`, the squared error, or `l1`, the absolute error, which outliers pull less.
        pub loss: Norm = Norm::L2,
        /// Whether targets are sentiments from −3 to 3. Others are refused then, and Acc-7, Acc-2 and F1 are measured too.
        pub sentiment: bool = false,
        /// What a sentiment of 0 is for Acc-2 and F1, all being in use: `negative`, with the negative ones against the positive ones, as
        /// in the program of CM-BERT; `exclude`, which leaves out rows whose true number is 0; or `positive`, against the negative ones.
        #[serde(alias = "zeros")]
        pub zero: Zero = Zero::Negative,
        /// μ and σ as a table, `{ mean = 0.0, deviation = 1.0 }` for the numbers as they are. Default: those of the training rows.
        pub standardization: Option<Standardization> = None,
    }
}

/// How an error counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Norm {
    /// By its absolute value.
    L1,
    /// By its square.
    L2,
}

const METRICS: [Metric; 6] = [
    Metric::number("mae", "MAE", false),
    Metric::number("correlation", "correlation", true),
    Metric::percent("acc_7", "Acc-7"),
    Metric::percent("acc_2", "Acc-2"),
    Metric::percent("f1", "F1"),
    Metric::percent("f1_by_prediction", "F1 by predictions").untracked(),
];

/// How many of the metrics are those of any number.
const GENERAL: usize = 2;

#[typetag::serde(name = "regression")]
impl Head for Regression {
    fn validate(&self) -> Result<()> {
        let scale = self.standardization.as_ref();
        scale.map_or(Ok(()), Standardization::validate)
    }

    fn targets(&self) -> TargetKind {
        TargetKind::Number
    }

    fn check(&self, data: &Samples) -> Result<(), DataError> {
        data.require(self.typetag_name(), self.targets())?;
        if !self.sentiment {
            return Ok(());
        }
        for part in [SplitName::Train, SplitName::Test] {
            data.split(part).scan_targets(&mut |first, targets| {
                let Targets::Numbers(numbers) = targets else {
                    return Ok(());
                };
                let stray = numbers.iter().position(|y| !(-3.0..=3.0).contains(y));
                stray.map_or(Ok(()), |row| {
                    Err(data.not_a_sentiment(part, first + row, numbers[row]))
                })
            })?;
        }
        Ok(())
    }

    fn outputs(&self, _classes: usize) -> usize {
        1
    }

    fn standardization(&self) -> Option<Standardization> {
        self.standardization
    }

    fn standardize(&mut self, scale: Standardization) {
        self.standardization = Some(scale);
    }

    fn loss_unit(&self) -> f64 {
        let deviation = self.scale().deviation;
        match self.loss {
            Norm::L1 => deviation,
            Norm::L2 => deviation * deviation,
        }
    }

    fn loss_name(&self) -> &'static str {
        match self.loss {
            Norm::L1 => "mean absolute error",
            Norm::L2 => "mean squared error",
        }
    }

    fn metrics(&self) -> &'static [Metric] {
        match self.sentiment {
            true => &METRICS,
            false => &METRICS[..GENERAL],
        }
    }

    fn score(
        &self,
        outputs: &[f64],
        targets: &Targets,
    ) -> Result<(Vec<f64>, Comparison), MetricsError> {
        let Targets::Numbers(numbers) = targets else {
            return Err(MetricsError::targets(self.targets(), targets));
        };
        let scale = self.scale();
        let predicted: Vec<f64> = outputs.iter().map(|&x| scale.number(x)).collect();
        let pairs = Pairs::new(&predicted, numbers)?;
        let signs = pairs.signs(self.zero);
        let mut values = vec![
            pairs.mean_absolute_error(),
            pairs.correlation().unwrap_or(f64::NAN),
            pairs.seven_classes().accuracy(),
            signs.accuracy(),
            signs.weighted_f1(),
            signs.prediction_weighted_f1(),
        ];
        values.truncate(self.metrics().len());
        Ok((values, Comparison::Numbers(pairs)))
    }

    fn columns(&self, _classes: &[String]) -> Vec<String> {
        vec!["predicted".to_owned()]
    }

    fn predict(&self, outputs: &[f64], _classes: &[String]) -> Vec<Vec<String>> {
        let scale = self.scale();
        let numbers = outputs.iter().map(|&x| scale.number(x).to_string());
        vec![numbers.collect()]
    }
}

impl Regression {
    fn scale(&self) -> Standardization {
        self.standardization.unwrap_or_default()
    }
}

impl Build<Losses> for Regression {
    fn build<E: Scalar, D: Backend<E>>(&self, (): ()) -> Result<Loss<E, D>> {
        Ok(match self.loss {
            Norm::L1 => Box::new(absolute_error),
            Norm::L2 => Box::new(squared_error),
        })
    }
}
