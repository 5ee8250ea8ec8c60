//! Any number of classes per sample, such as the genres of a movie.

use super::{percent, same_length, ClassScores, MetricsError};

/// How often each class, and in each sample how many classes, were predicted and right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MultiLabel {
    classes: Vec<Counts>,
    samples: Vec<Counts>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Counts {
    hits: usize,
    predicted: usize,
    support: usize,
}

impl Counts {
    fn add(&mut self, prediction: bool, label: bool) {
        self.hits += usize::from(prediction && label);
        self.predicted += usize::from(prediction);
        self.support += usize::from(label);
    }

    /// In percent; 0 if there is neither a prediction nor a label.
    fn f1(&self) -> f64 {
        percent(2 * self.hits, self.predicted + self.support)
    }
}

impl MultiLabel {
    /// Counts predictions and labels, both row-major with one row per sample and one column per class: whether the sample
    /// is of the class.
    ///
    /// # Errors
    ///
    /// If the lists differ in length or do not fill whole rows of at least one class.
    pub fn new(
        predictions: &[bool],
        labels: &[bool],
        classes: usize,
    ) -> Result<Self, MetricsError> {
        same_length(predictions, labels)?;
        if classes == 0 || !labels.len().is_multiple_of(classes) {
            return Err(MetricsError::Rows {
                entries: labels.len(),
                classes,
            });
        }
        let mut counts = Self {
            classes: vec![Counts::default(); classes],
            samples: vec![Counts::default(); labels.len() / classes],
        };
        for (entry, (&prediction, &label)) in predictions.iter().zip(labels).enumerate() {
            counts.classes[entry % classes].add(prediction, label);
            counts.samples[entry / classes].add(prediction, label);
        }
        Ok(counts)
    }

    /// F1 of all entries taken together, in percent; 0 if there is neither a prediction nor a label.
    pub fn micro_f1(&self) -> f64 {
        let total = |count: fn(&Counts) -> usize| self.classes.iter().map(count).sum::<usize>();
        let entries = total(|counts| counts.predicted + counts.support);
        percent(2 * total(|counts| counts.hits), entries)
    }

    /// Plain mean of F1 over all classes, in percent. A class that does not occur counts with 0, other than in
    /// [`ConfusionMatrix::macro_f1`](super::ConfusionMatrix::macro_f1): so does scikit-learn.
    pub fn macro_f1(&self) -> f64 {
        mean_f1(&self.classes)
    }

    /// F1 averaged over the classes, weighted by their number of samples, in percent; 0 if there are no labels.
    pub fn weighted_f1(&self) -> f64 {
        let weighted = |counts: &Counts| counts.support as f64 * counts.f1();
        let support: usize = self.classes.iter().map(|counts| counts.support).sum();
        self.classes.iter().map(weighted).sum::<f64>() / support.max(1) as f64
    }

    /// Mean over the samples of the F1 of each sample's classes, in percent; 0 if there are no samples. A sample with
    /// neither a prediction nor a label counts with 0.
    pub fn samples_f1(&self) -> f64 {
        mean_f1(&self.samples)
    }

    /// Percentage of samples all of whose classes are predicted, and no others; 0 if there are no samples.
    pub fn subset_accuracy(&self) -> f64 {
        let exact = |c: &&Counts| c.hits == c.predicted && c.hits == c.support;
        percent(
            self.samples.iter().filter(exact).count(),
            self.samples.len(),
        )
    }

    /// Precision, recall, F1 and support of every class.
    pub fn per_class(&self) -> Vec<ClassScores> {
        let scores = |counts: &Counts| ClassScores {
            precision: percent(counts.hits, counts.predicted),
            recall: percent(counts.hits, counts.support),
            f1: counts.f1(),
            support: counts.support,
        };
        self.classes.iter().map(scores).collect()
    }
}

fn mean_f1(counts: &[Counts]) -> f64 {
    counts.iter().map(Counts::f1).sum::<f64>() / counts.len().max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use approx::assert_relative_eq;

    fn bits<const N: usize>(bits: [u8; N]) -> [bool; N] {
        bits.map(|bit| bit == 1)
    }

    // Class    0  1  2  3 (which does not occur)
    // Hits     1  1  0  0
    // Guesses  2  1  0  0
    // Support  1  2  1  0
    // F1      2/3 2/3 0  0
    //
    // Micro    2 * 2 / (3 + 4) = 4/7.
    // Macro    (2/3 + 2/3) / 4 = 1/3.
    // Weighted (1 * 2/3 + 2 * 2/3) / 4 = 1/2.
    // Samples  (2/3 + 2/3 + 0) / 3 = 4/9.
    #[test]
    fn scores_agree_with_hand_computed_values() -> Result<(), MetricsError> {
        let labels = bits([1, 1, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0]);
        let predictions = bits([1, 0, 0, 0, 1, 1, 0, 0, 0, 0, 0, 0]);
        let scores = MultiLabel::new(&predictions, &labels, 4)?;
        assert_relative_eq!(scores.micro_f1(), 400.0 / 7.0, epsilon = 1e-12);
        assert_relative_eq!(scores.macro_f1(), 100.0 / 3.0, epsilon = 1e-12);
        assert_relative_eq!(scores.weighted_f1(), 50.0, epsilon = 1e-12);
        assert_relative_eq!(scores.samples_f1(), 400.0 / 9.0, epsilon = 1e-12);
        let second = scores.per_class()[1];
        assert_relative_eq!(second.f1, 200.0 / 3.0, epsilon = 1e-12);
        assert_relative_eq!(second.precision, 100.0, epsilon = 1e-12);
        assert_relative_eq!(second.recall, 50.0, epsilon = 1e-12);
        assert_eq!(second.support, 2);
        Ok(())
    }

    #[test]
    fn a_sample_without_classes_counts_with_zero() -> Result<(), MetricsError> {
        let scores = MultiLabel::new(&bits([1, 0]), &bits([1, 0]), 1)?;
        assert_relative_eq!(scores.micro_f1(), 100.0);
        assert_relative_eq!(scores.samples_f1(), 50.0);
        assert_relative_eq!(scores.subset_accuracy(), 100.0);
        let half = MultiLabel::new(&bits([1, 0, 1, 1]), &bits([1, 0, 1, 0]), 2)?;
        assert_relative_eq!(half.subset_accuracy(), 50.0);
        let empty = MultiLabel::new(&[], &[], 3)?;
        let all = [empty.micro_f1(), empty.macro_f1(), empty.weighted_f1()];
        assert_eq!((all, empty.samples_f1()), ([0.0; 3], 0.0));
        assert_relative_eq!(empty.subset_accuracy(), 0.0);
        Ok(())
    }

    #[test]
    fn lists_that_do_not_fit_are_refused() {
        let length = MultiLabel::new(&[true], &[true, false], 2);
        assert!(matches!(length, Err(MetricsError::Length { .. })));
        for classes in [0, 2] {
            let rows = MultiLabel::new(&[true; 3], &[true; 3], classes);
            let expected = MetricsError::Rows {
                entries: 3,
                classes,
            };
            assert_eq!(rows.expect_err("no whole rows"), expected);
        }
    }
}
