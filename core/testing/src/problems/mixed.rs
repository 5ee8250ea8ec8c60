//! Batches whose samples differ.

use super::dense::{diagonal, reflected};
use super::{normal, Function, Problem, Stage};
use equilibria_core::report::Status;

pub(super) fn problems() -> Vec<Problem> {
    let (rates, dim) = ([0.0, 0.3, 0.6, 0.9, 0.95, 0.99], 4);
    let scales = rates.iter().flat_map(|&rate| vec![rate; dim]).collect();
    let easy_and_hard = Problem::new(
        "mixed-rates",
        "g z Q + x with an orthogonal Q and g = 0, 0.3, 0.6, 0.9, 0.95 and 0.99 for the six samples.",
        dim,
        vec![
            Stage::Scale,
            Stage::Linear(reflected(&diagonal(&[1.0, 1.0, -1.0, 1.0]), 17)),
            Stage::Shift,
        ],
        vec![scales, normal(6, dim, 1.0, 18)],
    );
    // Roots of z² = 0.2 z + x: x = −1 leaves none, and NaN at once.
    let mut inputs: Vec<f64> = (0..64)
        .map(|sample| 0.5 + 0.05 * f64::from(sample))
        .collect();
    inputs[NAN_SAMPLE] = -1.0;
    let nan_sample = Problem::new(
        "nan-sample",
        "The square root of 0.2 z + x for 64 samples; of one of them, number 41, it is NaN.",
        1,
        vec![
            Stage::Linear(vec![0.2]),
            Stage::Shift,
            Stage::Each(Function::Sqrt),
        ],
        vec![inputs],
    );
    let nan_sample = nan_sample.starting(vec![1.0; 64]).solved();
    vec![
        easy_and_hard.solved(),
        nan_sample.or_else(&[Status::NonFinite]),
    ]
}

/// The sample, from 0, without a solution.
const NAN_SAMPLE: usize = 41;
