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
            "monotone-network",
            "A monotone operator network of margin 0.2, relu(z W + x), with a spectral radius far above 1.",
            DIM,
            vec![Stage::Linear(operator()), Stage::Shift, relu()],
            input(1.0, 21),
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
        Problem::new(
            "directed-graph",
            "relu(A' Z W' + X) on four nodes of two numbers, where no edge goes both ways.",
            DIM,
            vec![Stage::Linear(graph()), Stage::Shift, relu()],
            input(1.0, 19),
        ),
    ];
    let solved = problems.into_iter().map(Problem::solved);
    solved.chain(programs()).collect()
}

/// Quadratic programs argmin zᵀQ z / 2 + pᵀz, C z ≤ d, by projected ascent of their multipliers, y = relu(W y + x) with
/// W = I − r C Q⁻¹ Cᵀ and x = −r (C Q⁻¹ p + d). All numbers are multiples of 1/64, so that f32 has the same degeneracies.
fn programs() -> [Problem; 3] {
    let rows = |second: [f64; 4]| {
        [
            [1.0, 1.0, 0.0, 0.0],
            second,
            [0.0, 1.0, -1.0, 1.0],
            [1.0, 0.0, 1.0, -1.0],
        ]
    };
    let regular = rows([1.0, -1.0, 1.0, 0.0]);
    let redundant = rows([1.0, 1.0, 0.0, 0.0]);
    [
        program(
            "program-inactive",
            "Multipliers of a quadratic program no constraint of which is active, or one.",
            regular,
            [([0.0; 4], [0.5, 1.0, 0.25, 2.0]), ([0.0, 1.5, 0.0, 0.0], [1.0, 0.0, 0.5, 0.75])],
        ),
        program(
            "program-weak",
            "Multipliers of a quadratic program with constraints that are active and have a multiplier of 0.",
            regular,
            [([0.0, 1.0, 0.0, 0.5], [0.0; 4]), ([2.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 1.0])],
        ),
        program(
            "program-redundant",
            "Multipliers of a quadratic program with the same constraint twice: only their sum is known.",
            redundant,
            [([1.0, 0.5, 0.0, 0.0], [0.0, 0.0, 1.0, 0.5]), ([0.5, 0.5, 0.0, 1.0], [0.0, 0.0, 0.5, 0.0])],
        ),
    ]
}

/// The program whose multipliers are the given ones, sample by sample, each with the slacks of its constraints.
fn program(
    name: &'static str,
    summary: &'static str,
    c: [[f64; 4]; 4],
    samples: [([f64; 4], [f64; 4]); 2],
) -> Problem {
    // 1 / Q, and r.
    let (inverse, step) = ([1.0, 0.5, 1.0, 0.25], 0.25);
    let w = matrix(4, |i, j| {
        let product: f64 = (0..4).map(|k| c[i][k] * inverse[k] * c[j][k]).sum();
        f64::from(u8::from(i == j)) - step * product
    });
    let entry = |y: &[f64; 4], i: usize| (0..4).map(|j| w[i * 4 + j] * y[j]).sum::<f64>();
    let inputs = samples.iter().flat_map(|(y, slack)| {
        let sum = |i: usize| y[i] - entry(y, i) - step * slack[i];
        (0..4).map(sum).collect::<Vec<_>>()
    });
    let inputs = inputs.collect();
    let stages = vec![
        // W is symmetric: z W is W z.
        Stage::Linear(w.clone()),
        Stage::Shift,
        Stage::Each(Function::Relu),
    ];
    let mut problem = Problem::new(name, summary, 4, stages, vec![inputs]);
    problem.solutions = samples.iter().map(|(y, _)| Some(y.to_vec())).collect();
    problem
}

/// W = (1 − m) I − AᵀA + B − Bᵀ of a monotone operator network, transposed, for rows: large A and B, so that the spectral radius at
/// the solution is far above 1, and one solution all the same.
fn operator() -> Vec<f64> {
    let (a, b) = (random(DIM, 2.0, 19), random(DIM, 2.5, 20));
    let transposed = matrix(DIM, |i, j| a[j * DIM + i]);
    let gram = product(&transposed, &a, DIM);
    matrix(DIM, |i, j| {
        let identity = if i == j { 0.8 } else { 0.0 };
        identity - gram[i * DIM + j] + b[j * DIM + i] - b[i * DIM + j]
    })
}

/// A_ji W_kl from number l of node j to number k of node i, with `‖W‖_∞` = 0.75 and the Perron root of A about 1.2: an implicit graph
/// neural network on a cycle with a chord.
fn graph() -> Vec<f64> {
    const EDGES: [(usize, usize); 5] = [(0, 1), (1, 2), (2, 3), (3, 0), (0, 2)];
    const W: [[f64; 2]; 2] = [[0.5, -0.25], [0.25, 0.5]];
    matrix(DIM, |from, to| {
        let edge = EDGES.contains(&(from / 2, to / 2));
        f64::from(u8::from(edge)) * W[to % 2][from % 2]
    })
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
