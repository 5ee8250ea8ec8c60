//! f(z) = z A + x with a spectral radius above 1: plain iteration diverges, others need not.

use super::dense::{diagonal, reflected};
use super::linear::{affine, rotations};
use super::Problem;

pub(super) fn problems() -> Vec<Problem> {
    let symmetric = |eigenvalues: &[f64]| reflected(&diagonal(eigenvalues), 3);
    let problems = [
        affine(
            "expansive-positive",
            "Symmetric, one eigenvalue is 1.5, the others are within 0.5.",
            symmetric(&[1.5, 0.5, 0.2, 0.0, -0.5]),
        ),
        affine(
            "expansive-negative",
            "Symmetric, one eigenvalue is -2, the others are within 0.5.",
            symmetric(&[-2.0, 0.5, 0.2, 0.0, -0.5]),
        ),
        affine(
            "expansive-complex",
            "Normal, three complex pairs of eigenvalues of modulus 1.2.",
            rotations(1.2),
        ),
    ];
    problems.into_iter().map(Problem::solved).collect()
}
