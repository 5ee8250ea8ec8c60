//! Piecewise linear maps.

use super::dense::{diagonal, matrix, product, random};
use super::{normal, Function, Problem, Stage};

const DIM: usize = 8;

pub(super) fn problems() -> Vec<Problem> {
    let relu = || Stage::Each(Function::Relu);
    let input = |deviation, seed| vec![normal(4, DIM, deviation, seed)];
    // Forward-backward splitting of 0 ∈ (M z − b) + ∂ψ(z), with the resolvent of ∂ψ the relu.
    let alpha = 0.25;
    let monotone = matrix(DIM, |i, j| {
        f64::from(u8::from(i == j)) - alpha * monotone()[i * DIM + j]
    });
    let piecewise = random(DIM, 0.9, 13);
    let problems = [
        Problem::new(
            "monotone-relu",
            "Forward-backward splitting z = relu((I - M / 4) z + b / 4) of a strongly monotone M.",
            DIM,
            vec![Stage::Linear(monotone), Stage::Shift, relu()],
            input(alpha, 12),
        ),
        Problem::new(
            "piecewise-relu",
            "relu(z W + x) with a random W of norm 0.9.",
            DIM,
            vec![Stage::Linear(piecewise), Stage::Shift, relu()],
            input(1.0, 14),
        ),
        Problem::new(
            "piecewise-abs",
            "x - 0.8 |z|, entry by entry: a kink at 0.",
            DIM,
            vec![
                Stage::Each(Function::Abs),
                Stage::Linear(diagonal(&[-0.8; DIM])),
                Stage::Shift,
            ],
            input(1.0, 15),
        ),
    ];
    problems.into_iter().map(Problem::solved).collect()
}

/// M = m I + GᵀG + S with m = 0.4 and a skew S: ⟨z, M z⟩ ≥ m ‖z‖².
fn monotone() -> Vec<f64> {
    let (g, s) = (random(DIM, 1.0, 11), random(DIM, 0.5, 16));
    let transposed = matrix(DIM, |i, j| g[j * DIM + i]);
    let gram = product(&transposed, &g, DIM);
    matrix(DIM, |i, j| {
        let identity = if i == j { 0.4 } else { 0.0 };
        identity + gram[i * DIM + j] + s[i * DIM + j] - s[j * DIM + i]
    })
}
