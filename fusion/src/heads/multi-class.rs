//! Classification with one class per row.

use equilibria_core::prelude::*;

use crate::data::{TargetKind, Targets};
use crate::head::{Comparison, Head, Loss, Losses, Metric};
use crate::loss::cross_entropy;
use crate::metrics::{require_finite, ConfusionMatrix, MetricsError};

plugin! {
    /// One class per row, the one with the largest output, trained by the softmax cross-entropy.
    ///
    /// Loss: −log softmax(x)_y of outputs x and class y, mean over rows. Metrics: accuracy, which chooses the best epoch,
    /// weighted and macro F1. Predictions: the class, and softmax(x), the probability of each class. One output per class.
    ///
    /// Reference: the BRCA experiment of arXiv 2306.16645, table 1.
    pub struct MultiClass: Head {}
}

const METRICS: [Metric; 3] = [
    Metric::percent("accuracy", "accuracy"),
    Metric::percent("weighted_f1", "weighted F1").untracked(),
    Metric::percent("macro_f1", "macro F1"),
];

#[typetag::serde(name = "multi-class")]
impl Head for MultiClass {
    fn targets(&self) -> TargetKind {
        TargetKind::Class
    }

    fn loss_name(&self) -> &'static str {
        "cross-entropy"
    }

    fn metrics(&self) -> &'static [Metric] {
        &METRICS
    }

    fn score(
        &self,
        outputs: &[f64],
        targets: &Targets,
    ) -> Result<(Vec<f64>, Comparison), MetricsError> {
        let Targets::Classes(labels) = targets else {
            return Err(MetricsError::targets(self.targets(), targets));
        };
        let classes = outputs.len() / labels.len().max(1);
        require_finite(outputs, classes)?;
        let rows = outputs.chunks_exact(classes.max(1));
        let predictions: Vec<usize> = rows.map(argmax).collect();
        let confusion = ConfusionMatrix::new(&predictions, labels, classes)?;
        let scores = confusion.metrics();
        let values = vec![scores.accuracy, scores.weighted_f1, scores.macro_f1];
        Ok((values, Comparison::Classes(confusion)))
    }

    fn columns(&self, classes: &[String]) -> Vec<String> {
        [&["predicted".to_owned()], classes].concat()
    }

    fn predict(&self, outputs: &[f64], classes: &[String]) -> Vec<Vec<String>> {
        let name = classes.get(argmax(outputs)).cloned().unwrap_or_default();
        let probabilities = softmax(outputs).into_iter().map(|p| p.to_string());
        vec![std::iter::once(name).chain(probabilities).collect()]
    }
}

impl Build<Losses> for MultiClass {
    fn build<E: Scalar, D: Backend<E>>(&self, (): ()) -> Result<Loss<E, D>> {
        Ok(Box::new(cross_entropy))
    }
}

/// Index of the largest number; the first of several.
pub(crate) fn argmax(row: &[f64]) -> usize {
    let larger = |best: (usize, f64), (index, &value): (usize, &f64)| match value > best.1 {
        true => (index, value),
        false => best,
    };
    let start = (0, f64::NEG_INFINITY);
    row.iter().enumerate().fold(start, larger).0
}

/// `exp(s_i − m) / Σ_j exp(s_j − m)` with m the largest score, so that nothing overflows.
pub(crate) fn softmax(scores: &[f64]) -> Vec<f64> {
    let largest = scores.get(argmax(scores)).copied().unwrap_or_default();
    let powers: Vec<f64> = scores.iter().map(|s| (s - largest).exp()).collect();
    let sum: f64 = powers.iter().sum();
    powers.into_iter().map(|power| power / sum).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_scores_do_not_overflow() {
        let [a, b, c] = softmax(&[1000.0, 1000.0, -1000.0])[..] else {
            panic!("three scores, three probabilities");
        };
        assert!((a - 0.5).abs() < 1e-15 && (b - 0.5).abs() < 1e-15 && c < 1e-300);
    }

    #[test]
    fn odds_are_the_exponential_of_the_difference() {
        let p = softmax(&[0.25, -1.5]);
        assert!((p[0] / p[1] - 1.75_f64.exp()).abs() < 1e-14);
        assert_eq!((argmax(&[1.0, 3.0, 3.0]), argmax(&[])), (1, 0));
    }
}
