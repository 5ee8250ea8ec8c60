//! Measured convergence against theory, on affine maps whose spectra are known.

use equilibria_core::prelude::*;
use equilibria_solvers::forward::anderson::Anderson;
use equilibria_solvers::forward::picard::Picard;
use equilibria_testing::problems::{find, Precision, Problem, Space};

/// ‖f(z) − z‖ of one sample at every step.
fn residuals(problem: &Problem, sample: usize, solver: &dyn FixedPointSolver) -> Vec<f64> {
    let stop = Stop {
        max_evaluations: 60,
        patience: 60,
        trace: true,
        ..Stop::at(Tolerance::absolute(1e-12))
    };
    let one = problem.select(&[sample]);
    let run = one.solve(solver, Precision::Double, Space::Slice, &stop);
    let trace = &run.expect("nothing can fail here").report.samples[0].trace;
    trace.iter().map(|point| point.residual).collect()
}

fn ratios(residuals: &[f64]) -> Vec<f64> {
    residuals.windows(2).map(|pair| pair[1] / pair[0]).collect()
}

/// r ← r A. Where A is a multiple of an orthogonal matrix, each step shrinks the residual by just that.
#[test]
fn picard_contracts_by_the_modulus_of_orthogonal_maps() {
    let cases = [("linear-complex", 0.9), ("expansive-complex", 1.2)];
    for (name, rate) in cases {
        let problem = find(name).expect("known");
        for sample in 0..problem.batch {
            for ratio in ratios(&residuals(&problem, sample, &Picard::default())) {
                // A is rounded to f32: 6 entries per row, each wrong by up to 3e-8. Residuals down to 1e-3 are known to
                // 1e-12.
                assert!((ratio / rate - 1.0).abs() < 2e-7, "{name}: {ratio}");
            }
        }
    }
    let problem = find("mixed-rates").expect("known");
    for (sample, rate) in [0.3, 0.6, 0.9, 0.95, 0.99].into_iter().enumerate() {
        let trace = residuals(&problem, sample + 1, &Picard::default());
        let large = trace.into_iter().take_while(|&residual| residual > 1e-7);
        for ratio in ratios(&large.collect::<Vec<_>>()) {
            // As above; residuals above 1e-7 are known to 1e-8.
            assert!((ratio / rate - 1.0).abs() < 3e-7, "{rate}: {ratio}");
        }
    }
}

/// Of symmetric maps the ratios rise (Cauchy-Schwarz) to the largest absolute eigenvalue.
#[test]
fn picard_approaches_the_spectral_radius_of_symmetric_maps() {
    // Radius, and the next modulus.
    let cases: [(&str, f64, f64); 6] = [
        ("linear-half", 0.5, 0.4),
        ("linear-90", 0.9, 0.7),
        ("linear-99", 0.99, 0.95),
        ("linear-negative", 0.9, 0.5),
        ("expansive-positive", 1.5, 0.5),
        ("expansive-negative", 2.0, 0.5),
    ];
    for (name, radius, next) in cases {
        let problem = find(name).expect("known");
        for sample in 0..problem.batch {
            let trace = residuals(&problem, sample, &Picard::default());
            let large = trace.into_iter().take_while(|&residual| residual > 1e-9);
            let measured = ratios(&large.collect::<Vec<_>>());
            // Residuals above 1e-9 are known to 1e-6, and A is rounded to f32.
            for pair in measured.windows(2) {
                assert!(pair[1] > pair[0] - 1e-5, "{name}: {measured:?}");
            }
            let last = measured[measured.len() - 1];
            assert!(last < radius + 1e-5, "{name}: {last}");
            // (second component / first)² starts at most at some 1e3 for these inputs.
            let second = 1e3 * (next / radius).powi(2 * measured.len() as i32);
            assert!(last > radius * (1.0 - second) - 1e-5, "{name}: {last}");
        }
    }
}

/// With the whole history, the mixed residual of Anderson acceleration after k evaluations is the residual of k − 1
/// steps of GMRES for (I − A) z = x, and the next point is one application of f behind: r_{k+1} = r_k^GMRES A.
/// (H. F. Walker, P. Ni, SIAM J. Numer. Anal. 49, 2011, theorem 2.2.)
#[test]
fn anderson_is_gmres_one_application_behind() {
    let solver = Anderson {
        memory: 20,
        regularization: 0.0,
        ..Anderson::default()
    };
    let names = [
        "linear-half",
        "linear-90",
        "linear-99",
        "linear-complex",
        "linear-non-normal",
        "expansive-positive",
        "expansive-negative",
        "expansive-complex",
    ];
    for name in names {
        let problem = find(name).expect("known");
        for sample in 0..problem.batch {
            let measured = residuals(&problem, sample, &solver);
            let bounds = gmres(&problem, sample);
            // The Gram matrix knows squares to ε of the largest one, and its Cholesky factor residuals to √ε = 1e-8 of that:
            // where a residual is 1e-3 of the first one, to 1e-5 of itself.
            let floor = 1e-3 * measured[0];
            let pairs = measured[1..].iter().zip(&bounds);
            let pairs: Vec<_> = pairs.take_while(|(_, &bound)| bound > floor).collect();
            for (step, (&residual, &bound)) in pairs.iter().enumerate() {
                assert!(
                    (residual / bound - 1.0).abs() < 1e-5,
                    "{name} {sample}, step {step}: {residual:e}, GMRES {bound:e}"
                );
            }
            assert!(pairs.len() >= 3, "{name}: {pairs:?}");
        }
    }
}

/// ‖r_k A‖ for the residuals r_k of k = 0, 1, … steps of GMRES from 0, by orthogonal projection: r_k is what is left of x
/// outside the span of x B, x B², …, x Bᵏ, with B = I − A.
fn gmres(problem: &Problem, sample: usize) -> Vec<f64> {
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let zero = vec![0.0; problem.dim];
    let constant = problem.value(sample, &zero);
    // f(v) − f(0) = v A.
    let times = |v: &[f64]| -> Vec<f64> {
        let value = problem.value(sample, v);
        value.iter().zip(&constant).map(|(f, c)| f - c).collect()
    };
    let mut residual = constant.clone();
    let mut images: Vec<Vec<f64>> = Vec::new();
    let mut krylov = constant.clone();
    let mut norms = Vec::new();
    for _ in 0..=problem.dim {
        let behind = times(&residual);
        norms.push(dot(&behind, &behind).sqrt());
        let product = times(&krylov);
        let mut image: Vec<f64> = krylov.iter().zip(&product).map(|(v, a)| v - a).collect();
        // Twice is enough.
        for basis in images.iter().chain(&images) {
            let part = dot(&image, basis);
            image
                .iter_mut()
                .zip(basis)
                .for_each(|(v, b)| *v -= part * b);
        }
        let norm = dot(&image, &image).sqrt();
        if norm < 1e-10 {
            break;
        }
        image.iter_mut().for_each(|v| *v /= norm);
        let part = dot(&residual, &image);
        residual
            .iter_mut()
            .zip(&image)
            .for_each(|(r, b)| *r -= part * b);
        krylov = image.clone();
        images.push(image);
    }
    norms
}
