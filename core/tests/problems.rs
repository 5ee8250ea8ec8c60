//! The problems are what they say: solutions, spectra, maps in rows, and what has no solution.

use equilibria_core::dfdx::prelude::*;
use equilibria_core::prelude::*;
use equilibria_testing::problems::{all, find, Precision, Problem, Space};
use equilibria_testing::{check_row_map, check_tangent_gradients, random_matrix, OnRows};

/// Samples that have no fixed point.
const UNSOLVABLE: [(&str, usize); 6] = [
    ("nan-sample", 41),
    ("translation", 0),
    ("drift", 0),
    ("nan-region", 0),
    ("nan-region", 1),
    ("nan-region", 2),
];

#[test]
fn names_are_unique_and_kebab_case() {
    let problems = all();
    assert!(problems.len() >= 24, "{}", problems.len());
    let names: std::collections::BTreeSet<_> = problems.iter().map(|p| p.name).collect();
    assert_eq!(names.len(), problems.len());
    for Problem { name, summary, .. } in &problems {
        let kebab = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        assert!(name.chars().all(kebab), "{name}");
        assert!(!summary.contains('\n') && summary.ends_with('.'), "{name}");
        assert_eq!(find(name).expect("its own name").summary, *summary);
    }
    let error = find("linear-haf").expect_err("unknown").to_string();
    let start =
        "no problem is named `linear-haf` (did you mean `linear-half`?); known: linear-half, ";
    assert!(error.starts_with(start), "{error}");
}

#[test]
fn another_fixed_point_is_told_from_the_known_one() {
    for problem in all() {
        for sample in 0..problem.batch {
            if let Some(z) = &problem.solutions[sample] {
                let near: Vec<f64> = z.iter().map(|z| z * (1.0 + 1e-9)).collect();
                assert!(!problem.is_other_solution(sample, z), "{}", problem.name);
                assert!(
                    !problem.is_other_solution(sample, &near),
                    "{}",
                    problem.name
                );
            }
        }
    }
    // Heron's rule has the negative root as well.
    let roots = find("square-root").expect("known");
    for sample in 0..roots.batch {
        let root = roots.solutions[sample].clone().expect("a root");
        assert!(roots.is_other_solution(sample, &[-root[0]]));
        assert!(roots.is_other_solution(sample, &[-root[0] * (1.0 + 1e-9)]));
    }
}

#[test]
fn solutions_are_exact_and_only_the_unsolvable_have_none() {
    let mut without = Vec::new();
    for problem in all() {
        assert_eq!(problem.solutions.len(), problem.batch, "{}", problem.name);
        assert_eq!(problem.start.len(), problem.batch * problem.dim);
        for (sample, solution) in problem.solutions.iter().enumerate() {
            let Some(z) = solution else {
                without.push((problem.name, sample));
                assert!(!problem.truthful(sample).is_empty());
                continue;
            };
            // 1e-14 of the numbers that are added up: some 50 roundings of 2e-16.
            let residual = problem.residual(sample, z);
            let allowed = 1e-14 * problem.magnitude(sample, z);
            assert!(
                residual <= allowed,
                "{} {sample}: {residual:e}",
                problem.name
            );
        }
    }
    without.sort_unstable();
    let mut expected = UNSOLVABLE;
    expected.sort_unstable();
    assert_eq!(without, expected);
}

