//! Classification with several labels per row.

use equilibria_core::prelude::*;

use crate::data::{TargetKind, Targets};
use crate::head::{Comparison, Head, Loss, Losses, Metric};
use crate::loss::binary_cross_entropy;
use crate::metrics::{require_finite, MetricsError, MultiLabel as Counts};

plugin! {
    /// Any number of labels per row, those with a probability above a threshold, trained by the binary cross-entropy.
    ///
    /// Loss: −y log σ(x) − (1 − y) log(1 − σ(x)) of outputs x and y = 1 where a row has the label, else 0, mean over rows and
    /// labels; σ is the sigmoid. Metrics: micro F1, which chooses the best epoch, macro, weighted and samples F1, and the
    /// share of rows whose labels are all right and complete. Predictions: the labels, separated by semicolons, and σ(x), the
    /// probability of each label. One output per label.
    ///
    /// Reference: the MM-IMDB experiment of arXiv 2306.16645, table 2.
    pub struct MultiLabel: Head {
        /// Probability above which a row is said to have a label, in (0, 1).
        pub threshold: f64 = 0.5,
    }
}

const METRICS: [Metric; 5] = [
    Metric::percent("micro_f1", "micro F1"),
    Metric::percent("macro_f1", "macro F1"),
    Metric::percent("weighted_f1", "weighted F1").untracked(),
    Metric::percent("samples_f1", "samples F1").untracked(),
    Metric::percent("subset_accuracy", "subset accuracy").untracked(),
];

impl MultiLabel {
    /// Whether σ(x) is above the threshold t, which is x > log(t / (1 − t)) without rounding σ(x) to 0 or 1.
    fn has(&self, x: f64) -> bool {
        x > (self.threshold / (1.0 - self.threshold)).ln()
    }
}

#[typetag::serde(name = "multi-label")]
impl Head for MultiLabel {
    fn validate(&self) -> Result<()> {
        Error::require_inner_fraction("multi-label", "threshold", self.threshold)
    }

    fn targets(&self) -> TargetKind {
        TargetKind::LabelSet
    }

    fn loss_name(&self) -> &'static str {
        "binary cross-entropy"
    }

    fn metrics(&self) -> &'static [Metric] {
        &METRICS
    }

    fn score(
        &self,
        outputs: &[f64],
        targets: &Targets,
    ) -> Result<(Vec<f64>, Comparison), MetricsError> {
        let Targets::LabelSets(sets) = targets else {
            return Err(MetricsError::targets(self.targets(), targets));
        };
        require_finite(outputs, sets.columns)?;
        let predictions: Vec<bool> = outputs.iter().map(|&x| self.has(x)).collect();
        let counts = Counts::new(&predictions, &sets.values, sets.columns)?;
        let values = vec![
            counts.micro_f1(),
            counts.macro_f1(),
            counts.weighted_f1(),
            counts.samples_f1(),
            counts.subset_accuracy(),
        ];
        Ok((values, Comparison::LabelSets(counts)))
    }

    fn columns(&self, classes: &[String]) -> Vec<String> {
        [&["predicted".to_owned()], classes].concat()
    }

    fn predict(&self, outputs: &[f64], classes: &[String]) -> Vec<Vec<String>> {
        let named = classes.iter().zip(outputs);
        let names = named.filter_map(|(name, &x)| self.has(x).then_some(name.as_str()));
        let names = names.collect::<Vec<_>>().join(";");
        let probabilities = outputs.iter().map(|&x| sigmoid(x).to_string());
        vec![std::iter::once(names).chain(probabilities).collect()]
    }
}

impl Build<Losses> for MultiLabel {
    fn build<E: Scalar, D: Backend<E>>(&self, (): ()) -> Result<Loss<E, D>> {
        Ok(Box::new(binary_cross_entropy))
    }
}

/// `1 / (1 + exp(−x))`; an overflow of the power is a probability of 0.
pub(crate) fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_threshold_is_one_of_probabilities() {
        let head = MultiLabel { threshold: 0.8 };
        // σ(log 4) = 4 / 5.
        let edge = 4f64.ln();
        assert!(head.has(edge + 1e-9) && !head.has(edge - 1e-9));
        assert!((sigmoid(edge) - 0.8).abs() < 1e-15);
        assert!(sigmoid(-1e3).abs() < 1e-300 && (sigmoid(1e3) - 1.0).abs() < 1e-15);
        for threshold in [0.0, 1.0, f64::NAN] {
            assert!(MultiLabel { threshold }.validate().is_err(), "{threshold}");
        }
    }

    #[test]
    fn predictions_are_the_names_of_the_labels() {
        let names = ["a", "b", "c"].map(str::to_owned);
        let head = MultiLabel::default();
        assert_eq!(head.columns(&names), ["predicted", "a", "b", "c"]);
        assert_eq!(head.predict(&[0.5, -0.5, 2.0], &names)[0][0], "a;c");
        assert_eq!(
            head.predict(&[-1.0, 0.0, -1.0], &names)[0][..2],
            ["", "0.2689414213699951"]
        );
    }
}
