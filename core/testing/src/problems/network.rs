//! Networks: f(z) = tanh(z W + x) and the fusion map, f(z) = normalize(relu((g ⊙ z) W + x)).

use super::dense::{diagonal, random, reflected};
use super::{normal, Function, Problem, Stage};

const TANH: Stage<f64> = Stage::Each(Function::Tanh);

/// s tanh(z W / s + x): the tanh network in units of s.
fn scaled(name: &'static str, summary: &'static str, scale: f64) -> Problem {
    let dim = 5;
    let inner = random(dim, 0.8, 4).into_iter().map(|w| w / scale);
    let outer = diagonal(&[scale; 5]);
    let stages = vec![
        Stage::Linear(inner.collect()),
        Stage::Shift,
        TANH,
        Stage::Linear(outer),
    ];
    Problem::new(name, summary, dim, stages, vec![normal(3, dim, 1.0, 5)])
}

pub(super) fn problems() -> Vec<Problem> {
    let tanh = |name, summary, w: Vec<f64>, x: f64| {
        let dim = w.len().isqrt();
        let stages = vec![Stage::Linear(w), Stage::Shift, TANH];
        Problem::new(name, summary, dim, stages, vec![normal(4, dim, x, 6)])
    };
    let fusion = Problem::new(
        "fusion",
        "The fusion map, normalize(relu((g * z) W + x)), of width 16 and with a spectral radius above 1.",
        16,
        vec![
            Stage::Scale,
            Stage::Linear(random(16, 3.0, FUSION_SEED)),
            Stage::Shift,
            Stage::Each(Function::Relu),
            Stage::Normalize,
        ],
        vec![normal(4, 16, 1.0, 8), normal(4, 16, 1.0, 9)],
    );
    let problems = [
        tanh(
            "tanh-contractive",
            "tanh(z W + x) with a random W of norm 0.7.",
            random(8, 0.7, 7),
            1.0,
        ),
        tanh(
            "tanh-critical",
            "tanh(z W + x) with eigenvalues of W up to 0.995 and so small an x that tanh hardly bends.",
            reflected(&diagonal(&[0.995, 0.9, 0.5, 0.1, -0.3, -0.6]), 7),
            1e-3,
        ),
        tanh(
            "tanh-wide",
            "tanh(z W + x) of width 32 with a random W of norm 0.9.",
            random(32, 0.9, 7),
            1.0,
        ),
        scaled(
            "large-scale",
            "A tanh network whose states are of the order 1e6.",
            1e6,
        ),
        scaled(
            "small-scale",
            "A tanh network whose states are of the order 1e-6.",
            1e-6,
        ),
        fusion,
    ];
    problems.into_iter().map(Problem::solved).collect()
}

/// With this seed the spectral radius at the solution is above 1.3 for every sample: plain iteration settles on none.
const FUSION_SEED: u64 = 18;
