//! One class per sample.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{percent, same_length, MetricsError};

/// How often each label met each prediction. It takes memory for the classes and for the pairs that occur, not for all that could.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfusionMatrix {
    /// By label and prediction; those that occur.
    pairs: BTreeMap<(usize, usize), usize>,
    /// Samples of every class, by label.
    supports: Vec<usize>,
    /// Samples of every class, by prediction.
    predicted: Vec<usize>,
}

/// The scores of one class, in percent.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ClassScores {
    /// Share of the predictions of the class that are right; 0 if there are
    /// none.
    pub precision: f64,
    /// Share of the samples of the class that are found; 0 if there are none.
    pub recall: f64,
    /// Harmonic mean of precision and recall; 0 if both are.
    pub f1: f64,
    /// Number of samples with this label.
    pub support: usize,
}

/// The three summary scores, in percent.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Metrics {
    /// See [`ConfusionMatrix::accuracy`].
    pub accuracy: f64,
    /// See [`ConfusionMatrix::weighted_f1`].
    pub weighted_f1: f64,
    /// See [`ConfusionMatrix::macro_f1`].
    pub macro_f1: f64,
}

impl ConfusionMatrix {
    /// Counts the pairs of predictions and labels, both class ids below
    /// `classes`.
    ///
    /// # Errors
    ///
    /// If the lists differ in length or hold an id that is out of range.
    pub fn new(
        predictions: &[usize],
        labels: &[usize],
        classes: usize,
    ) -> Result<Self, MetricsError> {
        same_length(predictions, labels)?;
        for (row, (&prediction, &label)) in (1..).zip(predictions.iter().zip(labels)) {
            if prediction >= classes || label >= classes {
                return Err(MetricsError::OutOfRange {
                    row,
                    prediction,
                    label,
                    classes,
                });
            }
        }
        let pairs = predictions.iter().copied().zip(labels.iter().copied());
        Ok(Self::count(pairs, classes))
    }

    /// Counts pairs of a prediction and a label, both known to be below `classes`.
    pub(super) fn count(pairs: impl Iterator<Item = (usize, usize)>, classes: usize) -> Self {
        let mut counted = Self {
            pairs: BTreeMap::new(),
            supports: vec![0; classes],
            predicted: vec![0; classes],
        };
        for (prediction, label) in pairs {
            *counted.pairs.entry((label, prediction)).or_default() += 1;
            counted.supports[label] += 1;
            counted.predicted[prediction] += 1;
        }
        counted
    }

    /// Number of classes, whether they occur or not.
    pub fn classes(&self) -> usize {
        self.supports.len()
    }

    /// The counts: one row per label, one column per prediction, so that many classes take memory with their square.
    pub fn counts(&self) -> Vec<Vec<usize>> {
        let mut counts = vec![vec![0; self.classes()]; self.classes()];
        for (label, prediction, count) in self.pairs() {
            counts[label][prediction] = count;
        }
        counts
    }

