//! A number per sample, such as a sentiment from −3 to 3.

use serde::{Deserialize, Serialize};

use super::{same_length, ConfusionMatrix, MetricsError};

/// Predicted numbers and the true ones, all finite.
#[derive(Debug, Clone, PartialEq)]
pub struct Regression {
    predictions: Vec<f64>,
    labels: Vec<f64>,
}

/// What 0 is when only the sign counts: all three are in use under the name Acc-2.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Zero {
    /// Positive against the others: 0 is among the negative ones.
    Negative,
    /// Negative against positive: samples with the label 0 are left out, and a prediction of 0 is not positive.
    #[serde(alias = "left-out")]
    Exclude,
    /// Negative against non-negative: 0 is among the positive ones.
    #[serde(alias = "non-negative")]
    Positive,
}

impl Regression {
    /// Takes one prediction per label.
    ///
    /// # Errors
    ///
    /// If the lists differ in length or hold a number that is not finite.
    pub fn new(predictions: &[f64], labels: &[f64]) -> Result<Self, MetricsError> {
        same_length(predictions, labels)?;
        for (row, (prediction, label)) in (1..).zip(predictions.iter().zip(labels)) {
            if !(prediction.is_finite() && label.is_finite()) {
                return Err(MetricsError::NonFinite { row });
            }
        }
        Ok(Self {
            predictions: predictions.to_vec(),
            labels: labels.to_vec(),
        })
    }

    /// Mean absolute error, in the unit of the labels; 0 if there are no samples.
    pub fn mean_absolute_error(&self) -> f64 {
        let errors = self.pairs().map(|(prediction, label)| prediction - label);
        errors.map(f64::abs).sum::<f64>() / self.labels.len().max(1) as f64
    }

    /// Pearson's correlation, in [−1, 1]. `None` where it is not defined, since predictions or labels are all the
    /// same, and where their squares are beyond f64.
    pub fn correlation(&self) -> Option<f64> {
        let (a, b) = (centered(&self.predictions)?, centered(&self.labels)?);
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        let scale = dot(&a, &a).sqrt() * dot(&b, &b).sqrt();
        let correlation = dot(&a, &b) / scale;
        correlation
            .is_finite()
            .then(|| correlation.clamp(-1.0, 1.0))
    }

    /// Both rounded to the nearest of the classes −3 to 3, numbered from 0; its
    /// [`accuracy`](ConfusionMatrix::accuracy) is Acc-7.
    ///
    /// What lies in the middle goes to the even class, as numpy rounds.
    pub fn seven_classes(&self) -> ConfusionMatrix {
        let class = |value: f64| (value.clamp(-3.0, 3.0).round_ties_even() + 3.0) as usize;
        let pairs = self.pairs();
        ConfusionMatrix::count(pairs.map(|(p, l)| (class(p), class(l))), 7)
    }

    /// The signs of both, the negative class first; its [`accuracy`](ConfusionMatrix::accuracy) is Acc-2, and the F1 beside
    /// it in the literature is [`weighted_f1`](ConfusionMatrix::weighted_f1).
    pub fn signs(&self, zero: Zero) -> ConfusionMatrix {
        let counts = |label: f64| zero != Zero::Exclude || label > 0.0 || label < 0.0;
        let class = |value: f64| match zero {
            Zero::Positive => usize::from(value >= 0.0),
            Zero::Negative | Zero::Exclude => usize::from(value > 0.0),
        };
        let pairs = self.pairs().filter(|(_, label)| counts(*label));
        ConfusionMatrix::count(pairs.map(|(p, l)| (class(p), class(l))), 2)
    }

    /// Every prediction with its label.
    pub fn pairs(&self) -> impl Iterator<Item = (f64, f64)> + '_ {
        let predictions = self.predictions.iter().copied();
        predictions.zip(self.labels.iter().copied())
    }
}

