//! Metrics in percent, as scikit-learn defines them with `zero_division=0`, and errors of predicted numbers.
//!
//! | what is predicted | metrics |
//! |---|---|
//! | one class | [`ConfusionMatrix`]: accuracy, weighted and macro F1 |
//! | any number of classes | [`MultiLabel`]: micro, macro, weighted and samples F1, subset accuracy |
//! | a number | [`Regression`]: mean absolute error, correlation, and the confusion matrices of its classes and signs |
//! | an answer that ten people gave too | [`VqaAccuracy`]: soft accuracy, over all and by the type of the question |

use crate::data::{TargetKind, Targets};

mod classification;
mod multi_label;
mod regression;
mod vqa;

pub use classification::{ClassScores, ConfusionMatrix, Metrics};
pub use multi_label::MultiLabel;
pub use regression::{Regression, Zero};
pub use vqa::{normalize_answer, soft_target, vqa_accuracy, VqaAccuracy};

/// Predictions and labels that cannot be compared.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MetricsError {
    /// The two lists differ in length.
    #[error("found {predictions} predictions for {labels} labels; give one prediction per label")]
    Length {
        /// Number of predictions.
        predictions: usize,
        /// Number of labels.
        labels: usize,
    },

    /// A prediction or label names no class.
    #[error("row {row}: prediction {prediction} or label {label} is out of range; expected both below {classes}, the number of classes")]
    OutOfRange {
        /// The row, from 1.
        row: usize,
        /// The prediction in that row.
        prediction: usize,
        /// The label in that row.
        label: usize,
        /// Number of classes.
        classes: usize,
    },

    /// The entries do not fill whole rows.
    #[error("found {entries} entries, which do not fill rows of {classes}; give one entry per sample and class, at least one class")]
    Rows {
        /// Number of entries.
        entries: usize,
        /// Number of classes.
        classes: usize,
    },

    /// Targets of another kind than the predictions.
    #[error("found {found}, expected {expected}; give targets of the kind the head learns from")]
    Kind {
        /// What the predictions are to be compared with.
        found: TargetKind,
        /// What they can be compared with.
        expected: TargetKind,
    },

    /// A prediction or label is NaN or infinite.
    #[error("row {row}: a prediction or label is not a finite number; look for a diverged model or a broken file")]
    NonFinite {
        /// The row, from 1.
        row: usize,
    },

    /// The loss of a row is NaN or infinite, though prediction and label are not.
    #[error("row {row}: the loss is not a finite number, as the prediction is too far from the label for the element type; look for a diverged model, or set `dtype = \"f64\"`")]
    Loss {
        /// The row, from 1.
        row: usize,
    },
}

impl From<MetricsError> for equilibria_core::Error {
    fn from(error: MetricsError) -> Self {
        Self::Parse {
            what: "predictions".to_owned(),
            message: error.to_string(),
        }
    }
}

impl MetricsError {
    /// The error for targets of another kind than `expected`.
    pub(crate) fn targets(expected: TargetKind, targets: &Targets) -> Self {
        Self::Kind {
            found: targets.kind(),
            expected,
        }
    }
}

/// [`MetricsError::NonFinite`] unless all entries are finite, `columns` of them in a row.
pub(crate) fn require_finite(entries: &[f64], columns: usize) -> Result<(), MetricsError> {
    let entry = entries.iter().position(|entry| !entry.is_finite());
    entry.map_or(Ok(()), |entry| {
        Err(MetricsError::NonFinite {
            row: entry / columns.max(1) + 1,
        })
    })
}

/// [`MetricsError::Length`] unless the lists are of the same length.
fn same_length<P, L>(predictions: &[P], labels: &[L]) -> Result<(), MetricsError> {
    if predictions.len() == labels.len() {
        return Ok(());
    }
    Err(MetricsError::Length {
        predictions: predictions.len(),
        labels: labels.len(),
    })
}

fn percent(part: usize, whole: usize) -> f64 {
    if whole == 0 {
        return 0.0;
    }
    100.0 * part as f64 / whole as f64
}