/// Data are rounded to f32, which moves eigenvalues by at most dim · 6e-8 times the largest entry.
#[test]
fn spectra_are_as_stated() {
    let cases = [
        ("linear-half", 0.5),
        ("linear-90", 0.9),
        ("linear-99", 0.99),
        ("linear-negative", 0.9),
        ("linear-complex", 0.9),
        ("linear-nilpotent", 0.0),
        ("linear-zero", 0.0),
        ("linear-slow", 0.999),
        ("linear-non-normal", 0.5),
        ("linear-stiff", 0.99999),
        ("linear-scalar", 0.9),
        ("linear-solved", 0.5),
        ("expansive-positive", 1.5),
        ("expansive-negative", 2.0),
        ("expansive-complex", 1.2),
        ("mixed-rates", 0.99),
        // sin z* at z* = 0.7390851332151607.
        ("cosine", 0.6736120291832148),
        ("square-root", 0.0),
    ];
    for (name, expected) in cases {
        let radius = find(name).expect("known").radius().expect("solved");
        assert!((radius - expected).abs() < 1e-6, "{name}: {radius}");
    }
    // An upper bound of the norm, so of the radius at any point.
    for problem in all() {
        if let (Some(lipschitz), Some(radius)) = (problem.lipschitz(), problem.radius()) {
            let allowed = lipschitz * (1.0 + 1e-9);
            assert!(
                radius <= allowed,
                "{}: {radius} > {lipschitz}",
                problem.name
            );
        }
    }
    let radius = |name| find(name).expect("known").radius().expect("solved");
    assert!((0.9..1.0).contains(&radius("tanh-critical")));
    let fusion = find("fusion").expect("known");
    for sample in 0..fusion.batch {
        assert!(fusion.select(&[sample]).radius() > Some(1.3), "{sample}");
    }
}

#[test]
fn closed_forms_agree() {
    let solution = |name, sample: usize| {
        let problem = find(name).expect("known");
        problem.solutions[sample].clone().expect("solvable")
    };
    approx::assert_relative_eq!(
        solution("cosine", 0)[0],
        0.7390851332151607,
        epsilon = 1e-15
    );
    for (sample, root) in [2.0_f64.sqrt(), 0.5, 10.0].into_iter().enumerate() {
        approx::assert_relative_eq!(solution("square-root", sample)[0], root, epsilon = 1e-14);
    }
    // z = x / (1 − a), with a and x rounded to f32.
    let slope = f64::from(0.9_f32);
    approx::assert_relative_eq!(
        solution("linear-scalar", 2)[0],
        -3.0 / (1.0 - slope),
        epsilon = 1e-12
    );
    let size = |name| {
        solution(name, 0)
            .iter()
            .fold(0.0_f64, |a, z| a.max(z.abs()))
    };
    assert!((1e5..1e7).contains(&size("large-scale")));
    assert!((1e-7..1e-5).contains(&size("small-scale")));
}

/// The distance to the solution is bounded by condition · residual wherever one looks.
#[test]
fn conditions_bound_the_error() {
    for problem in all() {
        let Some(condition) = problem.condition() else {
            continue;
        };
        for (sample, solution) in problem.solutions.iter().enumerate() {
            let solution = solution.as_ref().expect("a contraction has a fixed point");
            for seed in 0..5 {
                let z = equilibria_testing::random_values(problem.dim, seed);
                let difference: f64 = z.iter().zip(solution).map(|(a, b)| (a - b).powi(2)).sum();
                // Rounding of the solution itself: 1e-14, times the condition.
                let bound = condition * (problem.residual(sample, &z) + 1e-13);
                let error = difference.sqrt();
                assert!(error <= bound * (1.0 + 1e-9), "{} {sample}", problem.name);
            }
        }
    }
}

#[test]
fn maps_in_rows_compute_the_same_as_layers() {
    let device = Cpu::default();
    for problem in all() {
        if problem.batch < 4 {
            continue;
        }
        check_rows_of(&problem, &device);
    }
    // The stages of small batches, on samples taken twice.
    for name in [
        "cosine",
        "square-root",
        "drift",
        "nan-region",
        "large-scale",
    ] {
        let problem = find(name).expect("known");
        let samples: Vec<usize> = (0..5).map(|k| k % problem.batch).collect();
        check_rows_of(&problem.select(&samples), &device);
    }
}

