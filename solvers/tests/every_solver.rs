//! Contracts of all registered solvers: a new one is tested without an edit.

use std::sync::Arc;

use equilibria_core::dfdx::prelude::*;
use equilibria_core::prelude::*;
use equilibria_core::{to_host, Equilibrium, StepOnly};
use equilibria_solvers::backward::jacobian_free::JacobianFree;
use equilibria_solvers::forward::anderson::Anderson;
use equilibria_solvers::forward::picard::Picard;
use equilibria_testing::{random_matrix, AffineMap};

/// Spectra of symmetric affine maps; the contraction factor is the largest absolute value.
const SPECTRA: [&[f64]; 4] = [
    &[0.0, 0.0, 0.0],
    &[0.5],
    &[0.6, -0.6, 0.2, 0.1, -0.3],
    &[0.9, 0.8, 0.5, 0.1, -0.5, -0.8, 0.85, 0.3],
];

/// More rows than one block has.
const BATCH: usize = 40;

fn names() -> Vec<String> {
    let plugins = registry::of_kind("solver").expect("solvers are linked");
    plugins.into_iter().map(|plugin| plugin.name).collect()
}

fn equilibrium<L>(layer: L, solver: Arc<dyn FixedPointSolver>, stop: Stop) -> Equilibrium<L> {
    let backward: Arc<dyn BackwardStrategy> = Arc::new(JacobianFree::default());
    let mut equilibrium = Equilibrium::new(layer, solver, backward);
    equilibrium.stop = stop;
    equilibrium
}

/// Solves with relative tolerance `tolerance` and compares with the exact solution; `epsilon` is that of the dtype.
fn check_solver<E: Scalar>(name: &str, eigenvalues: &[f64], tolerance: f64, epsilon: f64)
where
    Cpu: Backend<E>,
{
    let device = Cpu::default();
    let dim = eigenvalues.len();
    let map: AffineMap<E, Cpu> = AffineMap::new(&device, eigenvalues, 5).expect("a map");
    let x = [random_matrix(&device, (BATCH, dim), 6).expect("inputs")];
    let solver = equilibria_solvers::solver(name).expect("registered");
    let mut stop = Stop::at(Tolerance::relative(tolerance));
    stop.max_evaluations = 1000;
    let fast = equilibrium(map.clone(), solver.clone(), stop.clone());
    let plain = equilibrium(StepOnly(map.clone()), solver, stop);
    let exact = map.solution(&x[0]);

    let norm = |values: &[f64]| values.iter().map(|v| v * v).sum::<f64>().sqrt();
    let contraction = eigenvalues
        .iter()
        .fold(0.0_f64, |largest, value| largest.max(value.abs()));
    for solved in [fast.forward(&x, NoneTape), plain.forward(&x, NoneTape)] {
        let solved = solved.expect("solvable");
        let wide = |matrix: &Matrix<E, Cpu>| -> Vec<f64> {
            to_host(matrix).into_iter().map(E::wide).collect()
        };
        let (z, given) = (wide(&solved.z), wide(&x[0]));
        let fz = wide(&equilibria_core::apply(&map, solved.z, &x).expect("one step"));
        for (sample, report) in solved.report.samples.iter().enumerate() {
            let place = format!("{name}, spectrum {eigenvalues:?}, sample {sample}: {report:?}");
            let row = |all: &[f64]| all[sample * dim..][..dim].to_vec();
            let minus = |a: &[f64], b: &[f64]| -> Vec<f64> {
                row(a).iter().zip(row(b)).map(|(a, b)| a - b).collect()
            };
            assert_eq!(report.status, Status::Converged, "{place}");
            // Some 2 dim roundings of numbers of the size of z, twice.
            let size = norm(&row(&z)) + norm(&row(&given));
            let rounding = 4.0 * dim as f64 * epsilon * size;
            let residual = norm(&minus(&fz, &z));
            assert!(
                (residual - report.residual).abs() <= rounding,
                "{place}: {residual:e}"
            );
            let bound = tolerance * norm(&row(&fz));
            assert!(residual <= bound + rounding, "{place}");
            assert!(report.relative_residual <= tolerance, "{place}");
            // z − z* = −(I − A)⁻¹ (f(z) − z), and ‖(I − A)⁻¹‖ ≤ 1 / (1 − contraction).
            let error = norm(&minus(&z, &exact));
            assert!(
                error <= (bound + rounding) / (1.0 - contraction),
                "{place}: {error:e}"
            );
        }
    }
}

