//! What a model says of samples whose labels need not be known.

use std::ops::Range;

use dfdx::prelude::HasShape;
use equilibria_core::{from_host, Backend, Matrix, Report, Result, Scalar};

use crate::data::Table;
use crate::model::Model;
use crate::pass::Pass;

/// Rows that go through a model at a time.
const ROWS: usize = 256;

/// Class probabilities of some rows, and how their equilibria were found.
#[derive(Debug, Clone)]
pub struct Prediction {
    /// For every row the softmax of its class scores: at least 0, with sum 1.
    pub probabilities: Vec<Vec<f64>>,
    /// The equilibria by name, and how the forward solve of every row went; empty if the model has none.
    pub solves: Vec<(String, Report)>,
}

impl Prediction {
    /// The most probable class of a row, counted from 0; the first of several.
    pub fn class(&self, row: usize) -> usize {
        argmax(&self.probabilities[row])
    }

    /// The solves of one row, one per equilibrium.
    pub fn solves_of(&self, row: usize) -> Report {
        let samples = self.solves.iter().map(|(_, report)| &report.samples[row]);
        Report {
            samples: samples.cloned().collect(),
        }
    }
}

/// Predicts the classes of all rows; modalities are scaled as in training.
///
/// # Errors
/// Those of the model, e.g. of a solve where the configuration asks for an error.
pub fn predict<E: Scalar, D: Backend<E>>(
    model: &Model<E, D>,
    device: &D,
    modalities: &[Table],
) -> Result<Prediction> {
    let mut probabilities = Vec::new();
    let solves = scores(
        Pass::evaluation,
        model,
        device,
        modalities,
        |_, scores, _| {
            let classes = scores.shape().1.max(1);
            probabilities.extend(scores.as_vec().chunks(classes).map(softmax));
            Ok(())
        },
    )?;
    Ok(Prediction {
        probabilities,
        solves,
    })
}

/// Evaluates the class scores of all rows, some rows at a time, and shows them with the pass they come from. Returns the
/// equilibria by name, and how the solve of every row went; traces, if the pass has them, of the first rows only.
pub(crate) fn scores<E: Scalar, D: Backend<E>>(
    new_pass: fn() -> Pass<E, D>,
    model: &Model<E, D>,
    device: &D,
    modalities: &[Table],
    mut observe: impl FnMut(Range<usize>, &Matrix<E, D>, &mut Pass<E, D>) -> Result<()>,
) -> Result<Vec<(String, Report)>> {
    let mut solves: Vec<(String, Report)> = Vec::new();
    let rows = modalities.first().map_or(0, Table::rows);
    for start in (0..rows).step_by(ROWS) {
        let range = start..rows.min(start + ROWS);
        let some: Vec<usize> = range.clone().collect();
        let some: Vec<Table> = modalities.iter().map(|t| t.select(&some)).collect();
        let mut pass = new_pass();
        let scores = model.logits(&tensors(device, &some)?, None, &mut pass)?;
        for (index, solve) in std::mem::take(&mut pass.solves).into_iter().enumerate() {
            let (name, mut report) = (solve.name, solve.report);
            match solves.get_mut(index) {
                Some((_, all)) => {
                    report.samples.iter_mut().for_each(|s| s.trace.clear());
                    all.extend(report);
                }
                None => solves.push((name, report)),
            }
        }
        observe(range, &scores, &mut pass)?;
    }
    Ok(solves)
}

/// Modalities as tensors, `[rows, features]` each.
pub(crate) fn tensors<E: Scalar, D: Backend<E>>(
    device: &D,
    modalities: &[Table],
) -> Result<Vec<Matrix<E, D>>> {
    (modalities.iter())
        .map(|table| {
            let values = table.values.iter().map(|&value| E::of(value)).collect();
            from_host(device, values, (table.rows(), table.columns))
        })
        .collect()
}

/// Index of the largest number; the first of several.
pub(crate) fn argmax<E: Scalar>(row: &[E]) -> usize {
    let start = (0, E::neg_infinity());
    let best =
        row.iter().enumerate().fold(
            start,
            |best, (index, &value)| {
                if value > best.1 {
                    (index, value)
                } else {
                    best
                }
            },
        );
    best.0
}

/// `exp(s_i − m) / Σ_j exp(s_j − m)` with m the largest score, so that nothing overflows.
fn softmax<E: Scalar>(scores: &[E]) -> Vec<f64> {
    let largest = scores[argmax(scores)].wide();
    let powers: Vec<f64> = scores.iter().map(|s| (s.wide() - largest).exp()).collect();
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
        let p = softmax(&[0.25_f32, -1.5]);
        assert!((p[0] / p[1] - 1.75_f64.exp()).abs() < 1e-14);
        assert_eq!((argmax(&[1.0, 3.0, 3.0]), argmax::<f64>(&[])), (1, 0));
    }
}