fn check_rows_of(problem: &Problem, device: &Cpu) {
    let layer = problem.layer::<f64, Cpu>(device).expect("memory");
    let x = problem.tensors(device).expect("memory");
    let z = random_matrix(device, (problem.batch, problem.dim), 3).expect("memory");
    // Away from 0, where roots are steep, and from negative numbers.
    let z: Matrix<f64, Cpu> = z.abs() + 1.5;
    let solvable: Vec<usize> = (0..problem.batch)
        .filter(|&sample| problem.name != "nan-sample" || sample != 41)
        .collect();
    if solvable.len() < problem.batch {
        return check_rows_of(&problem.select(&solvable), device);
    }
    let difference = check_row_map(&layer, &z, &x)
        .expect("finite")
        .expect("a map");
    // Sums of at most 32 numbers, in two orders, through at most 5 stages.
    assert!(difference < 1e-13, "{}: {difference:e}", problem.name);
    let difference = check_tangent_gradients(&layer, &z, &x)
        .expect("finite")
        .expect("tangents");
    // h² = 1e-12 times third derivatives, and rounding over h.
    assert!(difference < 1e-7, "{}: {difference:e}", problem.name);
}

/// ⟨u, J v⟩ = ⟨Jᵀ u, v⟩, and J as [`Problem::jacobian`] has it.
#[test]
fn both_products_belong_to_the_same_jacobian() {
    for problem in all() {
        let z: Vec<f64> = problem.start.iter().map(|z| z + 1.5).collect();
        let x = problem.tensors(&Cpu::default()).expect("memory");
        let mut map = OnRows::new(problem.row_map::<f64>(), problem.dim, &x);
        map.linearize(&z);
        let v = equilibria_testing::random_values(z.len(), 21);
        let u = equilibria_testing::random_values(z.len(), 22);
        let (jv, ju) = (map.jvp(&v).expect("tangents"), map.vjp(&u));
        for sample in 0..problem.batch {
            let row = |all: &[f64]| problem.row(all, sample).to_vec();
            let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
            let (left, right) = (dot(&row(&u), &row(&jv)), dot(&row(&ju), &row(&v)));
            if problem.solutions[sample].is_none() && !left.is_finite() {
                continue;
            }
            // Two sums of `dim` products, relative to their absolute values, at most 32 roundings each.
            let size = 1.0 + dot(&row(&jv), &row(&jv)).sqrt() * dot(&row(&u), &row(&u)).sqrt();
            assert!((left - right).abs() < 1e-13 * size, "{}", problem.name);
            let jacobian = problem.jacobian(sample, &row(&z));
            for (i, exact) in row(&jv).into_iter().enumerate() {
                let product = dot(&jacobian[i * problem.dim..][..problem.dim], &row(&v));
                assert!((product - exact).abs() < 1e-13 * size, "{}", problem.name);
            }
        }
    }
}

plugin! {
    /// Plain iteration.
    pub struct Plain: FixedPointSolver {}
}

#[typetag::serde(name = "plain")]
impl FixedPointSolver for Plain {
    fn start(&self, _: &mut dyn Map, _: Tolerance) -> Result<Box<dyn Iteration>> {
        Ok(Box::new(Plain {}))
    }
}

impl Iteration for Plain {
    fn advance(&mut self, space: &mut dyn Map, at: &mut Evaluation, next: Slot) -> Result<()> {
        space.combine(next, &[(Coef::Same(1.0), at.fz)])
    }
}

/// What plain iteration does with the problems it is meant to fail on, and with one it solves at once.
#[test]
fn plain_iteration_fails_where_it_must() {
    for (precision, space) in [
        (Precision::Single, Space::Slice),
        (Precision::Double, Space::Slice),
        (Precision::Double, Space::Tensor),
    ] {
        let stop = Stop::at(Tolerance::absolute(1e-3));
        let run = |name| {
            let problem = find(name).expect("known");
            let run = problem.solve(&Plain {}, precision, space, &stop);
            run.expect("no error").report
        };
        let all = |report: &Report, status| {
            assert_eq!(report.count(status), report.samples.len(), "{report:?}");
        };
        all(&run("expansive-negative"), Status::Diverged);
        all(&run("nan-region"), Status::NonFinite);
        all(&run("translation"), Status::Stalled);
        assert_eq!(run("nan-sample").count(Status::NonFinite), 1);
        assert_eq!(run("nan-sample").count(Status::Converged), 63);
        assert_eq!(run("fusion").count(Status::Converged), 0);
        let solved = run("linear-solved");
        all(&solved, Status::Converged);
        assert_eq!(solved.max_evaluations(), 1);
    }
}