/// The values less their mean; `None` if all are the same, of which rounding of the mean would make differences.
fn centered(values: &[f64]) -> Option<Vec<f64>> {
    let first = *values.first()?;
    values.iter().find(|&v| (v - first).abs() > 0.0)?;
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    Some(values.iter().map(|value| value - mean).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use approx::assert_relative_eq;

    // Predictions  2.6 −0.4  0.2 −3.7  0.5
    // Labels         3    0   −1 −2.8    1
    // Errors        .4   .4  1.2   .9   .5   mean 3.4 / 5
    // Classes      3 3  0 0  0 −1 −3 −3  0 1   3 of 5 right; 0.5 goes to 0
    fn example() -> Result<Regression, MetricsError> {
        Regression::new(&[2.6, -0.4, 0.2, -3.7, 0.5], &[3.0, 0.0, -1.0, -2.8, 1.0])
    }

    #[test]
    fn errors_and_seven_classes_agree_with_hand_computed_values() -> Result<(), MetricsError> {
        let scores = example()?;
        assert_relative_eq!(scores.mean_absolute_error(), 0.68, epsilon = 1e-12);
        assert_relative_eq!(scores.seven_classes().accuracy(), 60.0, epsilon = 1e-12);
        assert_eq!(scores.seven_classes().counts()[0], [1, 0, 0, 0, 0, 0, 0]);
        Ok(())
    }

    // Positive: predictions + − + − +, labels + + − − +: 3 of 5 right.
    // F1: + has 2 hits of 3 and 3, 2/3; − has 1 of 2 and 2, 1/2; (3 * 2/3 + 2 * 1/2) / 5 = 3/5.
    //
    // Negative: the same, since neither a prediction nor another label is 0, but the label 0 is negative: labels + − − − +,
    // 4 of 5 right. F1: + has 2 hits of 3 and 2, 4/5; − has 2 of 2 and 3, 4/5; 4/5 in all.
    //
    // Without the zero: predictions + + − +, labels + − − +: 3 of 4 right.
    // F1: + has 2 hits of 3 and 2, 4/5; − has 1 of 1 and 2, 2/3; (2 * 4/5 + 2 * 2/3) / 4 = 11/15.
    #[test]
    fn signs_agree_with_hand_computed_values() -> Result<(), MetricsError> {
        let scores = example()?;
        for (zero, accuracy, f1) in [
            (Zero::Positive, 60.0, 60.0),
            (Zero::Negative, 80.0, 80.0),
            (Zero::Exclude, 75.0, 1100.0 / 15.0),
        ] {
            let signs = scores.signs(zero);
            assert_relative_eq!(signs.accuracy(), accuracy, epsilon = 1e-12);
            assert_relative_eq!(signs.weighted_f1(), f1, epsilon = 1e-12);
        }
        // A prediction of 0 is not negative, and not positive.
        let zero = Regression::new(&[0.0], &[2.0])?;
        assert_relative_eq!(zero.signs(Zero::Positive).accuracy(), 100.0);
        assert_relative_eq!(zero.signs(Zero::Exclude).accuracy(), 0.0);
        Ok(())
    }

    // Deviations −1, 0, 1 and −2/3, 1/3, 1/3: 1 / √(2 * 2/3) = √3 / 2.
    #[test]
    fn correlation_agrees_with_hand_computed_values() -> Result<(), MetricsError> {
        let correlation = |a: &[f64], b: &[f64]| Ok(Regression::new(a, b)?.correlation());
        let half = correlation(&[1.0, 2.0, 3.0], &[1.0, 2.0, 2.0])?.unwrap_or(0.0);
        assert_relative_eq!(half, 3f64.sqrt() / 2.0, epsilon = 1e-12);
        let opposite = correlation(&[1.0, 2.0, 4.0], &[-1.0, -3.0, -7.0])?.unwrap_or(0.0);
        assert_relative_eq!(opposite, -1.0, epsilon = 1e-12);
        // The mean of three times 0.1 is not 0.1.
        assert_eq!(correlation(&[0.1; 3], &[1.0, 2.0, 4.0])?, None);
        assert_eq!(correlation(&[], &[])?, None);
        Ok(())
    }

    #[test]
    fn lists_that_do_not_fit_are_refused() {
        let length = Regression::new(&[0.0], &[]);
        assert!(matches!(length, Err(MetricsError::Length { .. })));
        let broken = Regression::new(&[0.0, f64::NAN], &[0.0, 1.0]);
        assert_eq!(broken, Err(MetricsError::NonFinite { row: 2 }));
    }
}
