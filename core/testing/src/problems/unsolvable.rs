//! Maps without a fixed point.

use super::{Function, Problem, Stage};
use equilibria_core::report::Status;

pub(super) fn problems() -> Vec<Problem> {
    let translation = Problem::new(
        "translation",
        "z + 1: no fixed point, the residual is 1 everywhere.",
        1,
        vec![Stage::Shift],
        vec![vec![1.0]],
    );
    let drift = Problem::new(
        "drift",
        "z + 1 / (1 + z^2): no fixed point, but the residual is as small as one likes far away.",
        1,
        vec![Stage::Each(Function::Drift), Stage::Scale],
        vec![vec![1.0]],
    );
    // Of z = √(z + x) with x = −1 the residual is at most −3/4.
    let region = Problem::new(
        "nan-region",
        "The square root of z - 1 from 5, 17 and 2: no fixed point, and NaN after some steps.",
        1,
        vec![Stage::Shift, Stage::Each(Function::Sqrt)],
        vec![vec![-1.0; 3]],
    );
    let given_up = &[
        Status::MaxEvaluations,
        Status::Stalled,
        Status::Diverged,
        Status::NonFinite,
    ];
    vec![
        translation.or_else(given_up),
        drift.or_else(&[
            // Truthful where the residual has really become that small.
            Status::Converged,
            Status::MaxEvaluations,
            Status::Stalled,
            Status::Diverged,
            Status::NonFinite,
        ]),
        region.starting(vec![5.0, 17.0, 2.0]).or_else(given_up),
    ]
}
