//! f(z) = z A + x with known spectra, all solved by plain iteration, if slowly.

use super::dense::{diagonal, matrix, reflected};
use super::{normal, Problem, Stage};

const BATCH: usize = 3;
const DIM: usize = 6;

/// The affine map of a matrix, with random x.
pub(super) fn affine(name: &'static str, summary: &'static str, a: Vec<f64>) -> Problem {
    let dim = a.len().isqrt();
    let stages = vec![Stage::Linear(a), Stage::Shift];
    Problem::new(name, summary, dim, stages, vec![normal(BATCH, dim, 1.0, 1)])
}

/// Rotations by the angles π/4, 3π/4 and π/2, scaled by `radius`, reflected: three complex pairs of eigenvalues.
pub(super) fn rotations(radius: f64) -> Vec<f64> {
    use std::f64::consts::FRAC_PI_4;
    let angles = [FRAC_PI_4, 3.0 * FRAC_PI_4, 2.0 * FRAC_PI_4];
    let plane = matrix(DIM, |i, j| {
        let (sin, cos) = angles[i / 2].sin_cos();
        match (i / 2 == j / 2, i.cmp(&j)) {
            (false, _) => 0.0,
            (true, std::cmp::Ordering::Less) => radius * sin,
            (true, std::cmp::Ordering::Equal) => radius * cos,
            (true, std::cmp::Ordering::Greater) => -radius * sin,
        }
    });
    reflected(&plane, 2)
}

pub(super) fn problems() -> Vec<Problem> {
    let symmetric = |eigenvalues: [f64; DIM]| reflected(&diagonal(&eigenvalues), 2);
    let upper = |diagonal: f64, above: f64| {
        matrix(DIM, |i, j| match i.cmp(&j) {
            std::cmp::Ordering::Less => above / (j - i) as f64,
            std::cmp::Ordering::Equal => diagonal,
            std::cmp::Ordering::Greater => 0.0,
        })
    };
    let mut problems = vec![
        affine(
            "linear-half",
            "Symmetric, eigenvalues from 0.5 down to -0.4.",
            symmetric([0.5, 0.3, 0.1, 0.0, -0.2, -0.4]),
        ),
        affine(
            "linear-90",
            "Symmetric, eigenvalues from 0.9 down to -0.6.",
            symmetric([0.9, 0.7, 0.4, 0.1, -0.3, -0.6]),
        ),
        affine(
            "linear-99",
            "Symmetric, eigenvalues from 0.99 down to 0.1.",
            symmetric([0.99, 0.95, 0.8, 0.6, 0.3, 0.1]),
        ),
        affine(
            "linear-negative",
            "Symmetric, the largest eigenvalue is -0.9.",
            symmetric([-0.9, -0.5, -0.3, 0.1, 0.2, 0.4]),
        ),
        affine(
            "linear-complex",
            "Normal, three complex pairs of eigenvalues of modulus 0.9.",
            rotations(0.9),
        ),
        affine(
            "linear-nilpotent",
            "Strictly triangular: the only eigenvalue is 0, plain iteration ends after 6 steps.",
            upper(0.0, 1.0),
        ),
        affine(
            "linear-zero",
            "Constant, f(z) = x.",
            vec![0.0; DIM * DIM],
        ),
        affine(
            "linear-slow",
            "Symmetric, like the identity in one direction: eigenvalues 0.999 and 0.1.",
            symmetric([0.999, 0.1, 0.1, 0.1, 0.1, 0.1]),
        ),
        affine(
            "linear-non-normal",
            "Triangular with 0.5 on the diagonal and up to 10 above: residuals grow before they shrink.",
            upper(0.5, 10.0),
        ),
        affine(
            "linear-stiff",
            "Diagonal with eigenvalues 0.99999 and 0.",
            diagonal(&[0.99999, 0.0, 0.99999, 0.0]),
        ),
    ];
    let line = vec![Stage::Scale, Stage::Shift];
    let inputs = vec![vec![0.5, -0.5, 0.9], vec![1.0, 2.0, -3.0]];
    let summary = "One dimension, f(z) = a z + x with a = 0.5, -0.5 and 0.9.";
    problems.push(Problem::new("linear-scalar", summary, 1, line, inputs));
    // Halves of small integers: neither dtype rounds, and the start is exact in both.
    let half = vec![Stage::Linear(diagonal(&[0.5, 0.5])), Stage::Shift];
    let summary = "f(z) = z / 2 + x, started at its solution 2 x.";
    let solved = Problem::new(
        "linear-solved",
        summary,
        2,
        half,
        vec![vec![1.0, -2.0, 3.0, 0.5]],
    )
    .starting(vec![2.0, -4.0, 6.0, 1.0]);
    problems.push(solved);
    problems.into_iter().map(Problem::solved).collect()
}