#[test]
fn every_solver_finds_the_fixed_point() {
    for name in names() {
        for spectrum in SPECTRA {
            check_solver::<f64>(&name, spectrum, 1e-11, f64::EPSILON);
            check_solver::<f32>(&name, spectrum, 1e-5, f32::EPSILON.into());
        }
    }
}

#[test]
fn the_result_of_a_sample_does_not_depend_on_its_batch() {
    let device = Cpu::default();
    let map: AffineMap<f64, Cpu> = AffineMap::new(&device, SPECTRA[3], 5).expect("a map");
    let dim = SPECTRA[3].len();
    let x = random_matrix(&device, (BATCH, dim), 6).expect("inputs");
    // Cubes of normal numbers: samples of different size end at different steps.
    let x: Matrix<f64, Cpu> = x.clone() * x.clone() * x;
    for name in names() {
        let solver = equilibria_solvers::solver(&name).expect("registered");
        let mut stop = Stop::at(Tolerance::absolute(1e-8));
        stop.max_evaluations = 1000;
        let equilibrium = equilibrium(map.clone(), solver, stop);
        let all = equilibrium
            .forward(std::slice::from_ref(&x), NoneTape)
            .expect("solvable");
        let bits = |z: &[f64]| z.iter().map(|z| z.to_bits()).collect::<Vec<_>>();
        for sample in 0..BATCH {
            let row = to_host(&x)[sample * dim..][..dim].to_vec();
            let row = [device.tensor_from_vec(row, (1, dim))];
            let one = equilibrium.forward(&row, NoneTape).expect("solvable");
            assert_eq!(
                one.report.samples[0], all.report.samples[sample],
                "{name} {sample}"
            );
            let expected = bits(&to_host(&all.z)[sample * dim..][..dim]);
            assert_eq!(bits(&to_host(&one.z)), expected, "{name} {sample}");
        }
    }
}

/// Residuals per step of one sample.
fn trace(eigenvalues: &[f64], solver: Arc<dyn FixedPointSolver>, tolerance: f64) -> Vec<f64> {
    let device = Cpu::default();
    let map: AffineMap<f64, Cpu> = AffineMap::new(&device, eigenvalues, 7).expect("a map");
    let x = [random_matrix(&device, (1, eigenvalues.len()), 8).expect("inputs")];
    let mut stop = Stop::at(Tolerance::relative(tolerance));
    stop.trace = true;
    let solved = equilibrium(map, solver, stop)
        .forward(&x, NoneTape)
        .expect("solvable");
    assert_eq!(solved.report.unconverged(), 0);
    let trace = &solved.report.samples[0].trace;
    trace.iter().map(|point| point.residual).collect()
}

/// The residual of Picard iteration shrinks by max |1 − β + βλ| per step.
#[test]
fn picard_converges_at_the_theoretical_rate() {
    let cases = [
        (1.0, [0.7, 0.3, 0.1], 0.7),
        (1.0, [-0.7, 0.3, 0.1], 0.7),
        (0.5, [-0.9, 0.2, 0.0], 0.6),
    ];
    for (damping, spectrum, rate) in cases {
        let residuals = trace(
            &spectrum,
            Arc::new(Picard {
                damping,
                compat: None,
            }),
            1e-10,
        );
        // After 30 steps the other components are smaller by (5/6)^30 at worst, and their squares count: see below.
        // Rounding: ε relative to a residual of about 1e-6.
        let measured = residuals[31] / residuals[30];
        let second = if damping < 1.0 {
            0.5 / 0.6
        } else {
            0.3 / 0.7_f64
        };
        let allowed = 100.0 * second.powi(60) + 1e-9;
        assert!(
            (measured / rate - 1.0).abs() < allowed,
            "{measured} is not {rate}"
        );
    }
}

/// d + 1 residuals of an affine map of dimension d are dependent: their best combination is the solution.
#[test]
fn anderson_is_exact_on_affine_maps_after_dim_plus_one_points() {
    for spectrum in [
        &[0.9][..],
        &[0.9, -0.9],
        &[0.8, 0.4, -0.9],
        &[1.5, 0.5, -2.0],
    ] {
        let solver = Anderson {
            memory: spectrum.len() + 1,
            regularization: 1e-15,
            ..Anderson::default()
        };
        // Squared residuals are known to 1e-15: residuals to some 3e-8 of the largest one, times ‖(I − A)⁻¹‖ = 10.
        let steps = trace(spectrum, Arc::new(solver), 1e-6).len();
        assert!(
            steps <= spectrum.len() + 2,
            "{spectrum:?}: {steps} evaluations"
        );
    }
}