    /// Label, prediction and count of all pairs that occur, in order of the labels.
    pub fn pairs(&self) -> impl Iterator<Item = (usize, usize, usize)> + '_ {
        let pairs = self.pairs.iter();
        pairs.map(|(&(label, prediction), &count)| (label, prediction, count))
    }

    /// Samples of every class, by label.
    pub fn supports(&self) -> &[usize] {
        &self.supports
    }

    /// Samples of every class, by prediction.
    pub fn predicted(&self) -> &[usize] {
        &self.predicted
    }

    /// Percentage of samples predicted right; 0 if there are no samples.
    pub fn accuracy(&self) -> f64 {
        let hits = (0..self.classes()).map(|class| self.hits(class)).sum();
        percent(hits, self.total())
    }

    /// F1 averaged over the classes, weighted by their number of samples, in
    /// percent; 0 if there are no samples. A class without samples has no
    /// weight.
    pub fn weighted_f1(&self) -> f64 {
        let scores = self.per_class();
        let sum: f64 = scores.iter().map(|s| s.f1 * s.support as f64).sum();
        sum / self.total().max(1) as f64
    }

    /// F1 averaged over the classes, weighted by how often each is predicted, in percent: what
    /// [`weighted_f1`](Self::weighted_f1) is where labels and predictions are exchanged; 0 if there are no samples.
    pub fn prediction_weighted_f1(&self) -> f64 {
        let weighted = |class| self.scores(class).f1 * self.predicted[class] as f64;
        let sum: f64 = (0..self.classes()).map(weighted).sum();
        sum / self.total().max(1) as f64
    }

    /// Plain mean of F1 over the classes that occur, in percent; 0 if none
    /// does.
    ///
    /// As in `f1_score(average="macro")`, a class occurs if it is among the
    /// labels or the predictions. One that is in neither is left out; one that
    /// is never predicted, or predicted without being a label, counts with 0.
    pub fn macro_f1(&self) -> f64 {
        let occurs = |class: &usize| self.supports[*class] + self.predicted[*class] > 0;
        let scores: Vec<f64> = (0..self.classes())
            .filter(occurs)
            .map(|class| self.scores(class).f1)
            .collect();
        scores.iter().sum::<f64>() / scores.len().max(1) as f64
    }

    /// Precision, recall, F1 and support of every class, by class id; all 0
    /// for a class that does not occur.
    pub fn per_class(&self) -> Vec<ClassScores> {
        (0..self.classes())
            .map(|class| self.scores(class))
            .collect()
    }

    /// The three summary scores at once.
    pub fn metrics(&self) -> Metrics {
        Metrics {
            accuracy: self.accuracy(),
            weighted_f1: self.weighted_f1(),
            macro_f1: self.macro_f1(),
        }
    }

    fn scores(&self, class: usize) -> ClassScores {
        let (hits, support) = (self.hits(class), self.supports[class]);
        let predicted = self.predicted[class];
        ClassScores {
            precision: percent(hits, predicted),
            recall: percent(hits, support),
            f1: percent(2 * hits, predicted + support),
            support,
        }
    }

    fn hits(&self, class: usize) -> usize {
        self.pairs.get(&(class, class)).copied().unwrap_or(0)
    }

    fn total(&self) -> usize {
        self.supports.iter().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use approx::assert_relative_eq;

    // Labels      0 0 0 1 1 2
    // Predictions 0 0 1 1 0 0    (2 is never predicted, 3 does not occur)
    //
    // Class 0: 2 hits of 4 predictions and 3 labels: P = 1/2, R = 2/3,
    //          F1 = 2 * 2 / (4 + 3) = 4/7.
    // Class 1: 1 hit of 2 predictions and 2 labels: P = R = F1 = 1/2.
    // Class 2: no hit, no prediction, 1 label: P = R = F1 = 0.
    //
    // Accuracy    3/6 = 1/2.
    // Weighted F1 (3 * 4/7 + 2 * 1/2 + 1 * 0) / 6 = (19/7) / 6 = 19/42.
    // Macro F1    (4/7 + 1/2 + 0) / 3 = (15/14) / 3 = 5/14.
    #[test]
    fn scores_agree_with_hand_computed_values() -> Result<(), MetricsError> {
        let matrix = ConfusionMatrix::new(&[0, 0, 1, 1, 0, 0], &[0, 0, 0, 1, 1, 2], 4)?;
        assert_eq!(matrix.counts()[0], [2, 1, 0, 0]);
        let metrics = matrix.metrics();
        assert_relative_eq!(metrics.accuracy, 50.0);
        assert_relative_eq!(metrics.weighted_f1, 1900.0 / 42.0, epsilon = 1e-12);
        assert_relative_eq!(metrics.macro_f1, 500.0 / 14.0, epsilon = 1e-12);

        let scores = matrix.per_class();
        assert_relative_eq!(scores[0].precision, 50.0);
        assert_relative_eq!(scores[0].recall, 200.0 / 3.0, epsilon = 1e-12);
        assert_relative_eq!(scores[0].f1, 400.0 / 7.0, epsilon = 1e-12);
        assert_relative_eq!(scores[1].f1, 50.0);
        assert_eq!(
            (scores[2].precision, scores[2].f1, scores[2].support),
            (0.0, 0.0, 1)
        );
        assert_eq!((scores[3].f1, scores[3].support), (0.0, 0));
        Ok(())
    }

    // Class 1 is predicted once but is nobody's label: it counts with F1 = 0.
    // Class 0: 1 hit of 1 prediction and 2 labels: F1 = 2/3; macro (2/3 + 0) / 2.
    #[test]
    fn a_class_that_is_only_predicted_counts_for_macro() -> Result<(), MetricsError> {
        let matrix = ConfusionMatrix::new(&[0, 1], &[0, 0], 2)?;
        assert_relative_eq!(matrix.macro_f1(), 100.0 / 3.0, epsilon = 1e-12);
        assert_relative_eq!(matrix.weighted_f1(), 200.0 / 3.0, epsilon = 1e-12);
        Ok(())
    }

    #[test]
    fn nothing_to_score_gives_zero() -> Result<(), MetricsError> {
        let empty = ConfusionMatrix::new(&[], &[], 3)?.metrics();
        assert_eq!(
            (empty.accuracy, empty.weighted_f1, empty.macro_f1),
            (0.0, 0.0, 0.0)
        );
        Ok(())
    }

    /// A matrix of all pairs would take 32 TB.
    #[test]
    fn two_million_classes_take_memory_for_those_that_occur() -> Result<(), MetricsError> {
        let last = 2_000_000 - 1;
        let matrix = ConfusionMatrix::new(&[last, 0, last], &[last, 0, 1], last + 1)?;
        assert_relative_eq!(matrix.accuracy(), 200.0 / 3.0, epsilon = 1e-12);
        let pairs: Vec<_> = matrix.pairs().collect();
        assert_eq!(pairs, [(0, 0, 1), (1, last, 1), (last, last, 1)]);
        assert_eq!((matrix.supports()[1], matrix.predicted()[last]), (1, 2));
        Ok(())
    }

    #[test]
    fn lists_that_do_not_fit_are_refused() {
        let length = ConfusionMatrix::new(&[0], &[0, 1], 2);
        assert!(matches!(
            length,
            Err(MetricsError::Length {
                predictions: 1,
                labels: 2
            })
        ));
        let range = ConfusionMatrix::new(&[0, 2], &[0, 1], 2);
        assert!(matches!(
            range,
            Err(MetricsError::OutOfRange { row: 2, .. })
        ));
    }
}
